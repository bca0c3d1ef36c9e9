"""What a step draws at random, as a function of (seed, step, slot).

A slot is an example's place in the whole step, so the draws do not know how the step is cut into
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scumble import dice
from scumble.objective import timesteps
from scumble.spec.objective import TimesSpec


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The random numbers of one batch."""

    noise: Float[Tensor, "batch channels height width"]
    times: Float[Tensor, " batch"]
    """Before the shift that depends on the size of the pictures."""

    seeds: Int[Tensor, " batch"]
    """Of adapter dropout."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Draw:
        """The same with every tensor changed, such as moved to a device."""
        return Draw(noise=change(self.noise), times=change(self.times), seeds=change(self.seeds))


@dataclass(frozen=True)
class Drawer:
    """Draws for one job."""

    seed: int
    law: TimesSpec

    def times(self, step: int, examples: int) -> Float[Tensor, " examples"]:
        """Times of the whole step."""
        return timesteps.drawn(
            self.law, examples, generator=dice.generator(self.seed, "times", step)
        )

    def noise(self, step: int, slot: int, shape: torch.Size) -> Tensor:
        """Noise of one example, in float32."""
        return torch.randn(shape, generator=dice.generator(self.seed, "noise", step, slot))

    def draw(self, step: int, slots: Sequence[int], shape: torch.Size, times: Tensor) -> Draw:
        """For the examples in these slots, whose latents have this shape; `times` of the step."""
        return Draw(
            noise=torch.stack([self.noise(step, slot, shape) for slot in slots]),
            times=times[list(slots)],
            seeds=torch.tensor(
                [dice.word(self.seed, "dropout", step, slot, bits=56) for slot in slots]
            ),
        )


def reseed(*key: int | str) -> None:
    """Tame the draws that libraries take from the global generators."""
    torch.manual_seed(dice.word(*key))
