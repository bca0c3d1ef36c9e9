"""The held-out loss of a run: when it is measured, on what, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

from scumble.caching import measured as batches
from scumble.data.held_out import caption, measured
from scumble.data.library import Library
from scumble.data.picture_set import PictureSet
from scumble.events import Event, Measured, Warned, Weights
from scumble.observers import measurements
from scumble.preflight.plan import Plan
from scumble.trainer import averages
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.step import losses_at
from scumble.validation import held_out
from scumble.validation.held_out import Course, Losses


class Measuring:
    """Measures what the weights as they stand lose on held-out pictures, and their average, too.

    Weights, optimizer, average and global generators are afterwards as they were.
    """

    def __init__(self, plan: Plan, library: Library, parts: Parts) -> None:
        self._plan, self._library, self._parts = plan, library, parts
        self._wanted = plan.job.validation.held_out
        self._conditions = _conditions(plan)
        self._course = Course(list(measurements.read(plan.folder)))

    def __call__(self, step: int) -> Iterator[Event]:
        """Measure, and say so when the loss has begun to rise, and at the end when the file that
        is not delivered is the better one."""
        told = self._measured(step)
        lowest = self._course.add(told)
        yield told
        if lowest is not None:
            yield Warned(text=_risen(told, lowest))
        if step >= self._plan.job.training.steps and (words := _better(self._plan, told)):
            yield Warned(text=words)

    def opening(self, after: int, dates: Dates) -> Iterator[Event]:
        """What comes before the first step: the run's first measurement, and one that is due and
        was not made; after a resume the journal knows those of before."""
        steps = self._plan.job.training.steps
        if dates.measures is None:
            return
        self._course.taken[:] = [one for one in self._course.taken if one.step <= after]
        first = not held_out.comparable(self._course.taken, self._conditions, before=after + 1)
        due = after >= steps or (after > 0 and dates.measure(after, steps))
        if first or (due and not self._course.known(after, self._conditions)):
            yield from self(after)

    def _measured(self, step: int) -> Measured:
        start, taken = perf_counter(), self._course.taken
        told = self._told(step, self._losses("raw"), taken)
        ema = None
        if self._parts.care.average is not None:
            # before the first step it is the weights, bit for bit
            found = self._losses("ema") if step else None
            earlier = [one.ema for one in taken if one.ema is not None]
            ema = self._told(step, found, earlier) if found else told
            ema = replace(ema, raw=held_out.compared(told, ema.examples))
        return replace(told, seconds=perf_counter() - start, ema=ema)

    def _losses(self, which: Weights) -> Losses:
        parts, average = self._parts, self._parts.care.average
        with averages.shown(parts.optimizer, parts.adapters.parameters(), average, which):
            return held_out.losses(
                batches(self._plan, self._library),
                partial(losses_at, parts.method),
                self._wanted,
                self._plan.place.device,
            )

    def _told(self, step: int, found: Losses, earlier: Sequence[Measured]) -> Measured:
        return held_out.measured(step, found, self._wanted, self._conditions, earlier)


def _conditions(plan: Plan) -> str:
    """Stands for all that decides what is measured, except what is trained."""
    job = plan.job
    kind = job.objective.model_dump_json(include={"loss", "prediction"})
    told = f"{kind} {job.model.guidance} {plan.tokens}"
    pictures = (
        _row(one, member) for one in measured(plan.parted) for member in range(len(one.examples))
    )
    return held_out.conditions(job.validation.held_out, told, pictures)


def _row(one: PictureSet, member: int) -> str:
    """A picture with all that is shown along."""
    example = one.examples[member]
    images = [example.target, *example.references, example.mask]
    sizes = [image and (image.id, image.size_bytes) for image in images]
    return f"{one.spec.id} {sizes} {one.frames[member].row()} {caption(one, member)}"


def _better(plan: Plan, told: Measured) -> str | None:
    """Where the weights that are delivered lose more than the others, and not by chance."""
    spec = plan.job.training.ema
    since = told.ema.raw if told.ema else None
    if spec is None or since is None or since.low is None or since.high is None:
        return None
    averaged = spec.deliver == "ema"
    if not (since.low > 0 if averaged else since.high < 0):
        return None
    kinds = ("the raw weights lose", "ema", "raw") if averaged else ("the EMA loses", "raw", "ema")
    name, share = plan.job.name, 100 * abs(since.change)
    return (
        f"On held-out pictures {kinds[0]} {share:.1f} % less than what {name}.safetensors holds"
        f" (`training.ema.deliver: {kinds[1]}`); {name}.{kinds[2]}.safetensors may serve better."
    )


def _risen(told: Measured, lowest: int) -> str:
    assert told.lowest is not None
    return (
        f"The held-out loss was lowest at step {lowest:,} ({told.lowest.mean:.4f}) and has risen by"
        f" {100 * told.lowest.change:.1f} % since: the model begins to learn its pictures by heart."
        f" A checkpoint or preview near step {lowest:,} may serve better."
    )
