"""Pairs that go backwards where all others go forwards: their two files may be exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from scumble.data.pairs.direction import WORDS, Direction, backwards, directions
from scumble.data.pairs.report import Finding
from scumble.data.pairs.sides import Pair

Traits = Mapping[str, float]
"""By trait, the logarithm of how much more of it the target has."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Which way the pairs of a set go."""

    findings: tuple[Finding, ...]
    """Pairs that go backwards."""

    told: tuple[str, ...]
    """What most pairs have in common, by side."""

    along: frozenset[tuple[str, ...]]
    """Files of the pairs that go clearly with the others, sizes left out."""


def ways(pairs: Sequence[Pair], seen: Sequence[tuple[Pair, Traits]]) -> Ways:
    """Sizes are compared of all pairs, the rest of those that were decoded."""
    findings: list[Finding] = []
    told: list[str] = []
    along: set[tuple[str, ...]] = set()
    decoded = {one.files: more for one, more in seen}
    for side in dict.fromkeys(one.side.name for one in pairs):
        ours = [one for one in pairs if one.side.name == side]
        sizes: list[Traits] = [{"size": _larger(one)} for one in ours]
        rest = [decoded[one.files] for one in ours if one.files in decoded]
        found = directions(sizes) + directions(rest)
        told += [f"{side}: {one.told()}" for one in found]
        for one, size in zip(ours, sizes, strict=True):
            more = {**size, **decoded.get(one.files, {})}
            known = [way for way in found if way.trait in more]
            if any(way.way(more[way.trait]) == 1 for way in known if way.trait != "size"):
                along.add(one.files)
            if against := backwards(more, known):
                findings.append(_finding(one, against))
    return Ways(tuple(findings), tuple(told), frozenset(along))


def _larger(pair: Pair) -> float:
    target, other = pair.target, pair.other
    return log(target.width * target.height / (other.width * other.height))


def _finding(pair: Pair, against: Sequence[Direction]) -> Finding:
    words = " and ".join(WORDS[one.trait] for one in against)
    return pair.finding("swapped", f"{_which(against[0])} {words}: {_otherwise(against[0])}")


def _which(one: Direction) -> str:
    return "has a partner that is" if one.sign > 0 else "is, unlike its partner,"


def _otherwise(one: Direction) -> str:
    return f"{one.told()}, here it is the other way round"
