"""Which shards of a cache go when it is to become smaller."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scumble.data.inventory import Shard
from scumble.disk import told


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How small a cache is to become, or how long a shard may lie unused."""

    most_bytes: int | None = None
    used_since: float | None = None
    """Shards that were last used before this time (seconds since 1970) go."""


def doomed(
    found: Sequence[Shard], goal: Goal, *, held: Collection[str], wanted: np.ndarray | None = None
) -> list[Shard]:
    """The shards that go, in this order: damaged ones, those without an entry that is `wanted`
    (keys, if a job was named), and each time the least recently used first.

    Shards of a `held` shelf stay, whatever is asked.
    """
    free = [one for one in found if one.shelf not in held]
    wanted = None if wanted is None else np.unique(wanted)
    order = sorted(free, key=lambda one: (_rank(one, wanted), one.used, one.path.name))
    over = sum(one.bytes for one in found)
    gone = []
    for one in order:
        too_old = goal.used_since is not None and one.used < goal.used_since
        too_much = goal.most_bytes is not None and over > goal.most_bytes
        if too_old or too_much:
            gone.append(one)
            over -= one.bytes
    return gone


def _rank(shard: Shard, wanted: np.ndarray | None) -> int:
    """0 goes first; `wanted` is sorted."""
    if shard.columns is None:
        return 0
    if wanted is None:
        return 1
    own = shard.columns.keys
    if not len(wanted):
        return 1
    places = np.searchsorted(wanted, own).clip(max=len(wanted) - 1)
    return 1 + bool((wanted[places] == own).any())


def packed(keys: Collection[bytes]) -> np.ndarray:
    """Keys as `doomed` takes them."""
    return np.frombuffer(b"".join(keys), "S16")


def remove(shards: Sequence[Shard]) -> int:
    """Delete them; says how many bytes that frees. DiskError at the first that will not go."""
    for one in shards:
        with told(one.path):
            _unlink(one.path)
    return sum(one.bytes for one in shards)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
