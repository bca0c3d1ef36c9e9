"""What was found about pairs, and in which order it is told: what costs most comes first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scumble.data.example import Image

Grade = Literal["wrong", "doubt", "note"]
Kind = Literal[
    "unreadable",
    "no partner",
    "ambiguous",
    "spare",
    "swapped",
    "turned",
    "shifted",
    "aspect",
    "copied",
    "alike",
    "left out",
    "tag",
    "crossed",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for all findings of one kind."""

    grade: Grade
    title: str
    remedy: str


KINDS: dict[Kind, Facts] = {
    "unreadable": Facts("wrong", "cannot be read", "save again, or remove with its partners"),
    "no partner": Facts("wrong", "targets without a partner", "add or rename the partner"),
    "ambiguous": Facts("wrong", "targets with no single partner", "rename or remove all but one"),
    "spare": Facts("wrong", "files that no target takes", "rename, or remove if not needed"),
    "swapped": Facts("doubt", "target and reference look swapped", "exchange the two files"),
    "turned": Facts("doubt", "one is upright, the other lies on its side", "turn one of them"),
    "shifted": Facts("doubt", "not in the same place", "align, or set `fit: loose`"),
    "aspect": Facts("doubt", "of another shape", "cut alike, or set `fit: loose`"),
    "copied": Facts("doubt", "the same file twice", "replace one, unless nothing should change"),
    "alike": Facts("doubt", "hardly any difference", "replace one, unless nothing should change"),
    "left out": Facts("note", "left out, as the job says", "nothing, if that is meant"),
    "tag": Facts("note", "turned by an EXIF tag", "nothing here; other programs may not heed it"),
    "crossed": Facts("note", "the same file in another pair", "nothing, if that is meant"),
}
"""In the order of telling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing about one file or one pair."""

    kind: Kind
    side: str
    """Which references or masks it is about, or `targets`."""

    id: str
    """Of the target where there is a pair, else of the file."""

    said: str
    """The rest of a sentence about it."""

    files: tuple[str, ...]
    """Paths; of a pair the target's first."""

    pair: tuple[Image, Image] | None = None
    """Target and other, where the finding is about two."""

    @property
    def facts(self) -> Facts:
        """What holds for all of its kind."""
        return KINDS[self.kind]


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What the pixel pass did."""

    pairs: int
    of: int
    seconds: float

    @property
    def rate(self) -> float:
        """Pairs per second."""
        return self.pairs / max(self.seconds, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the doctor has to say."""

    targets: int
    pairs: int
    """Of a target with a reference or a mask."""

    counts: dict[int, int]
    """How many targets have so many references."""

    findings: tuple[Finding, ...]
    """Sorted by kind, in the order of KINDS, then by side and id."""

    hints: tuple[str, ...] = ()
    """What many findings may have in common."""

    directions: tuple[str, ...] = ()
    """What most pairs have in common, from target to reference."""

    looked: Looked | None = None

    def of_grade(self, grade: Grade) -> list[Finding]:
        """The findings that are so grave."""
        return [one for one in self.findings if one.facts.grade == grade]


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """As a report lists them."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda one: (rank[one.kind], one.side, one.id)))
