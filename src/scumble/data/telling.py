"""What is said of pictures that are left out: worded alike for all with one fault, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

NAMED = 3
"""So many pictures are named in a message; the rest are counted."""

PLURALS = {
    "is": "are",
    "has": "have",
    "shares": "share",
    "belongs": "belong",
    "lies": "lie",
    "leads": "lead",
}
"""The first words of all that is said of a picture, for when there are many."""

NOUNS = {"picture": "pictures", "reference": "references", "mask": "masks"}

Cause = Literal["fault", "pairing", "setting"]


@dataclass(frozen=True, slots=True)
class Bad:
    """A picture that is there but not used."""

    id: str
    reason: str
    """The rest of a sentence about it, the same for all pictures left out for it."""

    remedy: str
    detail: str = ""
    """What is to be said of this one alone."""

    cause: Cause = "fault"
    """`fault`: `skip_bad` lets it be left out; `pairing`: other settings do; `setting`: it is left
    out because the job says so, which is no problem."""


def grouped(bad: Iterable[Bad]) -> Iterator[tuple[str, str, list[Bad]]]:
    """Each reason with its remedy and the pictures it holds for, in the order they came up."""
    groups: dict[tuple[str, str], list[Bad]] = {}
    for one in bad:
        groups.setdefault((one.reason, one.remedy), []).append(one)
    for (reason, remedy), members in groups.items():
        yield reason, remedy, members


def counted(bad: Sequence[Bad], said: str, *, of: int | None = None, noun: str = "picture") -> str:
    """As "3 of 120 pictures have no caption, first a.png, b.png, c.png"."""
    verb, rest = said.split(" ", 1)
    total = f"{len(bad):,} of {of:,}" if of else f"{len(bad):,}"
    things = noun if (of or len(bad)) == 1 else NOUNS[noun]
    if len(bad) == 1:
        return f"{total} {things} {verb} {rest}: {_named(bad[0])}"
    first = ", ".join(_named(one) for one in bad[:NAMED])
    return f"{total} {things} {PLURALS.get(verb, verb)} {rest}, first {first}"


def noted(ids: Sequence[str], said: str) -> str:
    """The same of pictures that are used."""
    return counted([Bad(id, said, "") for id in ids], said)


def _named(one: Bad) -> str:
    id = shown(one.id)
    return f"{id} ({shown(one.detail)})" if one.detail else id


def shown(name: str) -> str:
    """A name as every terminal can show it: signs that move its cursor, and bytes of an unknown
    encoding, are written out."""
    return name if name.isprintable() else ascii(name)[1:-1]
