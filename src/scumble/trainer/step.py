"""One training step's losses: the whole method, in the order the paper tells it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.data.batch import Batch
from scumble.families.family import Entry, Family, Knobs, Modules, Scene, Told, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective.loss import per_example, taken, weights
from scumble.objective.process import Latents, Times
from scumble.objective.timesteps import shifted
from scumble.spec.objective import ObjectiveSpec
from scumble.trainer.draws import Draw


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is trained, and how its errors count."""

    family: Family
    net: Net
    place: Place
    knobs: Knobs
    objective: ObjectiveSpec
    encoders: Modules = field(default_factory=dict)
    """Text encoders that are trained too: they read at every step."""

    def shift(self, batch: Batch) -> float:
        """How far times lean toward noise at the size of these pictures."""
        if self.objective.shift != "resolution":
            return self.objective.shift
        height, width = batch.latents.shape[-2:]
        side = self.family.pixels_per_step // self.family.pixels_per_latent
        return self.family.process.shift((height // side) * (width // side))


def losses(method: Method, batch: Batch, draw: Draw) -> Float[Tensor, " batch"]:
    """How wrong the model is on each example, at the noise level drawn for it."""
    process, objective = method.family.process, method.objective
    times = process.snapped(shifted(draw.times, method.shift(batch)))
    noisy = process.noised(batch.latents, draw.shown, times)
    counted = batch.weights * weights(objective.weighting, times)
    return counted * _measured(method, batch, noisy, draw.noise, times)


def losses_at(
    method: Method, batch: Batch, noise: Latents, times: Times
) -> Float[Tensor, " batch"]:
    """The bare loss of each example, with this noise at these very times.

    Masks, `prediction` and the kind of error are the job's, for they say what is measured; nothing
    is drawn, shifted or weighed.
    """
    noisy = method.family.process.noised(batch.latents, noise, times)
    return _measured(method, batch, noisy, noise, times)


def spoken(method: Method, words: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch's texts as the network is told them, read now as far as encoders are trained."""
    if not method.encoders:
        return words
    rows = [dict(zip(words, row, strict=True)) for row in zip(*words.values(), strict=True)]
    with method.place.autocast():
        read = method.family.read(method.encoders, rows)
    lower = method.place.dtype
    made = stacked(read).items()
    return words | {name: one.to(lower) if one.is_floating_point() else one for name, one in made}


@torch.no_grad()
def read_now(method: Method, words: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch's texts, wherever they lie, as the encoders read them as they stand."""
    if not method.encoders:
        return words
    return spoken(method, {name: one.to(method.place.device) for name, one in words.items()})


def told_now(method: Method, entry: Entry) -> Entry:
    """The same of one text."""
    return {name: one[0] for name, one in read_now(method, stacked([entry])).items()}


def _measured(
    method: Method, batch: Batch, noisy: Latents, noise: Latents, times: Times
) -> Float[Tensor, " batch"]:
    family, objective = method.family, method.objective
    given = Told(values=spoken(method, batch.words), references=batch.references)
    told = family.tell(given, Scene(frames=batch.frames), method.knobs)
    with method.place.autocast():
        answer = family.predict(method.net, noisy, times, told)
    found = taken(objective.prediction, answer, noisy, times)
    target = family.process.target(batch.latents, noise, times)
    return per_example(objective.loss, found, target, times, batch.masks)
