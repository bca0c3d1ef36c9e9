"""Which noise level each training example sees, from 0 (clean) to 1 (pure noise)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.spec.objective import SigmoidTimes, TimesSpec, UniformTimes


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


def shifted(
    times: Float[Tensor, " count"], shift: Float[Tensor, " count"] | float
) -> Float[Tensor, " count"]:
    """Lean toward noise, as larger pictures need: shift 3 takes 0.5 to 0.75; 1 is no change."""
    return shift * times / (1 + (shift - 1) * times)


def drawn(law: TimesSpec, count: int, *, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Times of a whole step, before any shift."""
    match law:
        case UniformTimes():
            return uniform(count, generator=generator)
        case SigmoidTimes():
            return sigmoid(count, mean=law.mean, spread=law.spread, generator=generator)
