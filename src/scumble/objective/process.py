"""How clean latents turn into noise, and what the model is asked to predict on the way.

Time runs from 0 (clean) to 1 (pure noise), in float32, for every family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "batch channels height width"]
Times = Float[Tensor, " batch"]


@runtime_checkable
class Process(Protocol):
    """A way from clean (time 0) to noise (time 1)."""

    def snapped(self, times: Times) -> Times:
        """Times as the network counts them."""
        ...

    def noised(self, clean: Latents, noise: Latents, times: Times) -> Latents:
        """The point on the way at each example's time."""
        ...

    def target(self, clean: Latents, noise: Latents, times: Times) -> Latents:
        """What a perfect model would answer there."""
        ...

    def split(self, noisy: Latents, answer: Latents, times: Times) -> tuple[Latents, Latents]:
        """The clean latents and the noise that an answer stands for."""
        ...

    def signal(self, times: Times) -> Times:
        """Signal-to-noise ratio, as a ratio of powers."""
        ...

    def path(self, steps: int, tokens: int) -> Float[Tensor, " steps_and_one"]:
        """Times that the published sampler walks, from 1 down to 0."""
        ...

    def shift(self, tokens: int) -> float:
        """How far the published sampler leans toward noise for so many picture tokens."""
        ...


def wide(times: Times) -> Float[Tensor, "batch 1 1 1"]:
    """Times with axes to go with latents."""
    return times[:, None, None, None]


@dataclass(frozen=True)
class RectifiedFlow:
    """A straight line walked at constant speed; the answer is its velocity, noise - clean.

    Liu et al. 2022. `lean` holds the two ends (tokens, mu) of the straight line on which FLUX
    chooses its shift exp(mu): (256, 0.5) and (4096, 1.15) for dev, none for schnell
    (scheduler_config.json of the published models).
    """

    lean: tuple[tuple[int, float], tuple[int, float]] | None = None
    terminal: float = 0.0
    """Time of a path's last step before 0, to which the path is stretched (`shift_terminal`); 0:
    where that step happens to fall."""

    def snapped(self, times: Times) -> Times:
        """Every time is as good as another."""
        return times

    def noised(self, clean: Latents, noise: Latents, times: Times) -> Latents:
        """A straight mix."""
        return torch.lerp(clean, noise, wide(times))

    def target(self, clean: Latents, noise: Latents, times: Times) -> Latents:
        """The velocity, the same at every time."""
        return noise - clean

    def split(self, noisy: Latents, answer: Latents, times: Times) -> tuple[Latents, Latents]:
        """Walk the line back to its clean end, and on to its noisy one."""
        at = wide(times)
        return noisy - at * answer, noisy + (1 - at) * answer

    def signal(self, times: Times) -> Times:
        """((1 - t) / t) squared."""
        return ((1 - times) / times) ** 2

    def shift(self, tokens: int) -> float:
        """exp(mu) on the line through `lean`; 1 without one."""
        if self.lean is None:
            return 1.0
        (few, low), (many, high) = self.lean
        return math.exp(low + (high - low) * (tokens - few) / (many - few))

    def path(self, steps: int, tokens: int) -> Float[Tensor, " steps_and_one"]:
        """Even steps from 1 to 1 / steps, leaned toward noise, stretched, and then 0.

        A path of one step has nothing to stretch.
        """
        even = torch.linspace(1.0, 1.0 / steps, steps, dtype=torch.float64)
        shift = self.shift(tokens)
        leaned = shift * even / (1 + (shift - 1) * even)
        if self.terminal and steps > 1:
            leaned = 1 - (1 - leaned) * ((1 - self.terminal) / (1 - leaned[-1]))
        return torch.cat([leaned, leaned.new_zeros(1)]).float()
