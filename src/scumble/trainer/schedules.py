"""The learning rate as a function of the step, so that there is no schedule to save."""

from __future__ import annotations

import math
from collections.abc import Callable

from scumble.spec.training import ScheduleSpec, TrainingSpec

SHAPES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda done, power: 1.0,
    "linear": lambda done, power: 1 - done,
    "cosine": lambda done, power: (1 + math.cos(math.pi * done)) / 2,
    "polynomial": lambda done, power: (1 - done) ** power,
}


def share(schedule: ScheduleSpec, step: int, steps: int) -> float:
    """The share of the full rate at step 1, 2, ..., steps.

    Warm-up reaches the full rate at its last step; after it the shape is walked from its start,
    and would reach `floor` at the step after the last.
    """
    if step <= schedule.warmup_steps:
        return step / schedule.warmup_steps
    done = (step - 1 - schedule.warmup_steps) / max(1, steps - schedule.warmup_steps)
    shape = SHAPES[schedule.kind](done, schedule.power or 1.0)
    return schedule.floor + (1 - schedule.floor) * shape


def rate(plan: TrainingSpec, step: int) -> float:
    """The learning rate of a step."""
    return plan.learning_rate * share(plan.schedule, step, plan.steps)
