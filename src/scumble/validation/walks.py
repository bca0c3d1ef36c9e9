"""From noise to clean latents, several pictures of one size at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scumble.families.family import Family, Knobs, Scene, Told
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective.process import Latents, Times
from scumble.objective.solvers import Answer, walked

Words = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a picture is made, whatever it shows."""

    steps: int
    guidance: float
    """What the network is told."""

    scale: float = 1.0
    """How far it is led away from another text (Ho and Salimans 2022); 1: not at all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where pictures begin, and what the network is told on their way; alike in shape."""

    noise: Latents
    words: Words
    """[batch, ...]"""

    without: Words | None = None
    """What they are led away from, [batch, ...]; its length may be another. None: nothing."""

    references: tuple[Tensor, ...] = ()
    """Clean latents, in order, [batch, channels, height, width] each; told with both texts."""

    frames: Int[Tensor, "batch 8"]
    """As a batch has them; see `Scene`."""


@torch.no_grad()
def arrived(family: Family, net: Net, place: Place, start: Start, manner: Manner) -> Latents:
    """The clean latents that the model makes.

    With `without` and a scale other than 1 the network is asked twice at every step, and the
    answers are joined by `family.guided` in float32.
    """
    ask = asking(family, net, place, start, manner)
    led = start.without if manner.scale != 1 else None
    away = None if led is None else replace(start, words=led)
    other = None if away is None else asking(family, net, place, away, manner)

    def answer(noisy: Latents, times: Times) -> Latents:
        found = ask(noisy, times)
        if other is None:
            return found
        return family.guided(found.float(), other(noisy, times).float(), manner.scale)

    path = path_of(family, start, manner.steps)
    return walked(family.process, answer, start.noise.to(place.device), path)


def asking(family: Family, net: Net, place: Place, start: Start, manner: Manner) -> Answer:
    """What the network answers to the words of a start, anywhere on the way; it is not led."""
    told = _told(family, place, start, start.words, manner)

    def answer(noisy: Latents, times: Times) -> Latents:
        with place.autocast():
            return family.predict(net, noisy, times, told)

    return answer


def path_of(family: Family, start: Start, steps: int) -> Float[Tensor, " steps_and_one"]:
    """The published sampler's times for pictures of this size."""
    height, width = start.noise.shape[-2:]
    side = family.pixels_per_step // family.pixels_per_latent
    return family.process.path(steps, (height // side) * (width // side))


def _told(family: Family, place: Place, start: Start, words: Words, manner: Manner) -> Told:
    there = {name: tensor.to(place.device) for name, tensor in words.items()}
    references = tuple(one.to(place.device) for one in start.references)
    scene = Scene(frames=start.frames)
    return family.tell(
        Told(values=there, references=references), scene, Knobs(guidance=manner.guidance)
    )
