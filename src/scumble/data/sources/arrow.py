"""Columns of Arrow tables, which Parquet files and datasets are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scumble.data.sources.columns import Sheet
from scumble.data.sources.folder import ENDINGS
from scumble.data.sources.magic import HEAD_BYTES, ending_of
from scumble.errors import JobError

if TYPE_CHECKING:
    import pyarrow

HELD = {"bytes", "path"}
"""Fields of a picture as datasets keep it: what it is, or else where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A picture of a table, not looked at: its bytes are there, or else a path to them."""

    size_bytes: int | None = None
    """None: there are no bytes."""

    ending: str = ""
    path: str | None = None


def sheet_of(table: pyarrow.Table) -> Sheet:
    """A table as every other; texts are copied out of it column by column."""
    columns = tuple(name for one in table.schema for name in _names(one, ""))
    return Sheet(
        columns=columns,
        count=table.num_rows,
        cells=lambda name: column(table, name).to_pylist(),
    )


def column(table: pyarrow.Table, name: str) -> pyarrow.ChunkedArray:
    """The column to which dots lead, which must be there; nothing is copied."""
    top = top_of(table.column_names, name)
    if top == name:
        return plain(table[name])
    return plain(within(table[top], name[len(top) + 1 :].split(".")))


def plain(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """The column as it is, or written out if its values stand in a dictionary, as pandas keeps
    those of a category."""
    import pyarrow as pa

    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def within(column: Any, names: list[str]) -> Any:
    """A field of a column of structs, or of those in it; nothing within nothing is nothing."""
    import pyarrow.compute as pc

    return pc.call_function("struct_field", [column], pc.StructFieldOptions(names))


def sizes(column: pyarrow.ChunkedArray | pyarrow.Array) -> list[int | None]:
    """How many bytes are in each row, None where there are none."""
    import pyarrow.compute as pc

    return pc.call_function("binary_length", [column]).to_pylist()


def top_of(names: Sequence[str], name: str) -> str:
    """The outermost column from which dots lead to `name`."""
    return name if name in names else max((n for n in names if name.startswith(f"{n}.")), key=len)


def holds_texts(pictures: pyarrow.ChunkedArray) -> bool:
    """Whether pictures are named by paths or addresses."""
    import pyarrow as pa

    return pa.types.is_string(pictures.type) or pa.types.is_large_string(pictures.type)


def checked(pictures: pyarrow.ChunkedArray, setting: str) -> pyarrow.ChunkedArray:
    """A column of bytes, of texts, or of pictures as datasets keep them; else a JobError."""
    import pyarrow as pa

    kind = pictures.type
    if pa.types.is_struct(kind) and {one.name for one in kind} >= HELD:
        return pictures
    if holds_texts(pictures) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pictures
    remedy = "name a column of pictures, of their bytes, or of paths or addresses"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        remedy = "name a column with one picture for each row"
    raise JobError(setting, f"the column holds {str(kind)[:80]}, not pictures", remedy)


def cells(pictures: pyarrow.ChunkedArray) -> Iterator[Cell]:
    """The pictures of a checked column that does not hold texts, row by row.

    Only the first bytes are read, of those whose path does not tell the ending.
    """
    import pyarrow as pa

    for chunk in pictures.chunks:
        whole = not pa.types.is_struct(chunk.type)
        held = chunk if whole else within(chunk, ["bytes"])
        paths = [None] * len(chunk) if whole else within(chunk, ["path"]).to_pylist()
        for row, (size_bytes, path) in enumerate(zip(sizes(held), paths, strict=True)):
            ending = os.path.splitext(path or "")[1].lower()  # noqa: PTH122
            if size_bytes and ending not in ENDINGS:
                ending = ending_of(bytes(memoryview(held[row].as_buffer())[:HEAD_BYTES]))
            yield Cell(size_bytes=size_bytes, ending=ending, path=path)


def picture(pictures: pyarrow.ChunkedArray, row: int) -> bytes:
    """The bytes in one row of a checked column; OSError if there are none."""
    import pyarrow as pa

    value = pictures[row]
    if pa.types.is_struct(pictures.type):
        value = value["bytes"] if value.is_valid else value
    if not value.is_valid:
        raise OSError(f"row {row} has no bytes")
    return value.as_buffer().to_pybytes()


def _names(field: pyarrow.Field, prefix: str) -> Iterator[str]:
    """A column and those in it; a picture is one thing, whatever it is made of."""
    import pyarrow as pa

    yield prefix + field.name
    if pa.types.is_struct(field.type) and {one.name for one in field.type} != HELD:
        for inner in field.type:
            yield from _names(inner, f"{prefix}{field.name}.")
