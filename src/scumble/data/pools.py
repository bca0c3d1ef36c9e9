"""Sets that share epochs, and the epochs of such a pool laid end to end.

Epochs may have different lengths: sets come and go, and cuts that are drawn anew bring pictures
to other sizes. Where the lengths stay the same, a far epoch is found by one division.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

from scumble.data.plans import Plan, Shelf, Unit, planned
from scumble.errors import JobError


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Sets that share epochs."""

    name: str = ""
    share: float = 1.0
    """Part of all units, against the other pools' shares."""

    shelves: Callable[[int, int], Sequence[Shelf]]
    """Of an epoch, from 0, whose first unit belongs to that step, from 1."""

    steady: bool = True
    """Whether the shelves are the same in all epochs, apart from sets that come and go."""

    settled: tuple[int, int] = (0, 0)
    """No set comes or goes any more in an epoch from this one on that begins at this step or
    later."""


class Track:
    """The units of one pool, counted through all its epochs from 0."""

    def __init__(
        self,
        pool: Pool,
        *,
        seed: int,
        step_of: Callable[[int], int],
        key: tuple[str, ...] = (),
    ) -> None:
        self._pool = pool
        self._seed, self._key, self._step_of = seed, key, step_of
        self._firsts = [0]
        self._level: tuple[int, int] | None = None  # an epoch all later ones are like; its units
        self._growing = Lock()
        self.shelves = lru_cache(maxsize=2)(self._shelves)
        self._plan = lru_cache(maxsize=2)(self._planned)

    def unit(self, number: int) -> Unit:
        """One of the pool's units; its first use of an epoch plans that epoch."""
        epoch, turn = self.locate(number)
        return self._plan(epoch).unit(turn)

    def locate(self, number: int) -> tuple[int, int]:
        """The epoch of a unit, and its place in it. JobError if an epoch before has no units."""
        while self._level is None and self._firsts[-1] <= number:
            self._grow(len(self._firsts) - 1)
        if self._level is not None and number >= self._firsts[-1]:
            epoch, units = self._level
            later, turn = divmod(number - self._firsts[-1], units)
            return epoch + later, turn
        epoch = bisect_right(self._firsts, number) - 1
        return epoch, number - self._firsts[epoch]

    def first(self, epoch: int) -> int:
        """The number of the epoch's first unit. JobError if an epoch before has no units."""
        while self._level is None and len(self._firsts) <= epoch:
            self._grow(len(self._firsts) - 1)
        if self._level is None or epoch < len(self._firsts):
            return self._firsts[epoch]
        level, units = self._level
        return self._firsts[-1] + (epoch - level) * units

    def first_step(self, epoch: int) -> int:
        """The step, from 1, that has the epoch's first unit."""
        return self._step_of(self.first(epoch))

    def units(self, epoch: int) -> int:
        """How many the epoch has."""
        return sum(shelf.units for shelf in self.shelves(epoch))

    def examples(self, epoch: int) -> int:
        """How many rows the epoch's units have together."""
        return sum(shelf.examples for shelf in self.shelves(epoch))

    def looked_at(self, number: int) -> Iterator[tuple[int, tuple[Shelf, ...]]]:
        """The epochs that begin before that unit and may be unlike those before, with their
        shelves; the last one may be without units, and is the last for that reason.
        """
        epoch = 0
        while epoch == 0 or self.first(epoch) < number:
            shelves = self.shelves(epoch)
            yield epoch, shelves
            dropped = any(shelf.short == "drop" for shelf in shelves)
            same = self._is_settled(epoch) and (self._pool.steady or not dropped)
            if same or not any(shelf.units for shelf in shelves):
                return
            epoch += 1

    def _grow(self, epoch: int) -> None:
        """Count the last known epoch, or find that all later ones are like it."""
        with self._growing:
            if epoch != len(self._firsts) - 1:
                return  # another thread was faster
            units = self.units(epoch)
            if units == 0:
                problem = f"no set has a batch for epoch {epoch + 1}"
                remedy = "change `start_epoch`, `start_step`, `end_epoch` or `short`"
                raise JobError("data", problem, remedy)
            if self._pool.steady and self._is_settled(epoch):
                self._level = (epoch, units)
            else:
                self._firsts.append(self._firsts[-1] + units)

    def _is_settled(self, epoch: int) -> bool:
        first_epoch, first_step = self._pool.settled
        return epoch >= first_epoch and self.first_step(epoch) >= first_step

    def _shelves(self, epoch: int) -> tuple[Shelf, ...]:
        if self._level is not None and epoch > self._level[0]:
            return self.shelves(self._level[0])
        return tuple(self._pool.shelves(epoch, self.first_step(epoch)))

    def _planned(self, epoch: int) -> Plan:
        return planned(self.shelves(epoch), epoch, seed=self._seed, pool=self._key)
