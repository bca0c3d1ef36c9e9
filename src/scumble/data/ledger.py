"""What is remembered of the files of one set between runs, so that they are read only once.

A remembered file counts only while its size and time are what they were. The ledger is a JSON
file of columns; it may be deleted at any time, and costs a scan.
"""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from hashlib import blake2b, file_digest
from pathlib import Path

import PIL

from scumble import disk
from scumble.data.example import Example
from scumble.errors import FileError

FORMAT = "scumble ledger 1"
COLUMNS = ("id", "size_bytes", "mtime_ns", "width", "height", "note", "problem", "source")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one file; the fields follow COLUMNS, without the id."""

    size_bytes: int
    mtime_ns: int
    width: int
    height: int
    note: str | None = None
    problem: str | None = None
    source: str | None = None
    """Hash of the file's bytes, once someone asked for it."""

    def is_of(self, size_bytes: int, mtime_ns: int) -> bool:
        """Whether the row speaks of the file as it is now."""
        return (self.size_bytes, self.mtime_ns) == (size_bytes, mtime_ns)


Ledger = dict[str, Row]
"""Rows by the id of the picture."""


def at(cache: Path, dataset: str, folder: Path) -> Path:
    """Where the ledger of that set is kept; `folder` is absolute."""
    place = blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return cache / "ledgers" / f"{dataset}-{place}.json"


def read(file: Path) -> Ledger:
    """The rows of a ledger; none if there is no such file or it is not one of ours.

    Problems that another release of Pillow had are forgotten: this one may have learnt to read.
    """
    try:
        told = json.loads(file.read_bytes())
        if told["format"] != FORMAT:
            return {}
        rows = zip(*(told[column] for column in COLUMNS), strict=True)
        ledger = {id: Row(*values) for id, *values in rows}
        current = told["pillow"] == PIL.__version__
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return ledger if current else {id: row for id, row in ledger.items() if row.problem is None}


def write(file: Path, ledger: Mapping[str, Row]) -> None:
    """Put the ledger there whole or not at all; DiskError if the disk will not have it."""
    rows = [(id, *astuple(row)) for id, row in ledger.items()]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    told = {"format": FORMAT, "pillow": PIL.__version__} | columns
    disk.write_whole(file, json.dumps(told, separators=(",", ":")).encode("ascii"))


def hashes(ledger: Mapping[str, Row], examples: Sequence[Example]) -> Ledger:
    """The ledger with the source hash of each of these examples of one set in it.

    Only files whose hash is not known are read. FileError if a file is no longer the one that
    was scanned: its hash would stand for a picture of another size.
    """
    rows = {example.id: _row(ledger, example) for example in examples}
    missing = [example for example in examples if rows[example.id].source is None]
    with ThreadPoolExecutor() as pool:
        for example, source in zip(missing, pool.map(_hashed, missing), strict=True):
            rows[example.id] = replace(rows[example.id], source=source)
    return {**ledger, **rows}


def _row(ledger: Mapping[str, Row], example: Example) -> Row:
    """What is remembered of an example, or what little it says itself."""
    row = ledger.get(example.id)
    if row is not None and row.is_of(example.size_bytes, example.mtime_ns):
        return row
    return Row(example.size_bytes, example.mtime_ns, example.width, example.height)


def _hashed(example: Example) -> str:
    """The hash of the file's bytes, made sure to be those that were scanned."""
    try:
        with example.path.open("rb") as stream:
            digest = file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()
            status = os.fstat(stream.fileno())
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise FileError(example.path, problem, "put it back, or start again without it") from error
    if (status.st_size, status.st_mtime_ns) != (example.size_bytes, example.mtime_ns):
        raise FileError(example.path, "has changed since it was looked at", "start again")
    return digest
