"""`scumble sample`: pictures from a model and an adapter file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from scumble.cli.merge import strong
from scumble.errors import FileError, JobError, gather

if TYPE_CHECKING:
    from scumble.spec.job import JobSpec

SAMPLES = Path("samples")
REFERENCE = Option(metavar="IMG", help="A picture to show along, in order; repeat it.")
SCALE = Option("--scale", "--cfg-scale", help="How far; 1: not. Unset: as published.")

REST_OF_A_JOB = """
name: sample
data: [{id: none, folder: .}]
training: {steps: 1}
"""
"""What a job says besides the model, so that options are checked like settings of a job."""


def sample(  # noqa: PLR0913  (each parameter is an option)
    job: Annotated[str | None, Option(help="A job, for its model and previews.")] = None,
    model: Annotated[str | None, Option(help="A model's folder, or builtin:NAME.")] = None,
    family: Annotated[str | None, Option(help="Kind of model, with --model.")] = None,
    flavour: Annotated[str | None, Option(help="Variant of the family, with --model.")] = None,
    adapter: Annotated[
        list[str] | None,
        Option(metavar="FILE[=STRENGTH]", help="An adapter, or a whole network; repeat it."),
    ] = None,
    strength: Annotated[float, Option(help="Of adapters that name none; 1 is as trained.")] = 1.0,
    merge: Annotated[bool, Option("--merge", help="Work adapters into the weights.")] = False,
    prompt: Annotated[list[str] | None, Option(help="One picture each; repeat it.")] = None,
    reference: Annotated[list[Path] | None, REFERENCE] = None,
    negative: Annotated[str | None, Option(help="What is led away from, with --scale.")] = None,
    scale: Annotated[float | None, SCALE] = None,
    width: Annotated[int | None, Option(help="Pixels.")] = None,
    height: Annotated[int | None, Option(help="Pixels.")] = None,
    steps: Annotated[int | None, Option(help="Solver steps.")] = None,
    guidance: Annotated[float | None, Option(help="Guidance the network is told.")] = None,
    seed: Annotated[int | None, Option(help="Picture number i has the noise of seed + i.")] = None,
    device: Annotated[str | None, Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    precision: Annotated[str | None, Option(help="auto, fp32, bf16.")] = None,
    out: Annotated[Path, Option("-o", "--out", help="Folder for the pictures.")] = SAMPLES,
) -> None:
    """Make pictures with a model and an adapter file."""
    settings: dict[str, object] = {
        "model.path": model,
        "model.family": family,
        "model.flavour": flavour,
        "validation.prompts": prompt or None,
        "validation.width": width,
        "validation.height": height,
        "validation.steps": steps,
        "validation.guidance": guidance,
        "validation.negative": negative,
        "validation.scale": scale,
        "validation.seed": seed,
        "hardware.device": device,
        "hardware.precision": precision,
    }
    wanted, base = _checked(job, settings)
    wanted = _shown_along(wanted, reference or ())
    _paint(wanted, base, Wearing(_there(adapter or (), strength), merge), out)


def _there(adapters: Sequence[str], strength: float) -> list[tuple[Path, float]]:
    """Adapter files and how much of each; an ExceptionGroup of those that are not there."""
    named = [strong(one, strength) for one in adapters]
    missing = [file for file, _ in named if not file.is_file()]
    remedy = "name a .safetensors file"
    gather(
        "there are no such adapters",
        [FileError(file, "there is no such file", remedy) for file in missing],
    )
    return named


@dataclass(frozen=True)
class Wearing:
    """What the model wears."""

    adapters: Sequence[tuple[Path, float]]
    merged: bool


def _paint(job: JobSpec, base: Path, wearing: Wearing, out: Path) -> None:
    from scumble.families.quantised import FOLDER
    from scumble.preflight.showing import areas
    from scumble.sample import Sampling, sampled

    asked = Sampling(
        model=job.model,
        hardware=job.hardware,
        validation=job.validation,
        adapter=None,
        strength=1.0,
        beside=tuple(wearing.adapters),
        merged=wearing.merged,
        out=out,
        base=base,
        quantised=job.cache_folder / FOLDER,
        areas=areas(job),
    )
    for picture in sampled(asked):
        typer.echo(str(picture))


def _shown_along(job: JobSpec, files: Sequence[Path]) -> JobSpec:
    """The job with these pictures, relative to here, shown with all previews that name none."""
    if not files:
        return job
    told = tuple(str(file.expanduser().absolute()) for file in files)
    asked = job.validation.asked
    requests = tuple(
        one if one.references else one.model_copy(update={"references": told}) for one in asked
    )
    changes = {"prompts": (), "requests": requests}
    return job.model_copy(update={"validation": job.validation.model_copy(update=changes)})


def _checked(job: str | None, settings: Mapping[str, object]) -> tuple[JobSpec, Path]:
    """The job that the options describe, and where its relative paths start."""
    from scumble.cli.jobs import open_job
    from scumble.spec.load import read_job

    overrides = [
        f"{path}={json.dumps(value, ensure_ascii=False)}"
        for path, value in settings.items()
        if value is not None
    ]
    if (job is None) == (settings["model.path"] is None):
        remedy = "give --job JOB, or --model PATH --family NAME --flavour NAME"
        raise JobError("sample", "one of --job and --model is needed, not both", remedy)
    if job is not None:
        wanted, base = open_job(job, overrides)
    else:
        options, base = "the options", Path()
        wanted = read_job(REST_OF_A_JOB, name=options, format="yaml", overrides=overrides)
    if not wanted.validation.asked:
        raise JobError("sample", "there is nothing to paint", 'add --prompt "WORDS"')
    return wanted, base
