"""What a journal says of a run as a whole: plan, state, sessions, data, deliverables."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from scumble.events import Drifted, Measured, Scored
from scumble.observers import journal, measurements

BEFORE = ("Scanned", "Fetched", "Encoded", "Resumed")
"""Events of a session that is not yet training."""

SILENT_SECONDS = 600.0
SILENT_STEPS = 20
"""A run not heard of for this long, and for the time of this many steps, is taken for dead."""


@dataclass(frozen=True, kw_only=True)
class History:
    """A journal, read once."""

    records: list[dict[str, Any]]
    steps: dict[int, dict[str, Any]]

    def of(self, event: str) -> list[dict[str, Any]]:
        """All records of one kind of event."""
        return [record for record in self.records if record["event"] == event]

    def plan(self) -> dict[str, Any]:
        """What the newest `Started` said; empty when no step was ever planned."""
        return next(reversed(self.of("Started")), {})

    def measured(self) -> list[Measured]:
        """The measurements of the held-out loss that can be compared with the newest, by step."""
        found = measurements.taken(self.records)
        return [one for one in found if one.conditions == found[-1].conditions]

    def scores(self) -> list[Scored]:
        """How near held-out pairs came to their targets, where that can be compared, by step."""
        found = measurements.scores(self.records)
        return [one for one in found if one.conditions == found[-1].conditions]

    def values(self, field: str) -> list[tuple[int, float]]:
        """One number of every step, by step."""
        return [(step, float(record[field])) for step, record in self.steps.items()]

    def seconds_per_step(self) -> float:
        """The usual pace; 0 before any step."""
        return median(seconds for _, seconds in self.values("seconds")) if self.steps else 0.0

    def sessions(self) -> list[float]:
        """Seconds from each `Started` to the last that was heard of that session."""
        seconds: list[float] = []
        begin: datetime | None = None
        for record in self.records:
            now = datetime.fromisoformat(record["time"])
            if record["event"] == "Started":
                begin = now
                seconds.append(0.0)
            elif begin is not None and record["event"] not in BEFORE:
                seconds[-1] = max(0.0, (now - begin).total_seconds())
        return seconds

    def state(self) -> str:
        """`running`, `finished`, `stopped`, `failed` or `interrupted`; `empty` without a journal.

        A killed run says nothing, so only its long silence tells it from a running one.
        """
        if not self.records:
            return "empty"
        for record in reversed(self.records):
            match record["event"]:
                case "Finished":
                    return "finished"
                case "Stopped":
                    return "stopped"
                case "Interrupted":
                    return "interrupted"
                case "Failed":
                    return "failed"
                case "Started" | "StepDone":
                    break
                case _:
                    pass
        heard = datetime.fromisoformat(self.records[-1]["time"])
        silence = (datetime.now(UTC) - heard).total_seconds()
        patience = max(SILENT_SECONDS, SILENT_STEPS * self.seconds_per_step())
        return "interrupted" if silence > patience else "running"

    def problems(self) -> list[str]:
        """What the newest failure was."""
        return [str(one) for one in next(reversed(self.of("Failed")), {}).get("problems", [])]

    def proofs(self) -> dict[str, dict[str, Any]]:
        """The newest proof of each delivered file, none that is older than the file."""
        found: dict[str, dict[str, Any]] = {}
        for record in self.records:
            match record:
                case {"event": "Exported", "file": str(file)}:
                    found.pop(file, None)
                case {"event": "Proven", "file": str(file)}:
                    found[file] = record
                case _:
                    pass
        return found

    def funnels(self) -> dict[str, dict[str, int]]:
        """The newest scan of each data set."""
        return {record["dataset"]: record["funnel"] for record in self.of("Scanned")}

    def warnings(self) -> list[str]:
        """Each warning once, and the steps that were not applied."""
        texts = list(dict.fromkeys(str(record["text"]) for record in self.of("Warned")))
        skipped = [step for step, taken in self.steps.items() if not taken.get("applied", True)]
        if skipped:
            first = ", ".join(f"{step:,}" for step in skipped[:5])
            more = ", ..." if len(skipped) > 5 else ""
            texts.append(f"Not applied, their numbers not being finite: step {first}{more}.")
        return texts


def drifts(past: History) -> list[Drifted]:
    """How far the base model had moved, where that can be compared with the newest, by step."""
    found = measurements.drifts(past.records)
    return [one for one in found if one.conditions == found[-1].conditions]


def history(folder: Path) -> History:
    """The history of a run folder."""
    records = journal.read(folder)
    return History(records=records, steps=journal.steps_taken(records))
