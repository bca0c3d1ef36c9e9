"""Examples that the network has brought to their noise level itself (scheduled sampling).

An example begins `steps` thousandths nearer to noise than it is trained at and is walked down by
the network's own answers (Bengio et al. 2015, for diffusion Ning et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scumble import dice
from scumble.objective.process import Latents, Process, Times, wide
from scumble.objective.stepping import Sampler, Stepper, noise_in
from scumble.spec.rollout import ReflexSpec, RolloutSpec

THOUSAND = 1000
"""Into how many steps the way from noise to clean is cut, as for the training of the models."""

SMALL = 1e-12
"""Keeps a division by a length finite."""


def share(spec: RolloutSpec, step: int) -> float:
    """Which share of the examples of this training step (from 1) is walked."""
    since = step - spec.start_step - 1
    if since < 0:
        return 0.0
    if since >= spec.ramp_steps:
        return spec.probability
    way = since / spec.ramp_steps
    if spec.ramp == "cosine":
        way = (1 - math.cos(math.pi * way)) / 2
    return spec.start_probability + (spec.probability - spec.start_probability) * way


def steps_for(spec: RolloutSpec, chance: float) -> int:
    """How many steps an example is walked, from one uniform number."""
    match spec.draw:
        case "uniform":
            return min(int(chance * (spec.most + 1)), spec.most)
        case "early":
            return round(chance**2 * spec.most)
        case "late":
            return round((1 - chance**2) * spec.most)


def drawn(spec: RolloutSpec, seed: int, step: int, slot: int) -> int:
    """How many steps the example in this slot is walked at this training step; 0: not at all."""
    if dice.uniform(seed, "rollout", step, slot) >= share(spec, step):
        return 0
    return steps_for(spec, dice.uniform(seed, "rollout steps", step, slot))


def questions(sampler: Sampler) -> int:
    """How often a step asks the network."""
    return 4 if sampler == "rk4" else 1


def source(process: Process, times: Times, steps: Times) -> Times:
    """Where examples begin that come to these times by so many steps; at pure noise at most."""
    return process.snapped((times + steps / THOUSAND).clamp(max=1.0))


def walked(
    stepper: Stepper, latents: Latents, ends: tuple[Times, Times], steps: Sequence[int]
) -> Latents:
    """The latents of examples that were walked from the first of the two times to the second, each
    in so many equal steps; longest walks come first.

    Only those that are still on their way go through the network together.
    """
    begin, end = ends
    assert list(steps) == sorted(steps, reverse=True), "longest walks come first"
    many = torch.tensor(steps, dtype=begin.dtype).to(begin.device, non_blocking=True)
    arrived: list[Latents] = []
    for done in range(max(steps, default=0)):
        count = sum(one > done for one in steps)
        arrived.append(latents[count:])
        here, there = (
            stepper.process.snapped(
                torch.lerp(begin[:count], end[:count], (done + more) / many[:count])
            )
            for more in (0, 1)
        )
        latents, stepper = stepper.step(latents[:count], here, there)
    return torch.cat([latents, *reversed(arrived)])


def corrected(process: Process, clean: Latents, noisy: Latents, times: Times) -> Latents:
    """The answer that leads from where examples have come to their clean latents; of a flow
    (noisy - clean) / time."""
    return process.target(clean, noise_in(process, noisy, clean, times), times)


def astray(spec: ReflexSpec, plain: Latents, noisy: Latents) -> Latents:
    """Factor on the error of each element of walked examples (ReflexFlow, Huang et al. 2025).

    The distance to where the straight way would have led, against its mean. SimpleTuner divides by
    its sum, which leaves of `alpha` four millionths for a picture of 1024 pixels a side.
    """
    distance = (plain - noisy).abs()
    mean = distance.flatten(1).mean(1)
    return spec.weight * (1 + spec.alpha * distance / wide(mean.clamp(min=SMALL)))


def turned(
    process: Process,
    answers: tuple[Latents, Latents],
    noisy: Latents,
    times: Times,
    mask: Float[Tensor, "batch 1 height width"] | None,
) -> Float[Tensor, " batch"]:
    """Squared distance between the directions in which two answers lead, each of length 1 over all
    elements: 0 to 4. Nothing outside a mask takes part."""
    both: list[Tensor] = []
    for one in answers:
        clean, noise = process.split(noisy, one, times)
        way = noise - clean if mask is None else (noise - clean) * mask
        both.append(torch.nn.functional.normalize(way.flatten(1), dim=1, eps=SMALL))
    return (both[0] - both[1]).square().sum(1)


def chosen(walks: Bool[Tensor, " batch"], theirs: Tensor, others: Tensor) -> Tensor:
    """The one for examples that were walked, the other for those that were not."""
    axes = (slice(None), *[None] * (theirs.dim() - 1))
    return torch.where(walks[axes], theirs, others)
