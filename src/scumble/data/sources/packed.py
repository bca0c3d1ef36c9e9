"""Pictures whose bytes lie in a Parquet file, unpacked once into one file of the cache.

A Parquet file cannot give one picture without decoding those around it; what is written here is
an Arrow file, which is mapped into memory. It appears whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from scumble.data.sources import arrow
from scumble.data.sources.memory import Memory
from scumble.data.sources.record import Lent
from scumble.disk import SIGNED, made, orphaned, signature, told
from scumble.errors import FileError

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 64
"""So many pictures are held at once while unpacking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """One row: a picture, or a path where the table holds one instead."""

    file: Lent | None
    size_bytes: int = 0
    ending: str = ""
    source: str = ""
    """Hash of its bytes."""

    path: str = ""


def unpacked(table: Path, column: str, setting: str, cache: Path) -> list[Unpacked]:
    """The rows of a column of pictures, which are copied into `cache` unless they are there.

    FileError for a broken table, JobError if the column does not hold pictures, DiskError if
    there is no room.
    """
    status = table.stat()
    facts = f"{table} {column} {status.st_size} {status.st_mtime_ns} 1"
    file = cache / "spool" / f"{blake2b(facts.encode(), digest_size=16).hexdigest()}.arrow"
    held = _held(file)
    if held is None:
        made(file.parent)
        _sweep(file.parent)
        _write(table, column, setting, file)
        held = _mapped(file)
    sizes, rest = arrow.sizes(held["picture"]), held.drop_columns(["picture"]).to_pylist()
    return [
        Unpacked(
            file=None if size is None else Lent(f"{table} row {row}", partial(_bytes, file, row)),
            size_bytes=size or 0,
            ending=facts["ending"],
            source=facts["source"],
            path=facts["path"],
        )
        for row, (size, facts) in enumerate(zip(sizes, rest, strict=True))
    ]


def _held(file: Path) -> pyarrow.Table | None:
    """The rows if they were unpacked before; a file that is not whole, as after a power cut, is
    made anew."""
    import pyarrow as pa

    try:
        return _mapped(file) if file.exists() else None
    except (OSError, pa.ArrowException):
        return None


def _write(table: Path, column: str, setting: str, file: Path) -> None:
    import pyarrow as pa

    partial_file = file.with_name(f".{signature()}")
    try:
        with (
            told(file),
            pa.OSFile(str(partial_file), "wb") as sink,
            pa.ipc.new_file(sink, _schema()) as writer,
        ):
            for batch in _batches(table, column, setting):
                writer.write_batch(batch)
        with told(file):
            partial_file.replace(file)
    finally:
        partial_file.unlink(missing_ok=True)


def _batches(table: Path, column: str, setting: str) -> Iterator[pyarrow.RecordBatch]:
    """The rows as they are kept; reading faults become FileErrors, which `told` lets pass."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as source:
            for batch in source.iter_batches(BATCH_ROWS, columns=[column]):
                one = pa.Table.from_batches([batch])
                yield _kept(arrow.checked(arrow.column(one, column), setting))
    except (OSError, pa.ArrowException) as error:
        problem = f"cannot be read as Parquet ({str(error).splitlines()[0]})"
        raise FileError(table, problem, "copy or download it again") from error


def _kept(pictures: pyarrow.ChunkedArray) -> pyarrow.RecordBatch:
    import pyarrow as pa

    cells = list(arrow.cells(pictures))
    held = [
        None if cell.size_bytes is None else arrow.picture(pictures, row)
        for row, cell in enumerate(cells)
    ]
    hashes = [blake2b(one or b"", digest_size=16).hexdigest() for one in held]
    columns = [
        pa.array(held, pa.large_binary()),
        pa.array([cell.ending for cell in cells], pa.string()),
        pa.array(hashes, pa.string()),
        pa.array([cell.path or "" for cell in cells], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_schema())


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("ending", "source", "path")]
    return pa.schema([("picture", pa.large_binary()), *texts])


@lru_cache(maxsize=16)
def _mapped(file: Path) -> pyarrow.Table:
    """The rows, which stay on disk until they are asked for; the name vouches for the content."""
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _bytes(file: Path, row: int) -> BinaryIO:
    return Memory(f"{file} row {row}", arrow.picture(_mapped(file)["picture"], row))


def _sweep(folder: Path) -> None:
    """Remove what processes left behind that died while they unpacked."""
    with told(folder), os.scandir(folder) as entries:
        for entry in entries:
            signed = entry.name[1:]
            if entry.is_file() and SIGNED.fullmatch(signed) and orphaned(signed):
                Path(entry.path).unlink(missing_ok=True)
