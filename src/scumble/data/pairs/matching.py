"""Which picture of one set belongs to which of another: by name, and by nothing else.

Two belong together if their relative paths are the same but for the picture's ending. Never by
order, never by the beginning of a name: what almost fits is not paired, but its reason says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scumble.data.pairs.names import near_misses, some, stem


@dataclass(frozen=True, slots=True)
class Odd:
    """A file that was not paired."""

    id: str
    reason: str
    """The rest of a sentence about it."""


@dataclass(frozen=True, slots=True)
class Matching:
    """Every target has a partner, or stands in `lonely` or in `ambiguous`."""

    partners: tuple[int | None, ...]
    """For each target the place of its partner among the others."""

    lonely: tuple[Odd, ...]
    """Targets without a partner."""

    spare: tuple[Odd, ...]
    """Others that no target takes; what an ambiguous target might take is not among them."""

    ambiguous: tuple[Odd, ...]
    """Targets of which nobody can say which partner is theirs."""


@dataclass(frozen=True, slots=True)
class _Group:
    """All ids of one name, as places."""

    targets: list[int]
    others: list[int]


def matched(targets: Sequence[str], others: Sequence[str]) -> Matching:
    """Pair ids, which are relative paths with forward slashes and unique in each of the two.

    Where several others have the name, the one with the target's very ending is taken and the
    rest are spare; if none has it, the target is ambiguous. Targets that share a name are all
    ambiguous. O(n log n).
    """
    groups = _grouped(targets, others)
    partners: list[int | None] = [None] * len(targets)
    ambiguous: list[Odd] = []
    second: list[Odd] = []
    for group in groups:
        if not group.targets or not group.others:
            continue
        target, chosen = group.targets[0], _chosen(group, targets, others)
        if chosen is None:
            reason = _contested(group, targets, others)
            ambiguous += (Odd(targets[place], reason) for place in group.targets)
        else:
            partners[target] = chosen
            reason = f"has a namesake, which is taken: {others[chosen]}"
            second += (Odd(others[place], reason) for place in group.others if place != chosen)
    alone = [targets[place] for group in groups if not group.others for place in group.targets]
    free = [others[place] for group in groups if not group.targets for place in group.others]
    return Matching(
        partners=tuple(partners),
        lonely=_sorted(_explained(alone, free)),
        spare=_sorted(_explained(free, alone) + second),
        ambiguous=_sorted(ambiguous),
    )


def _grouped(targets: Sequence[str], others: Sequence[str]) -> list[_Group]:
    """In the order in which the names come up."""
    groups: dict[str, _Group] = {}
    for place, id in enumerate(targets):
        groups.setdefault(stem(id), _Group([], [])).targets.append(place)
    for place, id in enumerate(others):
        groups.setdefault(stem(id), _Group([], [])).others.append(place)
    return list(groups.values())


def _chosen(group: _Group, targets: Sequence[str], others: Sequence[str]) -> int | None:
    """The place of the one that belongs to the target, if that is beyond doubt."""
    if len(group.targets) > 1:
        return None
    if len(group.others) == 1:
        return group.others[0]
    wanted = targets[group.targets[0]]
    return next((place for place in group.others if others[place] == wanted), None)


def _contested(group: _Group, targets: Sequence[str], others: Sequence[str]) -> str:
    mine = [targets[place] for place in group.targets]
    theirs = some([others[place] for place in group.others])
    if len(mine) > 1:
        return f"shares its name with another ({some(mine)}), and both would take {theirs}"
    return f"has one with two endings: {theirs}"


def _explained(ids: Sequence[str], candidates: Sequence[str]) -> list[Odd]:
    return [Odd(id, reason) for id, reason in near_misses(ids, candidates)]


def _sorted(odd: list[Odd]) -> tuple[Odd, ...]:
    return tuple(sorted(odd, key=lambda one: one.id))
