"""Safetensors files, read one tensor at a time into fresh memory; nothing is mapped.

A file is a number N (8 bytes, little-endian), N bytes of JSON that say where each tensor lies, and
the tensors' bytes. All of it is checked before anything is read: a file that is cut short, or is
something else, is named as what it seems to be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import torch
from torch import Tensor

from scumble.errors import FileError
from scumble.families.recognising import by_bytes

Shape = tuple[int, ...]
Span = tuple[int, int]
"""Rows of a tensor: the first, and the one after the last."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Kinds of numbers by the names of the format."""

LENGTH = 8  # bytes of the number that a file begins with
LONGEST = 100_000_000  # bytes of a header, as the format has it
ABOUT = "__metadata__"
AGAIN = "fetch it again"
PLAIN = "use the bf16, fp16 or fp8 file of the same model"


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in its file."""

    dtype: torch.dtype
    shape: Shape
    start: int
    """The first of its bytes, counted from the file's beginning."""

    @property
    def rows(self) -> int:
        """Length of the first axis; a number by itself is one row."""
        return self.shape[0] if self.shape else 1

    @property
    def bytes(self) -> int:
        """What it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


def header(file: Path) -> dict[str, Stored]:
    """The tensors of a file by name; FileError unless the file is whole and a safetensors file."""
    try:
        about = file.stat()
        if not (S_ISREG(about.st_mode) or S_ISDIR(about.st_mode)):  # a pipe would never end
            raise FileError(file, "this is a device or a pipe, not a file", "name the weights")
        size = about.st_size
        with file.open("rb", buffering=0) as stream:
            told = _told(file, stream, size)
    except FileNotFoundError:
        raise FileError(file, "this file is missing", "fetch it, or mend the path") from None
    except OSError as error:
        raise FileError(file, f"it cannot be read ({error})", "look at the disk") from None
    return _stored(file, told, size)


def _told(file: Path, stream: FileIO, size: int) -> bytes:
    """The JSON of a file, not yet read."""
    length = int.from_bytes(stream.read(LENGTH), "little")
    begins = stream.read(1)
    if size <= LENGTH or length < 2 or length > LONGEST or begins != b"{":
        raise _foreign(file)
    if LENGTH + length > size:
        raise FileError(file, "the download ended early, within the list of its tensors", AGAIN)
    stream.seek(LENGTH)
    whole = bytearray(length)
    fill(stream, memoryview(whole), file)
    return bytes(whole)


def _foreign(file: Path) -> FileError:
    with file.open("rb") as stream:
        what, remedy = by_bytes(stream.read(512))
    return FileError(file, f"this is no safetensors file, but seems to be {what}", remedy)


def _stored(file: Path, told: bytes, size: int) -> dict[str, Stored]:
    base = LENGTH + len(told)
    try:
        found = json.loads(told)
        found.pop(ABOUT, None)
        _refuse_strange_numbers(file, found)
        places = {name: _place(name, one, base) for name, one in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError(file, f"the list of its tensors is damaged ({error})", AGAIN) from None
    ends = max((one.start + one.bytes for one in places.values()), default=base)
    if size < ends:
        there = f"{size:,} of {ends:,} bytes are there"
        raise FileError(
            file, f"the download ended early, at {100 * size // ends} % ({there})", AGAIN
        )
    if size > ends or _overlap(places, base):
        problem = f"the list of its tensors does not fit its {size:,} bytes"
        raise FileError(file, problem, AGAIN)
    return places


def _refuse_strange_numbers(file: Path, found: Mapping[str, Any]) -> None:
    """FileError for a kind of number that is known to the format, or to later ones, not here."""
    for name, one in found.items():
        if (kind := one["dtype"]) not in DTYPES:
            problem = f"{name} holds numbers of the kind {kind}, which is not read here"
            raise FileError(file, problem, PLAIN)


def _place(name: str, told: Mapping[str, Any], base: int) -> Stored:
    """ValueError when the bytes are not as many as the shape and the kind of number take."""
    shape, (start, end) = tuple(told["shape"]), told["data_offsets"]
    if any(type(one) is not int or one < 0 for one in (*shape, start, end)):
        raise ValueError(f"{name} has the shape {shape} and lies from {start} to {end}")
    stored = Stored(DTYPES[told["dtype"]], shape, base + start)
    if end - start != stored.bytes:
        raise ValueError(f"{name} needs {stored.bytes:,} bytes and has {end - start:,}")
    return stored


def _overlap(places: Mapping[str, Stored], base: int) -> bool:
    """Whether two tensors share bytes, or some bytes are nobody's."""
    for one in sorted(places.values(), key=lambda one: (one.start, one.bytes)):
        if one.start != base:
            return True
        base += one.bytes
    return False


def read(file: Path, stream: FileIO, stored: Stored, spans: Sequence[Span]) -> Tensor:
    """These rows of a tensor, one span after the other; no other byte of it is read or kept."""
    rows = sum(end - start for start, end in spans)
    row_bytes = stored.bytes // max(stored.rows, 1)
    return read_into(torch.empty(rows * row_bytes, dtype=torch.uint8), file, stream, stored, spans)


def pieces(
    file: Path, stream: FileIO, stored: Stored, spans: Sequence[Span], most: int
) -> Iterator[Tensor]:
    """The same, some rows of at most so many bytes at a time, or one; each is gone with the next,
    for all lie in one place: memory that is asked for again and again is not always given back."""
    row_bytes = stored.bytes // max(stored.rows, 1)
    rows = max(1, most // max(row_bytes, 1))
    room = torch.empty(min(rows, stored.rows) * row_bytes, dtype=torch.uint8)
    for start, end in spans:
        for at in range(start, end, rows):
            span = (at, min(at + rows, end))
            raw = room[: (span[1] - at) * row_bytes]
            yield read_into(raw, file, stream, stored, (span,))


def read_into(
    raw: Tensor, file: Path, stream: FileIO, stored: Stored, spans: Sequence[Span]
) -> Tensor:
    """The rows, in these bytes."""
    rows = sum(end - start for start, end in spans)
    row_bytes = stored.bytes // max(stored.rows, 1)
    whole = raw.numpy().data
    done = 0
    for start, end in spans:
        stream.seek(stored.start + start * row_bytes)
        count = (end - start) * row_bytes
        fill(stream, whole[done : done + count], file)
        done += count
    shape = (rows, *stored.shape[1:]) if stored.shape else ()
    return raw.view(stored.dtype).reshape(shape)


def fill(stream: FileIO, room: memoryview, file: Path) -> None:
    """Read until the room is full; a system may give less than it is asked for (2 GiB on Linux)."""
    try:
        while len(room):
            count = stream.readinto(room)
            if not count:
                raise FileError(file, "it has become shorter while it was read", AGAIN)
            room = room[count:]
    except OSError as error:
        raise FileError(file, f"it cannot be read ({error})", "look at the disk") from None
