"""What the doctor is given: pictures by side, and the pairs their names make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from scumble.data.example import Image
from scumble.data.pairs.matching import Matching, Odd, matched
from scumble.data.pairs.names import shared_words
from scumble.data.pairs.report import Finding, Kind


@dataclass(frozen=True, kw_only=True)
class Side:
    """The pictures of one folder, source or column."""

    name: str
    """For messages."""

    images: Sequence[Image]
    root: str = ""
    """Its folder or source, for messages."""

    bad: Sequence[Odd] = ()
    """What is there but cannot be read."""

    notes: Sequence[str] = ()
    """What else is to be said of its files."""

    loose: bool = False
    """Its pictures may have a shape of their own."""

    optional: bool = False
    """Not every target needs one; what has no partner is told but not wrong."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A set whose pairs are looked at."""

    targets: Side
    references: tuple[Side, ...] = ()
    mask: Side | None = None

    @property
    def others(self) -> tuple[Side, ...]:
        """Everything that is paired with the targets."""
        return (*self.references, self.mask) if self.mask else self.references


@dataclass(frozen=True, slots=True)
class Pair:
    """A target and its partner on one side."""

    side: Side
    target: Image
    other: Image

    @property
    def files(self) -> tuple[str, str]:
        """Both paths."""
        return str(self.target.file), str(self.other.file)

    def finding(self, kind: Kind, said: str) -> Finding:
        """Something about this pair, as the rest of a sentence about the target."""
        return Finding(
            kind=kind,
            side=self.side.name,
            id=self.target.id,
            said=said,
            files=self.files,
            pair=(self.target, self.other),
        )


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What names alone tell."""

    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]
    hints: tuple[str, ...]
    counts: dict[int, int] = field(default_factory=dict)
    """How many targets have so many references."""


def paired(sides: Sides) -> Paired:
    """Match every side with the targets, by name."""
    pairs: list[Pair] = []
    findings = _unreadable(sides.targets)
    hints = [
        f"{side.name}: {note}" for side in (sides.targets, *sides.others) for note in side.notes
    ]
    having: Counter[str] = Counter()
    ids = _ids(sides.targets)
    for side in sides.others:
        found = matched(ids, _ids(side))
        made = _made(sides.targets, side, found)
        pairs += made
        findings += _unreadable(side) + _unmatched(sides.targets, side, found)
        if side is not sides.mask:
            having.update(pair.target.id for pair in made)
        lost = [odd.id for odd in found.lonely]
        if words := shared_words(lost, [odd.id for odd in found.spare]):
            hints.append(f"{side.name}: {words}")
    counts = Counter(having[image.id] for image in sides.targets.images)
    return Paired(
        pairs=tuple(pairs),
        findings=tuple(findings),
        hints=tuple(hints),
        counts=dict(sorted(counts.items())) if sides.references else {},
    )


def _ids(side: Side) -> list[str]:
    """Of all that is there, so that what cannot be read is not taken for missing."""
    return [*(image.id for image in side.images), *(odd.id for odd in side.bad)]


def _made(targets: Side, side: Side, found: Matching) -> list[Pair]:
    """The pairs of which both can be read."""
    return [
        Pair(side, target, side.images[place])
        for target, place in zip(targets.images, found.partners, strict=False)
        if place is not None and place < len(side.images)
    ]


def _unreadable(side: Side) -> list[Finding]:
    return [
        Finding(kind="unreadable", side=side.name, id=odd.id, said=odd.reason, files=(odd.id,))
        for odd in side.bad
    ]


def _unmatched(targets: Side, side: Side, found: Matching) -> list[Finding]:
    """Every file that was not paired."""
    ours = {image.id: str(image.file) for image in targets.images}
    theirs = {image.id: str(image.file) for image in side.images}
    lonely: Kind = "left out" if side.optional else "no partner"
    spare: Kind = "left out" if side.optional else "spare"
    listed: tuple[tuple[Kind, Sequence[Odd], dict[str, str]], ...] = (
        (lonely, found.lonely, ours),
        ("ambiguous", found.ambiguous, ours),
        (spare, found.spare, theirs),
    )
    return [
        Finding(
            kind=kind,
            side=side.name,
            id=odd.id,
            said=odd.reason,
            files=(files.get(odd.id, odd.id),),
        )
        for kind, odds, files in listed
        for odd in odds
    ]
