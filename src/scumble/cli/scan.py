"""`scumble data scan`: which pictures a job would use, and what became of every other one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from scumble.errors import ScumbleError, gather

if TYPE_CHECKING:
    from scumble.data.scan import Scan
    from scumble.spec.dataset import DatasetSpec
    from scumble.spec.job import JobSpec


def scan(
    job: Annotated[str, Argument(metavar="JOB", help="A job file, or example=NAME.")],
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Settings of the job.")
    ] = None,
    every: Annotated[bool, Option("--all", help="Name every picture that is left out.")] = False,
) -> None:
    """Look at all pictures of a job: what is used, what is left out, and why."""
    from scumble.cli.jobs import open_job
    from scumble.preflight.located import located

    wanted, base = open_job(job, overrides or ())
    wanted = located(wanted, base)
    found: list[ScumbleError] = []
    for number, one in enumerate(wanted.data):
        if one.disabled:
            typer.echo(f"data {one.id}: disabled")
            continue
        try:
            found += _sets(one, wanted, number, every=every)
        except ScumbleError as problem:
            found.append(problem)
    gather("the data cannot be used", found)


def _sets(one: DatasetSpec, job: JobSpec, number: int, *, every: bool) -> list[ScumbleError]:
    """Tell of a set, or of the sets its folder stands for; returns all that is wrong."""
    from scumble.data.expand import expanded
    from scumble.data.scan import problems, scanned

    sets, notes = expanded(one, Path())
    for note in notes:
        typer.echo(f"data {one.id}: {note}")
    found: list[ScumbleError] = []
    for spec in sets:
        start = time.perf_counter()
        seen = scanned(spec, Path(), job.cache_folder, seed=job.training.seed)
        seconds = time.perf_counter() - start
        for text in _lines(spec, seen, seconds, every=every):
            typer.echo(text)
        found += problems(seen, spec, number)
    return found


def _lines(spec: DatasetSpec, seen: Scan, seconds: float, *, every: bool) -> Iterator[str]:
    count = seen.funnel["found"] + sum(pairing.count for pairing in seen.pairings)
    yield f"data {spec.id} ({seen.root})"
    funnel = " -> ".join(f"{left:,} {stage}" for stage, left in seen.funnel.items())
    yield f"  pictures  {funnel}"
    for pairing in seen.pairings:
        used = len(pairing.partners)
        yield f"  {pairing.words}  {used:,} of {pairing.count:,} paired ({pairing.root})"
    told = set()
    for text, rest in _left_out(seen):
        told |= {text, f"left out: {text}"}
        yield f"  left out  {text.removesuffix(' and left out')}"
        for line in rest if every else ():
            yield f"            {line}"
    for note in seen.notes:
        if note not in told:
            yield f"  note      {note}"
    rate = count / seconds if seconds > 0 else 0.0
    yield f"  time      {seconds:.2f} seconds for {count:,} files, {rate:,.0f} a second"


def _left_out(seen: Scan) -> Iterator[tuple[str, list[str]]]:
    """Each reason as a sentence, and every picture it holds for."""
    from scumble.data.telling import counted, grouped

    for reason, remedy, members in grouped(seen.bad):
        names = [f"{one.id} ({one.detail})" if one.detail else one.id for one in members]
        yield counted(members, reason), [f"way out: {remedy}", *names]
