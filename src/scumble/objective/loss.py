"""How wrong an answer is, element by element and per example. All in float32."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scumble.objective.process import Latents
from scumble.spec.objective import HuberLoss, LossSpec, PlainLoss


def errors(kind: LossSpec, answer: Latents, target: Latents) -> Latents:
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
            factor = 2 * kind.delta if kind.kind == "huber" else 2.0
            return factor * (torch.sqrt((answer - target) ** 2 + kind.delta**2) - kind.delta)


def per_example(
    kind: LossSpec,
    answer: Latents,
    target: Latents,
    mask: Float[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """The mean error of each example, over all elements; those outside a mask count as zero."""
    found = errors(kind, answer.float(), target.float())
    return (found if mask is None else found * mask).flatten(1).mean(1)
