"""Adapters that become part of the base model, wherever its weights are loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scumble.adapters.worn import Merged
from scumble.checkpoint import bases, export
from scumble.checkpoint.verdicts import misfits
from scumble.errors import FileError, ScumbleError, gather
from scumble.families.weights import Model
from scumble.spec.model import MergeSpec, ModelSpec


def with_merged(model: Model, spec: ModelSpec, base: Path) -> Model:
    """The model with the job's `model.merged`; an ExceptionGroup of all files that do not fit.

    `base` is where relative files start. Nothing is loaded but the adapters.
    """
    found: list[Merged] = []
    problems: list[ScumbleError] = []
    for one in spec.merged:
        try:
            found.append(_read(model, one, base))
        except ScumbleError as problem:
            problems.append(problem)
    gather("adapters cannot be merged", problems)
    return replace(model, merged=tuple(found))


def _read(model: Model, wanted: MergeSpec, base: Path) -> Merged:
    file = (base / Path(wanted.file).expanduser()).resolve()
    changes = export.layers(file, model.family.keys)
    here = {part: layers for part, layers in changes.items() if part in model.parts}
    if unfit := misfits(here, bases.of_parts(model, here)):
        more = f" (and {len(unfit) - 1} more layers like it)" if len(unfit) > 1 else ""
        remedy = "it was made for another model: take it out of `model.merged`"
        raise FileError(file, f"{unfit[0]}{more}", remedy)
    return Merged(file, wanted.strength, here)
