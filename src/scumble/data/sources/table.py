"""Pictures that a table names or holds: CSV, TSV, JSON Lines or Parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from scumble.data.sources import arrow, columns, packed, pointers, sheets
from scumble.data.sources.columns import Sheet
from scumble.data.sources.extras import demanded
from scumble.data.sources.pointers import Around, Row, row_id
from scumble.data.sources.record import Found, Listing, Where
from scumble.errors import FileError, JobError
from scumble.spec.sources import TableSource

Texts = Sequence[tuple[str, ...] | None]


def listing(where: Where, source: TableSource, base: Path, cache: Path | None) -> Listing:
    """The rows of a table; ids are paths as they stand there, names of addresses, or rows."""
    place = f"data.{where.id}.source"
    file = Path(os.path.abspath(base / Path(source.file).expanduser()))  # noqa: PTH100 (links stay)
    root = file.parent if source.folder is None else base / Path(source.folder).expanduser()
    around = Around(
        table=str(file),
        root=Path(os.path.abspath(root)),  # noqa: PTH100
        cache=cache,
        text_ending=where.text_ending,
        by_row=where.by_row,
    )
    if source.folder is not None and not around.root.is_dir():
        problem = f"there is no such folder: {around.root}"
        raise JobError(f"{place}.folder", problem, "check it; it is relative to the job file")
    if file.suffix.lower() in {".parquet", ".pq"}:
        return _parquet(file, source, place, around)
    return _texts(_read(file, place), source, place, around)


def _read(file: Path, place: str) -> Sheet:
    readers: dict[str, Callable[[Path], Sheet]] = {
        ".csv": lambda one: sheets.separated(one, ","),
        ".tsv": lambda one: sheets.separated(one, "\t"),
        ".jsonl": sheets.json_lines,
        ".ndjson": sheets.json_lines,
    }
    ending = file.suffix.lower()
    if ending not in readers:
        problem = f"tables that end like '{file.name}' are not read"
        remedy = f"write one of {', '.join(readers)}, .parquet"
        raise JobError(f"{place}.file", problem, remedy)
    return readers[ending](file)


def _texts(sheet: Sheet, source: TableSource, place: str, around: Around) -> Listing:
    """A table that names its pictures."""
    name = columns.asked(sheet, source.image_column, f"{place}.image_column")
    said: Texts = columns.texts(sheet, source, place) or [None] * sheet.count
    cells = ["" if cell is None else str(cell).strip() for cell in sheet.cells(name)]
    rows = (Row(number=n, cell=cells[n], texts=said[n]) for n in range(sheet.count))
    return pointers.followed(rows, around)


def _parquet(file: Path, source: TableSource, place: str, around: Around) -> Listing:
    """A table that names its pictures, holds them, or some of both."""
    demanded("tables", place)
    sheet, holds_texts = _opened(file, source, place)
    if holds_texts:
        return _texts(sheet, source, place, around)
    if around.cache is None:
        problem = "its pictures must be unpacked, and there is no cache to keep them in"
        raise JobError(around.table, problem, "set `cache.folder`")
    said: Texts = columns.texts(sheet, source, place) or [None] * sheet.count
    setting = f"{place}.image_column"
    held = packed.unpacked(file, source.image_column, setting, around.cache)
    status = file.stat()
    pictures = [
        Found(
            id=row_id(number, one.ending),
            file=one.file,
            size_bytes=one.size_bytes,
            mtime_ns=status.st_mtime_ns,
            texts=said[number],
            source=one.source,
        )
        for number, one in enumerate(held)
        if one.file is not None
    ]
    pointing = (
        Row(number=number, cell=one.path, texts=said[number])
        for number, one in enumerate(held)
        if one.file is None
    )
    others = pointers.followed(pointing, replace(around, by_row=True))
    together = sorted([*pictures, *others.pictures], key=lambda one: one.id)
    return replace(others, pictures=tuple(together))


def _opened(file: Path, source: TableSource, place: str) -> tuple[Sheet, bool]:
    """The texts of a Parquet file, and whether its pictures are among them.

    Columns are read when they are asked for, and the one of pictures only if it holds texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema, count = pq.read_schema(file), pq.read_metadata(file).num_rows
    except FileNotFoundError as error:
        raise sheets.unreadable(file, error) from None
    except (OSError, pa.ArrowException) as error:
        problem = f"cannot be read as Parquet ({str(error).splitlines()[0]})"
        raise FileError(file, problem, "copy or download it again") from error
    if count == 0:
        raise FileError(file, "has no rows", "name another `file`")
    empty = arrow.sheet_of(schema.empty_table())
    sheet = replace(empty, count=count, cells=lambda name: _column(file, name))
    name = columns.asked(sheet, source.image_column, f"{place}.image_column")
    pictures = arrow.checked(arrow.column(schema.empty_table(), name), f"{place}.image_column")
    return sheet, arrow.holds_texts(pictures)


def _column(file: Path, name: str) -> Sequence[object]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as source:
        table = source.read(columns=[name])
    return arrow.column(table, name).to_pylist()
