"""Randomness as a function of its whole key, so that a resumed run needs no saved dice.

A key is the seed of the job and the words and numbers that say what is drawn; no draw depends
on how many were made before it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def word(*key: int | str, bits: int = 32) -> int:
    """A number of that many bits which stands for the key."""
    digest = blake2b(repr(key).encode(), digest_size=bits // 8).digest()
    return int.from_bytes(digest, "little")


def generator(*key: int | str) -> torch.Generator:
    """The generator of one draw, on the CPU, so that every machine throws the same.

    torch keeps only the low 32 bits of what a CPU generator is seeded with: the key is hashed.
    """
    import torch

    return torch.Generator().manual_seed(word(*key))


def uniform(*key: int | str) -> float:
    """One number in [0, 1) for the key."""
    return word(*key, bits=64) / 2**64


def shuffled(count: int, *key: int | str) -> np.ndarray:
    """The numbers 0 .. count - 1 in an order that the key decides.

    Raw Philox words are frozen by NumPy's compatibility policy; `permutation` is not.
    """
    words = np.random.Philox(key=word(*key, bits=64)).random_raw(count)
    return np.argsort(np.asarray(words).reshape(count), kind="stable")
