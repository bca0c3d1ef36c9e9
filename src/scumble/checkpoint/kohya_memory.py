"""Which files outside its folder a run has written, so that it takes away none but these.

A name is noted before the file is written and again with its size and date once it is there: after
a kill between the two it is still known whose it is. It lies in the run's folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scumble import dice
from scumble.disk import write_whole

FILE = "outputs.json"
Mark = tuple[int, int] | None
"""Size in bytes and date of change in nanoseconds; None while it is being written."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered of a run."""

    session: int
    """A number of its own, for the metadata of its files."""

    started: float
    """Unix time of its first start."""

    written: Mapping[str, Mark] = field(default_factory=dict[str, Mark])
    """By name, in the folder where the files go."""

    def owns(self, place: Path) -> bool:
        """Whether this run has written what lies there, and nobody has changed it since."""
        if place.name not in self.written:
            return False
        mark = self.written[place.name]
        return mark is None or mark == marked(place)


def read(folder: Path, seed: int, name: str) -> Memory:
    """What a run's folder remembers; of a new run, when it began."""
    try:
        told: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        marks = {
            str(one): None if mark is None else (int(mark[0]), int(mark[1]))
            for one, mark in told["written"].items()
        }
        return Memory(session=int(told["session"]), started=float(told["started"]), written=marks)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        started = time.time()
        return Memory(session=dice.word(seed, "session", name, repr(started)), started=started)


def write(folder: Path, memory: Memory) -> None:
    """Keep it, safe on disk when this returns."""
    told = {"session": memory.session, "started": memory.started, "written": memory.written}
    write_whole(folder / FILE, json.dumps(told, indent=1).encode())


def noted(memory: Memory, place: Path) -> Memory:
    """With a file that is whole now."""
    return replace(memory, written={**memory.written, place.name: marked(place)})


def begun(memory: Memory, place: Path) -> Memory:
    """With a file that is not whole yet."""
    return replace(memory, written={**memory.written, place.name: None})


def forgotten(memory: Memory, place: Path) -> Memory:
    """Without a file that was taken away."""
    kept = {name: mark for name, mark in memory.written.items() if name != place.name}
    return replace(memory, written=kept)


def marked(place: Path) -> Mark:
    """Of a folder, the mark of the file in it that says what it is."""
    with suppress(OSError):
        file = place / "train_state.json" if place.is_dir() else place
        facts = file.stat()
        return facts.st_size, facts.st_mtime_ns
    return None
