"""One epoch of a pool: which rows stand in which unit, and in which order the units come.

A function of the seed, the number of the epoch and the shelves; planning 100,000 rows takes some
14 ms.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np

from scumble.dice import shuffled

Short = Literal["keep", "fill", "drop"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shelf:
    """The examples of one set which can stand in a batch together."""

    dataset: str
    size: tuple[int, ...]
    """What they share: height and width of the target, then of each reference."""

    members: tuple[int, ...] | np.ndarray
    """Numbers of examples, in the order of their sorted ids; each once."""

    batch: int
    passes: int | np.ndarray = 1
    """How often each is seen in an epoch: all alike, or a number for each member, from 0."""

    short: Short = "keep"
    """What becomes of the last unit of an epoch if it is not full."""

    weight: float = 1.0
    """Units with a larger one tend to come earlier in the epoch."""

    def __post_init__(self) -> None:
        assert self.batch > 0 and self.weight > 0 and len(self.members) > 0
        lowest, numbers = np.min(self.passes), np.size(self.passes)
        assert lowest >= 0 and numbers in (1, len(self.members))

    @property
    def counts(self) -> np.ndarray:
        """The passes of each member, [members]."""
        return np.broadcast_to(self.passes, len(self.members))

    @cached_property
    def rows(self) -> int:
        """What an epoch would hold if nothing were filled up or left out."""
        return int(self.counts.sum())

    @property
    def units(self) -> int:
        """How many an epoch has of it."""
        return self.rows // self.batch if self.short == "drop" else -(-self.rows // self.batch)

    @property
    def examples(self) -> int:
        """How many rows these units have together."""
        return self.rows if self.short == "keep" else self.units * self.batch


@dataclass(frozen=True, slots=True)
class Row:
    """An example, in which epoch it comes, and for which time in that epoch (`turn`, from 0)."""

    member: int
    epoch: int
    turn: int


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes through the network at once: rows of one shelf, `batch` of them or the rest."""

    dataset: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class _Laid:
    """A shelf's rows end to end, units of `batch` one after another."""

    members: np.ndarray
    turns: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """All units of one epoch."""

    epoch: int
    shelves: tuple[Shelf, ...]
    laid: tuple[_Laid, ...]
    """Of each shelf."""

    firsts: tuple[int, ...]
    """Of each shelf, the number of its first unit; then the number of all."""

    order: np.ndarray
    """The number of the unit at each turn."""

    def unit(self, turn: int) -> Unit:
        """The unit at a turn of the epoch, from 0."""
        number = int(self.order[turn])
        which = bisect_right(self.firsts, number) - 1
        shelf, laid = self.shelves[which], self.laid[which]
        first = (number - self.firsts[which]) * shelf.batch
        part = slice(first, first + shelf.batch)
        rows = zip(laid.members[part].tolist(), laid.turns[part].tolist(), strict=True)
        return Unit(shelf.dataset, tuple(Row(member, self.epoch, turn) for member, turn in rows))


def planned(shelves: Sequence[Shelf], epoch: int, *, seed: int, pool: tuple[str, ...] = ()) -> Plan:
    """The epoch's plan; `pool` sets its order of units apart from other pools'.

    Each member of a shelf comes as often as its passes say: the passes are shuffled one by one
    and laid end to end, and the whole is cut into units. Then the units of all shelves are
    shuffled. With one shelf they are taken in turn instead: it has been shuffled already, and
    so two units of 2 hold the examples of one unit of 4, slot by slot, until an epoch ends with a
    short one.
    """
    assert len({(s.dataset, s.size) for s in shelves}) == len(shelves), "a shelf stands twice"
    used = tuple(shelf for shelf in shelves if shelf.units)
    counts = [shelf.units for shelf in used]
    total = sum(counts)
    order = np.arange(total)
    if len(used) > 1:
        weights = np.repeat([shelf.weight for shelf in used], counts)
        order = _weighted(shuffled(total, seed, "units", *pool, epoch), weights)
    return Plan(
        epoch=epoch,
        shelves=used,
        laid=tuple(_laid(shelf, epoch, seed) for shelf in used),
        firsts=(0, *accumulate(counts)),
        order=order,
    )


def _weighted(units: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Shuffled units, those with larger weights moved toward the beginning.

    Efraimidis and Spirakis 2006: ascending by -log(u) / weight. Their places in the shuffle,
    evenly spread over (0, 1), serve as u: so equal weights change nothing.
    """
    places = (np.arange(len(units)) + 0.5) / len(units)
    return units[np.argsort(-np.log1p(-places) / weights[units], kind="stable")]


def _laid(shelf: Shelf, epoch: int, seed: int) -> _Laid:
    members = np.asarray(shelf.members, dtype=np.int64)
    passes = shelf.counts
    key = (seed, "order", shelf.dataset, *shelf.size, epoch)
    runs, turns = [], []
    for turn in range(int(passes.max())):
        again = members[passes > turn]
        runs.append(again[shuffled(len(again), *key, turn)])
        turns.append(np.full(len(again), turn))
    laid = _Laid(np.concatenate(runs), np.concatenate(turns))
    match shelf.short:
        case "keep":
            return laid
        case "drop":
            return _Laid(laid.members[: shelf.examples], laid.turns[: shelf.examples])
        case "fill":
            return _filled(laid, shelf, key)


def _filled(laid: _Laid, shelf: Shelf, key: tuple[int | str, ...]) -> _Laid:
    """The last unit filled up with members that are not in it yet, as long as there are any.

    They come for one more turn than their passes, so that what is drawn for them is new.
    """
    members = np.asarray(shelf.members, dtype=np.int64)
    missing = shelf.examples - shelf.rows
    begun = laid.members[shelf.examples - shelf.batch :]
    runs, turns = [laid.members], [laid.turns]
    for extra in range(-(-missing // len(members))):
        order = shuffled(len(members), *key, "fill", extra)
        if extra == 0:
            order = order[np.argsort(np.isin(members[order], begun), kind="stable")]
        order = order[: missing - extra * len(members)]
        runs.append(members[order])
        turns.append(shelf.counts[order] + extra)
    return _Laid(np.concatenate(runs), np.concatenate(turns))
