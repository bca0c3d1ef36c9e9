"""What is told of examples: a text, and the pictures that it is read with.

Families that read texts by themselves have sayings without pictures. Others show the reader each
reference as it is trained with (cut, mirrored, coloured), made anew from its file at a size of the
reader's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from scumble.data.cache import Missing
from scumble.data.captions.edits import possible
from scumble.data.looks import Look, looks
from scumble.data.order import Row
from scumble.data.picture_set import PictureSet
from scumble.data.sizes.frame import Size, at_size
from scumble.data.view import View

Glance = Callable[[int, int], Size]
"""Height and width at which a reference of that height and width is shown to the reader."""

Spoken = tuple[str, tuple[Look, ...]]
"""A text, and the references it is read with; none where texts are read by themselves."""


@dataclass(frozen=True, slots=True)
class Saying:
    """A text and the pictures it is read with."""

    text: str
    sights: tuple[Missing, ...] = ()
    """In order; their keys take part in the text's own."""

    @property
    def sizes(self) -> list[Size]:
        """Height and width at which each of them is shown."""
        return [one.view.shown or one.view.frame.size for one in self.sights]


def saying(text: str, seen: Sequence[Look], glance: Glance | None) -> Saying:
    """A text with these references, for readers outside a cache: nothing has a key."""
    if glance is None:
        return Saying(text)
    return Saying(text, tuple(_sight(look, glance) for look in seen))


def _sight(look: Look, glance: Glance) -> Missing:
    id = f"{look.place}/{look.image.id}"
    return Missing(b"", look.image.file, glanced(look.view, glance), id)


def glanced(view: View, glance: Glance) -> View:
    """The same part of the same picture at the reader's size.

    What is degraded at its trained size is made smaller or larger afterwards: a blur of three
    pixels is another one elsewhere.
    """
    size = glance(*view.frame.size)
    if view.degraded is not None and view.degraded.at == "trained":
        return replace(view, shown=size)
    return replace(view, frame=at_size(view.frame, size))


def choices(one: PictureSet, member: int) -> list[tuple[int, ...]]:
    """Which references an example may show together."""
    there = one.there(member)
    if one.spec.reference_sampling == "combined" or len(there) < 2:
        return [there]
    return [(number,) for number in there]


def references(one: PictureSet, member: int, version: int, shown: Sequence[int]) -> list[Look]:
    """The looks of these references in a version."""
    seen = looks(one, member, version).references
    return [look for number in shown if (look := seen[number]) is not None]


def at_turn(one: PictureSet, row: Row, step: int, *, seen: bool) -> Spoken:
    """What is told of an example at a turn, and at a step."""
    text = one.caption(row, step)
    if not seen:
        return text, ()
    return text, tuple(references(one, row.member, one.version(row), one.shown(row)))


def possibly(one: PictureSet, member: int, versions: Sequence[int] | None) -> list[Spoken] | None:
    """All that may ever be told of an example, or None where captions are new each time.

    With the references of these versions; where None are given, texts by themselves.
    """
    key = (one.seed, one.spec.id, one.examples[member].id)
    edits, dropout = one.spec.caption_edits, one.spec.caption_dropout
    found: list[Spoken] = []
    for shown in choices(one, member):
        texts = possible(one.texts(member, shown), edits, dropout=dropout, key=key)
        if texts is None:
            return None
        found += _with_pictures(texts, one, member, shown, versions)
    return list(dict.fromkeys(found))


def _with_pictures(
    texts: Sequence[str],
    one: PictureSet,
    member: int,
    shown: Sequence[int],
    versions: Sequence[int] | None,
) -> Iterator[Spoken]:
    if versions is None:
        yield from ((text, ()) for text in texts)
    for version in versions or ():
        seen = tuple(references(one, member, version, shown))
        yield from ((text, seen) for text in texts)
