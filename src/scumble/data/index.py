"""What the shards of a folder hold, and how an entry is read.

The index is made anew from the shards' own columns at every start: there is no file to go stale.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import numpy as np

from scumble.data.shards import AXES, DTYPES, HEADER_BYTES, KEY_BYTES, Shape, columns_crc, header
from scumble.errors import FileError

OPEN_FILES = 256
NOT_OURS = (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError)
"""What reading the columns of a broken or foreign file can raise."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an entry lies: `size` bytes from `start` of the file, its fields end to end."""

    shard: Path
    start: int
    size: int
    crc: int
    fields: tuple[tuple[str, str], ...]
    """Name and dtype."""
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a shard says of its entries, in their order."""

    path: Path
    fields: tuple[tuple[str, str], ...]
    starts: np.ndarray
    shapes: np.ndarray
    crc: np.ndarray
    keys: np.ndarray


class Index:
    """Every key of one kind that a folder holds. Memory: about 70 bytes an entry."""

    def __init__(self, shards: Sequence[Columns], broken: Sequence[Path]) -> None:
        self.broken = tuple(broken)
        """Files with the name of a shard that do not open; what they held counts as missing."""
        self._shards = tuple(shards)
        counts = [len(shard.crc) for shard in self._shards]
        self._firsts = np.cumsum([0, *counts], dtype=np.int64)
        keys = np.concatenate([np.empty(0, "S16"), *(shard.keys for shard in self._shards)])
        order = np.argsort(keys, kind="stable")  # equal keys stay in the order of the shards' names
        keys = keys[order]
        first = np.ones(len(keys), dtype=bool)
        first[1:] = keys[1:] != keys[:-1]
        self._keys, self._entries = keys[first], order[first]

    @classmethod
    def of(cls, folder: Path, kind: str) -> Index:
        """Read the columns of every shard; a folder that is not there holds nothing.

        Of equal keys the one in the first shard by name is taken.
        """
        shards: list[Columns] = []
        broken: list[Path] = []
        for path in sorted(folder.glob(f"{kind}-{'[0-9a-f]' * 16}.safetensors")):
            try:
                shards.append(columns(path))
            except NOT_OURS:
                broken.append(path)
        return cls(shards, broken)

    def __len__(self) -> int:
        return len(self._keys)

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Which positions of `keys` are not there; a key that is asked for twice counts twice."""
        asked = _packed(keys)
        if not len(self._keys):
            return list(range(len(asked)))
        places = np.searchsorted(self._keys, asked).clip(max=len(self._keys) - 1)
        return np.flatnonzero(self._keys[places] != asked).tolist()

    def find(self, key: bytes) -> Place | None:
        """Where the entry lies, if it is there."""
        asked = _packed([key])
        place = int(np.searchsorted(self._keys, asked)[0])
        if place == len(self._keys) or self._keys[place] != asked[0]:
            return None
        entry = int(self._entries[place])
        number = int(np.searchsorted(self._firsts, entry, side="right")) - 1
        shard, row = self._shards[number], entry - int(self._firsts[number])
        start, end = shard.starts[row : row + 2].tolist()
        return Place(
            shard=shard.path,
            start=HEADER_BYTES + start,
            size=end - start,
            crc=int(shard.crc[row]),
            fields=shard.fields,
            shapes=tuple(tuple(n for n in shape if n >= 0) for shape in shard.shapes[row].tolist()),
        )


class Reader:
    """Reads entries, each checked against its sum. One reader for each thread; to be closed.

    A shard's time of change is set to now when it is opened: that is how it is known which were
    not used for long.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._files: OrderedDict[Path, FileIO] = OrderedDict()

    def read(self, key: bytes) -> dict[str, tuple[str, Shape, bytearray]]:
        """Dtype, shape and bytes by field. The key must be in the index."""
        place = self._place(key)
        sizes = [
            prod(shape) * DTYPES[dtype]
            for (_, dtype), shape in zip(place.fields, place.shapes, strict=True)
        ]
        if sum(sizes) != place.size:
            _damaged(place.shard)
        parts = [bytearray(size) for size in sizes]
        self._fill(place, [memoryview(part) for part in parts])
        rows = zip(place.fields, place.shapes, parts, strict=True)
        return {name: (dtype, shape, part) for (name, dtype), shape, part in rows}

    def close(self) -> None:
        """Let go of all files."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self, key: bytes) -> Place:
        place = self._index.find(key)
        assert place is not None, "asked for an entry that is not in the index"
        return place

    def _fill(self, place: Place, parts: Iterable[memoryview]) -> None:
        crc = 0
        try:
            file = self._opened(place.shard)
            file.seek(place.start)
            for part in parts:
                rest = part
                while rest and (count := file.readinto(rest)):
                    rest = rest[count:]
                crc = zlib.crc32(part, crc)
        except OSError as error:
            _damaged(place.shard, error)
        if crc != place.crc:
            _damaged(place.shard)

    def _opened(self, path: Path) -> FileIO:
        if path not in self._files:
            if len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[path] = FileIO(path)
            with suppress(OSError):  # another user's shard can be read all the same
                os.utime(path)
        self._files.move_to_end(path)
        return self._files[path]


def columns(path: Path) -> Columns:
    """The columns of a shard that is, to the byte, as long and as laid out as we write it.

    Raises one of NOT_OURS for any other file.
    """
    with path.open("rb") as file:
        front = file.read(HEADER_BYTES)
        table = json.loads(front[8:])
        fields = tuple(
            (str(name), str(dtype)) for name, dtype in json.loads(table["__metadata__"]["fields"])
        )
        body_bytes, count = int(table["body"]["shape"][0]), int(table["crc"]["shape"][0])
        crc = int(table["__metadata__"]["crc"])
        sizes = [8 * (count + 1), 4 * AXES * len(fields) * count, 4 * count, KEY_BYTES * count]
        whole = (
            min(body_bytes, count) >= 0
            and {dtype for _, dtype in fields} <= DTYPES.keys()
            and front == header(fields, entries=count, body_bytes=body_bytes, crc=crc)
            and os.fstat(file.fileno()).st_size == HEADER_BYTES + body_bytes + sum(sizes)
        )
        if not whole:
            raise ValueError(path)
        file.seek(HEADER_BYTES + body_bytes)
        parts = [file.read(size) for size in sizes]
    if columns_crc(fields, b"".join(parts)) != crc:
        raise ValueError(path)
    starts, shapes, crcs, keys = parts
    edges = np.frombuffer(starts, "<i8")
    if edges[0] != 0 or edges[-1] > body_bytes or (np.diff(edges) < 0).any():
        raise ValueError(path)
    return Columns(
        path=path,
        fields=fields,
        starts=edges,
        shapes=np.frombuffer(shapes, "<i4").reshape(count, len(fields), AXES),
        crc=np.frombuffer(crcs, "<u4"),
        keys=np.frombuffer(keys, "S16"),
    )


def _packed(keys: Sequence[bytes]) -> np.ndarray:
    joined = b"".join(keys)
    assert len(joined) == KEY_BYTES * len(keys)
    return np.frombuffer(joined, "S16")


def _damaged(shard: Path, error: OSError | None = None) -> NoReturn:
    problem = f"cannot be read ({error.strerror})" if error else "is damaged"
    raise FileError(shard, problem, "delete that file and start again: what it held is made anew")
