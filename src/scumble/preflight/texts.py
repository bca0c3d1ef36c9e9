"""Every text that a run will ask for, known before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scumble.data.held_out import SHOWN
from scumble.data.order import Order
from scumble.data.picture_set import PictureSet
from scumble.data.saying import Spoken, at_turn, possibly


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What a run tells, each once."""

    texts: tuple[Spoken, ...]
    walked: tuple[str, ...]
    """Sets whose captions are new each time: they were found by going through all steps."""


def wanted(
    sets: Sequence[PictureSet],
    order: Order,
    steps: int,
    held: Sequence[PictureSet] = (),
    epochs: Mapping[str, int] | None = None,
) -> Texts:
    """What the sets will tell in so many steps, and the held-out pictures whenever they are asked.

    With the epochs that a run sees of each set, texts come with the references that they are read
    with, in every version that is kept. Where captions are drawn anew each time, exactly those of
    the run are found, by walking it: a run that grows longer asks for more.
    """
    found: dict[Spoken, None] = {}
    walked: list[PictureSet] = []
    for one in sets:
        few = _few(one, epochs)
        if few is None:
            walked.append(one)
        else:
            found.update(few)
    if walked:
        by_id = {one.spec.id: one for one in walked}
        found.update(dict.fromkeys(_walked(by_id, order, steps, seen=epochs is not None)))
    for one in held:
        rows = (replace(SHOWN, member=member) for member in range(len(one.examples)))
        seen = epochs is not None
        found.update(dict.fromkeys(at_turn(one, row, 1, seen=seen) for row in rows))
    return Texts(texts=tuple(found), walked=tuple(one.spec.id for one in walked))


def _few(one: PictureSet, epochs: Mapping[str, int] | None) -> dict[Spoken, None] | None:
    """All that a set can tell, where that does not depend on the step; else None.

    Nothing of what is read with pictures that are new each time.
    """
    shows = epochs is not None and bool(one.spec.references)
    if shows and one.spec.variants == "fresh":
        return {}
    versions = one.versions(epochs[one.spec.id]) if epochs is not None and shows else None
    found: dict[Spoken, None] = {}
    for member in range(len(one.examples)):
        texts = possibly(one, member, versions)
        if texts is None:
            return None
        found.update(dict.fromkeys(texts))
    return found


def _walked(
    sets: Mapping[str, PictureSet], order: Order, steps: int, *, seen: bool
) -> Iterator[Spoken]:
    for step in range(1, steps + 1):
        for unit in order.step(step):
            if (one := sets.get(unit.dataset)) is not None:
                yield from (at_turn(one, row, step, seen=seen) for row in unit.rows)
