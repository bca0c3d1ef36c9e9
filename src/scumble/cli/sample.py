"""`scumble sample`: pictures from a model and an adapter file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from scumble.errors import FileError, JobError

if TYPE_CHECKING:
    from scumble.spec.job import JobSpec

SAMPLES = Path("samples")

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
    adapter: Annotated[Path | None, Option(help="A .safetensors file.")] = None,
    strength: Annotated[float, Option(help="How much of the adapter; 1 is as trained.")] = 1.0,
    prompt: Annotated[list[str] | None, Option(help="One picture each; repeat it.")] = None,
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
        "validation.seed": seed,
        "hardware.device": device,
        "hardware.precision": precision,
    }
    wanted, base = _checked(job, settings)
    if adapter is not None and not adapter.is_file():
        raise FileError(adapter, "there is no such file", "name a .safetensors file")
    _paint(wanted, base, adapter, strength, out)


def _paint(job: JobSpec, base: Path, adapter: Path | None, strength: float, out: Path) -> None:
    from scumble.sample import Sampling, sampled

    asked = Sampling(
        model=job.model,
        hardware=job.hardware,
        validation=job.validation,
        adapter=adapter,
        strength=strength,
        out=out,
        base=base,
    )
    for picture in sampled(asked):
        typer.echo(str(picture))


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
    if not wanted.validation.prompts:
        raise JobError("sample", "there is nothing to paint", 'add --prompt "WORDS"')
    return wanted, base
