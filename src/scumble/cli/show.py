"""How jobs, tables and errors look in a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill, indent
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from scumble.errors import leaves
from scumble.observers.sentences import size

if TYPE_CHECKING:
    from scumble.cli.doctor import Finding
    from scumble.preflight.survey import SetSurvey, Survey
    from scumble.spec.explain import Setting

MARKS = {"good": "  ok   ", "note": "  note ", "bad": "  BAD  "}
MOST_BUCKETS = 12
MOST_RANKS = 6


def line(text: str = "") -> None:
    """One line on standard output, as it is."""
    typer.echo(text)


def errors(group: BaseExceptionGroup[Exception]) -> None:
    """Every problem once, one line each, on standard error."""
    for text in dict.fromkeys(str(error) for error in leaves(group)):
        typer.echo(f"error: {text}", err=True)


def table(rows: Iterable[Sequence[str]]) -> None:
    """Columns with a little space between them; the last one wraps."""
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    listed = list(rows)
    for number in range(max(map(len, listed), default=0)):
        grid.add_column(overflow="fold", no_wrap=number == 0)
    for row in listed:
        grid.add_row(*row)
    if listed:
        Console(markup=False, highlight=False).print(grid)


def settings(found: "Sequence[Setting]") -> None:
    """Each setting with its value, default and meaning."""
    width = min(Console().width, 100)
    for row in found:
        default = row.default if row.default in ("", "required") else f"default {row.default}"
        needs = f"with {row.when}" if row.when else ""
        facts = ["" if row.section else row.wanted, default, needs]
        line(f"{row.path}: {'; '.join(fact for fact in facts if fact)}".rstrip(": "))
        line(fill(row.help, width, initial_indent="    ", subsequent_indent="    "))


def survey(seen: "Survey", job: str) -> None:
    """What `scumble check` found: the job, its data, its counts, and what it will take."""
    line("job")
    line(indent(job.rstrip(), "  "))
    for one in seen.sets:
        _set(one)
    line()
    table(_counts(seen))
    for warning in seen.warnings:
        line(f"warning: {warning}")


def _set(one: "SetSurvey") -> None:
    line()
    line(f"data {one.id} ({one.folder})")
    funnel = " -> ".join(f"{count:,} {stage}" for stage, count in one.funnel.items())
    sizes = [f"{size}: {count:,}" for size, count in one.buckets.items()]
    more = [f"and {len(sizes) - MOST_BUCKETS} more sizes"] if len(sizes) > MOST_BUCKETS else []
    rows = [
        ("  pictures", funnel),
        ("  trained at", ", ".join(sizes[:MOST_BUCKETS] + more)),
        ("  captions", f"{one.captions:,} different"),
        ("  seen", _passes(one.passes)),
    ]
    table([*rows, *(("  note", note) for note in one.notes)])


def _counts(seen: "Survey") -> list[tuple[str, str]]:
    epochs = seen.steps / seen.steps_per_epoch if seen.epochs_are_alike else 0.0
    return [
        ("device", f"{seen.device}, {seen.precision}"),
        ("adapter", f"{seen.trained_parameters:,} trained numbers{_ranks(seen.ranks)}"),
        (
            "examples",
            f"{seen.examples_per_epoch:,} in an epoch of {_count(seen.steps_per_epoch)} steps",
        ),
        ("steps", _steps(seen.steps, epochs)),
        ("cache", f"{seen.cached_entries:,} entries are there, {seen.missing_entries:,} to make"),
        *((("memory", seen.memory),) if seen.memory else ()),
        *((("average", seen.average),) if seen.average else ()),
        ("disk", _disk(seen)),
        *((("held out", seen.held_out),) if seen.held_out else ()),
        *((("pairs", seen.compared),) if seen.compared else ()),
        *((("drift", seen.drift),) if seen.drift else ()),
        *((("hub", seen.absent),) if seen.absent else ()),
        ("time", _time(seen)),
    ]


def _ranks(ranks: Mapping[int, int]) -> str:
    """How many layers have which rank; of very many ranks the highest."""
    told = [f"{count:,} of rank {rank}" for rank, count in ranks.items()]
    few = sum(list(ranks.values())[MOST_RANKS:])
    more = [f"{few:,} of lower rank"] if few else []
    return f" (layers: {', '.join(told[:MOST_RANKS] + more)})" if told else ""


def _time(seen: "Survey") -> str:
    if seen.seconds is None:
        return "not known yet"
    if seen.measured is None:
        return f"roughly {duration(seen.seconds)}"
    return f"about {duration(seen.seconds)}, as measured on {seen.measured}"


def _steps(steps: int, epochs: float) -> str:
    """With the number of epochs, where these are all alike."""
    if not epochs:
        return f"{steps:,}"
    return f"{steps:,}, which is {_count(epochs)} epoch{'' if epochs == 1 else 's'}"


def _disk(seen: "Survey") -> str:
    needed = size(seen.cache_bytes + seen.run_bytes)
    parts = f"{size(seen.cache_bytes)} for the cache, {size(seen.run_bytes)} for the run"
    return f"{needed} at most ({parts}); {size(seen.free_bytes)} are free"


def _count(number: float) -> str:
    """Whole numbers as they are, others with what matters of their fraction."""
    if number >= 100 or number == round(number):
        return f"{number:,.0f}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 90:
        return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"


def findings(found: "Iterable[Finding]") -> None:
    """What the doctor saw, each with its way out."""
    for one in found:
        line(f"{MARKS[one.state]}{one.name}: {one.words}")
        if one.remedy:
            line(f"         {one.remedy}")


def _passes(told: str) -> str:
    if told == "1":
        return "once in an epoch"
    return f"{told} times in an epoch" if told.isdecimal() else told
