"""Datasets of the Hugging Face hub, and folders of the same shape.

Pictures are never decoded here. Ids are numbers of rows, so that two columns of one dataset, or
two parts of its pictures, pair by their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from scumble.data.sources import arrow, builder, columns, pointers, slices, stream
from scumble.data.sources.arrow import Cell
from scumble.data.sources.builder import Asked
from scumble.data.sources.extras import demanded
from scumble.data.sources.memory import Memory
from scumble.data.sources.pointers import Around, Row, row_id
from scumble.data.sources.record import Found, Lent, Listing, Where
from scumble.errors import JobError
from scumble.spec.sources import HubSource

if TYPE_CHECKING:
    import datasets
    import pyarrow

Texts = Sequence[tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Version:
    """What changes with the content of a column."""

    mark: str
    vouches: bool
    """Whether equal marks mean equal bytes."""


def listing(where: Where, source: HubSource, base: Path, cache: Path | None) -> Listing:
    """The rows of a split; ScumbleError if it cannot be had or lacks a column.

    A dataset of the hub is kept where the library keeps those of every program; one that is
    streamed, and what the library makes of a local folder, in `cache`.
    """
    place = f"data.{where.id}.source"
    demanded("hub", place)
    asked = Asked(place=place, source=source, base=base, cache=cache)
    around = Around(table=_root(source), root=asked.folder or base, cache=cache, by_row=True)
    if source.streaming and not asked.saved:
        one = _streamed(asked, around)
    else:
        one = _listed(asked, around)
    parts = (slices.cut(found, source.slices, source.slice) for found in one.pictures)
    return replace(one, pictures=tuple(sorted(parts, key=lambda found: found.id)))


def _listed(asked: Asked, around: Around) -> Listing:
    """The rows of a dataset that lies on this machine."""
    source, setting = asked.source, f"{asked.place}.image_column"
    whole = builder.dataset(asked)
    version = Version(f"{whole._fingerprint} {source.image_column}", vouches=asked.folder is None)
    dataset = whole.with_format("arrow")
    if source.rows is not None and source.rows < len(dataset):
        dataset = dataset.select(range(source.rows))  # a slice of its files, nothing is copied
    table: pyarrow.Table = dataset[:]
    sheet = arrow.sheet_of(table)
    name = columns.asked(sheet, source.image_column, setting)
    pictures = arrow.checked(arrow.column(table, name), setting)
    said: Texts = columns.texts(sheet, source, asked.place) or [None] * sheet.count
    if arrow.holds_texts(pictures):
        cells: Iterator[Cell] = (Cell(path=path) for path in pictures.to_pylist())
    else:
        cells = arrow.cells(pictures)
    held: list[Found] = []
    pointing: list[Row] = []
    for number, cell in enumerate(cells):
        if cell.size_bytes is None:
            pointing.append(Row(number=number, cell=cell.path or "", texts=said[number]))
        else:
            lent = Lent(f"{around.table} row {number}", partial(_opened, dataset, name, number))
            held.append(_found(number, cell, lent, said, version))
    others = pointers.followed(pointing, around)
    return replace(others, pictures=(*held, *others.pictures))


def _streamed(asked: Asked, around: Around) -> Listing:
    """The rows that are in the cache now."""
    if asked.cache is None:
        problem = "streamed pictures are kept in the cache, and there is none"
        raise JobError(f"{asked.place}.streaming", problem, "set `cache.folder`")
    folder = asked.cache / "spool" / stream.key(asked)
    rows = stream.rows(asked, folder)
    held = tuple(_kept(row, folder) for row in rows if row.file)
    pointing = [Row(number=row.row, cell=row.cell, texts=row.texts) for row in rows if not row.file]
    others = pointers.followed(pointing, around)
    return replace(others, pictures=(*held, *others.pictures))


def _kept(row: stream.Kept, folder: Path) -> Found:
    return Found(
        id=row.file,
        file=folder / row.file,
        size_bytes=row.size_bytes,
        mtime_ns=(folder / row.file).stat().st_mtime_ns,
        texts=row.texts,
        source=row.source,
    )


def _found(number: int, cell: Cell, file: Lent, texts: Texts, version: Version) -> Found:
    """A row that holds its picture. A dataset of the hub vouches for it: another commit has
    another version. Of a local one only times are known, so its bytes are hashed like a file's."""
    digest = blake2b(f"hub {version.mark} {number}".encode(), digest_size=16)
    return Found(
        id=row_id(number, cell.ending),
        file=file,
        size_bytes=cell.size_bytes or 0,
        mtime_ns=int.from_bytes(digest.digest()[:7], "little"),
        texts=texts[number],
        source=digest.hexdigest() if version.vouches else None,
    )


def _opened(rows: datasets.Dataset, name: str, number: int) -> BinaryIO:
    return Memory(f"row {number}", arrow.picture(arrow.column(rows[number], name), 0))


def _root(source: HubSource) -> str:
    config = f" {source.config}" if source.config else ""
    return f"{source.dataset}{config} ({source.split})"
