"""Single steps from more noise to less along a model's own answers, by methods of several orders.

All of them speak of a process through `split` and `noised` alone, so they serve any process that
mixes clean latents and noise; `levels` finds out in which shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.objective.process import Latents, Process, Times, wide

Ask = Callable[[Latents, Times], Latents]
"""What the model answers for so many examples, counted from the first."""

Sampler = Literal["euler", "unipc", "dpm++", "rk4"]

FAR = 10.0
"""Beyond this log of signal over noise nothing changes any more: pure noise has minus infinity."""

LEAST = 2.0**-24
"""The smallest share of noise that is divided by, as `torch.rand` can give 0."""

ROOTS = (0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363)
SHARES = (0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)
"""Gauss and Legendre's eight points and weights, those above the middle (Abramowitz and Stegun,
table 25.4)."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Where examples have been, and the clean latents that the model saw from there."""

    times: Times
    latents: Latents
    clean: Latents

    def first(self, count: int) -> Known:
        """Of so many examples."""
        return Known(
            times=self.times[:count], latents=self.latents[:count], clean=self.clean[:count]
        )


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """A method, and what it remembers of an example's earlier steps, the newest first."""

    process: Process
    ask: Ask
    sampler: Sampler
    order: int
    past: tuple[Known, ...] = ()

    def step(self, latents: Latents, here: Times, there: Times) -> tuple[Latents, Stepper]:
        """The latents at the times `there`, and the method with one step more to remember.

        Examples that have come to their end are left out by taking fewer, from the first on.
        """
        match self.sampler:
            case "euler":
                return self._euler(latents, here, there), self
            case "rk4":
                return self._rk4(latents, here, there), self
            case "dpm++" | "unipc":
                return self._multistep(latents, here, there)

    def _euler(self, latents: Latents, here: Times, there: Times) -> Latents:
        """Euler's method for a flow, DDIM for epsilon."""
        return self.process.noised(
            *self.process.split(latents, self.ask(latents, here), here), there
        )

    def _rk4(self, latents: Latents, here: Times, there: Times) -> Latents:
        """The classical method of Runge and Kutta, on the straight line that every process walks
        once its latents are divided by the sum of both levels: d y / d w = noise - clean.

        Of fourth order where `w` is half way at the time half way, as for flows; elsewhere the
        weights are those of the place where it is, which leaves it of third order.
        """
        middle = self.process.snapped(torch.lerp(here, there, 0.5))
        scales, (start, half, end) = zip(
            *(_straight(self.process, one) for one in (here, middle, there)), strict=True
        )
        first = latents / wide(scales[0])
        one = self._slope(first * wide(scales[0]), here)
        two = self._slope((first + wide(half - start) * one) * wide(scales[1]), middle)
        three = self._slope((first + wide(half - start) * two) * wide(scales[1]), middle)
        four = self._slope((first + wide(end - start) * three) * wide(scales[2]), there)
        left, inner, right = (wide(share) for share in _simpson(start, half, end))
        slope = left * one + inner * (two + three) / 2 + right * four
        return (first + wide(end - start) * slope) * wide(scales[2])

    def _slope(self, latents: Latents, times: Times) -> Latents:
        clean, noise = self.process.split(latents, self.ask(latents, times), times)
        return noise - clean

    def _multistep(self, latents: Latents, here: Times, there: Times) -> tuple[Latents, Stepper]:
        """DPM-Solver++ (Lu et al. 2022): the clean latents as a polynomial in the log of signal
        over noise through the newest answers. UniPC (Zhao et al. 2023) first takes the step before
        once more with the answer at its end, which costs no further question."""
        past = tuple(one.first(len(latents)) for one in self.past)
        clean, _ = self.process.split(latents, self.ask(latents, here), here)
        if self.sampler == "unipc" and past:
            now = Known(times=here, latents=latents, clean=clean)
            latents = along(self.process, past[0], here, (now, *past))
        now = Known(times=here, latents=latents, clean=clean)
        known = (now, *past)[: self.order]
        moved = along(self.process, now, there, known)
        after = Stepper(
            process=self.process,
            ask=self.ask,
            sampler=self.sampler,
            order=self.order,
            past=known,
        )
        return moved, after


def levels(process: Process, times: Times) -> tuple[Times, Times]:
    """The shares of clean latents and of noise at these times."""
    one = torch.ones_like(wide(times))
    none = torch.zeros_like(one)
    clean, noise = process.noised(one, none, times), process.noised(none, one, times)
    return clean[:, 0, 0, 0], noise[:, 0, 0, 0]


def noise_in(process: Process, latents: Latents, clean: Latents, times: Times) -> Latents:
    """The noise with which the clean latents are these latents; finite where there is none."""
    signal, spread = levels(process, times)
    return (latents - wide(signal) * clean) / wide(spread.clamp(min=LEAST))


def along(process: Process, start: Known, end: Times, known: Sequence[Known]) -> Latents:
    """From `start` to the times `end`, with the model's clean latents as the polynomial through
    what is known of them."""
    shares = _shares(process, start.times, end, [one.times for one in known])
    parts = [wide(share) * one.clean for share, one in zip(shares, known, strict=True)]
    clean = torch.stack(parts).sum(0)
    return process.noised(clean, noise_in(process, start.latents, clean, start.times), end)


def _straight(process: Process, times: Times) -> tuple[Times, Times]:
    """Sum of both levels, and the share of noise in it."""
    signal, spread = levels(process, times)
    return signal + spread, spread / (signal + spread)


def _simpson(start: Times, half: Times, end: Times) -> tuple[Times, Times, Times]:
    """Weights of both ends and a place between them that integrate parabolas; 1/6, 2/3, 1/6 for
    the middle, and where there is no way at all."""
    length = end - start
    at = torch.where(length == 0, 0.5, (half - start) / torch.where(length == 0, 1.0, length))
    return 1 / 2 - 1 / (6 * at), 1 / (6 * at * (1 - at)), 1 / 2 - 1 / (6 * (1 - at))


def _logs(process: Process, times: Times) -> Float[Tensor, " batch"]:
    """Log of signal over noise, in float64, as differences of it are small."""
    signal, spread = levels(process, times.double())
    return (signal / spread).log().clamp(-FAR, FAR)


def _shares(
    process: Process, start: Times, end: Times, at: Sequence[Times]
) -> list[Float[Tensor, " batch"]]:
    """How much each of the known answers counts: the mean of its Lagrange polynomial from start to
    end, weighed by exp(log signal over noise). Where two of them lie together, the newest is all.
    """
    begin, stop = _logs(process, start), _logs(process, end)
    nodes = torch.stack([_logs(process, one) for one in at])
    roots, weights = _points(begin)
    length = stop - begin
    places = begin + length * roots[:, None]
    weights = weights[:, None] * torch.exp(length * (roots[:, None] - 1))
    found: list[Tensor] = []
    for number in range(len(at)):
        curve = torch.ones_like(places)
        for other in range(len(at)):
            if other != number:
                gap = nodes[number] - nodes[other]
                curve = curve * (places - nodes[other]) / torch.where(gap == 0, 1.0, gap)
        found.append((weights * curve).sum(0) / weights.sum(0))
    together = (nodes.diff(dim=0).abs() < 1e-9).any(0)
    newest = [1.0, *[0.0] * (len(at) - 1)]
    return [
        torch.where(together, alone, share).to(start.dtype)
        for alone, share in zip(newest, found, strict=True)
    ]


def _points(like: Tensor) -> tuple[Tensor, Tensor]:
    """Places between 0 and 1 and their weights."""
    roots = [-one for one in ROOTS] + list(ROOTS)
    there = torch.tensor([roots, [*SHARES, *SHARES]], dtype=torch.float64)
    there = there.to(like.device, non_blocking=True)
    return (there[0] + 1) / 2, there[1] / 2
