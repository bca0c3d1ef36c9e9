"""Rows of a dataset that are taken as they come, and kept in the cache.

Each picture is a file of its own that appears whole; a journal says which rows are there, and
from where on the dataset is to be read when it was broken off. `index.json` is written last: what
lacks it is never taken for a dataset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.data.sources import arrow, builder, columns
from scumble.data.sources.builder import Asked
from scumble.data.sources.columns import Sheet
from scumble.data.sources.magic import HEAD_BYTES, ending_of
from scumble.data.sources.pointers import row_id
from scumble.disk import claimed, made, signature, told, write_whole
from scumble.errors import FileError

if TYPE_CHECKING:
    import datasets

STATE_ROWS = 64
"""So often the place in the dataset is written down; so many rows are at most read again."""

REMOTE = ("hf://", "zip://")
"""Beginnings of paths that lead into files of the hub."""

JOURNAL, INDEX = "rows.jsonl", "index.json"
BROKEN = (ValueError, KeyError, TypeError, AttributeError)
"""What reading a line raises that is torn or of another release."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One row."""

    row: int
    file: str = ""
    """Name in the folder; empty if there is only a path."""

    size_bytes: int = 0
    source: str = ""
    """Hash of the bytes."""

    cell: str = ""
    """What leads to the picture, where the dataset has no bytes of it."""

    texts: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What a folder says of its rows."""

    version: str = ""
    """Of the dataset they come from."""

    rows: tuple[Kept, ...] = ()
    """From the first on, those whose files are there."""

    lines: tuple[str, ...] = ()
    """As they stand there, one for each row."""

    state: tuple[int, Any] = (0, None)
    """How many rows lie before a place in the dataset, and the place."""


def rows(asked: Asked, folder: Path) -> list[Kept]:
    """The first rows of a dataset, as many as the job asks for, with their pictures in `folder`.

    Those that were taken before stay, unless the dataset is another version by now; if the hub
    cannot be asked, what is there whole is used. ScumbleError if it cannot be reached otherwise.
    """
    made(folder)
    there = _journal(folder)
    try:
        maker = builder.prepared(asked)
    except FileError as error:
        if not (builder.unreachable(error.__cause__) and _is_whole(folder, there, asked)):
            raise
    else:
        if there.version != builder.version(maker) or not _is_whole(folder, there, asked):
            there = _completed(asked, maker, folder)
    return list(there.rows[: asked.source.rows])


def key(asked: Asked) -> str:
    """Name of the folder for what is asked for: two columns of a dataset have one each."""
    source = asked.source
    texts = (source.caption_column, source.fallback_caption_column)
    where = (str(asked.folder or source.dataset), source.config, source.split, source.revision)
    return blake2b(repr((where, source.image_column, texts)).encode(), digest_size=16).hexdigest()


def _completed(asked: Asked, maker: datasets.DatasetBuilder, folder: Path) -> Journal:
    """What the folder says when all rows are there; only who has to write has it to himself."""
    with claimed(folder):
        there = _journal(folder)
        if there.version not in {"", builder.version(maker)}:
            _empty(folder)
            there = Journal()
        if not _is_whole(folder, there, asked):
            _take(asked, maker, folder)
        return _journal(folder)


def _take(asked: Asked, maker: datasets.DatasetBuilder, folder: Path) -> None:
    """Fetch the rows that are missing, and write the index when all are there."""
    before, limit = _journal(folder), asked.source.rows
    (folder / INDEX).unlink(missing_ok=True)
    header = json.dumps({"version": builder.version(maker)})
    write_whole(folder / JOURNAL, "".join(f"{x}\n" for x in (header, *before.lines)).encode())
    ended = True
    count = len(before.rows)
    try:
        streamed: Any = maker.as_streaming_dataset(split=asked.source.split)
        streamed = streamed.decode(False)  # bytes and paths, as they are kept
        chosen = _chosen(asked, streamed)
        for row, state in _after(streamed, before):
            if limit is not None and count >= limit:
                ended = False
                break
            line = asdict(_kept(count, row, asked, chosen, folder))
            if count % STATE_ROWS == STATE_ROWS - 1:
                line["state"] = state()
            with told(folder), (folder / JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(line) + "\n")
            count += 1
    except builder.failures() as error:
        raise builder.named(asked, error) from error
    write_whole(folder / INDEX, json.dumps({"rows": count, "ended": ended}).encode())


def _after(
    streamed: datasets.IterableDataset, before: Journal
) -> Iterator[tuple[Mapping[str, Any], Callable[[], Any]]]:
    """The rows after those of the journal, each with what tells the place behind it."""
    count, state = before.state
    if state is not None:
        streamed.load_state_dict(state)
    for number, row in enumerate(streamed, count):
        if number >= len(before.rows):
            yield row, streamed.state_dict


def _chosen(asked: Asked, streamed: datasets.IterableDataset) -> tuple[str, ...]:
    """The columns of captions; JobError if one that is asked for is not there."""
    if streamed.features is not None:
        sheet = arrow.sheet_of(streamed.features.arrow_schema.empty_table())
    else:  # known from the rows alone
        names = tuple(columns.dotted(next(iter(streamed), {})))
        sheet = Sheet(columns=names, count=0, cells=lambda _: ())
    columns.asked(sheet, asked.source.image_column, f"{asked.place}.image_column")
    return columns.caption_columns(sheet, asked.source, asked.place)


def _kept(
    number: int, row: Mapping[str, Any], asked: Asked, chosen: tuple[str, ...], folder: Path
) -> Kept:
    """A row whose picture, if it has the bytes, is a file by now."""
    texts = None
    if chosen:
        where = f"{asked.place}: row {number + 1}"
        texts = columns.said(row, chosen, asked.source.fallback_caption_column, where)
    value = columns.looked_up(row, asked.source.image_column)
    content, path = _held(value)
    if content is None and path.startswith(REMOTE):
        content = _read(path)
    if content is None:
        return Kept(row=number, cell=path, texts=texts)
    name = row_id(number, ending_of(content[:HEAD_BYTES]))
    partial = folder / f".{signature()}"
    with told(folder):
        partial.write_bytes(content)
        partial.replace(folder / name)
    source = blake2b(content, digest_size=16).hexdigest()
    return Kept(row=number, file=name, size_bytes=len(content), source=source, texts=texts)


def _held(value: object) -> tuple[bytes | None, str]:
    """The bytes of a picture, or what leads to them."""
    match value:
        case bytes():
            return value, ""
        case str():
            return None, value
        case {"bytes": bytes(content)}:
            return content, ""
        case {"path": str(path)}:
            return None, path
        case _:
            return None, ""


def _read(path: str) -> bytes:
    """A file of the hub that is a picture by itself."""
    import fsspec

    with fsspec.open(path, "rb") as stream:
        return stream.read()  # pyright: ignore[reportAttributeAccessIssue]


def _journal(folder: Path) -> Journal:
    """What is there for certain: a line that is torn or lacks its file ends it."""
    try:
        header, *lines = (folder / JOURNAL).read_text(encoding="utf-8").split("\n")[:-1]
        version = str(json.loads(header)["version"])
    except (FileNotFoundError, *BROKEN):
        return Journal()
    with told(folder), os.scandir(folder) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    there: list[Kept] = []
    state: tuple[int, Any] = (0, None)
    for line in lines:
        try:
            kept, place = _told(line)
        except BROKEN:  # a disk that lost its power
            break
        if kept.file and sizes.get(kept.file) != kept.size_bytes:
            break
        there.append(kept)
        if place is not None:
            state = (len(there), place)
    whole = tuple(lines[: len(there)])
    return Journal(version=version, rows=tuple(there), lines=whole, state=state)


def _told(line: str) -> tuple[Kept, Any]:
    """What one line of the journal says, and the place in the dataset behind it, if it says so."""
    facts = json.loads(line)
    place, texts = facts.pop("state", None), facts.pop("texts")
    return Kept(texts=None if texts is None else tuple(texts), **facts), place


def _is_whole(folder: Path, there: Journal, asked: Asked) -> bool:
    """Whether all rows that are asked for are there, and were once known to be all."""
    try:
        index = json.loads((folder / INDEX).read_text())
        rows, ended = int(index["rows"]), bool(index["ended"])
    except (FileNotFoundError, *BROKEN):
        return False
    limit = asked.source.rows
    enough = ended or (limit is not None and limit <= rows)
    wanted = rows if limit is None else min(limit, rows)
    return enough and len(there.rows) >= wanted


def _empty(folder: Path) -> None:
    """Forget the rows of another version; the index goes first."""
    with told(folder):
        for name in (INDEX, JOURNAL):
            (folder / name).unlink(missing_ok=True)
        for file in folder.iterdir():
            if file.is_file() and file.name != ".running":
                file.unlink()
