"""The learning rate as a function of the step, so that there is no schedule to save."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scumble.spec.training import ScheduleSpec, TrainingSpec

CYCLES = 2  # of `cosine_with_restarts`; with one it would be `cosine`
TIMESCALE = 1_000  # steps of `inverse_sqrt` without a warm-up
LEAST = 1e-6  # of a wave at its lowest: Prodigy fails at a rate of 0
HALF_PERIOD = 1_000  # steps of `wave` from the full rate to the floor
DECAY = 0.2  # share of the steps; Haegele et al. 2024 find no gain beyond


@dataclass(frozen=True)
class Way:
    """How far a run has come on the way after its warm-up."""

    schedule: ScheduleSpec
    past: int
    """Steps taken since."""

    length: int
    """Steps from there to the end of the run."""

    @property
    def done(self) -> float:
        """The share of the way: 0 at its first step, below 1 at its last."""
        return self.past / self.length


def _constant(way: Way) -> float:
    return 1.0


def _linear(way: Way) -> float:
    return 1 - way.done


def _cosine(way: Way) -> float:
    """(1 + cos(pi t)) / 2, Loshchilov and Hutter 2017 (SGDR), equation 5, one cycle."""
    return _half_cosine(way.done)


def _restarts(way: Way) -> float:
    """The same over and over, each cycle as long as the others and from the full rate.

    In whole numbers: where cycles do not divide the steps, a restart is the first step after.
    """
    cycles = way.schedule.cycles or CYCLES
    return _half_cosine(way.past * cycles % way.length / way.length)


def _polynomial(way: Way) -> float:
    """(1 - t) ** power."""
    return (1 - way.done) ** (way.schedule.power or 1.0)


def _inverse_sqrt(way: Way) -> float:
    """1 / sqrt(1 + s / timescale), s steps after the warm-up; knows no end.

    Vaswani et al. 2017, section 5.3: with the warm-up's length as the timescale it is their
    1 / sqrt(step), meeting the warm-up at the full rate.
    """
    scale = way.schedule.timescale or way.schedule.warmup_steps or TIMESCALE
    return math.sqrt(scale / (scale + way.past))


def _warmup_stable_decay(way: Way) -> float:
    """Full, and at the end a short fall: Hu et al. 2024 (MiniCPM), section 4.

    `sqrt` is the 1 - sqrt(t) that Haegele et al. 2024 find best, section 4.
    """
    falling = min(way.length, decay_steps(way.schedule, way.schedule.warmup_steps + way.length))
    done = max(0, way.past - (way.length - falling)) / falling
    return DECAYS[way.schedule.decay_shape or "sqrt"](done)


def _rex(way: Way) -> float:
    """(1 - t) / (1/2 + (1 - t) / 2): Chen et al. 2021 (REX), section 4.

    Above the straight line all the way, and steepest at the end.
    """
    left = 1 - way.done
    return left / (0.5 + left / 2)


def _wave(way: Way) -> float:
    """(1 + cos(pi s / p)) / 2, or from the middle (1 + sin(pi s / p)) / 2, s steps after the
    warm-up with half a period of p; knows no end, and touches `floor` once a period."""
    turns = way.past / (way.schedule.half_period or HALF_PERIOD)
    middle = way.schedule.wave_from == "middle"
    found = (1 + math.sin(math.pi * turns)) / 2 if middle else _half_cosine(turns)
    return max(found, LEAST)


def _half_cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


SHAPES: dict[str, Callable[[Way], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _restarts,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _warmup_stable_decay,
    "rex": _rex,
    "wave": _wave,
}
DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": _half_cosine,
    "sqrt": lambda done: 1 - math.sqrt(done),
}


def decay_steps(schedule: ScheduleSpec, steps: int) -> int:
    """The last steps over which `warmup_stable_decay` falls, at least one."""
    share = DECAY if schedule.decay_share is None else schedule.decay_share
    return schedule.decay_steps or max(1, round(share * steps))


def share(schedule: ScheduleSpec, step: int, steps: int) -> float:
    """The share of the full rate at step 1, 2, ..., steps.

    Warm-up reaches the full rate at its last step; after it the shape is walked from its start,
    and would reach `floor` at the step after the last.
    """
    if step <= schedule.warmup_steps:
        return step / schedule.warmup_steps
    way = Way(schedule, step - 1 - schedule.warmup_steps, steps - schedule.warmup_steps)
    return schedule.floor + (1 - schedule.floor) * SHAPES[schedule.kind](way)


def rate(plan: TrainingSpec, step: int) -> float:
    """The learning rate of a step."""
    return plan.learning_rate * share(plan.schedule, step, plan.steps)
