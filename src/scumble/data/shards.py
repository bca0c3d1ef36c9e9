"""Where encoded examples are kept: files of many entries, written once and never changed.

A shard is a safetensors file: the bodies of its entries end to end, then columns that say which
bytes belong to which key. Its header stands in the first 4 KiB and is written last, so a shard is
there under its name when it is whole, and not before. Any number of writers may work in a folder.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType

import numpy as np

from scumble.disk import disk_error, make_folder, orphaned, signature, stale, sync
from scumble.errors import DiskError

HEADER_BYTES = 4096
KEY_BYTES = 16
AXES = 4
DTYPES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Bytes per number of every kind of field that can be kept."""

HIDDEN = re.compile(r"\.[\w.-]+-[0-9a-f]{16}\.(\d+-[0-9a-f]{24})\.partial")

Shape = tuple[int, ...]
Data = bytes | memoryview | np.ndarray


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A shard is sealed at the first of these: what a killed writer can lose."""

    bytes: int = 512 * 2**20
    entries: int = 1024
    seconds: float = 120.0


LIMITS = Limits()


def header(fields: Sequence[tuple[str, str]], *, entries: int, body_bytes: int, crc: int) -> bytes:
    """The first 4 KiB of a shard; equal facts give equal bytes, so a reader can compare them.

    `crc` is that of the names and the columns, see `columns_crc`.
    """
    columns = (
        ("body", "U8", [body_bytes], body_bytes),
        ("starts", "I64", [entries + 1], 8 * (entries + 1)),
        ("shapes", "I32", [entries, len(fields), AXES], 4 * AXES * len(fields) * entries),
        ("crc", "U32", [entries], 4 * entries),
        ("keys", "U8", [entries, KEY_BYTES], KEY_BYTES * entries),
    )
    facts = {"scumble_shard": "2", "fields": _told(fields), "crc": str(crc)}
    table: dict[str, object] = {"__metadata__": facts}
    end = 0
    for name, dtype, shape, size in columns:
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(table).encode().ljust(HEADER_BYTES - 8)
    assert len(text) == HEADER_BYTES - 8, "the names of the fields do not fit the header"
    return len(text).to_bytes(8, "little") + text


def columns_crc(fields: Sequence[tuple[str, str]], columns: bytes) -> int:
    """The sum of all that says what the bodies are; each body has one of its own."""
    return zlib.crc32(columns, zlib.crc32(_told(fields).encode()))


def _told(fields: Sequence[tuple[str, str]]) -> str:
    return json.dumps([list(field) for field in fields])


class Writer:
    """Appends entries to shards of one kind; not for two threads at once.

    What is added is safe once its shard is sealed: at a limit, or when the writer is closed.
    After a `DiskError` the writer is empty and may be used again.
    """

    def __init__(
        self, folder: Path, kind: str, fields: Mapping[str, str], *, limits: Limits = LIMITS
    ) -> None:
        assert re.fullmatch(r"\w[\w.-]*", kind)
        assert fields and set(fields.values()) <= DTYPES.keys()
        self.folder = folder
        self.kind = kind
        self.bytes_written = 0
        """Bytes of all entries taken so far, sealed or not."""
        self._fields = tuple(fields.items())
        self._limits = limits
        self._part: _Part | None = None
        header(self._fields, entries=2**40, body_bytes=2**60, crc=2**32)

    def add(self, key: bytes, values: Sequence[tuple[Shape, Data]]) -> None:
        """Keep one entry: for each field, in the order of the fields, its shape and its bytes."""
        assert len(key) == KEY_BYTES and len(values) == len(self._fields)
        views = [_as_bytes(data) for _, data in values]
        for (shape, _), view, (_, dtype) in zip(values, views, self._fields, strict=True):
            assert len(shape) <= AXES and len(view) == prod(shape) * DTYPES[dtype]
        try:
            if self._part is None:
                make_folder(self.folder)
                self._part = _Part(self.folder, self.kind, self._fields)
            self._part.append(key, [shape for shape, _ in values], b"".join(views))
        except OSError as error:
            self._rescue()
            raise disk_error(self.folder, error) from error
        self.bytes_written += sum(len(view) for view in views)
        if self._part.reaches(self._limits):
            self.close()

    def close(self) -> None:
        """Seal what is left. Nothing added: no file."""
        if self._part is None:
            return
        try:
            self._part.publish()
        except OSError as error:
            self._part.discard()
            self._part = None
            raise disk_error(self.folder, error) from error
        self._part = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except DiskError as second:
            if error is None:
                raise
            error.add_note(f"what was encoded last could not be kept: {second}")

    def _rescue(self) -> None:
        """After a failed write: what came before it may still find room."""
        if self._part is not None:
            try:
                self._part.publish()
            except OSError:
                self._part.discard()
        self._part = None


class _Part:
    """A shard that still grows, under a hidden name.

    An entry exists when it stands in `_entries`; bytes behind the last one are written over.
    """

    def __init__(self, folder: Path, kind: str, fields: tuple[tuple[str, str], ...]) -> None:
        token = secrets.token_hex(8)
        self._final = folder / f"{kind}-{token}.safetensors"
        self._hidden = folder / f".{kind}-{token}.{signature()}.partial"
        self._fields = fields
        self._entries: list[tuple[bytes, int, list[Shape], int]] = []
        self._begun = time.monotonic()
        # Unbuffered: after a failed write nothing may linger that fails again.
        self._file = self._hidden.open("xb", buffering=0)

    @property
    def _body_bytes(self) -> int:
        return self._entries[-1][1] if self._entries else 0

    def reaches(self, limits: Limits) -> bool:
        """Whether it is time to seal."""
        return (
            self._body_bytes >= limits.bytes
            or len(self._entries) >= limits.entries
            or time.monotonic() - self._begun >= limits.seconds
        )

    def append(self, key: bytes, shapes: list[Shape], body: bytes) -> None:
        start = self._body_bytes
        self._write(HEADER_BYTES + start, body)
        self._entries.append((bytes(key), start + len(body), shapes, zlib.crc32(body)))

    def publish(self) -> None:
        """Make it whole and give it its name; called again after an interrupt, it goes on."""
        if not self._entries:
            return self.discard()
        if not self._file.closed:
            end = self._body_bytes
            padding = -end % 8
            self._file.truncate(HEADER_BYTES + end)
            columns = self._columns()
            self._write(HEADER_BYTES + end, bytes(padding) + columns)
            facts = header(
                self._fields,
                entries=len(self._entries),
                body_bytes=end + padding,
                crc=columns_crc(self._fields, columns),
            )
            self._write(0, facts)
            os.fsync(self._file.fileno())
            self._file.close()
        if not self._final.exists():
            self._hidden.rename(self._final)
        sync(self._final.parent)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._hidden.unlink(missing_ok=True)

    def _columns(self) -> bytes:
        keys, ends, shapes, crcs = zip(*self._entries, strict=True)
        padded = [[[*shape, *[-1] * (AXES - len(shape))] for shape in row] for row in shapes]
        return b"".join(
            (
                np.array([0, *ends], dtype="<i8").tobytes(),
                np.array(padded, dtype="<i4").tobytes(),
                np.array(crcs, dtype="<u4").tobytes(),
                *keys,
            )
        )

    def _write(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def sweep(folder: Path) -> tuple[str, ...]:
    """Remove unsealed files that nobody writes any more; says their names.

    Gone are files of this machine's dead processes, and any that nothing was added to for an hour.
    """
    removed: list[str] = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = HIDDEN.fullmatch(path.name)
        with suppress(OSError):  # another sweep was first, or Windows holds it open
            if match and (orphaned(match[1]) or stale(path)):
                path.unlink()
                removed.append(path.name)
    return tuple(sorted(removed))


def _as_bytes(data: Data) -> memoryview:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")
