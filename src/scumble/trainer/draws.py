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
from scumble.spec.objective import InputNoise, ObjectiveSpec


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The random numbers of one batch."""

    noise: Float[Tensor, "batch channels height width"]
    times: Float[Tensor, " batch"]
    """Before the shift that depends on the size of the pictures."""

    seeds: Int[Tensor, " batch"]
    """Of adapter dropout."""

    extra: Float[Tensor, "batch channels height width"] | None = None
    """Noise that the input gets besides, of which the target knows nothing; None: nothing."""

    @property
    def shown(self) -> Float[Tensor, "batch channels height width"]:
        """The noise that the input gets, all of it."""
        return self.noise if self.extra is None else self.noise + self.extra

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Draw:
        """The same with every tensor changed, such as moved to a device."""
        return Draw(
            noise=change(self.noise),
            times=change(self.times),
            seeds=change(self.seeds),
            extra=None if self.extra is None else change(self.extra),
        )


@dataclass(frozen=True)
class Drawer:
    """Draws for one job."""

    seed: int
    objective: ObjectiveSpec

    def times(self, step: int, examples: int) -> Float[Tensor, " examples"]:
        """Times of the whole step."""
        return timesteps.drawn(
            self.objective.times, examples, generator=dice.generator(self.seed, "times", step)
        )

    def noise(self, step: int, slot: int, shape: torch.Size) -> Tensor:
        """Noise of one example, in float32."""
        return torch.randn(shape, generator=dice.generator(self.seed, "noise", step, slot))

    def extra(self, law: InputNoise, step: int, slot: int, shape: torch.Size) -> Tensor:
        """More noise for the input of one example."""
        noise = torch.randn(shape, generator=dice.generator(self.seed, "input noise", step, slot))
        share = dice.uniform(self.seed, "input noise share", step, slot) if law.random else 1.0
        return law.gamma * share * noise

    def draw(self, step: int, slots: Sequence[int], shape: torch.Size, times: Tensor) -> Draw:
        """For the examples in these slots, whose latents have this shape; `times` of the step."""
        law = self.objective.input_noise
        return Draw(
            noise=torch.stack([self.noise(step, slot, shape) for slot in slots]),
            times=times[list(slots)],
            seeds=torch.tensor(
                [dice.word(self.seed, "dropout", step, slot, bits=56) for slot in slots]
            ),
            extra=torch.stack([self.extra(law, step, slot, shape) for slot in slots])
            if law
            else None,
        )


def reseed(*key: int | str) -> None:
    """Tame the draws that libraries take from the global generators."""
    torch.manual_seed(dice.word(*key))
