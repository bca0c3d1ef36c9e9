"""Every text that a run will ask for, known before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scumble.data import held_out
from scumble.data.captions.edits import possible
from scumble.data.order import Order
from scumble.data.picture_set import PictureSet


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Captions of a run, each once."""

    texts: tuple[str, ...]
    walked: tuple[str, ...]
    """Sets whose captions are new each time: they were found by going through all steps."""


def wanted(
    sets: Sequence[PictureSet], order: Order, steps: int, held: Sequence[PictureSet] = ()
) -> Texts:
    """What the sets will tell in so many steps, and the held-out pictures whenever they are asked.

    Where captions are drawn anew each time, exactly those of the run are found, by walking it: a
    run that grows longer asks for more.
    """
    found: dict[str, None] = {}
    walked: list[PictureSet] = []
    for one in sets:
        few = _few(one)
        if few is None:
            walked.append(one)
        else:
            found.update(dict.fromkeys(few))
    if walked:
        found.update(dict.fromkeys(_walked({one.spec.id: one for one in walked}, order, steps)))
    for one in held:
        members = range(len(one.examples))
        found.update(dict.fromkeys(held_out.caption(one, member) for member in members))
    return Texts(texts=tuple(found), walked=tuple(one.spec.id for one in walked))


def _few(one: PictureSet) -> list[str] | None:
    """All that a set can tell, where that does not depend on the step; else None."""
    found: dict[str, None] = {}
    for member, example in enumerate(one.examples):
        for shown in _choices(one, member):
            texts = possible(
                one.texts(member, shown),
                one.spec.caption_edits,
                dropout=one.spec.caption_dropout,
                key=(one.seed, one.spec.id, example.id),
            )
            if texts is None:
                return None
            found.update(dict.fromkeys(texts))
    return list(found)


def _choices(one: PictureSet, member: int) -> list[tuple[int, ...]]:
    """Which references an example may show together."""
    there = one.there(member)
    if one.spec.reference_sampling == "combined" or len(there) < 2:
        return [there]
    return [(number,) for number in there]


def _walked(sets: dict[str, PictureSet], order: Order, steps: int) -> Iterator[str]:
    for step in range(1, steps + 1):
        for unit in order.step(step):
            if (one := sets.get(unit.dataset)) is not None:
                yield from (one.caption(row, step) for row in unit.rows)
