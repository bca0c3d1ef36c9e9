"""The loss on pictures that are not trained on: the same pictures, noise and times each time.

Nothing is drawn anew, so a measurement can be repeated, and two of them differ by what the network
has learnt between them and by nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from statistics import fmean

import torch
from torch import Tensor

from scumble import dice
from scumble.data.batch import Batch
from scumble.events import Band, Compared, Measured
from scumble.objective.process import Latents, Times
from scumble.spec.validation import HeldOutSpec

Loss = Callable[[Batch, Latents, Times], Tensor]
"""The bare loss of each example of a batch, with this noise at these times."""

Losses = Mapping[str, tuple[float, ...]]
"""Of each picture, named like `SET/cat.png`, at each time."""

QUANTILES = (12.706, 4.303, 3.182, 2.776)
"""Student's t at 97.5 % for 1 to 4 degrees of freedom (Gosset 1908)."""

NORMAL = 1.959964
"""The same of a normal number: for infinitely many."""

RISE = 0.01
"""A rise by a smaller share of the lowest loss is not worth a word, however certain it is."""


@torch.no_grad()
def losses(
    batches: Iterable[Batch], loss: Loss, wanted: HeldOutSpec, device: torch.device
) -> Losses:
    """What every picture loses at each time, mean over its noises; in the order of their ids.

    The device is waited for once, at the end.
    """
    ids: list[str] = []
    found: list[Tensor] = []
    for batch in batches:
        there = batch.mapped(lambda tensor: tensor.to(device))
        noises = [noise_for(wanted.seed, batch, k).to(device) for k in range(wanted.noises)]
        for time in wanted.times:
            times = torch.full((len(batch.ids),), time, device=device)
            measured = [loss(there, noise, times).float() for noise in noises]
            found.append(torch.stack(measured).mean(0))
        ids += batch.ids
    told = torch.cat(found).tolist() if found else []
    return _by_picture(ids, told, [len(each) for each in found], len(wanted.times))


def _by_picture(
    ids: Sequence[str], told: Sequence[float], counts: Sequence[int], times: int
) -> Losses:
    """Losses that lie batch by batch, and within a batch time by time, sorted out by id."""
    rows: list[tuple[float, ...]] = []
    first = 0
    for size in counts[::times]:
        block = [told[first + n * size : first + (n + 1) * size] for n in range(times)]
        rows += zip(*block, strict=True)
        first += size * times
    return dict(sorted(zip(ids, rows, strict=True)))


def noise_for(seed: int, batch: Batch, number: int) -> Latents:
    """The noise that each picture of a batch meets; another batch would give it the same."""
    shape = batch.latents.shape[1:]
    return torch.stack(
        [torch.randn(shape, generator=dice.generator(seed, "eval", id, number)) for id in batch.ids]
    )


def conditions(wanted: HeldOutSpec, objective: str, pictures: Iterable[str]) -> str:
    """A short text that differs wherever two measurements could not be compared."""
    facts = (wanted.times, wanted.noises, wanted.seed, objective, sorted(pictures))
    return blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def measured(
    step: int, found: Losses, wanted: HeldOutSpec, conditions: str, earlier: Sequence[Measured]
) -> Measured:
    """The event that tells of a measurement; `earlier` are those of the run before it.

    Pictures are what is independent of one another: the mean over times is taken of each first.
    """
    whole = {id: fmean(row) for id, row in found.items()}
    band = band_of(list(whole.values()))
    sets: dict[str, list[float]] = {}
    for id, value in whole.items():
        sets.setdefault(id.split("/", 1)[0], []).append(value)
    like = comparable(earlier, conditions, before=step)
    return Measured(
        step=step,
        mean=band.mean,
        low=band.low,
        high=band.high,
        by_time=tuple(
            (time, band_of([row[place] for row in found.values()]))
            for place, time in enumerate(wanted.times)
        ),
        sets={name: band_of(values) for name, values in sets.items()},
        examples=whole,
        conditions=conditions,
        first=compared(like[0], whole) if like else None,
        lowest=compared(min(like, key=lambda one: one.mean), whole) if like else None,
        seconds=0.0,
    )


def comparable(taken: Sequence[Measured], conditions: str, *, before: int) -> list[Measured]:
    """Those of earlier steps that were made under these conditions and came out finite."""
    like = [one for one in taken if one.conditions == conditions and one.step < before]
    return [one for one in like if math.isfinite(one.mean)]


def band_of(values: Sequence[float]) -> Band:
    """The mean of pictures with its interval, by Student's t; no loss is below zero."""
    count, mean = len(values), fmean(values)
    if count < 2:
        return Band(mean=mean, low=None, high=None, pictures=count)
    spread = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    reach = quantile(count - 1) * math.sqrt(spread / count)
    return Band(mean=mean, low=max(0.0, mean - reach), high=mean + reach, pictures=count)


def compared(then: Measured, now: Mapping[str, float]) -> Compared:
    """By which share the mean has changed, picture by picture.

    The standard error is that of a ratio of two means over the same pictures (Cochran 1977,
    section 6.4): what counts is how far each picture is from having changed by the common factor.
    """
    before = [then.examples[id] for id in now]
    count, mean = len(before), fmean(before)
    change = fmean(now.values()) / mean - 1 if mean else 0.0
    if count < 2 or not mean:
        return Compared(step=then.step, mean=mean, change=change, low=None, high=None)
    off = [new - (1 + change) * old for new, old in zip(now.values(), before, strict=True)]
    spread = math.fsum(value**2 for value in off) / (count - 1)
    reach = quantile(count - 1) * math.sqrt(spread / count) / mean
    return Compared(
        step=then.step, mean=mean, change=change, low=change - reach, high=change + reach
    )


def quantile(freedom: int) -> float:
    """Student's t at 97.5 %: from a table, then by Cornish and Fisher's series in 1 / freedom.

    Abramowitz and Stegun 1964, 26.7.5; 5 degrees of freedom give 2.568 (exactly 2.571).
    """
    if freedom <= len(QUANTILES):
        return QUANTILES[freedom - 1]
    z, n = NORMAL, float(freedom)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def rises(course: Sequence[Measured]) -> int | None:
    """The step of the lowest loss, where the run has clearly left it behind.

    The last two measurements must lie above it, and the last by more than chance and by more
    than 1 %: one that wavers says nothing.
    """
    if len(course) < 3 or not course[-1].lowest:
        return None
    before, since = course[-2], course[-1].lowest
    higher = before.step > since.step and before.mean > since.mean
    clear = since.change > RISE and (since.low is None or since.low > 0)
    return since.step if higher and clear else None


@dataclass
class Course:
    """The measurements of a run so far, in the order of their steps."""

    taken: list[Measured]

    def known(self, step: int, conditions: str) -> bool:
        """Whether this measurement has been made."""
        return any(one.step == step and one.conditions == conditions for one in self.taken)

    def add(self, one: Measured) -> int | None:
        """Take note of a measurement; the step of the lowest loss where it tells, for the first
        time, that the run has left that behind."""
        like = comparable(self.taken, one.conditions, before=one.step)
        told = {rises(like[: n + 1]) for n in range(len(like))}
        self.taken.append(one)
        found = rises([*like, one])
        return None if found in told else found
