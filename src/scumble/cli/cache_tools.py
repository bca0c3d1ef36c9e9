"""What `scumble cache` tells of a folder: without torch, unless a job is asked about."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scumble.data import collect, inventory, leases, shards
from scumble.data.collect import Goal
from scumble.errors import FileError, JobError
from scumble.observers.sentences import size

if TYPE_CHECKING:
    import numpy as np

    from scumble.spec.job import JobSpec

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def byte_count(told: str) -> int:
    """Bytes of `20GB`, `500 MB` or `1.5TiB`."""
    match = NUMBER.fullmatch(told.strip())
    if match is None or match[2].upper() not in UNITS:
        raise JobError("--max-size", f"'{told}' is no size", "write it like 20GB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def seconds(told: str, option: str = "--unused-for") -> float:
    """Seconds of `30d`, `12h` or `2w`."""
    match = NUMBER.fullmatch(told.strip())
    if match is None or match[2].lower() not in SECONDS:
        raise JobError(option, f"'{told}' is no time", "write it like 30d or 12h")
    return float(match[1]) * SECONDS[match[2].lower()]


def goal(max_size: str | None, unused_for: str | None) -> Goal:
    """What the options of `gc` ask for."""
    return Goal(
        most_bytes=None if max_size is None else byte_count(max_size),
        used_since=None if unused_for is None else time.time() - seconds(unused_for),
    )


def folder(where: str) -> Path:
    """The cache that is meant: the folder itself, the `.cache` in it, or that of a job.

    FileError for a folder in which no cache ever was.
    """
    path = Path(where).expanduser()
    if not path.is_dir():
        if path.name == ".cache":
            remedy = "name a cache folder, or the job that uses it"
            raise FileError(where, "there is no such folder", remedy)
        from scumble.cli.jobs import open_job

        return open_job(where)[0].cache_folder
    inside = path / ".cache"
    found = inside if inside.is_dir() else path
    if not any((found / name).is_dir() for name in inventory.FOLDERS):
        remedy = "name a cache folder, or the job that uses it"
        raise FileError(where, "there is no cache in this folder", remedy)
    return found


def told_apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of pictures, and settings of a job: these begin with a section of it."""
    from scumble.spec.job import JobSpec

    settings = [
        word
        for word in words
        if "=" in word and word.partition("=")[0].partition(".")[0] in JobSpec.model_fields
    ]
    return [word for word in words if word not in settings], settings


def listed(where: Path, unused: str) -> list[tuple[str, ...]]:
    """A row for each shelf, and one for all."""
    idle = time.time() - seconds(unused, "--unused")
    found, held = inventory.shards(where), leases.in_use(where)
    rows = [("shelf", "entries", "shards", "size", "last used", f"unused {unused}", "")]
    for one in inventory.shelves(found, idle_before=idle):
        rows.append(
            (
                one.name,
                f"{one.entries:,}",
                f"{one.shards:,}",
                size(one.bytes),
                datetime.fromtimestamp(one.used).strftime("%Y-%m-%d"),
                size(one.idle_bytes),
                "in use" if one.name in held else "",
            )
        )
    total = sum(one.bytes for one in found)
    idle_bytes = sum(one.bytes for one in found if one.used < idle)
    rows.append(("all", "", f"{len(found):,}", size(total), "", size(idle_bytes), ""))
    return rows


def verified(where: Path, *, repair: bool) -> tuple[int, list[str]]:
    """How many shards are damaged, and what to tell."""
    found = inventory.shards(where)
    faults = [(one, inventory.fault(one)) for one in found]
    damaged = [(one, problem) for one, problem in faults if problem is not None]
    lines = [f"{one.path}: {problem}" for one, problem in damaged]
    entries = sum(one.entries for one in found)
    whole = f"{len(found) - len(damaged):,} of {len(found):,} shards are whole"
    lines.append(f"{whole}, {entries:,} entries, {size(sum(one.bytes for one in found))}.")
    if damaged and repair:
        freed = collect.remove([one for one, _ in damaged])
        lines.append(
            f"Deleted {_shards(len(damaged), 'damaged ')} ({size(freed)}); what was in there is "
            "made anew at the next start."
        )
    if repair:
        swept = [name for place in inventory.FOLDERS for name in shards.sweep(where / place)]
        lines += [f"Deleted {len(swept)} unfinished files of dead processes."] if swept else []
    elif damaged:
        lines.append("Delete it with --repair; what was in there is made anew at the next start.")
    return len(damaged), lines


def collected(where: Path, goal: Goal, job: str | None, *, dry: bool) -> Iterator[str]:
    """Delete what has to go, and tell."""
    found, held = inventory.shards(where), leases.in_use(where)
    gone = collect.doomed(found, goal, held=held.keys(), wanted=_wanted(job) if job else None)
    for shelf in sorted({one.shelf for one in gone}):
        own = [one for one in gone if one.shelf == shelf]
        yield f"{shelf}: {_shards(len(own))}, {size(sum(one.bytes for one in own))}"
    total = sum(one.bytes for one in gone)
    left = sum(one.bytes for one in found) - total
    yield (
        f"{'Would delete' if dry else 'Deleted'} {len(gone)} of {len(found)} shards, "
        f"{size(total)}; {size(left)} {'would stay' if dry else 'stay'}."
    )
    if not dry:
        collect.remove(gone)
    if goal.most_bytes is not None and left > goal.most_bytes:
        files = sorted({str(file) for file in held.values()})
        yield f"More than was asked stays: a run is at work with it ({', '.join(files)})."


def explained(job: JobSpec, base: Path, files: Sequence[str]) -> Iterator[str]:
    """For each picture, each of its entries and texts: there, or why not."""
    from scumble.cli.cache_build import opened
    from scumble.data import origins
    from scumble.data.explanations import Explainer

    one = opened(job, base)
    left = dict.fromkeys(files)
    for name, root in one.roots.items():
        explainer = Explainer(
            library=one.library,
            name=name,
            before=origins.read(origins.at(one.plan.cache, name, root)),
            picture_recipe=one.recipes.pictures,
            text_recipe=one.recipes.texts,
        )
        for file, answers in explainer.about(files).items():
            if answers:
                left.pop(file, None)
            for answer in answers:
                state = f"there, in {answer.shard.name}" if answer.shard else "to be made; "
                yield f"{answer.what}: {state}{answer.reason}"
    for file in left:
        yield f"{file}: this job keeps no entry of such a picture; see `scumble check`"


def _shards(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}shard" + ("" if count == 1 else "s")


def _wanted(job: str) -> np.ndarray:
    """Keys of everything that a job asks for."""
    from scumble.cli.cache_build import opened
    from scumble.cli.jobs import open_job
    from scumble.data import asked, quantised
    from scumble.families import weights

    one = opened(*open_job(job))
    model, dtype = one.plan.model, one.plan.place.dtype
    parts = model.quantising.parts
    files = [weights.packed(model, part, dtype, read=True) for part in parts]
    layers = [key for file in files if file for key in quantised.keys(file)]
    return collect.packed([*asked.keys(one.library, one.plan.texts()), *layers])
