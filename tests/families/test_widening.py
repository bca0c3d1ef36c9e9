"""Stored numbers made wider: the same as torch makes them, in pieces and with scales."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scumble.families.widening import FP8, SLICE, STRIDE, widened

KINDS = (torch.float32, torch.float16, torch.bfloat16, *FP8)
WIDE = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def every(kind: torch.dtype) -> Tensor:
    """All numbers of fp8, infinities and NaN included, in rows of 16; some of another kind."""
    if kind in FP8:
        return torch.arange(256, dtype=torch.uint8).view(kind).reshape(16, 16)
    return torch.randn(16, 16, generator=torch.manual_seed(0)).to(kind)


def in_pieces(stored: Tensor, rows: int, dtype: torch.dtype, scale: Tensor | None) -> Tensor:
    pieces = (stored[at : at + rows].clone() for at in range(0, len(stored), rows))
    return widened(pieces, torch.full(stored.shape, 7, dtype=dtype), scale)


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted, atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_that_torch_makes(kind: torch.dtype, dtype: torch.dtype) -> None:
    stored, one = every(kind), torch.tensor([[0.37]])
    each = torch.linspace(0.1, 2.0, 16)[:, None]
    for rows in (16, 5, 1):
        assert_same(in_pieces(stored, rows, dtype, None), stored.to(dtype))
        assert_same(in_pieces(stored, rows, dtype, one), (stored.float() * one).to(dtype))
        assert_same(in_pieces(stored, rows, dtype, each), (stored.float() * each).to(dtype))


@pytest.mark.parametrize("shape", [(7,), (1,), (5, 3), (3, 1, 1), (4, 0), (2, 3, 2, 2)], ids=str)
def test_shapes_do_not_matter(shape: tuple[int, ...]) -> None:
    stored = torch.randn(shape, generator=torch.manual_seed(0)).to(torch.float8_e4m3fn)
    scale = torch.full((1,) * len(shape), 0.5)
    for rows in (1, 2, 7):
        wanted = (stored.float() * 0.5).bfloat16()
        assert_same(in_pieces(stored, rows, torch.bfloat16, scale), wanted)


@pytest.mark.parametrize("kind", [torch.float8_e5m2, torch.float32])
def test_more_numbers_than_are_taken_together(kind: torch.dtype) -> None:
    stored = every(kind).repeat(2 * STRIDE // 256 + 1, 1)
    assert stored.numel() > 2 * STRIDE > 2 * SLICE
    found = in_pieces(stored, len(stored), torch.bfloat16, None)
    assert_same(found, stored.bfloat16())
