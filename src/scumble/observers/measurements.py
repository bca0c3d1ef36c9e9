"""Measurements of held-out pictures, as a journal tells them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scumble.events import Band, Compared, Drifted, Measured, Scored
from scumble.observers import journal


def read(folder: Path) -> list[Measured]:
    """Those of a run folder that led to the state the run is in, by step."""
    return taken(journal.read(folder))


def taken(records: Iterable[dict[str, Any]]) -> list[Measured]:
    """One for each step; a run that goes on from step 50 has let go of all later ones."""
    return [_measured(record) for record in _by_step(records, "Measured")]


def read_scores(folder: Path) -> list[Scored]:
    """How near held-out pairs of a run folder came to their targets, as `read`."""
    return scores(journal.read(folder))


def scores(records: Iterable[dict[str, Any]]) -> list[Scored]:
    """One for each step, as `taken`."""
    return [_scored(record) for record in _by_step(records, "Scored")]


def read_drifts(folder: Path) -> list[Drifted]:
    """How far the base model of a run folder had moved, as `read`."""
    return drifts(journal.read(folder))


def drifts(records: Iterable[dict[str, Any]]) -> list[Drifted]:
    """One for each step, as `taken`."""
    return [_drifted(record) for record in _by_step(records, "Drifted")]


def _by_step(records: Iterable[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for record in records:
        match record:
            case {"event": "Started", "after": int(after)}:
                found = {step: one for step, one in found.items() if step <= after}
            case {"event": str(name), "step": int(step)} if name == event:
                found[step] = record
            case _:
                pass
    return [found[step] for step in sorted(found)]


def _scored(record: dict[str, Any]) -> Scored:
    pairs = {str(id): (float(one), float(copy)) for id, (one, copy) in record["pairs"].items()}
    ratio = record["ratio"]
    return Scored(
        step=int(record["step"]),
        ratio=None if ratio is None else _band(ratio),
        better=int(record["better"]),
        pairs=pairs,
        alike=tuple(str(id) for id in record["alike"]),
        conditions=str(record["conditions"]),
        seconds=float(record["seconds"]),
        weights=record.get("weights"),
    )


def _drifted(record: dict[str, Any]) -> Drifted:
    return Drifted(
        step=int(record["step"]),
        drift=float(record["drift"]),
        prompts={str(prompt): float(value) for prompt, value in record["prompts"].items()},
        conditions=str(record["conditions"]),
        seconds=float(record["seconds"]),
        ema=_bound(record["ema"]),
    )


def _measured(record: dict[str, Any]) -> Measured:
    ema = record.get("ema")
    whole = _band(record | {"pictures": len(record["examples"])})
    return Measured(
        step=int(record["step"]),
        mean=whole.mean,
        low=whole.low,
        high=whole.high,
        by_time=tuple((float(time), _band(band)) for time, band in record["by_time"]),
        sets={str(name): _band(band) for name, band in record["sets"].items()},
        examples={str(id): float(loss) for id, loss in record["examples"].items()},
        conditions=str(record["conditions"]),
        first=_compared(record["first"]),
        lowest=_compared(record["lowest"]),
        seconds=float(record["seconds"]),
        raw=_compared(record.get("raw")),
        ema=None if ema is None else _measured(ema),
    )


def _band(told: dict[str, Any]) -> Band:
    return Band(
        mean=float(told["mean"]),
        low=_bound(told["low"]),
        high=_bound(told["high"]),
        pictures=int(told["pictures"]),
    )


def _compared(told: dict[str, Any] | None) -> Compared | None:
    if told is None:
        return None
    return Compared(
        step=int(told["step"]),
        mean=float(told["mean"]),
        change=float(told["change"]),
        low=_bound(told["low"]),
        high=_bound(told["high"]),
    )


def _bound(told: Any) -> float | None:
    return None if told is None else float(told)
