"""`scumble adapter verify`: what an adapter file is worth, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from scumble.cli.sample import REST_OF_A_JOB
from scumble.errors import FileError, JobError, gather
from scumble.observers.sentences import sentence

if TYPE_CHECKING:
    from scumble.events import Proven
    from scumble.proving import Asked
    from scumble.spec.job import JobSpec

WORDS = {"ok": "ok", "remark": "note", "unknown": "not known", "failed": "FAILED"}
BUILTIN = "builtin:"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was typed besides the files."""

    model: str | None
    family: str | None
    flavour: str | None
    run: Path | None
    pictures: Path | None
    pipeline: bool
    device: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Which model a file is held against; without a path, the published one."""

    path: str | None
    family: str
    flavour: str


def verify(  # noqa: PLR0913  (each parameter is an option)
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".safetensors files.")],
    model: Annotated[str | None, Option(help="A folder, file, hub id or builtin:NAME.")] = None,
    family: Annotated[str | None, Option(help="Kind of model; unset: as the file says.")] = None,
    flavour: Annotated[str | None, Option(help="Variant; unset: as the file says.")] = None,
    run: Annotated[Path | None, Option(help="The folder of the run that wrote it.")] = None,
    pictures: Annotated[
        Path | None, Option(help="Folder for the preview made again, with --run.")
    ] = None,
    against: Annotated[
        Literal["diffusers"] | None,
        Option(help="Have the plain pipeline agree; needs a diffusers folder."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="One line of JSON instead of tables.")] = False,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, Option(help="auto, fp32, bf16.")] = "auto",
) -> None:
    """Prove adapter files of any tool: exit code 0 when nothing is wrong with them, else 2.

    Without a model, keys and shapes are held against the published one; with one, the network is
    run; with the folder of the run, its answers and last preview have to come out again.
    """
    options = Options(
        model=model,
        family=family,
        flavour=flavour,
        run=run,
        pictures=pictures,
        pipeline=against is not None,
        device=device,
        precision=precision,
    )
    groups = _groups(files, options)
    from scumble.proving import proofs

    found: dict[int, Proven] = {}
    for asked, places in groups:
        for place, one in zip(places, proofs(asked), strict=True):
            found[place] = one
            if not as_json:
                _show(one)
    if as_json:
        rows = [_row(found[place]) for place in range(len(files))]
        typer.echo(json.dumps({"files": rows}, default=str))
    raise typer.Exit(2 if any(one.failed for one in found.values()) else 0)


def _row(one: Proven) -> dict[str, object]:
    """A file as `--json` has it: file, proven, verdicts (name, state, text), pictures, seconds."""
    return {"proven": not one.failed, **asdict(one)}


def _groups(files: Sequence[Path], options: Options) -> list[tuple[Asked, list[int]]]:
    """One question for the files of each model, with their places among all.

    A file of ours says itself what it was trained on, unless the options do.
    """
    missing = [file for file in files if not file.is_file()]
    remedy = "name the .safetensors files to look at"
    gather("no such files", [FileError(one, "there is no such file", remedy) for one in missing])
    places: dict[Stated, list[int]] = {}
    for number, file in enumerate(files):
        places.setdefault(_stated(file, options), []).append(number)
    return [(_asked(one, [files[n] for n in at], options), at) for one, at in places.items()]


def _stated(file: Path, options: Options) -> Stated:
    told = _metadata(file)
    base = told.get("scumble.base_model", "")
    return Stated(
        path=options.model or (base if base.startswith(BUILTIN) and not options.run else None),
        family=options.family or told.get("scumble.family", "flux"),
        flavour=options.flavour or told.get("scumble.flavour", "dev"),
    )


def _asked(stated: Stated, files: Sequence[Path], options: Options) -> Asked:
    from scumble.proving import Asked

    if options.pipeline and not (stated.path or options.run):
        problem = "the plain pipeline needs a model"
        raise JobError("--against diffusers", problem, "add --model FOLDER, or --run FOLDER")
    job = _job(stated.path or f"{BUILTIN}tiny-flux", stated.family, stated.flavour, options)
    return Asked(
        files=tuple(files),
        hardware=job.hardware,
        base=Path(),
        model=job.model if stated.path else None,
        run=options.run,
        pictures=options.pictures,
        family=stated.family,
        flavour=stated.flavour,
        pipeline=options.pipeline,
    )


def _metadata(file: Path) -> dict[str, str]:
    """What a file says of itself; nothing, where it cannot be read: its verdict comes later."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as stored:
            return dict(stored.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def _job(path: str, family: str, flavour: str, options: Options) -> JobSpec:
    """The options as settings of a job, so that they are checked like those."""
    from scumble.spec.load import read_job

    settings = {
        "model.path": path,
        "model.family": family,
        "model.flavour": flavour,
        "hardware.device": options.device,
        "hardware.precision": options.precision,
    }
    overrides = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    return read_job(REST_OF_A_JOB, name="the options", format="yaml", overrides=overrides)


def _show(one: Proven) -> None:
    """A table of the verdicts, and the sum of them."""
    from scumble.cli import show

    show.line(str(one.file))
    show.table([(f"  {WORDS[row.state]}", row.name, row.text) for row in one.verdicts])
    for picture in one.pictures:
        show.line(f"  {picture}")
    show.line(sentence(one))
