"""What earlier runs of a job measured on this machine: one small file for each kind of job.

Nothing depends on these files: one that is torn, foreign or gone counts as empty, and what cannot
be written is left out. Several processes may write; the last one stays, whole.

A run outside the bounds of earlier ones does not become the measure of later ones at once: it
waits, and only when the next run is out on the same side do the two of them begin a new series.
So a regression is told twice and then taken as the way things are; a single bad night is told
and forgotten.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from scumble.disk import stale, write_whole
from scumble.errors import DiskError

FORMAT = 1
KEPT_RUNS = 8
KEPT_JOBS = 200
Verdict = Literal["unknown", "usual", "worse", "better"]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One number that one run measured."""

    value: float
    date: str
    """The day, as 2026-11-03."""

    around: Mapping[str, str]
    """What may explain that a later run measures something else: versions, threads, load."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """From where on a number is worth a word: beyond both of these, and beyond earlier runs."""

    share: float
    least: float


@dataclass(frozen=True)
class Series:
    """One number over the runs of a job."""

    good: tuple[Mark, ...] = ()
    """Those that count, the newest last."""

    doubtful: Mark | None = None
    """The newest, if it was out of bounds."""

    @property
    def usual(self) -> float:
        """What runs measure, from the first on."""
        return median(mark.value for mark in self.good)

    def verdict(self, value: float, bounds: Bounds) -> Verdict:
        """How a number stands to earlier ones; smaller is better."""
        if not self.good:
            return "unknown"
        usual, values = self.usual, [mark.value for mark in self.good]
        if value > max(usual * (1 + bounds.share), usual + bounds.least, *values):
            return "worse"
        if value < min(usual / (1 + bounds.share), usual - bounds.least, *values):
            return "better"
        return "usual"

    def with_run(self, mark: Mark, bounds: Bounds) -> Series:
        """The series once this run has been."""
        verdict = self.verdict(mark.value, bounds)
        if verdict in ("unknown", "usual"):
            return Series((*self.good, mark)[-KEPT_RUNS:])
        if self.doubtful and self.verdict(self.doubtful.value, bounds) == verdict:
            return Series((self.doubtful, mark))
        return replace(self, doubtful=mark)


def read(file: Path) -> dict[str, Series]:
    """The series in a file by name; none where there is no such file or it makes no sense."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] == FORMAT:
            return {str(name): _series(one) for name, one in found["series"].items()}
    return {}


def _series(found: Mapping[str, Any]) -> Series:
    doubtful = found["doubtful"]
    return Series(tuple(map(_mark, found["good"])), _mark(doubtful) if doubtful else None)


def _mark(found: Mapping[str, Any]) -> Mark:
    around = {str(name): str(value) for name, value in found["around"].items()}
    value = float(found["value"])
    if not 0 < value < math.inf:
        raise ValueError(f"{value} is no measure of a run")
    return Mark(value=value, date=str(found["date"]), around=around)


def write(file: Path, series: Mapping[str, Series], about: Mapping[str, Any]) -> None:
    """Keep the series with the job they are of; silent where that fails."""
    value = {
        "format": FORMAT,
        "about": about,
        "series": {name: asdict(one) for name, one in series.items()},
    }
    with suppress(DiskError, OSError):
        write_whole(file, json.dumps(value, indent=1).encode() + b"\n")
        _prune(file.parent)


def _prune(folder: Path) -> None:
    """Let the oldest jobs go, and what killed writers have left."""
    for partial in folder.glob(".*"):
        if stale(partial):
            partial.unlink(missing_ok=True)
    files = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime)
    for old in files[:-KEPT_JOBS]:
        old.unlink(missing_ok=True)
