"""Matrices of low rank taken apart: singular values and vectors, and how many of them to keep.

A product up @ down is never multiplied out: the QR of both leaves a small core, whose singular
values are its own. A whole matrix is taken apart by sketches of its range, or exactly through the
products of its shorter side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.adapters.lora import LoraTensors

Method = Literal["sv_ratio", "sv_fro", "sv_cumulative"]

NOTHING = 1e-6
"""A largest singular value up to this is that of no change, as sd-scripts has it."""

BESIDE = 16
ROUNDS = 4
"""Directions beyond those that are wanted, and times that a sketch goes through the matrix and
back (Halko, Martinsson and Tropp 2011). Measured on FLUX's layers: `docs/benchmarks.md`."""

FEW = 0.25
"""Up to this share of all directions a sketch is quicker than the whole."""

ROWS = 1024  # of a matrix that are held in float64 at a time


@dataclass(frozen=True)
class Singular:
    """left @ diag(values) @ right, the largest values first."""

    left: Float[Tensor, "outputs count"]
    values: Float[Tensor, " count"]
    right: Float[Tensor, "count inputs"]

    def first(self, count: int) -> LoraTensors:
        """The nearest product of that rank (Eckart and Young 1936); scale 1, `down` orthonormal."""
        up = self.left[:, :count] * self.values[:count]
        return LoraTensors(self.right[:count].float(), up.float(), float(count))


@dataclass(frozen=True)
class Cut:
    """How many singular values stay."""

    rank: int
    """At most."""

    method: Method | None = None
    """What decides below that; None: all of them stay."""

    param: float = 0.0

    def ranked(self, values: Float[Tensor, " count"], sides: tuple[int, int]) -> int:
        """How many of a matrix of these sides, given those that are not 0 for certain.

        The rules of sd-scripts' resize_lora, which keep one more than their names say.
        """
        if not len(values) or float(values[0]) <= NOTHING:
            return 1
        at = _index(values.double(), self)
        wanted = self.rank if at is None else max(1, min(at, min(sides) - 1)) + 1
        return min(wanted, self.rank, len(values))


def _index(values: Float[Tensor, " count"], cut: Cut) -> int | None:
    match cut.method:
        case None:
            return None
        case "sv_ratio":
            return int((values > values[0] / cut.param).sum())
        case "sv_cumulative":
            sums, bound = values.cumsum(0), cut.param
        case "sv_fro":
            sums, bound = values.square().cumsum(0), cut.param**2
    return int(torch.searchsorted(sums / sums[-1], bound)) + 1


def of_product(up: Tensor, down: Tensor) -> Singular:
    """up @ down, taken apart through its small core; in float64."""
    left, above = torch.linalg.qr(up.double())
    right, below = torch.linalg.qr(down.double().T)
    inner, values, outer = torch.linalg.svd(above @ below.T, full_matrices=False)
    return Singular(left @ inner, values, outer @ right.T)


def scaled(told: LoraTensors, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Down and up in float32 at least; the scale is in `up`."""
    kind = torch.promote_types(told.up.dtype, torch.float32)
    factor = strength * told.alpha / len(told.down)
    return told.down.to(kind), told.up.to(kind) * factor


def refitted(told: LoraTensors, rank: int) -> LoraTensors:
    """The nearest change of at most that rank; the scale is 1."""
    down, up = scaled(told)
    singular = of_product(up, down)
    return singular.first(min(rank, len(singular.values)))


def of_matrix(
    matrix: Float[Tensor, "outputs inputs"], count: int, generator: torch.Generator, *, exact: bool
) -> Singular:
    """The largest `count` singular values of a float32 matrix and their vectors, where it lies.

    Unless `exact`, by a sketch where few are wanted.
    """
    sides = min(matrix.shape)
    if exact or count + BESIDE > FEW * sides:
        return _exact(matrix, min(count, sides))
    return _sketched(matrix, count, generator)


def _sketched(matrix: Tensor, count: int, generator: torch.Generator) -> Singular:
    """Subspace iteration from random directions, made orthonormal at every turn."""
    start = torch.randn(matrix.shape[1], count + BESIDE, generator=generator)
    span = torch.linalg.qr(matrix @ start.to(matrix.device)).Q
    for _ in range(ROUNDS):
        span = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ span).Q).Q
    found = of_product(span, span.T @ matrix)
    return Singular(found.left[:, :count], found.values[:count], found.right[:count])


def _exact(matrix: Tensor, count: int) -> Singular:
    """Through the eigenvectors of the shorter side's products, summed up in float64.

    Half as much memory and a third of the time of a whole SVD, and as near; see `bench/svd.py`.
    """
    if len(matrix) < matrix.shape[1]:
        turned = _exact(matrix.T, count)
        return Singular(turned.right.T, turned.values, turned.left.T)
    side = matrix.shape[1]
    products = torch.zeros(side, side, dtype=torch.float64, device=matrix.device)
    for rows in matrix.split(ROWS):
        wide = rows.double()
        products.addmm_(wide.T, wide)
    right = torch.linalg.eigh(products).eigenvectors[:, -count:].flip(1).float()
    del products
    left = matrix @ right
    values = left.norm(dim=0)
    return Singular(left / values.clamp_min(torch.finfo(values.dtype).tiny), values, right.T)


def clamped(told: LoraTensors, quantile: float) -> LoraTensors:
    """No number beyond this quantile of all in both matrices, signs told apart, on either side.

    As sd-scripts' extraction does it; a quantile between two numbers lies on the line between them.
    """
    every = torch.cat([told.up.flatten(), told.down.flatten()])
    place = quantile * (len(every) - 1)
    low = int(place)
    lower = every.kthvalue(low + 1).values
    upper = every.kthvalue(min(low + 2, len(every))).values
    bound = abs(float(torch.lerp(lower, upper, place - low)))
    return LoraTensors(told.down.clamp(-bound, bound), told.up.clamp(-bound, bound), told.alpha)


def kept(matrix: Float[Tensor, "outputs inputs"], told: LoraTensors, squares: float) -> float:
    """The share of a matrix's squares that a change gives back: 1 - |matrix - change|^2 / squares.

    `squares` are the matrix's own; 1 where they are 0.
    """
    down, up = scaled(told)
    down, up = down.to(matrix.device), up.to(matrix.device)
    across = float(((matrix @ down.T) * up).sum(dtype=torch.float64))
    own = float(((up.T @ up).double() * (down @ down.T).double()).sum())
    return 1.0 if squares == 0 else 1 - max(0.0, squares - 2 * across + own) / squares


METHODS: Mapping[Method, str] = {
    "sv_ratio": "singular values above the largest divided by the parameter",
    "sv_fro": "that share of the change's Frobenius norm",
    "sv_cumulative": "that share of the sum of singular values",
}
"""What each way to choose keeps, in words."""
