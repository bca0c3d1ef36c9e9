"""Encoded pictures and texts on disk, under keys that hash all that made them.

A key is H(recipe, source): the recipe stands for the encoder, its weights, its precision and this
code's version, the source for the bytes and the cut of a picture, or for a text. Nothing is ever
"probably fresh".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scumble.data.buckets import Frame
from scumble.data.index import Index, Reader
from scumble.data.shards import Writer

VERSION = 1  # of what `see`, `read` and `pixels` make; a change makes every key new
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int64": torch.int64,
}


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


def picture_key(recipe: bytes, source: str, frame: Frame) -> bytes:
    """The key of a picture's bytes (their hash in hex), cut to a frame."""
    return hashed(recipe, bytes.fromhex(source), struct.pack("<8i", *frame.row()))


def text_key(recipe: bytes, text: str) -> bytes:
    """The key of a text."""
    return hashed(recipe, text.encode())


@dataclass(frozen=True)
class Store:
    """The shards of one kind in one folder."""

    folder: Path
    kind: str

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
        return Writer(self.folder, self.kind, names)

    def close(self) -> None:
        """Let go of the files that were read."""
        if "reader" in vars(self):
            self.reader.close()

    def read(self, key: bytes) -> dict[str, Tensor]:
        """An entry as tensors of their own."""
        return {
            name: torch.frombuffer(data, dtype=DTYPES[dtype]).reshape(shape)
            for name, (dtype, shape, data) in self.reader.read(key).items()
        }


def value(tensor: Tensor) -> tuple[tuple[int, ...], np.ndarray]:
    """A tensor as a writer takes it."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return tuple(tensor.shape), flat.numpy()
