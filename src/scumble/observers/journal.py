"""The record of a run: every event as one line of strict JSON, appended to `journal.jsonl`.

A line that a kill has torn stays torn and is passed over; the next line starts on its own.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from scumble.events import Event, Failed, Finished, Interrupted, Saved, Stopped

FILE = "journal.jsonl"


class Journal:
    """Appends each event to the journal of one run folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._folder / FILE

    def __call__(self, event: Event) -> None:
        """Append one line; it has left the program when this returns."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"event": type(event).__name__, "time": now}
        fields = {name: plain(value, self._folder) for name, value in asdict(event).items()}
        line = json.dumps(head | fields, allow_nan=False).encode() + b"\n"
        with self._file.open("ab+", buffering=0) as file:
            file.write(line if _ends_whole(file) else b"\n" + line)
            match event:
                case Saved() | Stopped() | Interrupted() | Failed() | Finished():
                    os.fsync(file.fileno())
                case _:
                    pass


def plain(value: object, folder: Path) -> object:
    """The value as strict JSON can hold it; paths inside `folder` are told from there."""
    match value:
        case Path():
            inside = value.resolve().is_relative_to(folder)
            return (value.resolve().relative_to(folder) if inside else value).as_posix()
        case float() if not math.isfinite(value):
            return str(float(value))
        case dict():
            return {str(key): plain(item, folder) for key, item in value.items()}
        case tuple() | list():
            return [plain(item, folder) for item in value]
        case _:
            return value


def read(folder: Path) -> list[dict[str, Any]]:
    """The records of a run folder, oldest first; without a journal there are none."""
    file = folder / FILE
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", errors="replace") as lines:
        return [record for line in lines if (record := _parsed(line)) is not None]


def steps_taken(records: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The record of each step that led to the state the run is in.

    A run that goes on from step 50 has let go of all later steps it once took.
    """
    steps: dict[int, dict[str, Any]] = {}
    for record in records:
        match record:
            case {"event": "Started", "after": int(after)}:
                steps = {step: taken for step, taken in steps.items() if step <= after}
            case {"event": "StepDone", "step": int(step)}:
                steps[step] = record
            case _:
                pass
    return dict(sorted(steps.items()))


def losses(records: Iterable[dict[str, Any]]) -> dict[int, float]:
    """The loss of each step; one taken again after a resume counts once, the later time."""
    return {step: float(record["loss"]) for step, record in steps_taken(records).items()}


def _ends_whole(file: RawIOBase) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    match record:
        case {"event": str(), "time": str()}:
            return record
        case _:
            return None
