"""Rows that name pictures: by paths, with or without their endings, or by addresses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from scumble.data.sources import downloads, places
from scumble.data.sources.folder import ENDINGS
from scumble.data.sources.record import Found, Listing
from scumble.errors import FileError, JobError

PLAIN = re.compile(r"\w[\w ()+.,-]{0,199}")
"""What a file name out of an address must look like to be used as an id."""

SCHEME = re.compile(r"[A-Za-z][\w+.-]+://|data:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a table."""

    number: int
    """From 0."""

    cell: str
    """What it says of where the picture is."""

    texts: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Around:
    """What paths and addresses are relative to, and where their pictures are kept."""

    table: str
    """For messages."""

    root: Path
    """Absolute."""

    cache: Path | None
    text_ending: str | None = None
    by_row: bool = False
    """Whether ids are the numbers of rows, whatever the cells say."""


def row_id(number: int, ending: str) -> str:
    """The id of what has no name, the same however many rows there are."""
    return f"{number:06d}{ending}"


def followed(rows: Iterable[Row], around: Around) -> Listing:
    """The pictures to which rows lead; those that lead to one and the same are one record.

    FileError if no address answers at all, JobError if there is no cache to keep pictures in.
    """
    rows = list(rows)
    web = [row for row in rows if downloads.is_address(row.cell)]
    kept = _downloaded([row.cell for row in web], around)
    names = _names(web, around)
    folders: places.Folders = {}
    pictures: dict[str, Found] = {}
    unsupported: Counter[str] = Counter()
    absent: list[tuple[str, str]] = []
    for row in rows:
        web_file = kept.get(row.cell)
        one = (
            _on_disk(row, around, folders)
            if web_file is None
            else _from_web(row, web_file, names[row.cell])
        )
        match one:
            case Found():
                if problem := _added(pictures, one):
                    absent.append((_shown(row), problem))
            case places.Absent(_, ending) if ending:
                unsupported[ending] += 1
            case places.Absent(reason):
                absent.append((_shown(row), reason))
    return Listing(
        root=around.table,
        pictures=tuple(sorted(pictures.values(), key=lambda one: one.id)),
        unsupported=dict(sorted(unsupported.items())),
        absent=tuple(dict.fromkeys(absent)),
    )


def _added(pictures: dict[str, Found], one: Found) -> str | None:
    """Put a record among the others, or say why it cannot be there."""
    before = pictures.setdefault(one.id, one)
    if before is one:
        return None
    if before.file != one.file:
        return f"has the name '{one.id}', as another row has"
    if before.texts is not None and one.texts is not None:
        said = tuple(dict.fromkeys(before.texts + one.texts))
        pictures[one.id] = replace(before, texts=said)
    return None


def _downloaded(
    addresses: Sequence[str], around: Around
) -> Mapping[str, downloads.Fetched | downloads.Failed]:
    if not addresses:
        return {}
    if around.cache is None:
        problem = "its pictures must be fetched, and there is no cache to keep them in"
        raise JobError(around.table, problem, "set `cache.folder`")
    kept = downloads.fetched(addresses, around.cache / "downloads")
    lost = [one for one in kept.values() if isinstance(one, downloads.Failed)]
    if len(lost) == len(kept) and all(one.passing for one in lost):
        problem = f"none of its {len(lost)} addresses answers; the first {lost[0].reason}"
        raise FileError(around.table, problem, "check the network and start again")
    return kept


def _names(web: Sequence[Row], around: Around) -> dict[str, str]:
    """An id without ending for each address: its file name where no other has it, or its row."""
    first = {row.cell: row.number for row in reversed(web)}
    stems = {cell: _stem(cell) for cell in first}
    often = Counter(stem.lower() for stem in stems.values())
    return {
        cell: stem if stem and often[stem.lower()] == 1 and not around.by_row else row_id(row, "")
        for (cell, row), stem in zip(first.items(), stems.values(), strict=True)
    }


def _stem(address: str) -> str:
    """The file name of an address without its ending, or nothing if it has no plain one."""
    name = PurePosixPath(unquote(downloads.host_and_path(address)[1].rsplit("/", 1)[-1]))
    stem = name.stem if name.suffix.lower() in ENDINGS else name.name
    return stem if PLAIN.fullmatch(stem) else ""


def _from_web(
    row: Row, kept: downloads.Fetched | downloads.Failed, name: str
) -> Found | places.Absent:
    match kept:
        case downloads.Failed():
            return places.Absent(kept.reason)
        case downloads.Fetched():
            return Found(
                id=name + kept.file.suffix,
                file=kept.file,
                size_bytes=kept.size_bytes,
                mtime_ns=kept.mtime_ns,
                texts=row.texts,
                source=kept.source,
            )


def _on_disk(row: Row, around: Around, folders: places.Folders) -> Found | places.Absent:
    if not row.cell:
        return places.Absent("names no picture")
    if SCHEME.match(row.cell):
        return places.Absent("is no address that begins with http:// or https://")
    place = places.found(row.cell, str(around.root), folders)
    if isinstance(place, places.Absent):
        return place
    text = around.text_ending
    return Found(
        id=row_id(row.number, place.path.suffix.lower()) if around.by_row else place.id,
        file=place.path,
        size_bytes=place.size_bytes,
        mtime_ns=place.mtime_ns,
        texts=row.texts,
        beside=None if text is None else places.text_of(place.path, text),
    )


def _shown(row: Row) -> str:
    """What a user looks for: the cell, or the row if that says nothing."""
    return row.cell[:200] or f"row {row.number + 1}"
