"""Stored numbers as those that are computed with, on the CPU and a few rows at a time.

torch widens fp8 there at some 60 million numbers a second, so that a T5 would take a minute. Two
fp8 numbers are 16 bits, and looking them up among all 65,536 pairs is 15 times as fast; a scale
that all of them share is multiplied into that table.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
PAIR = {2: torch.int32, 4: torch.int64}
"""What is as large as two numbers, by the bytes of one."""

STRIDE = 2**17  # pairs looked up together: their numbers stay in the processor's caches

SLICE = 2**15 - 1  # numbers; torch shares out work from 32,768 on (at::internal::GRAIN_SIZE)


def widened(pieces: Iterable[Tensor], out: Tensor, scale: Tensor | None) -> Tensor:
    """`out`, filled from pieces of its rows in order; multiplied in float32, rounded once.

    `scale` is of one number, or has one for each row and the axes of `out`.
    """
    if scale is not None and len(scale) > 1:
        return _by_rows(pieces, out, scale)
    done, table = 0, None
    for piece in pieces:
        rows = slice(done, done := done + len(piece))
        if not _pairs_up(piece, out.dtype):
            _copied(piece if scale is None else piece.float().mul_(scale), out[rows])
            continue
        if table is None:
            table = _table(piece.dtype, out.dtype, scale)
        _look_up(piece, table, out[rows])
    return out


def _by_rows(pieces: Iterable[Tensor], out: Tensor, scale: Tensor) -> Tensor:
    """With a scale for every row."""
    done = 0
    for piece in pieces:
        rows = slice(done, done := done + len(piece))
        wide = widened([piece], torch.empty(piece.shape), None)
        out[rows] = wide.mul_(scale[rows])
    return out


def _copied(piece: Tensor, out: Tensor) -> None:
    """In slices too short for torch to wake its threads, which cost more than they do here: four
    times as much where other programs want the cores as well."""
    numbers, wide = piece.flatten(), out.flatten()
    for start in range(0, len(numbers), SLICE):
        wide[start : start + SLICE] = numbers[start : start + SLICE]


def _pairs_up(piece: Tensor, dtype: torch.dtype) -> bool:
    """Whether every row is so many whole pairs."""
    count = piece[0].numel()
    return count > 0 and count % 2 == 0 and piece.dtype in FP8 and dtype.itemsize in PAIR


def _table(kind: torch.dtype, dtype: torch.dtype, scale: Tensor | None) -> np.ndarray:
    """Every pair of fp8 numbers in the wider kind; the one that lies first counts lower."""
    numbers = torch.arange(256, dtype=torch.uint8).view(kind).float()
    numbers = (numbers if scale is None else numbers.mul_(scale.flatten())).to(dtype)
    pairs = torch.stack([numbers.repeat(256), numbers.repeat_interleave(256)], dim=1)
    return pairs.view(PAIR[dtype.itemsize]).flatten().numpy()


def _look_up(piece: Tensor, table: np.ndarray, out: Tensor) -> None:
    """Both are contiguous."""
    pairs = piece.flatten().view(torch.uint16).numpy()
    wide = out.flatten().view(PAIR[out.dtype.itemsize]).numpy()
    for start in range(0, len(pairs), STRIDE):
        some = slice(start, start + STRIDE)
        np.take(table, pairs[some], out=wide[some], mode="clip")  # "raise" would copy
