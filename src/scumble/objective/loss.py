"""How wrong an answer is, element by element and per example. All in float32.

The formulas are those that sd-scripts trains FLUX with (kohya-ss/sd-scripts 48d368f). An error is
measured per element, masked, averaged over all elements, and then weighed per example.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scumble.objective.process import Latents, Times, wide
from scumble.spec.objective import HuberLoss, LossSpec, PlainLoss, Prediction, Weighting

LEAST = 2.0**-24
"""The smallest time that is weighed. `torch.rand` can be 0, the next number it gives is this."""


def taken(kind: Prediction, answer: Latents, noisy: Latents, times: Times) -> Latents:
    """What is compared with the velocity."""
    match kind:
        case "raw":
            return answer.float()
        case "additive":
            return answer.float() + noisy
        case "sigma_scaled":
            return noisy - wide(times) * answer.float()


def weights(kind: Weighting, times: Times) -> Times:
    """Factor on each example's loss (Esser et al. 2024, section 3.1, as weights)."""
    match kind:
        case "none":
            return torch.ones_like(times)
        case "sigma_sqrt":
            return times.clamp(min=LEAST) ** -2
        case "cosmap":
            return 2 / (math.pi * (1 - 2 * times + 2 * times**2))


def deltas(kind: HuberLoss, times: Times) -> Times:
    """Where each example's square turns into a line.

    `snr` is the schedule of SimpleTuner (bc8e6ab) for flows, with the root of noise over signal
    in which 1e-4 keeps the division finite.
    """
    match kind.schedule:
        case "constant":
            return torch.full_like(times, kind.scale * kind.delta)
        case "exponential":
            return kind.scale * kind.delta**times
        case "snr":
            ratio = torch.sqrt((1 - times) / (times + 1e-4))
            return kind.scale * ((1 - kind.delta) / (1 + ratio) ** 2 + kind.delta)


def errors(kind: LossSpec, answer: Latents, target: Latents, times: Times) -> Latents:
    """The error of every element.

    `huber` is the pseudo-Huber loss 2 d (sqrt(e^2 + d^2) - d), which is e^2 near zero and 2 d |e|
    far out (Charbonnier et al. 1997, scaled); `smooth_l1` is 2 (sqrt(e^2 + d^2) - d).
    """
    match kind:
        case PlainLoss(kind="l1"):
            return functional.l1_loss(answer, target, reduction="none")
        case PlainLoss():
            return functional.mse_loss(answer, target, reduction="none")
        case HuberLoss():
            delta = wide(deltas(kind, times))
            factor = 2 * delta if kind.kind == "huber" else 2.0
            return factor * (torch.sqrt((answer - target) ** 2 + delta**2) - delta)


def per_example(
    kind: LossSpec,
    answer: Latents,
    target: Latents,
    times: Times,
    factors: Float[Tensor, "batch _ height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """The mean error of each example, over all elements, each times its factor (a mask's, where
    those outside count as zero)."""
    found = errors(kind, answer.float(), target.float(), times)
    return (found if factors is None else found * factors).flatten(1).mean(1)
