"""A job that counts in epochs or in shares of the run, as one that counts in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from scumble.data.held_out import Parted
from scumble.data.order import Order
from scumble.data.scan import Scan
from scumble.errors import JobError
from scumble.families.family import Family
from scumble.preflight import mixture
from scumble.spec.base import Spec
from scumble.spec.job import JobSpec
from scumble.spec.training import TrainingSpec

S = TypeVar("S", bound=Spec)


def mixed(
    job: JobSpec, scans: Sequence[Scan], family: Family
) -> tuple[JobSpec, tuple[Parted, ...], Order]:
    """The job with its steps counted, its sets with their held-out pictures apart, and who comes
    when."""
    parted = mixture.divided(job, scans, family)
    order = mixture.order(job, [one.trained for one in parted])
    steady = counted(job, order)
    if steady == job:
        return job, parted, order
    parted = mixture.divided(steady, scans, family)
    return steady, parted, mixture.order(steady, [one.trained for one in parted])


def counted(job: JobSpec, order: Order) -> JobSpec:
    """The job with steps in the place of epochs and of shares of all steps.

    As in sd-scripts an epoch has the steps that its batches fill, the last one rounded up. JobError
    where the steps that this comes to do not fit the schedule.
    """
    per_epoch = _steps(job, order, 0)
    training = _training(job, order)
    validation = _every(job.validation, per_epoch)
    held_out = _every(job.validation.held_out, per_epoch)
    changes = {
        "training": training,
        "saving": _every(job.saving, per_epoch),
        "validation": validation.model_copy(update={"held_out": held_out}),
    }
    return job.model_copy(update=changes)


def _steps(job: JobSpec, order: Order, epoch: int) -> int:
    """Of one epoch of all sets together."""
    units = sum(order.units_in_epoch(epoch, pool) for pool in range(len(order.pools)))
    return math.ceil(units / job.training.units_per_step)


def _training(job: JobSpec, order: Order) -> TrainingSpec:
    given, schedule = job.training, job.training.schedule
    steps = given.steps
    if given.epochs is not None:
        steps = sum(_steps(job, order, epoch) for epoch in range(given.epochs))
    warmup = schedule.warmup_steps or int(schedule.warmup_share * steps)
    plan = {"warmup_steps": warmup, "warmup_share": 0.0}
    told = given.model_dump() | {"steps": steps, "epochs": None}
    try:
        return TrainingSpec.model_validate(told | {"schedule": schedule.model_dump() | plan})
    except ValidationError as error:
        words = error.errors()[0]["msg"].removeprefix("Value error, ")
        problem, _, remedy = words.partition("; ")
        raise JobError("training", f"with {steps} steps in all {problem}", remedy) from None


def _every(section: S, per_epoch: int) -> S:
    """A section that has `every` and `every_epochs`, the latter in steps."""
    epochs = section.model_dump()["every_epochs"]
    if epochs is None:
        return section
    return section.model_copy(update={"every": epochs * per_epoch, "every_epochs": None})
