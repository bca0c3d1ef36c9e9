"""In which numbers entries are kept, what that costs on disk, and how they are read back."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

KEPT = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CODES = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest number that a code stands for (Micikevicius et al. 2022: 1.75 * 2^8)."""

SCALE = ".scale"
"""What is added to the name of a field whose codes a field of scales belongs to."""

BESIDE_BYTES = 16 + 4 + 8
"""Of an entry's key, sum and start in the columns of its shard; each field's shape takes more."""

SHAPE_BYTES = 16


def precision(told: str, computed: torch.dtype) -> str:
    """What `auto` means: the precision that entries are computed in."""
    names = {dtype: name for name, dtype in KEPT.items()}
    return names[computed] if told == "auto" else told


def packed(entry: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """An entry as it is kept in fp32, bf16, fp16 or fp8; whole numbers stay what they are.

    With fp8, each row of a field of two axes or more (each token of a text) becomes codes and one
    float32 scale. That changes a row by 2.7 % of its length whatever its size, as measured on
    normal numbers with and without outliers of 50 and 200 times the rest; bf16 changes it by
    0.17 %. Fields of one axis are small and kept in bf16.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in entry.items():
        if not tensor.is_floating_point():
            kept[name] = tensor
        elif precision != "fp8":
            kept[name] = tensor.to(KEPT[precision])
        elif tensor.ndim < 2:
            kept[name] = tensor.to(torch.bfloat16)
        else:
            kept[name], kept[name + SCALE] = _coded(tensor.float())
    return kept


def unpacked(kept: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """An entry as it is computed with, floating numbers in `dtype`.

    None leaves numbers as they are kept, and codes become float32.
    """
    entry: dict[str, Tensor] = {}
    for name, tensor in kept.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype == CODES:
            tensor = tensor.float() * kept[name + SCALE].unsqueeze(-1)
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        entry[name] = tensor
    return entry


def entry_bytes(shapes: Mapping[str, tuple[int, ...]], precision: str) -> int:
    """What an entry of floating numbers in these shapes takes of the disk, its key included.

    A shard takes 4 KiB more for up to 1,024 entries.
    """
    total = BESIDE_BYTES
    for shape in shapes.values():
        coded = precision == "fp8" and len(shape) > 1
        if coded:
            total += prod(shape) + 4 * prod(shape[:-1]) + 2 * SHAPE_BYTES
        else:
            width = 2 if precision == "fp8" else KEPT[precision].itemsize
            total += prod(shape) * width + SHAPE_BYTES
    return total


def _coded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, and one scale for each row; a row of zeros has the scale 1."""
    largest = rows.abs().amax(-1)
    scale = torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))
    return (rows / scale.unsqueeze(-1)).to(CODES), scale
