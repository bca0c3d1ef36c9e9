"""Held-out examples that show references along: what is painted of them, and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scumble import dice
from scumble.data import held_out
from scumble.data.looks import Look, Looks, looks
from scumble.data.order import Row
from scumble.data.picture_set import PictureSet
from scumble.data.plans import Unit
from scumble.data.sizes.frame import strict


@dataclass(frozen=True, eq=False)
class Pair:
    """One of them, shown as the held-out loss shows it."""

    one: PictureSet
    """The measured part of its set."""

    member: int

    @property
    def id(self) -> str:
        """Named like `SET/cat.png`."""
        return f"{self.one.spec.id}/{self.one.examples[self.member].id}"

    @property
    def caption(self) -> str:
        """What is told of it."""
        return held_out.caption(self.one, self.member)

    @property
    def unit(self) -> Unit:
        """It alone, as a unit of work."""
        return Unit(self.one.spec.id, (self._row,))

    @property
    def target(self) -> Look:
        """What should come out."""
        return self._looks.target

    @property
    def references(self) -> tuple[Look, ...]:
        """What is shown along, in order; never empty."""
        seen = self._looks.references
        return tuple(look for n in self.one.shown(self._row) if (look := seen[n]) is not None)

    @property
    def copy(self) -> Look:
        """The first reference, cut as its target is: what a network that changes nothing makes.

        A strict reference is that already, and its entry in the cache serves for both.
        """
        first = self.references[0]
        frame = strict(self.target.view.frame, first.image.width, first.image.height)
        return replace(first, view=replace(first.view, frame=frame))

    @property
    def _row(self) -> Row:
        return replace(held_out.SHOWN, member=self.member)

    @property
    def _looks(self) -> Looks:
        return looks(self.one, self.member, self.one.version(self._row))


def of_set(one: PictureSet) -> Iterator[Pair]:
    """Those of a measured set that show a reference, in the order of their ids."""
    for member in range(len(one.examples)):
        if one.there(member):
            yield Pair(one, member)


def pairs(sets: Iterable[PictureSet]) -> list[Pair]:
    """Those of all measured sets."""
    return [pair for one in sets for pair in of_set(one)]


def drawn(found: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """So many of them, in their order; more pairs move few of those that are drawn."""
    lots = sorted(found, key=lambda pair: (dice.word(seed, "pairs", pair.id, bits=64), pair.id))
    chosen = {pair.id for pair in lots[:count]}
    return [pair for pair in found if pair.id in chosen]
