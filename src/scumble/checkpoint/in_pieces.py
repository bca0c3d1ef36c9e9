"""A safetensors file written one piece of a tensor after another, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from scumble.checkpoint.export import finite
from scumble.disk import beside
from scumble.errors import FileError
from scumble.families.tensor_files import ABOUT, DTYPES, LENGTH, Shape

NAMES = {dtype: name for name, dtype in DTYPES.items()} | {
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
}
"""Kinds of numbers as the format names them."""


@dataclass(frozen=True)
class Planned:
    """A tensor that is to be written."""

    name: str
    dtype: torch.dtype
    shape: Shape
    pieces: Callable[[], Iterable[Tensor]]
    """Its rows in order, some at a time, in its dtype and on the CPU."""

    @property
    def bytes(self) -> int:
        """What it takes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write(file: Path, planned: Sequence[Planned], metadata: Mapping[str, str]) -> int:
    """Write the tensors as they come; return the bytes of the file.

    FileError when a value is not finite, and then there is no file.
    """
    top = head(planned, metadata)
    with beside(file) as partial, partial.open("wb") as stream:
        stream.write(top)
        for one in planned:
            _put(stream, one, file)
        stream.flush()
        os.fsync(stream.fileno())
    return len(top) + sum(one.bytes for one in planned)


def head(planned: Sequence[Planned], metadata: Mapping[str, str]) -> bytes:
    """Length and list of the tensors, as the format has them; padded to eight bytes."""
    listed: dict[str, object] = {ABOUT: dict(sorted(metadata.items()))} if metadata else {}
    start = 0
    for one in planned:
        listed[one.name] = {
            "dtype": NAMES[one.dtype],
            "shape": list(one.shape),
            "data_offsets": [start, start + one.bytes],
        }
        start += one.bytes
    text = json.dumps(listed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    return len(text).to_bytes(LENGTH, "little") + text


def _put(stream: BinaryIO, one: Planned, file: Path) -> None:
    count = 0
    for piece in one.pieces():
        if not finite(piece):
            kind = str(one.dtype).removeprefix("torch.")
            problem = f"'{one.name}' would not be finite as {kind}"
            raise FileError(file, problem, "choose a dtype that holds it, such as bfloat16")
        raw = piece.contiguous().flatten().view(torch.uint8).numpy()
        stream.write(raw.data)
        count += len(raw)
    assert count == one.bytes, (one.name, count, one.bytes)
