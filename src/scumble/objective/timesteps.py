"""Which noise level each training example sees, from 0 (clean) to 1 (pure noise).

Times are float32 throughout, the one that the network is told included. sd-scripts rounds that
one to the mixed-precision dtype (in bfloat16 to steps of up to 4 in 1,000), so that the network
is told another noise level than it sees; that is not repeated here.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.objective import densities
from scumble.spec.objective import (
    BetaTimes,
    CubicTimes,
    ListedTimes,
    SigmoidTimes,
    TableTimes,
    TimesSpec,
    UniformTimes,
)


def uniform(count: int, *, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Every noise level equally often."""
    return torch.rand(count, generator=generator)


def sigmoid(
    count: int, *, mean: float, spread: float, generator: torch.Generator
) -> Float[Tensor, " count"]:
    """Favour the middle of the path, where the model has most to learn.

    The logit-normal law of Esser et al. 2024, section 3.1. `mean` above 0 leans toward noise; a
    small `spread` crowds the middle.
    """
    return torch.sigmoid(mean + spread * torch.randn(count, generator=generator))


def table(steps: int) -> Float[Tensor, " steps"]:
    """The evenly spaced noise levels of a flow scheduler before its shift: 1 down to 1 / steps."""
    return torch.arange(steps, 0, -1) / steps


def shares(law: TableTimes, count: int, *, generator: torch.Generator) -> Float[Tensor, " count"]:
    """How far down the table, from 0 (pure noise) to 1.

    `mode` is equation 20 of Esser et al. 2024, 1 - u - s (cos^2(pi u / 2) - 1 + u), which leaves
    the unit interval unless -1 <= s <= 2 / (pi - 2).
    """
    match law.density:
        case "uniform":
            return uniform(count, generator=generator)
        case "logit_normal":
            return sigmoid(count, mean=law.mean, spread=law.spread, generator=generator)
        case "mode":
            even = uniform(count, generator=generator)
            return 1 - even - law.scale * (torch.cos(math.pi * even / 2) ** 2 - 1 + even)


def from_table(
    law: TableTimes, count: int, *, generator: torch.Generator
) -> Float[Tensor, " count"]:
    """Entries of a table. A share of exactly 1, which sd-scripts fails at, is its last entry."""
    places = (law.steps * shares(law, count, generator=generator)).long()
    return table(law.steps)[places.clamp(0, law.steps - 1)]


def shifted(
    times: Float[Tensor, " count"], shift: Float[Tensor, " count"] | float
) -> Float[Tensor, " count"]:
    """Lean toward noise, as larger pictures need: shift 3 takes 0.5 to 0.75; 1 is no change."""
    return shift * times / (1 + (shift - 1) * times)


def offset(times: Float[Tensor, " count"], amount: float) -> Float[Tensor, " count"]:
    """What the law `sigmoid` would have given, had `amount` been added to its normal numbers."""
    return torch.sigmoid(torch.logit(times) + amount)


def in_turn(law: ListedTimes, first: int, count: int) -> Float[Tensor, " count"]:
    """The list over and over: what the examples from number `first` of the run on get."""
    places = (first + torch.arange(count)) % len(law.levels)
    return torch.tensor(law.levels)[places]


def shifts(law: TimesSpec) -> bool:
    """Whether a shift moves what the law gives; a list means what it says."""
    return law.law != "listed"


def drawn(law: TimesSpec, count: int, *, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Times of a whole step, before any shift."""
    match law:
        case UniformTimes():
            return uniform(count, generator=generator)
        case SigmoidTimes():
            return sigmoid(count, mean=law.mean, spread=law.spread, generator=generator)
        case TableTimes():
            return from_table(law, count, generator=generator)
        case BetaTimes():
            return densities.beta(law.alpha, law.beta, count, generator=generator)
        case CubicTimes():
            return densities.cubic(law.weights, uniform(count, generator=generator))
        case ListedTimes():
            places = torch.randint(len(law.levels), (count,), generator=generator)
            return torch.tensor(law.levels)[places]
