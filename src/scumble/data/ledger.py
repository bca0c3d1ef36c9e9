"""What is remembered of the files of one collection between runs, so that they are read only once.

A remembered file counts only while its size and time are what they were. The ledger is a JSON
file of columns; it may be deleted at any time, and costs a scan.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import PIL

from scumble import disk
from scumble.data.sources.record import Where

FORMAT = "scumble ledger 2"
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a file that is not there, torn or of another release can raise."""


NUMBERS = ("size_bytes", "mtime_ns", "width", "height")
"""Columns that hold nothing else."""


class Row(NamedTuple):
    """What is known of one picture."""

    size_bytes: int
    mtime_ns: int
    width: int
    height: int
    note: str | None = None
    problem: str | None = None
    source: str | None = None
    """Hash of the file's bytes, once someone asked for it."""


class Text(NamedTuple):
    """What is known of the text file beside a picture."""

    size_bytes: int
    mtime_ns: int
    content: str | None
    """As it stands there; None if it cannot be read."""

    problem: str | None = None
    """Of the picture, as the rest of a sentence about it."""


Kind = TypeVar("Kind", Row, Text)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Rows by the id of the picture."""

    pictures: Mapping[str, Row] = field(default_factory=dict[str, Row])
    texts: Mapping[str, Text] = field(default_factory=dict[str, Text])


def at(cache: Path, where: Where, root: str, part: str = "") -> Path:
    """Where the ledger of that collection is kept; `root` is what its listing calls itself.

    Another column or another `part` of its pictures is another collection.
    """
    source = "" if where.source is None else where.source.model_dump_json()
    told = "\0".join((root, source, part))
    place = blake2b(told.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return cache / "ledgers" / f"{where.id}-{place}.json"


def read(file: Path) -> Ledger:
    """What was written there; nothing if there is no such file or it is not one of ours.

    Problems that another release of Pillow had are forgotten: this one may have learnt to read.
    """
    try:
        told = json.loads(file.read_bytes())
        if told["format"] != FORMAT:
            return Ledger()
        pictures = _rows(told["pictures"], Row)
        texts = _rows(told["texts"], Text)
        current = told["pillow"] == PIL.__version__
    except BROKEN:
        return Ledger()
    if not current:
        pictures = {id: row for id, row in pictures.items() if row.problem is None}
    return Ledger(pictures, texts)


def write(file: Path, ledger: Ledger) -> None:
    """Put the ledger there whole or not at all; DiskError if the disk will not have it."""
    told = {
        "format": FORMAT,
        "pillow": PIL.__version__,
        "pictures": _columns(ledger.pictures, Row._fields),
        "texts": _columns(ledger.texts, Text._fields),
    }
    disk.write_whole(file, json.dumps(told, separators=(",", ":")).encode("ascii"))


def spoil(file: Path, ids: Iterable[str], problem: str) -> None:
    """Remember of these pictures, as long as they stay what they are, that they have a problem."""
    known = read(file)
    rows = {id: known.pictures[id]._replace(problem=problem) for id in ids if id in known.pictures}
    write(file, Ledger({**known.pictures, **rows}, known.texts))


def _rows(columns: Mapping[str, list[Any]], kind: type[Kind]) -> dict[str, Kind]:
    if any(set(map(type, columns[name])) - {int} for name in NUMBERS if name in kind._fields):
        raise TypeError("a number is none")
    values = zip(*(columns[name] for name in kind._fields), strict=True)
    return dict(zip(columns["id"], map(kind._make, values), strict=True))


def _columns(
    rows: Mapping[str, Row] | Mapping[str, Text], fields: Sequence[str]
) -> dict[str, list[Any]]:
    columns = list(zip(*rows.values(), strict=True)) or [()] * len(fields)
    return {"id": list(rows)} | dict(zip(fields, map(list, columns), strict=True))
