"""A folder whose subfolders are named like `10_cat` as sets of their own, as sd-scripts has it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from scumble.data.sources import folder
from scumble.data.telling import noted
from scumble.errors import FileError
from scumble.spec.dataset import DatasetSpec

STRANGE = re.compile(r"[^\w.-]+")
"""What the id of a set cannot hold, but the name of a folder can."""

EXAMPLE = "name them like `10_cat`, or set `repeats_in_names: false`"


def expanded(spec: DatasetSpec, base: Path) -> tuple[tuple[DatasetSpec, ...], tuple[str, ...]]:
    """The sets that a set stands for, sorted by name, and notes on what else lies in its folder.

    A set without `repeats_in_names` stands for itself. FileError if there is no such folder, or
    none in it is named that way.
    """
    if not spec.repeats_in_names or spec.folder is None:
        return (spec,), ()
    root = base / Path(spec.folder).expanduser()
    here = folder.listing(root, subfolders=False)
    names = _folders(root)
    repeats = {name: _repeats(name) for name in names}
    used = [name for name in names if (repeats[name] or 0) > 0]
    if not used:
        there = f"; there are {', '.join(names[:3])}" if names else ""
        problem = f"no folder in it says in its name how often it is seen{there}"
        raise FileError(root, problem, EXAMPLE)
    ids = _ids(spec.id, used)
    sets = tuple(
        _one(spec, base, name, id, repeats[name] or 0) for name, id in zip(used, ids, strict=True)
    )
    deeper = [f"{name}/{inner}" for name in used for inner in _folders(root / name)]
    return sets, tuple(_notes(repeats, [one.id for one in here.pictures], deeper))


def _folders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted; FileError if one cannot be looked into."""
    with folder.walkable(root), os.scandir(root) as entries:
        names = [one.name for one in entries if folder.is_folder(one)]
    return sorted(name for name in names if folder.visible(name))


def _repeats(name: str) -> int | None:
    """The whole number before the first underscore; None if there is none."""
    try:
        return int(name.split("_", 1)[0])
    except ValueError:
        return None


def _notes(
    repeats: dict[str, int | None], loose: Sequence[str], deeper: Sequence[str]
) -> list[str]:
    """What of the folder is not used."""
    notes = []
    unnamed = [name for name, count in repeats.items() if count is None]
    if unnamed:
        first = ", ".join(unnamed[:3])
        notes.append(f"folders left out, as no number stands before an underscore: {first}")
    never = [name for name, count in repeats.items() if count is not None and count < 1]
    if never:
        notes.append(f"folders left out, as they are seen less than once: {', '.join(never[:3])}")
    if deeper:
        notes.append(f"folders within these are left out: {', '.join(deeper[:3])}")
    if loose:
        notes.append(noted(loose, "lies beside these folders and is left out"))
    return notes


def _ids(id: str, names: Sequence[str]) -> list[str]:
    """A different one for each name, of letters that ids may have."""
    ids: list[str] = []
    for name in names:
        wanted = f"{id}.{STRANGE.sub('-', name)}"
        same = sum(one == wanted or one.startswith(f"{wanted}-x") for one in ids)
        ids.append(f"{wanted}-x{same + 1}" if same else wanted)
    return ids


def _one(spec: DatasetSpec, base: Path, name: str, id: str, repeats: int) -> DatasetSpec:
    """The set of one folder. Its references and masks lie in folders of the same name, if there
    are such."""
    words = name.partition("_")[2]
    references = [
        one.model_copy(
            update={
                "folder": _inner(one.folder, base, name),
                "write_to": None if one.write_to is None else str(Path(one.write_to) / name),
            }
        )
        for one in spec.references
    ]
    mask = spec.mask
    if mask is not None:
        mask = mask.model_copy(update={"folder": _inner(mask.folder, base, name)})
    changes: dict[str, object] = {
        "id": id,
        "folder": str(Path(spec.folder or "") / name),
        "subfolders": False,
        "repeats_in_names": False,
        "repeats": repeats * spec.repeats,
        "prompt": words or spec.prompt,
        "references": tuple(references),
        "mask": mask,
    }
    return spec.model_copy(update=changes)


def _inner(told: str | None, base: Path, name: str) -> str | None:
    if told is None or not (base / Path(told).expanduser() / name).is_dir():
        return told
    return str(Path(told) / name)
