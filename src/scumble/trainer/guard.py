"""Says when a run is slower, larger or later than earlier runs of the same job on this machine.

Three numbers are compared: seconds per step, peak memory while training, and the time from the
launch to the first step. Each is told once a run, as soon as it is certain, with what changed
since the last good run; `scumble.trainer.records` says how they are kept. Nothing here makes the
host wait for a card: a step's time is the one that the loop has measured anyway.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from scumble.events import (
    Encoded,
    Event,
    Fetched,
    Measured,
    Previewed,
    Saved,
    Started,
    StepDone,
    Warned,
)
from scumble.hardware.memory import forget_peak, peak_bytes
from scumble.trainer import records
from scumble.trainer.records import Bounds, Mark, Series
from scumble.trainer.surroundings import changed, load, surroundings

LOADED = time.monotonic()
OWN_SECONDS = 1.0
"""A run that begins so soon after this module was loaded is what its process was launched for."""

WARM_UP_STEPS = 5
"""First steps of a session (compilation, first allocations) that say nothing about the rest."""

FIRST_LOOK = 20  # steady steps; the next look is at twice as many, and so on
RECENT_STEPS = 4096
SLOWEST = 0.05
"""Share of steps left out as hiccups. The mean of the others counts: a median would jump from one
size of pictures to another."""

CERTAIN = 2.0  # standard errors by which a pace must be out of bounds before it is told


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one number is judged and spoken of."""

    bounds: Bounds
    this: str
    """The beginning of the sentence, with its number."""

    last: str
    unit: Callable[[float], str]
    """The number as it is said, with its unit where it comes first."""

    bare: Callable[[float], str]
    doubt: str = "Nothing that is recorded changed."
    """What is said of a worse number that nothing explains."""


KINDS: Mapping[str, Kind] = {
    "pace": Kind(
        bounds=Bounds(share=0.25, least=0.01),
        this="This run takes {} a step",
        last="took {}",
        unit=lambda value: f"{value:.2f} s" if value >= 0.1 else f"{1e3 * value:.0f} ms",
        bare=lambda value: f"{value:.2f}" if value >= 0.1 else f"{1e3 * value:.0f} ms",
        doubt="Nothing that is recorded changed; is something else running on this machine?",
    ),
    "memory": Kind(
        bounds=Bounds(share=0.1, least=5e8),
        this="This run needs up to {} of memory while training",
        last="needed {}",
        unit=lambda value: f"{value / 1e9:.1f} GB",
        bare=lambda value: f"{value / 1e9:.1f}",
    ),
    "start": Kind(
        bounds=Bounds(share=0.5, least=5.0),
        this="This run took {} from its launch to its first step",
        last="took {}",
        unit=lambda value: f"{value:.0f} s",
        bare=lambda value: f"{value:.0f}",
        doubt="Nothing that is recorded changed; after a reboot all files are read anew.",
    ),
}
"""Wide enough for a machine that also does other things. Memory is steadier than time."""


class Guard:
    """Hears the events of a run; `news` are its findings, each told once."""

    def __init__(
        self,
        file: Path,
        about: Mapping[str, Any],
        device: torch.device,
        *,
        own: bool,
    ) -> None:
        """`own`: whether the process was launched for this run; else neither its memory nor its
        age say anything about it.
        """
        self._file, self._about, self._device = file, about, device
        self._own = own
        self._earlier = records.read(file)
        self._around = surroundings(device)
        self._found: dict[str, float] = {}
        self._news: deque[str] = deque()
        self._told: set[str] = set()
        self._plan: Started | None = None
        self._taken, self._look = 0, FIRST_LOOK
        self._seconds: deque[float] = deque(maxlen=RECENT_STEPS)
        self._warm, self._elsewhere = own, 0.0
        self._peak_counts = False

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Fetched() | Encoded():
                self._warm = False
            case Started():
                self._plan = event
                self._peak_counts = self._own and forget_peak(self._device)
            case StepDone():
                self._step(event)
            case Saved():
                self._measure_memory()
                self._measure_pace()
                self._keep()
            case Previewed() | Measured():
                self._elsewhere += event.seconds
                self._peak_counts = self._own and forget_peak(self._device)
            case _:
                pass

    def news(self) -> list[str]:
        """What has been found since the last look."""
        if not self._news:
            return []
        told = list(self._news)
        self._news.clear()
        return told

    def _step(self, event: StepDone) -> None:
        self._taken += 1
        if self._taken == 1:
            self._measure_start()
        if event.applied and self._taken > WARM_UP_STEPS:
            self._seconds.append(event.seconds)
            if len(self._seconds) == self._look:
                self._look *= 2
                self._measure_pace()
        if self._plan and self._plan.preview_every and self._before_preview(event.step):
            self._measure_memory()

    def _before_preview(self, step: int) -> bool:
        assert self._plan
        return step % self._plan.preview_every == 0 or step == self._plan.steps

    def _measure_start(self) -> None:
        age = process_age()
        if self._warm and age is not None:
            self._note("start", age - self._elsewhere)

    def _measure_memory(self) -> None:
        peak = peak_bytes(self._device) if self._peak_counts else None
        if peak is not None:
            self._note("memory", max(float(peak), self._found.get("memory", 0.0)))

    def _measure_pace(self) -> None:
        if len(self._seconds) >= FIRST_LOOK:
            self._around = self._around | load()
            mean, error = steady(self._seconds)
            self._note("pace", mean, error)

    def _note(self, name: str, value: float, error: float = 0.0) -> None:
        """Remember a number, and say so if it is out of bounds for certain."""
        self._found[name] = value
        kind, series = KINDS[name], self._earlier.get(name, Series())
        verdict = series.verdict(value, kind.bounds)
        certain = value - CERTAIN * error if verdict == "worse" else value + CERTAIN * error
        same = series.verdict(certain, kind.bounds) == verdict
        if verdict in ("worse", "better") and same and name not in self._told:
            self._told.add(name)
            since = changed(series.good[-1].around, self._around)
            self._news.append(said(kind, value, series, since))

    def _keep(self) -> None:
        today = datetime.now(UTC).date().isoformat()
        series = dict(self._earlier)
        for name, value in self._found.items():
            mark = Mark(value=value, date=today, around=self._around)
            series[name] = series.get(name, Series()).with_run(mark, KINDS[name].bounds)
        if self._found:
            records.write(self._file, series, self._about)


def said(kind: Kind, value: float, series: Series, since: Sequence[str]) -> str:
    """A number, what it used to be, and what changed."""
    usual = series.usual
    who = "the last one" if len(series.good) == 1 else "earlier ones"
    now, then = kind.unit(value), kind.unit(usual)
    alike = now.rpartition(" ")[2] == then.rpartition(" ")[2]
    before = kind.last.format(kind.bare(usual) if alike else then)
    share = f"{100 * (value / usual - 1):+.0f} %"
    text = f"{kind.this.format(now)}; {who} {before} ({share})."
    if since:
        return f"{text} Since then: {', '.join(since)}."
    return f"{text} {kind.doubt}" if value > usual else text


def steady(seconds: Iterable[float]) -> tuple[float, float]:
    """The mean of steps without the slowest, and its standard error."""
    values = sorted(seconds)
    kept = values[: len(values) - math.floor(SLOWEST * len(values))]
    return fmean(kept), stdev(kept) / len(kept) ** 0.5


def watched(
    tell: Callable[[Event], None], *sources: Callable[[], Iterable[str]]
) -> Callable[[Event], None]:
    """Tells an event, then what these sources have to say now that it is told."""

    def told(event: Event) -> None:
        tell(event)
        for source in sources:
            for text in source():
                tell(Warned(text=text))

    return told


def own_process(entered: float) -> bool:
    """Whether a run that began then, on the monotonic clock, is what this process is for."""
    return entered - LOADED < OWN_SECONDS


def process_age() -> float | None:
    """Seconds since this process was launched; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        after_name = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        launched = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime
        return time.clock_gettime(time.CLOCK_BOOTTIME) - launched
    return None
