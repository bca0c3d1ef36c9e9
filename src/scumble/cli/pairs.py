"""`scumble data pairs`: do targets, references and masks belong together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from scumble.errors import FileError, JobError, ScumbleError, gather

if TYPE_CHECKING:
    from scumble.data.pairs.doctor import Look
    from scumble.data.pairs.report import Report
    from scumble.data.pairs.sides import Sides

NAMES = {"no partner", "ambiguous", "spare"}
"""Kinds of findings that `--allow-unpaired` forgives."""


def pairs(  # noqa: PLR0913  (each parameter is an option)
    job: Annotated[str | None, Argument(metavar="[JOB]", help="A job file.")] = None,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Settings of the job.")
    ] = None,
    targets: Annotated[Path | None, Option(help="Folder of targets, without a job.")] = None,
    references: Annotated[list[Path] | None, Option(help="Folder; may be repeated.")] = None,
    masks: Annotated[Path | None, Option(help="Folder of masks.")] = None,
    fit: Annotated[
        str | None,
        Option(help="strict or loose: of references, without a job.", show_default="strict"),
    ] = None,
    pixels: Annotated[bool, Option(help="Decode pairs and compare them.")] = True,
    sample: Annotated[
        int | None,
        Option(min=1, help="How many pairs of a set are decoded.", show_default="200"),
    ] = None,
    every: Annotated[bool, Option("--all", help="Decode all pairs.")] = False,
    allow_unpaired: Annotated[
        bool, Option("--allow-unpaired", help="No exit with 2 because of names.")
    ] = False,
    sheet: Annotated[Path | None, Option(help="PNG of the doubtful pairs.")] = None,
    file: Annotated[Path | None, Option("--json", help="Every finding, as JSON.")] = None,
) -> None:
    """Find what is wrong with pairs: names, shapes, swapped files, shifts, copies."""
    look = _look(pixels, sample, every)
    if job is not None:
        if targets or references or masks:
            remedy = "name a job or --targets, --references and --masks"
            raise JobError("data pairs", "a job and folders were named", remedy)
        if fit is not None:
            raise JobError("--fit", "it goes with folders only", "set `fit` in the job instead")
        sets = _of_job(job, overrides or ())
    else:
        sets = {"folders": _of_folders(targets, references or [], masks, fit or "strict")}
    _refuse_empty(sets.values())
    _free_to_write([sheet, file], sets.values())
    from scumble.data.pairs.doctor import doctor

    reports = {name: doctor(sides, look) for name, sides in sets.items()}
    _tell(reports)
    _written(reports, sheet, file)
    wrong = {one.kind for report in reports.values() for one in report.of_grade("wrong")}
    raise typer.Exit(2 if wrong - (NAMES if allow_unpaired else set()) else 0)


def _look(pixels: bool, sample: int | None, every: bool) -> Look | None:
    """Which pairs are decoded, as the options have it."""
    from scumble.data.pairs.doctor import Look

    given = {"--no-pixels": not pixels, "--all": every, "--sample": sample is not None}
    said = [name for name, asked in given.items() if asked]
    if len(said) > 1:
        raise JobError("data pairs", f"{' and '.join(said)} are given", "give one of them")
    if not pixels:
        return None
    return Look(sample=None) if every else Look(sample=sample or Look().sample)


def _refuse_empty(sets: Iterable[Sides]) -> None:
    """FileErrors for sets without a single target: what is not there cannot be sound."""
    empty: list[ScumbleError] = [
        FileError(one.targets.root, "there are no pictures", "name another folder")
        for one in sets
        if not one.targets.images and not one.targets.bad
    ]
    gather("nothing to look at", empty)


def _tell(reports: dict[str, Report]) -> None:
    from scumble.data.pairs import words

    for name, report in reports.items():
        if len(reports) > 1:
            typer.echo(f"{name}:")
        for line in words.lines(report):
            typer.echo(line)


def _written(reports: dict[str, Report], sheet: Path | None, file: Path | None) -> None:
    """What was asked for as files; without a doubtful pair there is no sheet."""
    from scumble.data.pairs import contact, words
    from scumble.data.sheet import png_bytes
    from scumble.disk import write_whole

    if file is not None:
        told = {name: words.plain(report) for name, report in reports.items()}
        text = json.dumps(told, indent=1, ensure_ascii=False)
        write_whole(file, text.encode(errors="backslashreplace"))  # as JSON has it, too
        typer.echo(str(file))
    cards = [card for report in reports.values() for card in contact.cards(report)]
    if sheet is not None and cards:
        write_whole(sheet, png_bytes(cards))
        typer.echo(str(sheet))


def _of_folders(
    targets: Path | None, references: Sequence[Path], masks: Path | None, fit: str
) -> Sides:
    from scumble.cli.jobs import folder_named
    from scumble.data.pairs.collecting import of_folders

    if targets is None or not (references or masks):
        remedy = "name a job, or --targets DIR with --references DIR or --masks DIR"
        raise JobError("data pairs", "there is nothing to pair", remedy)
    if fit not in ("strict", "loose"):
        raise JobError("--fit", f"'{fit}' is no way to fit", "write strict or loose")
    return of_folders(
        folder_named("--targets", targets),
        [folder_named("--references", one) for one in references],
        masks and folder_named("--masks", masks),
        loose=fit == "loose",
    )


def _of_job(job: str, overrides: Sequence[str]) -> dict[str, Sides]:
    """Every set of a job in which something is paired by name."""
    from scumble.cli.jobs import open_job
    from scumble.data.expand import expanded
    from scumble.data.pairs.collecting import of_set
    from scumble.preflight.located import located

    wanted, base = open_job(job, overrides)
    wanted = located(wanted, base)
    cache = wanted.cache_folder
    used = (one for each in wanted.data if not each.disabled for one in expanded(each, base)[0])
    sets = {one.id: of_set(one, base, cache) for one in used}
    sets = {name: sides for name, sides in sets.items() if sides.others}
    if not sets:
        problem = "no set has references or masks that are found by name"
        raise JobError(job, problem, "add some, or name folders with --targets")
    return sets


def _free_to_write(files: Sequence[Path | None], sets: Iterable[Sides]) -> None:
    """JobError for a file that would lie among the pictures."""
    roots = [
        (one.name, Path(one.root).absolute())
        for sides in sets
        for one in (sides.targets, *sides.others)
    ]
    for file in filter(None, files):
        for name, root in roots:
            if root.is_dir() and file.resolve().is_relative_to(root.resolve()):
                problem = f"'{file}' lies among the pictures of {name}"
                remedy = "nothing is written there; name another place"
                raise JobError("data pairs", problem, remedy)
