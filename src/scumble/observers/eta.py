"""How long a run will still take, told from its events alone."""

from collections import deque
from statistics import fmean, median_low

from scumble.events import Drifted, Event, Measured, Previewed, Saved, Scored, Started, StepDone

WARM_UP_STEPS = 3
"""First steps of a session (compilation, first allocations) that say nothing about the rest."""

RECENT_STEPS = 200
"""Enough for every bucket's size to have its turn, few enough to follow a change of pace."""

OUTLIER = 4.0
"""A step this many times slower than the median (a new shape is compiled) will not come again."""


class Eta:
    """Hears events and estimates the seconds left: steps, and what else is to come between them."""

    def __init__(self) -> None:
        self._plan: Started | None = None
        self._step = 0
        self._taken = 0
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._previews: list[float] = []
        self._saves: list[float] = []
        self._measures: list[float] = []
        self._scores: list[float] = []
        self._drifts: list[float] = []
        self._drifted = -1
        self._measured = -1
        self._scored = -1
        self._previewed = -1
        self._saved = -1

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Started():
                self._plan, self._step, self._taken = event, event.after, 0
                self._recent.clear()
            case StepDone():
                self._step = event.step
                self._taken += 1
                self._recent.append(event.seconds)
            case Previewed():
                self._previewed = event.step
                self._previews.append(event.seconds)
            case Measured():
                self._measured = event.step
                self._measures.append(event.seconds)
            case Scored():
                self._scored = event.step
                self._scores.append(event.seconds)
            case Drifted():
                self._drifted = event.step
                self._drifts.append(event.seconds)
            case Saved():
                self._saved = event.step
                self._saves.append(event.seconds)
            case _:
                pass

    def seconds_per_step(self) -> float | None:
        """Mean of the recent steps, warm-up and outliers left out; unknown before two steps."""
        if self._taken < 2:
            return None
        forgotten = self._taken - len(self._recent)
        warm_up = min(WARM_UP_STEPS, self._taken // 2)
        recent = list(self._recent)[max(0, warm_up - forgotten) :]
        limit = OUTLIER * median_low(recent)
        return fmean(seconds for seconds in recent if seconds <= limit)

    def seconds_left(self) -> float | None:
        """Seconds to the end of the last step, save and preview; None while unknown."""
        pace = self.seconds_per_step()
        if self._plan is None or pace is None:
            return None
        steps = self._plan.steps
        before = self._step - 1
        saves = due(self._plan.save_every, max(before, self._saved), steps)
        previews = 0
        if self._plan.preview_every:
            previews = due(self._plan.preview_every, max(before, self._previewed), steps)
        measures = 0
        if self._plan.measure_every is not None:
            measures = due(self._plan.measure_every, max(before, self._measured), steps)
        drifts = 0
        if self._plan.drift_every is not None:
            drifts = due(self._plan.drift_every, max(before, self._drifted), steps)
        scores = 0
        if self._plan.score_every is not None:
            scores = due(self._plan.score_every, max(before, self._scored), steps)
        return (
            max(0, steps - self._step) * pace
            + saves * (median_low(self._saves) if self._saves else 0.0)
            + previews * (median_low(self._previews) if self._previews else 0.0)
            + measures * (median_low(self._measures) if self._measures else 0.0)
            + scores * (median_low(self._scores) if self._scores else 0.0)
            + drifts * (median_low(self._drifts) if self._drifts else 0.0)
        )


def due(every: int, after: int, steps: int) -> int:
    """How often something comes after step `after`: each `every` steps, and at the last."""
    if after >= steps:
        return 0
    if every == 0:
        return 1
    return steps // every - max(0, after) // every + (steps % every > 0)
