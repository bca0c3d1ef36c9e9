"""How far a model has moved from its base on prompts that it is not to forget.

The base model is walked from noise to pictures, with the adapter off; at every point on these ways
the adapted network is asked what the base was asked. All else is fixed, so the figure is 0 where
nothing was learnt, and two of them differ by what was learnt between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import torch
from torch import Tensor

from scumble import dice
from scumble.errors import JobError
from scumble.families.family import Entry, Family, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective.process import Latents, Times
from scumble.objective.solvers import Answer, walked
from scumble.spec.validation import DriftSpec
from scumble.validation.walks import Manner, Start, asking, path_of


@dataclass(frozen=True, kw_only=True)
class Walker:
    """Who is asked, and how."""

    family: Family
    net: Net
    place: Place
    manner: Manner
    """Its steps are the points on a way; answers are not led away from any other text."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where the base was asked, and its answer; on the CPU, so that no card is filled by it."""

    noisy: Latents
    times: Times
    answer: Latents


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """Pictures of one prompt that the base was on its way to."""

    prompt: str
    start: Start
    """Its words as they are kept: encoders that are trained read them anew for each model."""

    points: tuple[Point, ...]


def check(spec: DriftSpec, family: Family) -> list[JobError]:
    """What of a job's section this family cannot do."""
    step, where = family.pixels_per_step, "validation.drift"
    problems = []
    if spec.side is not None and spec.side % step:
        near = max(step, round(spec.side / step) * step)
        remedy = f"{family.name} needs a multiple of {step}, such as {near}"
        problems.append(JobError(f"{where}.side", f"{spec.side} does not fit", remedy))
    if spec.prompts and family.references_needed:
        needs = f"{family.name} {family.flavour} is shown a reference for every picture"
        problem = f"{needs}, and a prompt by itself has none"
        problems.append(JobError(f"{where}.prompts", problem, "leave them out"))
    return problems


def starts(
    texts: Sequence[tuple[str, Entry]], spec: DriftSpec, family: Family, side: int, together: int
) -> Iterator[tuple[str, Start]]:
    """Where all ways begin, at most so many of one prompt together; sides in pixels."""
    latents = side // family.pixels_per_latent
    shape = (family.latent_channels, latents, latents)
    frame = [side, side, side, side, 0, 0, side, side]
    for prompt, entry in texts:
        for first in range(0, spec.noises, together):
            numbers = range(first, min(first + together, spec.noises))
            drawn = [dice.generator(spec.seed, "drift", prompt, number) for number in numbers]
            yield (
                prompt,
                Start(
                    noise=torch.stack([torch.randn(shape, generator=one) for one in drawn]),
                    words=stacked([entry] * len(numbers)),
                    frames=torch.tensor([frame] * len(numbers)),
                ),
            )


@torch.no_grad()
def way(walker: Walker, prompt: str, start: Start, words: Entry) -> Way:
    """Walk the network as it stands, which is to be the base model; `words` as it reads them."""
    points: list[Point] = []
    ask = _asking(walker, start, words)

    def answer(noisy: Latents, times: Times) -> Latents:
        found = ask(noisy, times).float()
        points.append(Point(noisy=noisy.cpu(), times=times.cpu(), answer=found.cpu()))
        return found

    path = path_of(walker.family, start, walker.manner.steps)
    walked(walker.family.process, answer, start.noise.to(walker.place.device), path)
    return Way(prompt=prompt, start=start, points=tuple(points))


@torch.no_grad()
def moved(walker: Walker, one: Way, words: Entry) -> Tensor:
    """The sum of squares by which the network as it stands answers otherwise, and that of the
    base's answers; on the device. `words` as it reads them."""
    device, ask = walker.place.device, _asking(walker, one.start, words)
    sums = torch.zeros(2, device=device)
    for point in one.points:
        base = point.answer.to(device)
        off = ask(point.noisy.to(device), point.times.to(device)).float() - base
        sums += torch.stack([off.square().sum(), base.square().sum()])
    return sums


def _asking(walker: Walker, start: Start, words: Entry) -> Answer:
    told = replace(start, words=words)
    return asking(walker.family, walker.net, walker.place, told, walker.manner)


def shares(found: Iterable[tuple[str, Tensor]]) -> tuple[float, Mapping[str, float]]:
    """Of everything together, and of each prompt: how far, as a share. The device is waited for
    once."""
    rows = list(found)
    sums = torch.stack([each for _, each in rows]).tolist()
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for (prompt, _), (off, base) in zip(rows, sums, strict=True):
        by_prompt.setdefault(prompt, []).append((off, base))
    each = {prompt: _share(pairs) for prompt, pairs in by_prompt.items()}
    return _share([pair for pairs in by_prompt.values() for pair in pairs]), each


def _share(pairs: Sequence[tuple[float, float]]) -> float:
    off, base = (math.fsum(column) for column in zip(*pairs, strict=True))
    return math.sqrt(off / base) if base else 0.0


def conditions(
    spec: DriftSpec, prompts: Sequence[str], side: int, manner: Manner, tokens: int
) -> str:
    """A short text that differs wherever two figures could not be compared."""
    facts = (spec.noises, spec.steps, spec.seed, tuple(prompts), side, manner.guidance, tokens)
    return blake2b(repr(facts).encode(), digest_size=8).hexdigest()
