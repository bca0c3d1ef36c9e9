"""How the sets of a job are mixed: who shares epochs with whom, from when to when, how often each
picture of a regularisation set is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from scumble.data.order import Order, Pool, Shelf
from scumble.spec.dataset import DatasetSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A set, as far as mixing goes."""

    spec: DatasetSpec
    count: int
    """Pictures in it; shelves name them by 0 .. count - 1."""

    shelves: Callable[[int], Sequence[Shelf]]
    """Of an epoch, from 0. Their passes, weight and what becomes of short units do not count:
    the spec says that, and `pools` sets it."""

    steady: bool = True
    """Whether every picture has the same size in all epochs."""


def pools(parts: Sequence[Part]) -> tuple[Pool, ...]:
    """One pool of all sets, or one for each if they have shares."""
    passes = {} if _shared(parts) else balanced(parts)
    dressed = [_dressed(part, passes.get(part.spec.id)) for part in parts]
    if _shared(parts):
        return tuple(
            Pool(
                name=part.spec.id,
                share=part.spec.share or 1.0,
                shelves=_mixed([part]),
                steady=part.steady,
            )
            for part in dressed
        )
    first_epochs = [max(p.spec.start_epoch - 1, p.spec.end_epoch or 0) for p in parts]
    first_steps = [part.spec.start_step for part in parts]
    return (
        Pool(
            shelves=_mixed(dressed),
            steady=all(part.steady for part in parts),
            settled=(max(first_epochs), max(first_steps)),
        ),
    )


def balanced(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """How often each picture of each regularisation set is seen in an epoch, by set.

    The rule of sd-scripts, over all regularisation sets in the order of the job: pictures are
    taken with their own repeats until there are as many as of all other sets together; the rest
    is never used. If they do not suffice, one pass after another is added, picture by picture.
    """
    held = [part for part in parts if part.spec.regularisation]
    if not held:
        return {}
    assert len(held) < len(parts), "a job says that it has others"
    wanted = _wanted(parts)
    own = np.concatenate([np.full(part.count, part.spec.repeats) for part in held])
    before = np.cumsum(own) - own
    passes = np.where(before < wanted, own, 0)
    rounds, rest = divmod(max(0, wanted - int(own.sum())), len(own))
    passes = passes + rounds + (np.arange(len(own)) < rest)
    ends = np.cumsum([part.count for part in held])[:-1]
    return dict(zip((part.spec.id for part in held), np.split(passes, ends), strict=True))


def notes(parts: Sequence[Part]) -> list[tuple[str, str]]:
    """What a user should know of the mixing: a set's id, and the rest of a sentence about it."""
    held = [part for part in parts if part.spec.regularisation]
    if _shared(parts):
        text = "is seen as often as its `share` says, without regard to the number of others"
        return [(part.spec.id, text) for part in held]
    found = []
    for name, passes in balanced(parts).items():
        unused, wanted = int(np.count_nonzero(passes == 0)), f"{_wanted(parts):,}"
        if unused:
            text = f"has {unused:,} of {len(passes):,} pictures that are never used, because "
            text += f"the other sets show only {wanted} in an epoch"
        elif passes.min() == passes.max():
            text = f"is seen {_times(int(passes[0]))} in an epoch, to match {wanted} of the others"
        else:
            text = f"is seen {passes.min()} to {_times(int(passes.max()))} in an epoch, "
            text += f"to match {wanted} of the others"
        found.append((name, text))
    return found


def joins(spec: DatasetSpec, order: Order, steps: int) -> tuple[int, int] | None:
    """The epoch (from 1) and the step with which a set begins, None if that is never or not
    within so many steps. The order must have an epoch's units up to there.
    """
    if spec.share is not None:
        return 1, 1
    epoch = spec.start_epoch - 1
    while (step := order.first_step_of_epoch(epoch)) <= steps:
        if spec.end_epoch is not None and epoch >= spec.end_epoch:
            return None
        if step >= spec.start_step:
            return epoch + 1, step
        epoch += 1
    return None


def _shared(parts: Sequence[Part]) -> bool:
    return any(part.spec.share is not None for part in parts)


def _wanted(parts: Sequence[Part]) -> int:
    """What the sets that are not for regularisation show in an epoch."""
    return sum(p.count * p.spec.repeats for p in parts if not p.spec.regularisation)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _dressed(part: Part, passes: np.ndarray | None) -> Part:
    """The part with shelves that know how often, and with which others, each picture comes."""

    def shelves(epoch: int) -> tuple[Shelf, ...]:
        return tuple(
            replace(
                shelf,
                passes=spec.repeats if passes is None else passes[np.asarray(shelf.members)],
                short=spec.short,
                weight=spec.probability,
            )
            for shelf in part.shelves(epoch)
        )

    spec, kept = part.spec, lru_cache(maxsize=2)(shelves)
    return replace(part, shelves=(lambda _: kept(0)) if part.steady else kept)


def _mixed(parts: Sequence[Part]) -> Callable[[int, int], Sequence[Shelf]]:
    """The shelves of all parts that take part in an epoch."""

    def shelves(epoch: int, first_step: int) -> tuple[Shelf, ...]:
        there = [part for part in parts if _is_there(part.spec, epoch, first_step)]
        return tuple(shelf for part in there for shelf in part.shelves(epoch))

    return shelves


def _is_there(spec: DatasetSpec, epoch: int, first_step: int) -> bool:
    begun = epoch + 1 >= spec.start_epoch and first_step >= spec.start_step
    return begun and (spec.end_epoch is None or epoch < spec.end_epoch)
