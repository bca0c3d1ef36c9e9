"""What a step comes to over all processes: gradients, loss, and whether one of them wants to stop.

All of it travels in one sum. What the host must know of it is read with the step's other numbers,
so that it waits for its card but once.
"""

from __future__ import annotations

import math
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
    extra: Extra

    def numbers(self, others: Sequence[Tensor]) -> Numbers:
        """The losses, these others and the marks, in one wait for the device."""
        priors = [] if self.extra.prior is None else [self.extra.prior]
        known = torch.stack([*self.losses, *priors, *others])
        values = (known if self.marks is None else torch.cat([known, self.marks])).tolist()
        losses, count = len(self.losses), len(self.losses) + len(priors)
        return Numbers(
            loss=math.fsum(values[:losses]),
            prior=math.fsum(values[losses:count]),
            others=values[count : count + len(others)],
            marks=values[count + len(others) :],
        )

    def read(self, values: Sequence[float]) -> Verdict:
        """What the marks say, now that they are known; gradients that no process had are gone."""
        if not values:
            return Verdict(taught=self.extra.taught, passes=self.extra.passes)
        failed, taught, passes, *rest = values
        votes, had = rest[: len(SIGNALS)], rest[len(SIGNALS) :]
        for parameter, count in zip(self.parameters, had, strict=True):
            if count == 0:  # a zero would still decay the weights, which alone it does not
                parameter.grad = None
        heard = [name for name, count in zip(SIGNALS, votes, strict=True) if count > 0]
        return Verdict(
            failed=failed > 0,
            stop=heard[0] if heard else None,
            taught=round(taught),
            passes=round(passes),
        )


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What the host has waited for."""

    loss: float
    prior: float
    """Sum of the losses of the examples for prior preservation."""

    others: list[float]
    marks: list[float]


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What was done in a step besides its plain examples."""

    prior: Tensor | None = None
    """Sum of the losses of the examples for prior preservation, on the device; None without any."""

    taught: int = 0
    """How many of them there were."""

    passes: int = 0
    """Through the network, without gradients."""

    def and_also(self, prior: Tensor | None, taught: int, passes: int) -> Extra:
        """With those of one batch more."""
        both = [one for one in (self.prior, prior) if one is not None]
        return Extra(
            prior=torch.stack(both).sum() if both else None,
            taught=self.taught + taught,
            passes=self.passes + passes,
        )


NOTHING = Extra()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all processes do alike."""

    failed: bool = False
    """Whether one of them could not do its share."""

    stop: str | None = None
    """The signal that one of them has heard."""

    taught: int = 0
    """Examples for prior preservation, and passes without gradients, of all of them together."""

    passes: int = 0


def tallied(
    crew: Crew,
    parameters: Sequence[nn.Parameter],
    losses: list[Tensor],
    *,
    extra: Extra = NOTHING,
    stop: str | None,
    failed: bool,
) -> Tally:
    """Sum the gradients over all processes, and what else they have to tell each other."""
    if crew.world == 1:
        return Tally(losses=losses, marks=None, parameters=parameters, extra=extra)
    device = parameters[0].device
    told = [float(failed), float(extra.taught), float(extra.passes)]
    told += [float(stop == name) for name in SIGNALS]
    told += [float(one.grad is not None) for one in parameters]
    loss = torch.stack(losses).sum() if losses else torch.zeros((), device=device)
    marks = torch.tensor(told).to(device, non_blocking=True)
    # of the zeros of a failure nothing is kept: it ends the run
    mine = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    prior = torch.zeros_like(loss) if extra.prior is None else extra.prior
    *gradients, loss, prior, marks = crew.summed([*mine, loss, prior, marks])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    return Tally(losses=[loss], marks=marks, parameters=parameters, extra=Extra(prior=prior))
