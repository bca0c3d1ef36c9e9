"""What is done to an adapter around a step, besides the step itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.adapters.attach import Adapters
from scumble.adapters.ggpo import Ggpo
from scumble.adapters.norms import bounded
from scumble.trainer.averages import Average

FIRST = "first/"
"""What the names of first values in a checkpoint begin with."""


@dataclass
class Bound:
    """A bound on the norm of each layer's change."""

    adapters: Adapters
    most: float
    waiting: Tensor | None = None
    """What the last step's scaling came to, still on the device."""


@dataclass(frozen=True)
class Care:
    """Noise and bounds, one of each for every network that is trained, or none; and an average."""

    noises: tuple[Ggpo, ...] = ()
    bounds: tuple[Bound, ...] = ()
    firsts: tuple[Adapters, ...] = ()
    """Those that began at directions of their layers, which a checkpoint must hold."""

    average: Average | None = None
    """Of what is trained, where the job keeps one; of several processes, the first one's."""

    def begin(self, step: int) -> None:
        """Before the step's first unit."""
        for noise in self.noises:
            noise.begin(step)
        if self.average is not None:
            self.average.begin()

    def waiting(self) -> list[Tensor]:
        """How many layers were scaled down after the step before, and the largest norm then: what
        the host may read when it waits anyway. Empty where nothing bounds them."""
        told = [one.waiting for one in self.bounds if one.waiting is not None]
        if not told:
            return []
        counts, norms = torch.stack([one.to(told[0].device) for one in told]).unbind(1)
        return [counts.sum(), norms.max()]

    def before_move(self) -> None:
        """With the step's gradients, clipped, before the weights move by them."""
        for noise in self.noises:
            noise.measure()
        if self.average is not None:
            self.average.before_move()

    def after_move(self, step: int) -> None:
        """When the weights have moved at this step."""
        for bound in self.bounds:
            bound.waiting = bounded(bound.adapters, bound.most)
        if self.average is not None:
            self.average.after_move(step)

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides weights and the optimizer's state."""
        kept = {name: one for noise in self.noises for name, one in noise.kept().items()}
        return kept | {f"{FIRST}{name}": one for name, one in self._first().items()}

    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `kept` gave."""
        for noise in self.noises:
            noise.put_back(tensors)
        for name, one in self._first().items():
            one.copy_(tensors[f"{FIRST}{name}"])

    def _first(self) -> dict[str, Tensor]:
        return {name: one for adapters in self.firsts for name, one in adapters.first().items()}


NONE = Care()
"""Nothing is done."""
