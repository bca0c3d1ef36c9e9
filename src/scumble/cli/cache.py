"""`scumble cache`: fill it, look into it, ask why, check it, make it smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

cache = typer.Typer(no_args_is_help=True, help="Encoded pictures and texts on disk.")

Job = Annotated[str, Argument(metavar="JOB", help="A job file, or example=NAME.")]
Overrides = Annotated[
    list[str] | None,
    Argument(metavar="[KEY=VALUE]...", help="Settings, such as cache.text_dtype=fp8."),
]
Where = Annotated[
    str, Argument(metavar="FOLDER|JOB", help="A cache folder, or the job that uses it.")
]


@cache.callback()
def options() -> None:
    """Encoded pictures and texts on disk."""


@cache.command()
def build(
    job: Job,
    overrides: Overrides = None,
    processes: Annotated[
        int | None, Option(min=1, help="How many work at once.", show_default="1")
    ] = None,
    devices: Annotated[str | None, Option(help="One process each, such as cuda:0,cuda:1.")] = None,
    part: Annotated[str | None, Option(hidden=True, help="Of several processes: i/n.")] = None,
) -> None:
    """Encode everything that a run will ask for, so that training starts at once."""
    from scumble.cli import cache_build
    from scumble.cli.jobs import open_job

    wanted, base = open_job(job, overrides or ())
    if part is not None:
        cache_build.one_part(wanted, base, part)
        return
    told = cache_build.workers((job, *(overrides or ())), processes, devices)
    raise typer.Exit(cache_build.build(wanted, base, told))


@cache.command("ls")
def listed(
    where: Annotated[str, Argument(metavar="[FOLDER|JOB]")] = "outputs/.cache",
    unused: Annotated[str, Option(metavar="TIME", help="What counts as long unused.")] = "30d",
) -> None:
    """Tell what is in a cache: entries, shards, size, last use."""
    from scumble.cli import cache_tools, show

    folder = cache_tools.folder(where)
    show.line(str(folder))
    show.table(cache_tools.listed(folder, unused))


@cache.command()
def explain(
    job: Job,
    files: Annotated[list[str], Argument(metavar="FILE...", help="Paths, names or ids.")],
) -> None:
    """Say whether a picture's entries are there, and what changed if they are not."""
    from scumble.cli import cache_tools, show
    from scumble.cli.jobs import open_job

    asked, settings = cache_tools.told_apart(files)
    wanted, base = open_job(job, settings)
    for line in cache_tools.explained(wanted, base, asked):
        show.line(line)


@cache.command()
def verify(
    where: Where,
    repair: Annotated[bool, Option("--repair", help="Delete what is damaged.")] = False,
) -> None:
    """Read every entry and compare it with its sum; exit with 2 if one is damaged."""
    from scumble.cli import cache_tools, show

    damaged, lines = cache_tools.verified(cache_tools.folder(where), repair=repair)
    for line in lines:
        show.line(line)
    raise typer.Exit(2 if damaged and not repair else 0)


@cache.command()
def gc(
    where: Where,
    max_size: Annotated[
        str | None, Option(metavar="SIZE", help="What may stay, such as 20GB.")
    ] = None,
    unused_for: Annotated[
        str | None, Option(metavar="TIME", help="What goes, such as 30d.")
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only tell.")] = False,
) -> None:
    """Delete what was not used for longest; of a job, what it does not use goes first."""
    from scumble.cli import cache_tools, show
    from scumble.errors import JobError

    if max_size is None and unused_for is None:
        remedy = "give --max-size 20GB, --unused-for 30d, or both"
        raise JobError("cache gc", "it is not said what may go", remedy)
    goal = cache_tools.goal(max_size, unused_for)
    job_file = None if Path(where).is_dir() else where
    for line in cache_tools.collected(cache_tools.folder(where), goal, job_file, dry=dry_run):
        show.line(line)
