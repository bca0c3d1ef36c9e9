"""Safetensors files written one tensor after another: no second copy of a network is made for it.

The format: the length of the list of tensors (8 bytes, little-endian), that list as JSON, and the
bytes of the tensors, wide numbers first so that all lie at multiples of their size.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scumble.checkpoint.in_pieces import beside
from scumble.families.tensor_files import ABOUT, DTYPES, LENGTH

NAMES = {dtype: name for name, dtype in DTYPES.items()} | {
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
}
"""Kinds of numbers as the format calls them."""


@dataclass(frozen=True)
class Laid:
    """A tensor whose place in a file is known before its numbers are."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def bytes(self) -> int:
        """What it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


def as_they_are(tensors: Mapping[str, Tensor]) -> dict[str, Laid]:
    """Tensors that are there, to be brought to the CPU when their turn comes."""
    return {name: Laid(one.dtype, tuple(one.shape), one.detach) for name, one in tensors.items()}


def content(tensors: Mapping[str, Laid], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of a file, from its beginning; equal tensors make equal files."""
    ordered = sorted(tensors.items(), key=lambda one: (-one[1].dtype.itemsize, one[0]))
    header: dict[str, object] = {ABOUT: dict(sorted({"format": "pt", **metadata}.items()))}
    start = 0
    for name, one in ordered:
        end = start + one.bytes
        places = {"dtype": NAMES[one.dtype], "shape": one.shape, "data_offsets": [start, end]}
        header[name], start = places, end
    listed = json.dumps(header, separators=(",", ":")).encode()
    listed += b" " * (-len(listed) % LENGTH)
    yield len(listed).to_bytes(LENGTH, "little") + listed
    for _, one in ordered:
        value = one.make()
        assert value.dtype == one.dtype and tuple(value.shape) == one.shape
        yield _bytes(value)


def _bytes(tensor: Tensor) -> bytes:
    """The numbers in their order; numpy has no bf16, so they are looked at as bytes."""
    whole = tensor.detach().cpu().contiguous().reshape(-1)
    return whole.view(torch.uint8).numpy().tobytes()


def write(file: Path, tensors: Mapping[str, Laid], metadata: Mapping[str, str]) -> None:
    """Write beside, then rename: the old file stays until the new one is whole."""
    with beside(file) as partial, partial.open("wb") as stream:
        for some in content(tensors, metadata):
            stream.write(some)
        stream.flush()
        os.fsync(stream.fileno())
