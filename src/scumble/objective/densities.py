"""Numbers between 0 and 1 by densities that torch does not draw with a generator of its own."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Float64
from torch import Tensor

TRIES = 48  # candidates for each number: one in twenty is refused, so that all of them never are
GRID = 4096  # places between two weights at which a density is summed


def beta(
    alpha: float, beta: float, count: int, *, generator: torch.Generator
) -> Float[Tensor, " count"]:
    """The Beta law: the share of one of two Gamma numbers in their sum.

    Logarithms, for with a small `alpha` both may be too small for a float.
    """
    left = _log_gamma(alpha, count, generator)
    right = _log_gamma(beta, count, generator)
    return torch.sigmoid(left - right).float()


def _log_gamma(shape: float, count: int, generator: torch.Generator) -> Float64[Tensor, " count"]:
    """Logarithms of Gamma numbers (Marsaglia and Tsang 2000): for a shape below 1 one of shape + 1
    times a power of a uniform number."""
    raised = shape + 1 if shape < 1 else shape
    middle = raised - 1 / 3
    size = (count, TRIES)
    normal = torch.randn(size, generator=generator, dtype=torch.float64)
    chance = torch.rand(size, generator=generator, dtype=torch.float64)
    cube = (1 + normal / (9 * middle) ** 0.5) ** 3
    logs = cube.clamp(min=1e-300).log()
    taken = (cube > 0) & (chance.log() < normal**2 / 2 + middle * (1 - cube + logs))
    first = taken.to(torch.uint8).argmax(1, keepdim=True)
    found = math.log(middle) + logs.gather(1, first)[:, 0]
    if shape < 1:
        power = torch.rand(count, generator=generator, dtype=torch.float64)
        found = found + power.clamp(min=1e-300).log() / shape
    return found


def cubic(weights: tuple[float, ...], shares: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
    """Where the density through evenly spaced `weights` has these shares of its mass below it."""
    places, mass = _summed(weights)
    wanted = shares.double()
    after = torch.searchsorted(mass, wanted, right=True).clamp(1, len(mass) - 1)
    low, high = mass[after - 1], mass[after]
    within = (wanted - low) / (high - low).clamp(min=1e-300)
    return torch.lerp(places[after - 1], places[after], within.clamp(0, 1)).float()


@lru_cache(maxsize=8)
def _summed(weights: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Places from 0 to 1, and how much of the density lies below each."""
    values = torch.tensor(weights, dtype=torch.float64)
    count = len(values) - 1
    at = torch.linspace(0, count, count * GRID + 1, dtype=torch.float64)
    piece = at.long().clamp(max=count - 1)
    heights = _hermite(values, _slopes(values), piece, at - piece)
    areas = (heights[1:] + heights[:-1]) / 2
    mass = torch.cat([areas.new_zeros(1), areas.cumsum(0)])
    return at / count, mass / mass[-1]


def _hermite(values: Tensor, slopes: Tensor, piece: Tensor, within: Tensor) -> Tensor:
    """The cubic that has the values and slopes of both its ends."""
    left, right = values[piece], values[piece + 1]
    rise = right - left
    start, end = slopes[piece] - rise, rise - slopes[piece + 1]
    bent = within * (1 - within) * (start * (1 - within) + end * within)
    return left + rise * within + bent


def _slopes(values: Tensor) -> Tensor:
    """Slopes with which no piece overshoots its ends, so that nothing becomes negative: the
    harmonic mean of both sides, 0 at a turn (Fritsch and Butland 1984)."""
    steps = values.diff()
    inner, left, right = torch.zeros_like(steps[1:]), steps[:-1], steps[1:]
    same = left * right > 0
    inner[same] = 2 * (left * right)[same] / (left + right)[same]
    if len(steps) == 1:
        return torch.cat([steps, steps])
    return torch.cat([_end(left[:1], right[:1]), inner, _end(right[-1:], left[-1:])])


def _end(near: Tensor, next_one: Tensor) -> Tensor:
    """The slope of the parabola through three points at the first, held within 0 and 3 `near`."""
    slope = (3 * near - next_one) / 2
    return torch.where(near > 0, slope.clamp(min=0), slope.clamp(max=0)).clamp(
        min=-3 * near.abs(), max=3 * near.abs()
    )
