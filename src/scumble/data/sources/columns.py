"""Choosing columns of a table by name, and reading captions out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from scumble.errors import FileError, JobError
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
    table = zip(*map(sheet.cells, chosen), strict=True)
    rows = [_several(row, f"{place}: row {number}") for number, row in enumerate(table, 1)]
    if source.fallback_caption_column is None:
        return rows
    others = sheet.cells(source.fallback_caption_column)
    return [
        row or _several([other], f"{place}: row {number}")
        for number, (row, other) in enumerate(zip(rows, others, strict=True), 1)
    ]


def said(
    row: Mapping[str, object], chosen: Sequence[str], fallback: str | None, where: str
) -> tuple[str, ...]:
    """What one nested row says, as `texts` does for all; `where` is for errors."""
    texts = _several((looked_up(row, name) for name in chosen), where)
    return texts if texts or fallback is None else _several([looked_up(row, fallback)], where)


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


def _several(cells: Iterable[object], where: str) -> tuple[str, ...]:
    """The texts of some cells, each once."""
    return tuple(dict.fromkeys(text for cell in cells for text in _said(cell, where)))


def _said(cell: object, where: str) -> Iterator[str]:
    """The texts of one cell: of a list, each of its own; of numbers, as they are written.

    FileError for what is no text, and would be taught as it is written in Python.
    """
    match cell:
        case list() | tuple():
            for inner in cell:
                yield from _said(inner, where)
        case None:
            return
        case bytes():
            yield from _said(_decoded(cell, where), where)
        case Mapping():
            raise _foreign(where, "named parts", cell)
        case str():
            yield from filter(None, [_encodable(cell, where).strip()])
        case _ if cell == cell:  # NaN is not itself
            yield str(cell)


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _foreign(where, "bytes that are not UTF-8", data) from None


def _encodable(text: str, where: str) -> str:
    """FileError for halves of signs, which JSON can hold but no encoder can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _foreign(where, "half a sign", text) from None
    return text


def _foreign(where: str, what: str, cell: object) -> FileError:
    problem = f"the caption holds {what}, not a text: {ascii(cell)[:80]}"
    return FileError(where, problem, "mend it, or name another `caption_column`")
