"""What a step comes to over all processes: gradients, loss, and whether one of them wants to stop.

All of it travels in one sum. What the host must know of it is read with the step's other numbers,
so that it waits for its card but once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scumble.hardware.parallel import Crew

SIGNALS = ("SIGINT", "SIGTERM")
"""A process votes for the end of the run with the signal that it has heard."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The sums of one step, still on the device."""

    losses: list[Tensor]
    """They add up to the step's loss."""

    marks: Float[Tensor, " marks"] | None
    """What `read` understands; None where a process trains alone."""

    parameters: Sequence[nn.Parameter]

    def numbers(self, others: Sequence[Tensor]) -> list[float]:
        """The losses, these others and the marks, in one wait for the device."""
        known = torch.stack([*self.losses, *others])
        return (known if self.marks is None else torch.cat([known, self.marks])).tolist()

    def read(self, values: Sequence[float]) -> Verdict:
        """What the marks say, now that they are known; gradients that no process had are gone."""
        if not values:
            return Verdict()
        failed, votes, had = values[0], values[1 : len(SIGNALS) + 1], values[len(SIGNALS) + 1 :]
        for parameter, count in zip(self.parameters, had, strict=True):
            if count == 0:  # a zero would still decay the weights, which alone it does not
                parameter.grad = None
        heard = [name for name, count in zip(SIGNALS, votes, strict=True) if count > 0]
        return Verdict(failed=failed > 0, stop=heard[0] if heard else None)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all processes do alike."""

    failed: bool = False
    """Whether one of them could not do its share."""

    stop: str | None = None
    """The signal that one of them has heard."""


def tallied(
    crew: Crew,
    parameters: Sequence[nn.Parameter],
    losses: list[Tensor],
    *,
    stop: str | None,
    failed: bool,
) -> Tally:
    """Sum the gradients over all processes, and what else they have to tell each other."""
    if crew.world == 1:
        return Tally(losses=losses, marks=None, parameters=parameters)
    device = parameters[0].device
    told = [float(failed), *(float(stop == name) for name in SIGNALS)]
    told += [float(one.grad is not None) for one in parameters]
    loss = torch.stack(losses).sum() if losses else torch.zeros((), device=device)
    marks = torch.tensor(told).to(device, non_blocking=True)
    # of the zeros of a failure nothing is kept: it ends the run
    mine = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    *gradients, loss, marks = crew.summed([*mine, loss, marks])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    return Tally(losses=[loss], marks=marks, parameters=parameters)
