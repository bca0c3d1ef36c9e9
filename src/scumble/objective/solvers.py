"""From noise to a picture's latents, one deterministic step after another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.objective.process import Latents, Process, Times

Answer = Callable[[Latents, Times], Latents]


def walked(
    process: Process, answer: Answer, noise: Latents, path: Float[Tensor, " times"]
) -> Latents:
    """Follow the model's answers along `path`; latents stay float32 between the steps.

    A step is `noised(*split(...))` at the next time: Euler's method for a flow, DDIM for epsilon.
    """
    latents = noise.float()
    for start, end in pairwise(float(time) for time in path):
        here = torch.full((len(latents),), start, device=latents.device)
        there = torch.full_like(here, end)
        clean, noisy = process.split(latents, answer(latents, here).float(), here)
        latents = process.noised(clean, noisy, there)
    return latents
