"""One training step's losses: the whole method, in the order the paper tells it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from scumble.data.batch import Batch
from scumble.families.family import Family, Knobs, Scene, Told
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective.loss import per_example
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

    def shift(self, batch: Batch) -> float:
        """How far times lean toward noise at the size of these pictures."""
        if self.objective.shift != "resolution":
            return self.objective.shift
        height, width = batch.latents.shape[-2:]
        side = self.family.pixels_per_step // self.family.pixels_per_latent
        return self.family.process.shift((height // side) * (width // side))


def losses(method: Method, batch: Batch, draw: Draw) -> Float[Tensor, " batch"]:
    """How wrong the model is on each example, at the noise level drawn for it."""
    family, process = method.family, method.family.process
    times = process.snapped(shifted(draw.times, method.shift(batch)))
    noisy = process.noised(batch.latents, draw.noise, times)
    shown = Told(values=batch.words, references=batch.references)
    told = family.tell(shown, Scene(frames=batch.frames), method.knobs)
    with method.place.autocast():
        answer = family.predict(method.net, noisy, times, told)
    target = process.target(batch.latents, draw.noise, times)
    return batch.weights * per_example(method.objective.loss, answer, target, batch.masks)
