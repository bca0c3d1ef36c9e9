"""Encoded pictures and texts on disk, under keys that hash all that made them.

A key is H(recipe, source): the recipe stands for the encoder, its weights, its precision and this
code's version, the source for the bytes and the cut of a picture, or for a text. Nothing is ever
"probably fresh".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scumble.data import packing
from scumble.data.index import Index, Reader
from scumble.data.shards import LIMITS, Limits, Writer
from scumble.data.sources.record import File
from scumble.data.view import View

VERSION = 2  # of what `see`, `read` and `pixels` make; a change makes every key new
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "uint8": torch.uint8,
    "int64": torch.int64,
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A version of a picture, and the key that its entry has or will have."""

    key: bytes
    file: File
    view: View
    id: str = ""
    """Of the picture in its set."""

    source: str = ""
    """Hash of the picture's bytes in hex."""


def hashed(*parts: bytes) -> bytes:
    """Sixteen bytes that stand for all the parts and where one ends and the next begins."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def recipe(kind: str, *facts: str) -> bytes:
    """Stands for everything that entries of one kind have in common."""
    return hashed(kind.encode(), str(VERSION).encode(), *(fact.encode() for fact in facts))


def picture_key(recipe: bytes, source: str, view: View) -> bytes:
    """The key of a picture's bytes (their hash in hex), seen in a view."""
    return hashed(recipe, bytes.fromhex(source), view.facts().encode())


def text_key(recipe: bytes, text: str, sights: Sequence[bytes] = ()) -> bytes:
    """The key of a text, and of the pictures it is read with."""
    return hashed(recipe, text.encode(), *sights)


@dataclass(frozen=True)
class Store:
    """The shards of one kind in one folder."""

    folder: Path
    kind: str
    dtype: torch.dtype | None = None
    """What numbers are read back in; None: as they are kept."""

    limits: Limits = LIMITS

    @cached_property
    def reader(self) -> Reader:
        """Reads what was there when it was first asked for."""
        return Reader(Index.of(self.folder, self.kind))

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Places of the keys that have no entry, the first of equal ones only."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        places = sorted(first.values())
        absent = Index.of(self.folder, self.kind).missing([keys[place] for place in places])
        return [places[number] for number in absent]

    def writer(self, fields: Mapping[str, torch.dtype]) -> Writer:
        """Takes entries with these fields."""
        names = {name: str(dtype).removeprefix("torch.") for name, dtype in fields.items()}
        return Writer(self.folder, self.kind, names, limits=self.limits)

    def close(self) -> None:
        """Let go of the files that were read; what is read later sees what is there then."""
        reader = vars(self).pop("reader", None)
        if reader is not None:
            reader.close()

    def read(self, key: bytes) -> dict[str, Tensor]:
        """An entry as tensors of their own."""
        kept = {
            name: _tensor(data, DTYPES[dtype], shape)
            for name, (dtype, shape, data) in self.reader.read(key).items()
        }
        return packing.unpacked(kept, self.dtype)


def value(tensor: Tensor) -> tuple[tuple[int, ...], np.ndarray]:
    """A tensor as a writer takes it."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return tuple(tensor.shape), flat.numpy()


def _tensor(data: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Of nothing, torch makes no tensor by itself."""
    return (
        torch.frombuffer(data, dtype=dtype).reshape(shape)
        if data
        else torch.empty(shape, dtype=dtype)
    )
