"""Which examples are learnt from at which step: a function of the seed and of counts.

Nothing is consumed and nothing need be saved: a resumed run asks for its next step and gets it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from scumble.dice import shuffled


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The examples of one set at one size, which can stand in a batch together."""

    dataset: str
    size: tuple[int, int]
    """Height and width."""
    members: tuple[int, ...]
    """Numbers of examples, in the order of their sorted ids."""
    batch: int
    passes: int
    """How often each is seen in an epoch."""


@dataclass(frozen=True, slots=True)
class Row:
    """An example, in which epoch it comes, and for which time in that epoch (`turn`, from 0)."""

    member: int
    epoch: int
    turn: int


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes through the network at once: rows of one shelf, `batch` of them or the rest."""

    shelf: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Plan:
    """One epoch: the number of the unit at each turn, and every shelf's members end to end."""

    units: np.ndarray
    members: tuple[np.ndarray, ...]


class Order:
    """All units of a run, by number.

    In an epoch each member of a shelf comes `passes` times: its passes are shuffled one by one and
    laid end to end, and the whole is cut into units, the last of which may be short. Then the
    units of all shelves are shuffled. With one shelf they are taken in turn instead: it has
    been shuffled already, and so two units of 2 hold the examples of one unit of 4, slot by slot,
    until an epoch ends with a short one.
    """

    def __init__(self, shelves: Sequence[Shelf], *, seed: int) -> None:
        assert shelves and all(s.members and s.batch > 0 and s.passes > 0 for s in shelves)
        assert len({(s.dataset, s.size) for s in shelves}) == len(shelves), "a shelf stands twice"
        self._shelves = tuple(shelves)
        self._members = tuple(np.array(shelf.members, dtype=np.int64) for shelf in shelves)
        self._seed = seed
        counts = [-(-len(s.members) * s.passes // s.batch) for s in shelves]
        self._firsts = [0, *accumulate(counts)]
        self.units_per_epoch = self._firsts[-1]
        self.examples_per_epoch = sum(len(s.members) * s.passes for s in shelves)
        self._plan = lru_cache(maxsize=2)(self._planned)

    def unit(self, u: int) -> Unit:
        """Unit `u` of the run, from 0; its first use of an epoch plans that epoch."""
        epoch, turn = divmod(u, self.units_per_epoch)
        plan = self._plan(epoch)
        number = int(plan.units[turn])
        which = bisect_right(self._firsts, number) - 1
        shelf = self._shelves[which]
        first = (number - self._firsts[which]) * shelf.batch
        members = plan.members[which][first : first + shelf.batch].tolist()
        rows = (
            Row(member, epoch, place // len(shelf.members))
            for place, member in enumerate(members, first)
        )
        return Unit(which, tuple(rows))

    def step(self, s: int, units: int) -> list[Unit]:
        """The units of step `s`, from 1, when every step has `units`; a step may cross epochs."""
        return [self.unit(u) for u in range((s - 1) * units, s * units)]

    def _planned(self, epoch: int) -> _Plan:
        total = self.units_per_epoch
        one = len(self._shelves) == 1
        units = np.arange(total) if one else shuffled(total, self._seed, "units", epoch)
        laid = zip(self._shelves, self._members, strict=True)
        return _Plan(units, tuple(self._laid(shelf, members, epoch) for shelf, members in laid))

    def _laid(self, shelf: Shelf, members: np.ndarray, epoch: int) -> np.ndarray:
        key = (self._seed, "order", shelf.dataset, *shelf.size, epoch)
        runs = [members[shuffled(len(members), *key, turn)] for turn in range(shelf.passes)]
        return np.concatenate(runs)
