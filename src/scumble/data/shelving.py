"""Which examples of a set can stand in a batch together: those of one size, epoch by epoch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from scumble.data.order import Row, Shelf
from scumble.data.picture_set import PictureSet

KEPT = 2  # epochs whose shelves are remembered


class Shelves:
    """The shelves of one set, smaller sizes first."""

    def __init__(self, one: PictureSet) -> None:
        self.set = one
        self._made = lru_cache(maxsize=KEPT)(self._of)

    def __call__(self, epoch: int) -> tuple[Shelf, ...]:
        """Of that epoch; the same for all where no size is drawn."""
        return self._made(epoch if self.set.framer.varies else 0)

    def _of(self, epoch: int) -> tuple[Shelf, ...]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for member in range(len(self.set.examples)):
            groups.setdefault(_sizes(self.set, member, epoch), []).append(member)
        return tuple(_shelf(self.set, size, groups[size]) for size in sorted(groups))


def _shelf(one: PictureSet, size: tuple[int, ...], members: list[int]) -> Shelf:
    numbers = np.array(members, dtype=np.int64)
    return Shelf(
        dataset=one.spec.id, size=size, members=numbers, batch=one.batch, passes=one.spec.repeats
    )


def _sizes(one: PictureSet, member: int, epoch: int) -> tuple[int, ...]:
    """Height and width of the target, and of the references it always shows.

    Where references are drawn anew each epoch, batches are cut by their sizes later.
    """
    version = one.version(Row(member, epoch, 0)) if one.framer.varies else 0
    size = one.frame(member, version).size
    if not one.loose or one.spec.reference_sampling == "random":
        return size
    sides = (_side(one, member, number, size) for number in one.there(member))
    return (*size, *(side for pair in sides for side in pair))


def _side(one: PictureSet, member: int, number: int, size: tuple[int, int]) -> tuple[int, int]:
    """A reference's size; where it is drawn, batches are cut by it later."""
    cutter, example = one.loose[number], one.examples[member]
    if cutter is not None:
        image = example.references[number] or example.target
        size = cutter.frame(image.width, image.height, _middle).size
    return one.packed(number, size)


def _middle(_: str) -> float:
    return 0.5
