"""Safetensors files written one tensor after another: no second copy of a network is made for it.

The format: the length of the list of tensors (8 bytes, little-endian), that list as JSON, and the
bytes of the tensors, wide numbers first so that all lie at multiples of their size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scumble.checkpoint.in_pieces import Planned, head
from scumble.disk import beside


@dataclass(frozen=True)
class Laid:
    """A tensor whose place in a file is known before its numbers are."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    def rows(self) -> list[Tensor]:
        """All of it, in one piece."""
        value = self.make()
        assert value.dtype == self.dtype and tuple(value.shape) == self.shape
        return [value]


def as_they_are(tensors: Mapping[str, Tensor]) -> dict[str, Laid]:
    """Tensors that are there, to be brought to the CPU when their turn comes."""
    return {name: Laid(one.dtype, tuple(one.shape), one.detach) for name, one in tensors.items()}


def content(tensors: Mapping[str, Laid], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of a file, from its beginning; equal tensors make equal files."""
    ordered = sorted(tensors.items(), key=lambda one: (-one[1].dtype.itemsize, one[0]))
    planned = [Planned(name, one.dtype, one.shape, one.rows) for name, one in ordered]
    yield head(planned, {"format": "pt", **metadata})
    for one in planned:
        yield from map(_bytes, one.pieces())


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
