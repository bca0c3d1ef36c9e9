"""The held-out loss of a run: when it is measured, on what, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter

from scumble.caching import measured as batches
from scumble.data.held_out import caption, measured
from scumble.data.library import Library
from scumble.data.picture_set import PictureSet
from scumble.events import Event, Measured, Warned
from scumble.observers import measurements
from scumble.preflight.plan import Plan
from scumble.trainer import optimizers
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.step import losses_at
from scumble.validation import held_out
from scumble.validation.held_out import Course


class Measuring:
    """Measures what the weights that would be delivered now lose on held-out pictures.

    Weights, optimizer and global generators are afterwards as they were.
    """

    def __init__(self, plan: Plan, library: Library, parts: Parts) -> None:
        self._plan, self._library, self._parts = plan, library, parts
        self._wanted = plan.job.validation.held_out
        self._conditions = _conditions(plan)
        self._course = Course(list(measurements.read(plan.folder)))

    def __call__(self, step: int) -> Iterator[Event]:
        """Measure, and say so when the loss has begun to rise."""
        told = self._measured(step)
        lowest = self._course.add(told)
        yield told
        if lowest is not None:
            yield Warned(text=_risen(told, lowest))

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
        start, parts = perf_counter(), self._parts
        with optimizers.shown(parts.optimizer, parts.adapters.parameters()):
            found = held_out.losses(
                batches(self._plan, self._library),
                partial(losses_at, parts.method),
                self._wanted,
                self._plan.place.device,
            )
        told = held_out.measured(step, found, self._wanted, self._conditions, self._course.taken)
        return replace(told, seconds=perf_counter() - start)


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


def _risen(told: Measured, lowest: int) -> str:
    assert told.lowest is not None
    return (
        f"The held-out loss was lowest at step {lowest:,} ({told.lowest.mean:.4f}) and has risen by"
        f" {100 * told.lowest.change:.1f} % since: the model begins to learn its pictures by heart."
        f" A checkpoint or preview near step {lowest:,} may serve better."
    )
