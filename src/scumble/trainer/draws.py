"""What a step draws at random, as a function of (seed, step, slot).

A slot is an example's place in the whole step, so the draws do not know how the step is cut into
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scumble import dice
from scumble.data.batch import Batch
from scumble.objective import rollout, timesteps
from scumble.spec.objective import InputNoise, ListedTimes, NoiseOffset, ObjectiveSpec


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

    back: tuple[int, ...] = ()
    """By how many steps each example begins nearer to noise, to be walked here by the network;
    empty: none of them."""

    spare: Float[Tensor, " batch"] | None = None
    """Uniform numbers that a family may spend on what it tells the network."""

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
            back=self.back,
            spare=None if self.spare is None else change(self.spare),
        )


@dataclass(frozen=True)
class Drawer:
    """Draws for one job."""

    seed: int
    objective: ObjectiveSpec
    spares: bool = False
    """Whether the family has a use for spare numbers."""

    def times(self, step: int, examples: int) -> Float[Tensor, " examples"]:
        """Times of the whole step."""
        match self.objective.times:
            case ListedTimes(order="in_turn") as law:
                return timesteps.in_turn(law, (step - 1) * examples, examples)
            case law:
                dice_of_step = dice.generator(self.seed, "times", step)
                return timesteps.drawn(law, examples, generator=dice_of_step)

    def noise(self, step: int, slot: int, shape: torch.Size) -> Tensor:
        """Noise of one example, in float32."""
        noise = torch.randn(shape, generator=dice.generator(self.seed, "noise", step, slot))
        offset = self.objective.noise_offset
        return noise if offset is None else noise + self._offset(offset, step, slot, shape[0])

    def _offset(self, law: NoiseOffset, step: int, slot: int, channels: int) -> Tensor:
        """The same for all places of a channel."""
        if dice.uniform(self.seed, "noise offset share", step, slot) >= law.probability:
            return torch.zeros(channels, 1, 1)
        generator = dice.generator(self.seed, "noise offset", step, slot)
        return law.amount * torch.randn((channels, 1, 1), generator=generator)

    def extra(self, law: InputNoise, step: int, slot: int, shape: torch.Size) -> Tensor:
        """More noise for the input of one example."""
        noise = torch.randn(shape, generator=dice.generator(self.seed, "input noise", step, slot))
        share = dice.uniform(self.seed, "input noise share", step, slot) if law.random else 1.0
        left = max(0.0, 1 - (step - 1) / law.steps) if law.steps else 1.0
        return law.gamma * left * share * noise

    def spare(self, step: int, slots: Sequence[int]) -> Tensor | None:
        """Uniform numbers, one for each example."""
        if not self.spares:
            return None
        return torch.tensor([dice.uniform(self.seed, "guidance", step, slot) for slot in slots])

    def back(self, step: int, slots: Sequence[int]) -> tuple[int, ...]:
        """By how many steps each example is walked; empty where none of them is."""
        law = self.objective.rollout
        if law is None:
            return ()
        steps = tuple(rollout.drawn(law, self.seed, step, slot) for slot in slots)
        return steps if any(steps) else ()

    def for_batch(self, step: int, slots: Sequence[int], batch: Batch, times: Tensor) -> Draw:
        """The same for a batch, with what its set has to say of the draws.

        Examples that are to be answered like the base model are not walked: what it answers is
        known at any place.
        """
        draw = self.draw(step, slots, batch.latents.shape[1:], times)
        if batch.time_offset:
            draw = replace(draw, times=timesteps.offset(draw.times, batch.time_offset))
        if batch.teach is not None and draw.back:
            taught = batch.teach.tolist()
            steps = tuple(0 if no else one for one, no in zip(draw.back, taught, strict=True))
            draw = replace(draw, back=steps if any(steps) else ())
        return draw

    def heeded(self, step: int, slots: Sequence[int], batch: Batch) -> Batch:
        """The batch with masks of ones for the examples that go without theirs this time."""
        if batch.masks is None or batch.masks_heeded >= 1:
            return batch
        chances = [dice.uniform(self.seed, "mask", step, slot) for slot in slots]
        without = torch.tensor([chance >= batch.masks_heeded for chance in chances])
        return replace(batch, masks=batch.masks.masked_fill(without[:, None, None, None], 1.0))

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
            back=self.back(step, slots),
            spare=self.spare(step, slots),
        )


def reseed(*key: int | str) -> None:
    """Tame the draws that libraries take from the global generators."""
    torch.manual_seed(dice.word(*key))
