"""What is done to an adapter around a step, besides the step itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from scumble.adapters.attach import Adapters
from scumble.adapters.ggpo import Ggpo
from scumble.adapters.norms import bounded


@dataclass
class Bound:
    """A bound on the norm of each layer's change."""

    adapters: Adapters
    most: float
    waiting: Tensor | None = None
    """What the last step's scaling came to, still on the device."""


@dataclass(frozen=True)
class Care:
    """Noise and a bound, or neither."""

    noise: Ggpo | None = None
    bound: Bound | None = None

    def begin(self, step: int) -> None:
        """Before the step's first unit."""
        if self.noise:
            self.noise.begin(step)

    def waiting(self) -> list[Tensor]:
        """How many layers were scaled down after the step before, and the largest norm then: what
        the host may read when it waits anyway. Empty where nothing bounds them."""
        told = self.bound.waiting if self.bound else None
        return [] if told is None else list(told)

    def before_move(self) -> None:
        """With the step's gradients, clipped, before the weights move by them."""
        if self.noise:
            self.noise.measure()

    def after_move(self) -> None:
        """When the weights have moved."""
        if self.bound:
            self.bound.waiting = bounded(self.bound.adapters, self.bound.most)

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides weights and the optimizer's state."""
        return self.noise.kept() if self.noise else {}

    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `kept` gave."""
        if self.noise:
            self.noise.put_back(tensors)


NONE = Care()
"""Nothing is done."""
