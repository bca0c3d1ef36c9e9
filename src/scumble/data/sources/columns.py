"""Choosing columns of a table by name, and reading captions out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from scumble.errors import JobError
from scumble.spec.sources import HubSource, TableSource

CAPTIONS = ("caption", "text", "description")
"""Columns in which captions are looked for when the job names none, the first being the best."""

SHOWN = 20
"""So many columns are named in a message."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table, whatever it lies in."""

    columns: tuple[str, ...]
    """All that can be asked for; dots lead into nested ones, which are named after their own."""

    count: int
    """Rows."""

    cells: Callable[[str], Sequence[object]]
    """One column, a value for each row."""


def asked(sheet: Sheet, column: str, setting: str) -> str:
    """The column, or a JobError about the setting with the one that may be meant."""
    if column in sheet.columns:
        return column
    near = get_close_matches(column, sheet.columns, n=1)
    if not near:
        near = [name for name in sheet.columns if name.lower() == column.lower()][:1]
    there = ", ".join(sheet.columns[:SHOWN]) + (", ..." if len(sheet.columns) > SHOWN else "")
    meant = f"did you mean '{near[0]}'? " if near else ""
    raise JobError(setting, f"there is no column '{column}'", f"{meant}there are: {there}")


def texts(
    sheet: Sheet, source: HubSource | TableSource, place: str
) -> list[tuple[str, ...]] | None:
    """What each row says, without repetitions; None if no column holds captions.

    A cell with a list is several texts, as are several columns; empty cells are none. `place`
    names the source's settings in errors.
    """
    chosen = caption_columns(sheet, source, place)
    if not chosen:
        return None
    rows = [_several(row) for row in zip(*map(sheet.cells, chosen), strict=True)]
    if source.fallback_caption_column is None:
        return rows
    others = sheet.cells(source.fallback_caption_column)
    return [row or _several([other]) for row, other in zip(rows, others, strict=True)]


def said(row: Mapping[str, object], chosen: Sequence[str], fallback: str | None) -> tuple[str, ...]:
    """What one nested row says, as `texts` does for all."""
    texts = _several(looked_up(row, name) for name in chosen)
    return texts if texts or fallback is None else _several([looked_up(row, fallback)])


def caption_columns(sheet: Sheet, source: HubSource | TableSource, place: str) -> tuple[str, ...]:
    """The columns of captions; none is an answer only where the job names none.

    JobError if one that it names is not there, or has others within.
    """
    fallback = source.fallback_caption_column
    if fallback is not None:
        _leaf(sheet, fallback, f"{place}.fallback_caption_column")
    match source.caption_column:
        case None:
            there = [name for name in CAPTIONS if name in sheet.columns if not _inner(sheet, name)]
            return tuple(there[:1]) or (() if fallback is None else (fallback,))
        case str():
            names = (source.caption_column,)
        case _:
            names = source.caption_column
    return tuple(_leaf(sheet, name, f"{place}.caption_column") for name in names)


def looked_up(row: Mapping[str, object], name: str) -> object:
    """The value of a nested row to which dots lead; None where the way ends early."""
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    inner = row.get(head)
    return looked_up(inner, rest) if rest and isinstance(inner, Mapping) else None


def dotted(row: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Every name that leads into a nested row."""
    for name, value in row.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")


def _leaf(sheet: Sheet, column: str, setting: str) -> str:
    """A column of texts, or a JobError if it is not there or has columns within."""
    column = asked(sheet, column, setting)
    if inner := _inner(sheet, column):
        problem = f"the column '{column}' has others within"
        raise JobError(setting, problem, f"write one of them: {', '.join(inner[:SHOWN])}")
    return column


def _inner(sheet: Sheet, column: str) -> list[str]:
    return [name for name in sheet.columns if name.startswith(f"{column}.")]


def _several(cells: Iterable[object]) -> tuple[str, ...]:
    """The texts of some cells, each once."""
    return tuple(dict.fromkeys(text for cell in cells for text in _said(cell)))


def _said(cell: object) -> Iterator[str]:
    """The texts of one cell: of a list, each of its own; of numbers, as they are written."""
    if isinstance(cell, list | tuple):
        for inner in cell:
            yield from _said(inner)
    elif cell is not None and cell == cell and (text := str(cell).strip()):  # NaN is not itself
        yield text
