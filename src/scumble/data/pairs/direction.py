"""Whether the pairs of a set go from one kind of picture to another, and which go backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

FEWEST = 5
"""With fewer pairs nothing is said."""

MOST = 0.8
"""Share of all pairs that must go the same way, clearly."""

CLEAR = {"sharpness": 0.25, "colour": 0.25, "noise": 0.35, "size": 0.2}
"""Logarithms of ratios from which on a pair goes one way or the other."""

PART = 3
"""A pair goes backwards if it does so by a third of what is usual forwards, or more."""

WORDS = {"sharpness": "sharper", "colour": "more colourful", "noise": "noisier", "size": "larger"}


@dataclass(frozen=True, slots=True)
class Direction:
    """What most targets have more of than their partners, or less."""

    trait: str
    sign: int
    """1: the targets have more."""

    agreeing: int
    of: int
    usual: float
    """Median of the logarithms of those that agree, without sign."""

    def told(self) -> str:
        """As "the target is sharper in 38 of 40 pairs"."""
        which = "target" if self.sign > 0 else "partner"
        return f"the {which} is {WORDS[self.trait]} in {self.agreeing} of {self.of} pairs"

    def way(self, more: float) -> int:
        """1 for a pair that goes the same way, -1 for one that goes backwards, else 0."""
        forward = self.sign * more
        if forward > CLEAR[self.trait]:
            return 1
        return -1 if forward < -max(CLEAR[self.trait], self.usual / PART) else 0


def directions(pairs: Sequence[Mapping[str, float]]) -> list[Direction]:
    """The traits in which a set has a direction; `pairs` hold logarithms of ratios by trait."""
    traits = pairs[0].keys() if len(pairs) >= FEWEST else ()
    found = (_direction(trait, [one[trait] for one in pairs]) for trait in traits)
    return [one for one in found if one is not None]


def backwards(pair: Mapping[str, float], found: Sequence[Direction]) -> list[Direction]:
    """The directions against which a pair goes, the clearest of the set first; none if it goes
    along with any other."""
    ways = [one.way(pair[one.trait]) for one in found]
    if 1 in ways:
        return []
    against = [one for one, way in zip(found, ways, strict=True) if way == -1]
    return sorted(against, key=lambda one: -one.usual)


def _direction(trait: str, values: Sequence[float]) -> Direction | None:
    for sign in (1, -1):
        clear = [abs(one) for one in values if sign * one > CLEAR[trait]]
        if len(clear) >= MOST * len(values):
            return Direction(trait, sign, len(clear), len(values), median(clear))
    return None
