"""First values of a LoRA: drawn, or taken out of the layer itself.

With PiSSA and OLoRA training begins at a pair B0, A0 of the layer's own directions. The layer keeps
its weight W, and y = W x + s (B A - B0 A0) x: the change begins at zero and goes where theirs goes.
Trained are the differences B - B0 and A - A0, in

    B A - B0 A0 = (B - B0) A + B0 (A - A0),

a LoRA of twice the rank. In it nothing large is subtracted from anything large, and weight decay
pulls the differences to zero, not the layer's directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scumble import dice

First = Literal["uniform", "gaussian", "pissa", "olora"]
TAKEN = ("pissa", "olora")
"""Those that are taken out of the layer."""

SPARE, ROUNDS = 16, 8
"""Directions more than are wanted, and rounds that turn them to the largest. Of 1,024 x 1,024
random numbers, the hardest case, the 16 so found hold 0.98 of what the best 16 do; where singular
values fall as those of trained layers, 0.9999 [measured]."""

Weight = Float[Tensor, "outputs inputs"]


@dataclass(frozen=True)
class Pair:
    """Where the two matrices of a layer begin, in float32."""

    down: Float[Tensor, "rank inputs"]
    up: Float[Tensor, "outputs rank"]


def drawn(
    key: tuple[int, str], shape: tuple[int, int], first: First, dtype: torch.dtype
) -> Float[Tensor, "rank inputs"]:
    """A `down` from a seed and a name, on the CPU: U(-1, 1) / sqrt(inputs), or N(0, 1) / rank.

    The first is torch's own start of a linear layer (Kaiming uniform, a = sqrt(5)), kohya's too.
    """
    seed, name = key
    source = dice.generator(seed, "start", name)
    if first == "gaussian":
        return (torch.randn(shape, generator=source) / shape[0]).to(dtype)
    draws = torch.rand(shape, generator=source)
    return ((2 * draws - 1) / shape[1] ** 0.5).to(dtype)


@torch.no_grad()
def taken(weight: Weight, key: tuple[int, str], *, first: First, rank: int, scale: float) -> Pair:
    """`rank` directions of a layer, on its device; `scale` is what their product is multiplied by.

    The rank is at most the layer's smaller side.
    """
    assert first in TAKEN and rank <= min(weight.shape)
    there = "cpu" if weight.device.type == "mps" else weight.device  # it knows neither QR nor SVD
    wide = weight.detach().to(there, torch.float32)
    pair = principal(wide, key, rank, scale) if first == "pissa" else orthogonal(wide, rank)
    return Pair(pair.down.to(weight.device), pair.up.to(weight.device))


def principal(weight: Weight, key: tuple[int, str], rank: int, scale: float) -> Pair:
    """PiSSA (Meng et al. 2024), equations 2-3: U sqrt(S) and sqrt(S) V^T of the largest singular
    values, over `scale`, so that what is taken out of the layer is what they are.

    Found by rounds of products (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1) from
    directions that seed and name decide; of small layers exactly.
    """
    width = min(rank + SPARE, *weight.shape)
    seed, name = key
    source = dice.generator(seed, "directions", name)
    begun = torch.randn(weight.shape[1], width, generator=source).to(weight.device)
    basis = torch.linalg.qr(weight @ begun).Q
    for _ in range(ROUNDS if width < min(weight.shape) else 0):
        basis = torch.linalg.qr(weight @ torch.linalg.qr(weight.T @ basis).Q).Q
    left, values, right = torch.linalg.svd(basis.T @ weight, full_matrices=False)
    root = (values[:rank] / scale).sqrt()
    return Pair(root[:, None] * right[:rank], (basis @ left)[:, :rank] * root)


def orthogonal(weight: Weight, rank: int) -> Pair:
    """OLoRA (Bueyuekakyuez 2024), section 3: the first columns of Q and rows of R, W = Q R.

    These columns are those of the QR decomposition of W's first columns alone.
    """
    up = torch.linalg.qr(weight[:, :rank]).Q
    return Pair(up.T @ weight, up)
