"""One training step's losses: the whole method, in the order the paper tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.adapters.trained import Trained
from scumble.data.batch import Batch
from scumble.families.family import Entry, Family, Knobs, Modules, Scene, Told, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective import rollout
from scumble.objective.loss import per_example, taken, weights
from scumble.objective.process import Latents, Times
from scumble.objective.stepping import Stepper
from scumble.objective.timesteps import shifted, shifts
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

    adapters: Trained | None = None
    """What is trained, for those who ask the network without it or without its dropout; None where
    nothing is."""

    def shift(self, batch: Batch) -> float:
        """How far times lean toward noise at the size of these pictures."""
        if not shifts(self.objective.times):
            return 1.0
        if self.objective.shift != "resolution":
            return self.objective.shift
        height, width = batch.latents.shape[-2:]
        side = self.family.pixels_per_step // self.family.pixels_per_latent
        return self.family.process.shift((height // side) * (width // side))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the network is asked about: examples on their way to noise."""

    noisy: Latents
    times: Times
    told: Told
    target: Latents
    """What a perfect model would answer."""


def losses(method: Method, batch: Batch, draw: Draw) -> Float[Tensor, " batch"]:
    """How wrong the model is on each example, at the noise level drawn for it."""
    process, objective = method.family.process, method.objective
    times = process.snapped(shifted(draw.times, method.shift(batch)))
    plain = Moment(
        noisy=process.noised(batch.latents, draw.shown, times),
        times=times,
        told=_told(method, batch, draw.spare),
        target=process.target(batch.latents, draw.noise, times),
    )
    moment = _walked(method, batch, draw, plain)
    moment = _taught(method, batch, draw, moment)
    counted = batch.weights * weights(objective.weighting, times)
    found = taken(objective.prediction, answered(method, moment), moment.noisy, times)
    if objective.rollout is None or objective.rollout.reflex is None or not any(draw.back):
        return counted * _measured(method, batch, moment, found)
    return counted * _reflected(method, batch, draw, (plain, moment), found)


def losses_at(
    method: Method, batch: Batch, noise: Latents, times: Times
) -> Float[Tensor, " batch"]:
    """The bare loss of each example, with this noise at these very times.

    Masks, `prediction` and the kind of error are the job's, for they say what is measured; nothing
    is drawn, shifted or weighed.
    """
    process = method.family.process
    moment = Moment(
        noisy=process.noised(batch.latents, noise, times),
        times=times,
        told=_told(method, batch, None),
        target=process.target(batch.latents, noise, times),
    )
    found = taken(method.objective.prediction, answered(method, moment), moment.noisy, times)
    return _measured(method, batch, moment, found)


def extra_passes(method: Method, batch: Batch, draw: Draw) -> int:
    """How often a batch's losses ask the network without gradients."""
    law = method.objective.rollout
    walks = 0 if law is None else max(draw.back, default=0) * rollout.questions(law.sampler)
    return walks + (batch.teach is not None and bool(batch.teach.any()))


def prior_of(batch: Batch, found: Float[Tensor, " batch"]) -> tuple[Tensor | None, int]:
    """Sum of the losses of the examples that are answered like the base model, and their number."""
    if batch.teach is None or not bool(batch.teach.any()):
        return None, 0
    counted = batch.teach.to(found.device, found.dtype, non_blocking=True)
    return (counted * found).sum(), int(batch.teach.sum())


def answered(method: Method, moment: Moment) -> Latents:
    """What the network says as it stands."""
    with method.place.autocast():
        return method.family.predict(method.net, moment.noisy, moment.times, moment.told)


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


def _told(method: Method, batch: Batch, spare: Tensor | None) -> Told:
    given = Told(values=spoken(method, batch.words), references=batch.references)
    scene = Scene(frames=batch.frames, spare=spare)
    return method.family.tell(given, scene, method.knobs)


def _measured(
    method: Method, batch: Batch, moment: Moment, found: Latents
) -> Float[Tensor, " batch"]:
    return per_example(method.objective.loss, found, moment.target, moment.times, batch.masks)


def _walked(method: Method, batch: Batch, draw: Draw, plain: Moment) -> Moment:
    """With the examples that are walked where the network has brought them, and with what leads
    from there to the clean latents. It is asked as it stands, without dropout."""
    law, process = method.objective.rollout, method.family.process
    if law is None or not any(draw.back):
        return plain
    order = sorted(range(len(draw.back)), key=lambda row: -draw.back[row])
    rows = _rows([row for row in order if draw.back[row]], plain.times.device)
    steps = sorted((one for one in draw.back if one), reverse=True)
    moved = torch.tensor(steps, dtype=plain.times.dtype)
    end = plain.times[rows]
    begin = rollout.source(process, end, moved.to(end.device, non_blocking=True))
    with torch.no_grad(), _undropped(method):
        told = _of_rows(plain.told, rows)
        stepper = Stepper(
            process=process, ask=partial(_asked, method, told), sampler=law.sampler, order=law.order
        )
        start = process.noised(batch.latents[rows], draw.shown[rows], begin)
        there = rollout.walked(stepper, start, (begin, end), steps)
    noisy = plain.noisy.index_copy(0, rows, there)
    if law.target == "unchanged":
        return replace(plain, noisy=noisy)
    led = rollout.corrected(process, batch.latents[rows], there, end)
    return replace(plain, noisy=noisy, target=plain.target.index_copy(0, rows, led))


def _taught(method: Method, batch: Batch, draw: Draw, moment: Moment) -> Moment:
    """With the base model's own answer as the target of the examples that are to keep it."""
    if batch.teach is None or not bool(batch.teach.any()):
        return moment
    assert method.adapters is not None, "there is something to be taught"
    all_of_them, asked = bool(batch.teach.all()), moment
    rows = _rows(batch.teach.nonzero()[:, 0].tolist(), moment.times.device)
    with torch.no_grad(), _undropped(method), method.adapters.off():
        if method.encoders:
            asked = replace(asked, told=_told(method, batch, draw.spare))
        if not all_of_them:
            asked = Moment(
                noisy=asked.noisy[rows],
                times=asked.times[rows],
                told=_of_rows(asked.told, rows),
                target=asked.target[rows],
            )
        answer = answered(method, asked)
        taught = taken(method.objective.prediction, answer, asked.noisy, asked.times)
    target = taught if all_of_them else moment.target.index_copy(0, rows, taught)
    return replace(moment, target=target)


def _reflected(
    method: Method, batch: Batch, draw: Draw, moments: tuple[Moment, Moment], found: Latents
) -> Float[Tensor, " batch"]:
    """The loss as ReflexFlow has it, of the examples that were walked."""
    process, objective = method.family.process, method.objective
    assert objective.rollout is not None and objective.rollout.reflex is not None
    spec, (plain, moment) = objective.rollout.reflex, moments
    walks = torch.tensor([one > 0 for one in draw.back]).to(found.device, non_blocking=True)
    astray = rollout.astray(spec, plain.noisy, moment.noisy)
    factors = rollout.chosen(walks, astray, torch.ones_like(astray))
    factors = factors if batch.masks is None else factors * batch.masks
    loss = per_example(objective.loss, found, moment.target, moment.times, factors)
    led = rollout.corrected(process, batch.latents, moment.noisy, moment.times)
    turned = rollout.turned(process, (found, led), moment.noisy, moment.times, batch.masks)
    return loss + rollout.chosen(walks, spec.direction * turned, torch.zeros_like(turned))


def _asked(method: Method, told: Told, noisy: Latents, times: Times) -> Latents:
    """What the network says of the first so many examples."""
    first = _first(told, len(noisy))
    with method.place.autocast():
        return method.family.predict(method.net, noisy, times, first).float()


@contextmanager
def _undropped(method: Method) -> Iterator[None]:
    """Without the dropout of what is trained."""
    if method.adapters is None:
        yield
        return
    with method.adapters.dropping(None):
        yield


def _rows(rows: list[int], device: torch.device) -> Tensor:
    """Places in a batch, on the device; the host does not wait for it."""
    return torch.tensor(rows).to(device, non_blocking=True)


def _of_rows(told: Told, rows: Tensor) -> Told:
    """What is told of these examples, without gradients."""
    values = {name: one.detach()[rows] for name, one in told.values.items()}
    return Told(values=values, references=tuple(one[rows] for one in told.references))


def _first(told: Told, count: int) -> Told:
    values = {name: one[:count] for name, one in told.values.items()}
    return Told(values=values, references=tuple(one[:count] for one in told.references))
