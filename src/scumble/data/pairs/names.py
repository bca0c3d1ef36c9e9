"""Names that are almost the same, and what keeps them apart."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

from scumble.data.sources.folder import ENDINGS

ALONE = "has no partner of that name"
NAMED = 3
"""So many candidates are named in a reason; the rest are counted."""

ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
LOOKED_AT = 8
"""So many names that go on are looked at, for one that is in the same folder."""

DIGITS = "0123456789"
MANY = 5
"""So many files must miss their partners by the same words before these are told."""


def stem(id: str) -> str:
    """The relative path without the ending of a picture; what is no such ending stays.

    So the rows `cat.left` and `cat.right` of a table are two, and `cat.1.png` is `cat.1`.
    """
    name = id.rpartition("/")[2]
    before, dot, ending = name.rpartition(".")
    if not before or f"{dot}{ending}".lower() not in ENDINGS:
        return id
    return id[: -len(ending) - 1]


def some(ids: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    rest = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + rest


def near_misses(ids: Sequence[str], candidates: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each id, and why none of the candidates is its partner, as the rest of a sentence.

    None of them may have exactly its name: that would be no miss.
    """
    forms = [_forms(other) for other in candidates]
    indices = [_indexed(column, candidates) for column in zip(*forms, strict=True)]
    longer = _Longer({form[CASELESS]: id for form, id in zip(forms, candidates, strict=True)})
    for id in ids:
        form = _forms(id)
        found = zip(LIKENESSES, indices, form, strict=False)
        reason = next(
            (f"{said}: {some(index[key])}" for said, index, key in found if key in index), None
        )
        yield id, reason or longer.reason(form[CASELESS]) or ALONE


def shared_words(ids: Sequence[str], candidates: Sequence[str]) -> str | None:
    """What all names of one side have that the other's lack, if they would pair without it.

    As "40 would pair by name, did they not end in `_after` here and in `_before` there". None if
    that explains less than half of them.
    """
    ours, theirs = [stem(id) for id in ids], [stem(id) for id in candidates]
    if min(len(ours), len(theirs)) < MANY:
        return None
    for verb, law in (("end in", _end), ("begin with", _beginning), ("lie in", _folder)):
        (here, bare), (there, others) = law(ours), law(theirs)
        paired = len(set(bare) & set(others))
        if here != there and 2 * paired > len(bare):
            words = [f"`{word}`" if word else "nothing" for word in (here, there)]
            return (
                f"{paired} would pair by name, did they not {verb} {words[0]} here "
                f"and {words[1]} there"
            )
    return None


Stripped = tuple[str, list[str]]
"""A word that all names have, and the names without it."""


def _end(names: Sequence[str]) -> Stripped:
    word = _beginning_of([_split(name)[1][::-1] for name in names]).rstrip(DIGITS)[::-1]
    return word, [name.removesuffix(word) for name in names]


def _beginning(names: Sequence[str]) -> Stripped:
    parts = [_split(name) for name in names]
    word = _beginning_of([last for _, last in parts]).rstrip(DIGITS)
    return word, [folder + last.removeprefix(word) for folder, last in parts]


def _folder(names: Sequence[str]) -> Stripped:
    shared = _beginning_of([_split(name)[0] for name in names])
    word = shared[: shared.rfind("/") + 1]
    return word, [name.removeprefix(word) for name in names]


def _beginning_of(words: Sequence[str]) -> str:
    """What all begin with: the first and the last in order differ most."""
    first, last = min(words), max(words)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(letter for letter, _ in same)


def _split(name: str) -> tuple[str, str]:
    """The folders with their slash, and the rest."""
    place = name.rfind("/") + 1
    return name[:place], name[place:]


LIKENESSES = (
    "has a partner whose letters are other Unicode characters",
    "has a partner that differs in case",
    "has one in another folder",
    "has one in another folder that differs in case",
    "has one whose number is written otherwise",
)
"""What is told of two names of which one of the forms, in this order, is the same."""

CASELESS = 1


def _forms(id: str) -> tuple[str, ...]:
    """What is left of a name when differences are taken away, one for each of LIKENESSES.

    macOS takes letters apart from their accents, other systems leave them together.
    """
    composed = unicodedata.normalize("NFC", stem(id))
    caseless = composed.casefold()
    last = composed.rpartition("/")[2]
    return composed, caseless, last, last.casefold(), ZEROS.sub("", caseless)


def _indexed(forms: Sequence[str], ids: Sequence[str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for form, id in zip(forms, ids, strict=True):
        index.setdefault(form, []).append(id)
    return index


class _Longer:
    """Finds names of which one is the beginning of the other, in the same folder."""

    def __init__(self, ids: dict[str, str]) -> None:
        self._ids = ids
        """By their names without case."""
        self._names = sorted(ids)

    def reason(self, name: str) -> str | None:
        """The rest of a sentence, if there is one."""
        first = bisect_left(self._names, name)
        for other in islice(self._names, first, first + LOOKED_AT):
            if other.startswith(name) and "/" not in other[len(name) :]:
                return f"has one whose name goes on: {self._ids[other]}"
        start = name.rfind("/") + 1
        for end in range(len(name) - 1, start, -1):
            if shorter := self._ids.get(name[:end]):
                return f"has one whose name is shorter: {shorter}"
        return None
