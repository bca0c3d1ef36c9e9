"""A run in the words of SimpleTuner: where its users look for the file, and what stands in it.

For jobs that were made from one of its configurations; others have none of this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scumble.preflight.plan import Plan
from scumble.spec.adapter import FullSpec
from scumble.spec.dataset import DatasetSpec
from scumble.spec.job import JobSpec

ENDING = ".safetensors"
LYCORIS = "lycoris_config.json"
EMA = "ema"


def is_of(job: JobSpec) -> bool:
    """Whether the job was made from such a configuration."""
    return job.origin is not None and job.origin.tool == "simpletuner"


def folder(job: JobSpec) -> Path:
    """Its `output_dir`."""
    assert job.origin
    return Path(job.origin.output_dir or "outputs").expanduser()


def finished(job: JobSpec) -> Path | None:
    """The finished file; None where whole networks are trained, which are not one file there."""
    if not is_of(job) or isinstance(job.adapter, FullSpec):
        return None
    assert job.origin
    return folder(job) / f"{job.origin.output_name}{ENDING}"


def places(plan: Plan, files: Sequence[Path]) -> Mapping[Path, Path]:
    """Where delivered files are put once more, and which: the finished one, what LyCORIS needs to
    read it, and that of the average."""
    final = finished(plan.job)
    if final is None or not files:
        return {}
    averaged = [file for file in files[1:] if file.name.endswith(f".{EMA}{ENDING}")]
    beside = [one for one in (files[0].parent / LYCORIS,) if one.is_file()]
    found = [(final.parent / EMA / final.name, file) for file in averaged]
    found += [(final.parent / LYCORIS, file) for file in beside]
    return dict([*found, (final, files[0])])  # the run remembers names: of two, the last one's


def metadata(plan: Plan, step: int) -> dict[str, str]:
    """What its files say of a run besides what all files of ours say."""
    if not is_of(plan.job):
        return {}
    origin, trained = plan.job.origin, [one for one in plan.job.data if one.held_out < 1]
    assert origin
    told = {"global_step": str(step), "modelspec.resolution": _resolution(trained)}
    if words := ", ".join(dict.fromkeys(_words(trained))):
        told["modelspec.trained_words"] = words
    if comment := origin.settings.get("modelspec_comment"):
        told["modelspec.comment"] = comment if isinstance(comment, str) else json.dumps(comment)
    return {name: value for name, value in told.items() if value}


def _resolution(sets: Sequence[DatasetSpec]) -> str:
    """Of the set of the largest pictures, where sizes are sides."""
    sides = [one.resolution for one in sets if isinstance(one.resolution, int)]
    return f"{max(sides)}x{max(sides)}" if sides else ""


def _words(sets: Iterable[DatasetSpec]) -> Iterable[str]:
    for one in sets:
        if one.captions != "prompt" or one.prior_preservation or one.prompt is None:
            continue
        yield from [one.prompt] if isinstance(one.prompt, str) else one.prompt
