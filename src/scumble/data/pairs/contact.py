"""Doubtful pairs to look at: target, partner and what lies between them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scumble.data.example import Image
from scumble.data.pairs.opening import Pixels, reduced, upright, within
from scumble.data.pairs.report import Finding, Report
from scumble.data.sheet import Card
from scumble.errors import FileError

MOST = 60
"""So many pairs are shown; the gravest stand first."""

SIDE = 256
"""Pixels of the longer side of what is shown."""

BRIGHTER = 4
"""Factor on the difference, so that little of it can be seen."""


def cards(report: Report, most: int = MOST) -> list[Card]:
    """One for each doubtful pair, with all that is said of it; pairs that cannot be decoded are
    left out."""
    pairs: dict[tuple[str, ...], list[Finding]] = {}
    for one in report.findings:
        if one.facts.grade == "doubt" and one.pair is not None:
            pairs.setdefault(one.files, []).append(one)
    made = (_card(findings) for findings in list(pairs.values())[:most])
    return [card for card in made if card is not None]


def _card(findings: list[Finding]) -> Card | None:
    first = findings[0]
    assert first.pair is not None
    target, other = first.pair
    try:
        size = within((target.width, target.height), SIDE)
        left, right = _shown(target, size), _shown(other, _own(other))
    except FileError:
        return None
    return Card(
        title=target.id,
        pictures=(left, right, _between(left, _shown(other, size))),
        labels=("target", first.side, f"difference x {BRIGHTER}"),
        lines=tuple(_lines(findings)),
        alarm=first.kind == "swapped",
    )


def _own(image: Image) -> tuple[int, int]:
    return within((image.width, image.height), SIDE)


def _shown(image: Image, size: tuple[int, int]) -> Pixels:
    return reduced(upright(image), size)


def _between(first: Pixels, second: Pixels) -> Pixels:
    apart = np.abs(first.astype(np.int16) - second) * BRIGHTER
    return apart.clip(0, 255).astype(np.uint8)


def _lines(findings: Iterable[Finding]) -> Iterable[str]:
    for one in findings:
        yield f"{one.facts.title}: {one.said}"
