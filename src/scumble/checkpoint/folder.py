"""The folder of a run: its job, its manifest, and what changed since it was last started."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scumble import __version__
from scumble.disk import write_whole
from scumble.errors import JobError
from scumble.spec.job import JobSpec

NOTED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "pillow")
OPTIONS = "training.optimizer.options"
"""A mapping of whatever the optimizer takes: what is not in it is not unknown, it is unset."""

FIXED = (
    "base_model",
    "model.family",
    "model.flavour",
    "adapter.kind",
    "adapter.rank",
    "adapter.alpha",
    "adapter.targets",
    "adapter.first",
    "training.optimizer.name",
    f"{OPTIONS}.fused",
)
"""What a checkpoint cannot outlive. `fused` moves AdamW's count of steps to the card."""

FREE = (
    "name",
    "output_dir",
    "cache.folder",
    "cache.mode",
    "cache.texts",
    "model.path",
    "model.parts",
    "model.revision",
    "model.merged",
    "export.proof",
    "origin",
    "tracking",
)
"""Settings that say where and how, not what; the model is known by its weights."""

Change = tuple[str, Any, Any]
"""What changed, what it was, what it is."""


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a nested mapping by dotted path."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from flat(inner, f"{path}.{number}")
    else:
        yield path, value


def settings(job: JobSpec) -> dict[str, Any]:
    """Every setting of a job by dotted path, as JSON values."""
    return dict(flat(job.model_dump(mode="json")))


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs between two starts of a run.

    A setting that an older release did not know counts as unchanged, unless it is an entry of
    a list or an option: its default is what that release did.
    """
    found = []
    for path in {**then, **now}:
        listed = any(part.isdigit() for part in path.split("."))
        known = path in then or listed or _under(path, (*FIXED, OPTIONS))
        before, after = (None if one.get(path) == {} else one.get(path) for one in (then, now))
        if known and not _under(path, FREE) and before != after:
            found.append((path, before, after))
    return found


def options(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's options of an earlier start, as a job would give them."""
    found: dict[str, Any] = {}
    for path, value in facts.items():
        if _under(path, (OPTIONS,)) and path != OPTIONS:
            option, _, place = path.removeprefix(f"{OPTIONS}.").partition(".")
            found[option] = [*found.get(option, []), value] if place else value
    return found


def _under(path: str, settings: Sequence[str]) -> bool:
    """Whether a path is one of these settings or lies in it."""
    return any(path == setting or path.startswith(f"{setting}.") for setting in settings)


def refuse_fixed(changed: Sequence[Change], step: int) -> None:
    """Raise for every change that the checkpoint of `step` cannot go on with."""
    problems = [
        JobError(
            path,
            f"was {_said(then)}, is now {_said(now)};"
            f" the checkpoint of step {step} cannot go on with it",
            "choose another `name`, or put it back",
        )
        for path, then, now in changed
        if _under(path, FIXED)
    ]
    if problems:
        raise ExceptionGroup("this run cannot go on", problems)


def sentences(changed: Sequence[Change], job: JobSpec) -> tuple[str, ...]:
    """Changes in words; a longer run under a falling schedule is another schedule."""
    falling = job.training.schedule.falls_by_the_end
    said = []
    for path, then, now in changed:
        more = f" (this moves the {job.training.schedule.kind} schedule)"
        moved = path == "training.steps" and falling
        said.append(f"{path}: {_said(then)} -> {_said(now)}{more if moved else ''}")
    return tuple(said)


def _said(value: Any) -> str:
    return "unset" if value is None else str(value)


def write_job(folder: Path, text: str) -> None:
    """Keep the resolved job."""
    write_whole(folder / "job.yaml", text.encode())


def write_manifest(folder: Path, facts: Mapping[str, Any], samples: Sequence[Any]) -> None:
    """Keep what the run was made of: versions, device, hashes and one row per sample."""
    versions = {name: _version(name) for name in NOTED}
    about = {"scumble": __version__, "python": platform.python_version(), "versions": versions}
    text = json.dumps({**about, **facts, "samples": list(samples)}, indent=1)
    write_whole(folder / "manifest.json", text.encode() + b"\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
