"""Which examples are learnt from at which step: a function of the seed and of counts.

Nothing is consumed and nothing need be saved: a resumed run asks for its next step and gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from scumble.data.plans import Row, Shelf, Unit
from scumble.data.pools import Pool, Track
from scumble.dice import shuffled

__all__ = ["ROUND", "Order", "Pool", "Row", "Shelf", "Unit"]

ROUND = 1024
"""Among so many units, the pools have exactly their shares."""


class Order:
    """All units of a run, by number.

    One pool: its epochs laid end to end. Several: rounds of 1,024 units, in each of which every
    pool has as many as its share demands, in a shuffled order; each pool has epochs of its own,
    and is named below by its place among the pools.
    """

    def __init__(self, pools: Sequence[Pool], *, seed: int, units_per_step: int) -> None:
        assert pools and units_per_step > 0
        self.pools = tuple(pools)
        self.units_per_step = units_per_step
        self._rounds = _Rounds([pool.share for pool in pools], seed)
        self._tracks = _tracks(self.pools, self._rounds, seed, units_per_step)
        self.units_per_round = self._rounds.quotas
        """Of every 1,024 units, how many each pool has."""

    def unit(self, u: int) -> Unit:
        """Unit `u` of the run, from 0; its first use of an epoch plans that epoch.

        JobError if the run comes to an epoch without units: see `empty_epoch`.
        """
        pool, number = self._rounds.place(u)
        return self._tracks[pool].unit(number)

    def step(self, s: int) -> list[Unit]:
        """The units of step `s`, from 1; a step may cross epochs."""
        return [self.unit(u) for u in range((s - 1) * self.units_per_step, s * self.units_per_step)]

    def epoch_of(self, u: int, pool: int = 0) -> int:
        """In which epoch, from 0, the pool stands when unit `u` of the run comes."""
        return self._tracks[pool].locate(self._rounds.before(u, pool))[0]

    def epochs(self, steps: int, pool: int = 0) -> int:
        """How many epochs of the pool a run of so many steps sees, the last perhaps in part."""
        units = self._rounds.before(steps * self.units_per_step, pool)
        return self._tracks[pool].locate(units - 1)[0] + 1 if units else 0

    def shelves(self, epoch: int, pool: int = 0) -> tuple[Shelf, ...]:
        """What the pool's epoch is made of; empty if no set has begun or all have ended."""
        return self._tracks[pool].shelves(epoch)

    def units_in_epoch(self, epoch: int, pool: int = 0) -> int:
        """Batches, from counts alone."""
        return self._tracks[pool].units(epoch)

    def examples_in_epoch(self, epoch: int, pool: int = 0) -> int:
        """Examples with their repetitions, from counts alone."""
        return self._tracks[pool].examples(epoch)

    def first_step_of_epoch(self, epoch: int, pool: int = 0) -> int:
        """The step, from 1, that has the epoch's first unit; it may also have the last units of
        the epoch before.
        """
        return self._tracks[pool].first_step(epoch)

    def empty_epoch(self, steps: int) -> int | None:
        """The first epoch without units that a run of so many steps comes to, or None."""
        for epoch, shelves in self._looked_at(steps):
            if not any(shelf.units for shelf in shelves):
                return epoch
        return None

    def never_seen(self, steps: int) -> list[Shelf]:
        """Shelves too small for a batch under `short: drop`, as far as that is known beforehand.

        Where cuts are drawn anew in each epoch, their members may be on larger ones in others.
        """
        found: dict[tuple[str, tuple[int, ...]], Shelf] = {}
        for _, shelves in self._looked_at(steps):
            for shelf in shelves:
                if shelf.rows > 0 and shelf.units == 0:
                    found.setdefault((shelf.dataset, shelf.size), shelf)
        return list(found.values())

    def _looked_at(self, steps: int) -> Iterator[tuple[int, tuple[Shelf, ...]]]:
        """Epochs of a run which may be unlike those before, pool by pool."""
        for pool, track in enumerate(self._tracks):
            yield from track.looked_at(self._rounds.before(steps * self.units_per_step, pool))


class _Rounds:
    """Who has which unit: numbers within pools to numbers within the run, and back."""

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        self.quotas = quotas(shares)
        self._seed = seed
        self._labels = lru_cache(maxsize=2)(self._shuffled)

    def place(self, u: int) -> tuple[int, int]:
        """The pool of unit `u` of the run, and the unit's number among the pool's own."""
        pool = int(self._labels(u // ROUND)[u % ROUND])
        return pool, self.before(u, pool)

    def before(self, u: int, pool: int) -> int:
        """How many of the pool's units come before unit `u` of the run."""
        round, place = divmod(u, ROUND)
        here = np.count_nonzero(self._labels(round)[:place] == pool)
        return round * self.quotas[pool] + int(here)

    def whole(self, pool: int, number: int) -> int:
        """Where in the run a pool's unit comes."""
        round, turn = divmod(number, self.quotas[pool])
        return round * ROUND + int(np.flatnonzero(self._labels(round) == pool)[turn])

    def _shuffled(self, round: int) -> np.ndarray:
        labels = np.repeat(np.arange(len(self.quotas)), self.quotas)
        return (
            labels if len(self.quotas) == 1 else labels[shuffled(ROUND, self._seed, "round", round)]
        )


def _tracks(
    pools: Sequence[Pool], rounds: _Rounds, seed: int, units_per_step: int
) -> tuple[Track, ...]:
    def steps(pool: int) -> Callable[[int], int]:
        return lambda number: rounds.whole(pool, number) // units_per_step + 1

    return tuple(
        Track(pool, seed=seed, key=(pool.name,) if len(pools) > 1 else (), step_of=steps(number))
        for number, pool in enumerate(pools)
    )


def quotas(shares: Sequence[float]) -> tuple[int, ...]:
    """Units of each pool in a round: nearest to the shares by largest remainder, but at least 1,
    so that no set is left out for being rare; [2, 1] gives 683 and 341.
    """
    assert 0 < len(shares) <= ROUND and min(shares) > 0
    exact = np.array(shares, dtype=np.float64) / sum(shares) * ROUND
    whole = np.floor(exact).astype(np.int64)
    most = np.argsort(whole - exact, kind="stable")[: ROUND - whole.sum()]
    whole[most] += 1
    while whole.min() == 0:
        whole[whole.argmin()] += 1
        whole[whole.argmax()] -= 1
    return tuple(int(count) for count in whole)
