from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from scumble.data import mixing
from scumble.data.mixing import Part
from scumble.data.order import ROUND, Order, Row, Shelf, Unit
from scumble.spec.dataset import DatasetSpec


def part(id: str, count: int, *, batch: int = 2, **settings: object) -> Part:
    """A set of pictures of two sizes."""
    spec = DatasetSpec.model_validate({"id": id, "folder": id, **settings})
    halves = [range(0, count, 2), range(1, count, 2)]

    def shelves(epoch: int) -> list[Shelf]:
        return [
            Shelf(dataset=id, size=(64, 64 * width), members=np.array(half), batch=batch)
            for width, half in enumerate(halves, 1)
            if half
        ]

    return Part(spec=spec, count=count, shelves=shelves)


def order(*parts: Part, units_per_step: int = 1) -> Order:
    return Order(mixing.pools(parts), seed=0, units_per_step=units_per_step)


def epoch(order: Order, number: int) -> list[Unit]:
    first = sum(order.units_in_epoch(e) for e in range(number))
    return [order.unit(u) for u in range(first, first + order.units_in_epoch(number))]


def seen(units: list[Unit]) -> Counter[tuple[str, int]]:
    return Counter((unit.dataset, row.member) for unit in units for row in unit.rows)


def test_every_set_comes_with_its_own_repeats() -> None:
    one = order(part("cats", 7, repeats=3), part("dogs", 10, batch=4))
    for number in range(3):
        assert seen(epoch(one, number)) == Counter(
            {("cats", n): 3 for n in range(7)} | {("dogs", n): 1 for n in range(10)}
        )


def test_one_set_at_several_resolutions_is_several_sets() -> None:
    def shelves(side: int, name: str) -> list[Shelf]:
        return [Shelf(dataset=name, size=(side, side), members=np.arange(9), batch=2)]

    parts = [
        Part(
            spec=DatasetSpec(id=f"cats-{side}", folder="cats", resolution=side),
            count=9,
            shelves=lambda epoch, side=side: shelves(side, f"cats-{side}"),
        )
        for side in (512, 1024)
    ]
    units = epoch(order(*parts), 0)
    assert seen(units) == Counter({(p.spec.id, n): 1 for p in parts for n in range(9)})
    names = [unit.dataset for unit in units]
    assert names != sorted(names) and names != sorted(names, reverse=True)


@pytest.mark.parametrize(
    ("short", "sizes"), [("keep", [1, 4, 4]), ("fill", [4, 4, 4]), ("drop", [4, 4])]
)
def test_a_set_says_what_becomes_of_its_short_batches(short: str, sizes: list[int]) -> None:
    one = part("cats", 9, batch=4, short=short)

    def shelf(epoch: int) -> list[Shelf]:
        return [Shelf(dataset="cats", size=(64, 64), members=np.arange(9), batch=4)]

    whole = Part(spec=one.spec, count=9, shelves=shelf)
    assert sorted(len(unit.rows) for unit in epoch(order(whole), 0)) == sizes


def test_probability_only_moves_batches() -> None:
    early = order(part("cats", 300, probability=50.0), part("dogs", 300))
    plain = order(part("cats", 300), part("dogs", 300))
    assert seen(epoch(early, 1)) == seen(epoch(plain, 1))
    first = Counter(unit.dataset for unit in epoch(early, 1)[:140])
    assert first["cats"] > 125
    assert 45 < Counter(unit.dataset for unit in epoch(plain, 1)[:140])["cats"] < 95


def test_equal_probabilities_are_no_probabilities() -> None:
    one = order(part("cats", 30, probability=2.0), part("dogs", 30, probability=2.0))
    assert epoch(one, 2) == epoch(order(part("cats", 30), part("dogs", 30)), 2)


def test_sets_start_and_end_with_their_epochs() -> None:
    one = order(
        part("cats", 4),
        part("late", 4, start_epoch=3),
        part("early", 4, end_epoch=2),
        part("between", 4, start_epoch=2, end_epoch=3),
    )
    names = [sorted({unit.dataset for unit in epoch(one, e)}) for e in range(5)]
    assert names == [
        ["cats", "early"],
        ["between", "cats", "early"],
        ["between", "cats", "late"],
        ["cats", "late"],
        ["cats", "late"],
    ]
    assert one.empty_epoch(10_000) is None


def test_a_start_step_counts_from_the_next_epoch_on() -> None:
    late = part("late", 4, start_step=10)
    one = order(part("cats", 16), late, units_per_step=2)
    assert [one.first_step_of_epoch(e) for e in range(5)] == [1, 5, 9, 13, 18]
    first = next(s for s in range(1, 100) if any(unit.dataset == "late" for unit in one.step(s)))
    assert mixing.joins(late.spec, one, 100) == (4, 13)
    assert first in (13, 14, 15, 16, 17)
    assert mixing.joins(late.spec, one, 12) is None
    assert mixing.joins(part("cats", 16).spec, one, 100) == (1, 1)


def test_a_set_that_ends_before_it_starts_never_joins() -> None:
    brief = part("brief", 4, end_epoch=2, start_step=1000)
    one = order(part("cats", 16), brief)
    assert mixing.joins(brief.spec, one, 5000) is None


def test_a_step_that_starts_an_epoch_starts_the_set() -> None:
    late = part("late", 4, start_step=9)
    one = order(part("cats", 16), late, units_per_step=1)
    assert mixing.joins(late.spec, one, 100) == (2, 9)
    assert {unit.dataset for unit in epoch(one, 1)} == {"cats", "late"}


def test_an_epoch_that_every_set_leaves_out_is_known_beforehand() -> None:
    gap = order(part("cats", 4, end_epoch=2), part("dogs", 4, start_epoch=4))
    assert gap.empty_epoch(100) == 2
    assert gap.empty_epoch(4) is None, "two epochs of two steps"
    assert order(part("cats", 4, end_epoch=2)).empty_epoch(100) == 2
    assert order(part("cats", 4, start_step=50)).empty_epoch(100) == 0
    assert order(part("cats", 4, start_epoch=2)).empty_epoch(100) == 0


def recut(id: str, count: int) -> Part:
    """A set whose pictures are cut to another of two sizes each epoch."""

    def shelves(epoch: int) -> list[Shelf]:
        sides = np.random.default_rng(epoch).integers(1, 3, count) * 64
        return [
            Shelf(dataset=id, size=(64, int(s)), members=np.flatnonzero(sides == s), batch=4)
            for s in np.unique(sides)
        ]

    spec = DatasetSpec(id=id, folder=id)
    return Part(spec=spec, count=count, shelves=shelves, steady=False)


def test_cuts_that_are_drawn_anew_leave_epochs_exact() -> None:
    one = order(recut("cats", 23), part("dogs", 5, start_epoch=3, repeats=2))
    lengths = set()
    for number in range(8):
        units = epoch(one, number)
        lengths.add(len(units))
        dogs = {("dogs", n): 2 for n in range(5)} if number >= 2 else {}
        assert seen(units) == Counter({("cats", n): 1 for n in range(23)} | dogs)
        assert all(row.epoch == number for unit in units for row in unit.rows)
    assert len(lengths) > 2
    again = order(recut("cats", 23), part("dogs", 5, start_epoch=3, repeats=2))
    assert again.unit(57) == one.unit(57)


def test_shares_hold_whatever_the_sizes_of_the_sets() -> None:
    one = order(part("few", 5, share=3.0, repeats=2), part("many", 500, share=1.0))
    counts = Counter(one.unit(u).dataset for u in range(ROUND))
    assert counts == {"few": 768, "many": 256}
    few = Counter(
        row for u in range(ROUND) if one.unit(u).dataset == "few" for row in one.unit(u).rows
    )
    assert {Row(n, 0, t) for n in range(5) for t in range(2)} <= set(few)
    assert max(few.values()) == 1
    assert [pool.name for pool in one.pools] == ["few", "many"]


def literal(counts: list[tuple[int, int]], wanted: int) -> list[int]:
    """The rule as its own documentation tells it, picture by picture."""
    repeats = list(chain.from_iterable([own] * count for count, own in counts))
    passes, n = [0] * len(repeats), 0
    first = True
    while n < wanted:
        for number, own in enumerate(repeats):
            more = own if first else 1
            passes[number] += more
            n += more
            if n >= wanted:
                break
        first = False
    return passes


@pytest.mark.parametrize("wanted", [1, 2, 5, 6, 7, 12, 13, 30, 100])
@pytest.mark.parametrize("held", [[(5, 1)], [(3, 2), (2, 1)], [(1, 7)], [(4, 3), (4, 3)]])
def test_regularisation_pictures_match_the_others(held: list[tuple[int, int]], wanted: int) -> None:
    parts = [part("cats", wanted)] + [
        part(f"class{n}", count, repeats=own, regularisation=True)
        for n, (count, own) in enumerate(held)
    ]
    passes = mixing.balanced(parts)
    assert list(passes) == [f"class{n}" for n in range(len(held))]
    assert np.concatenate(list(passes.values())).tolist() == literal(held, wanted)
    got = seen(epoch(order(*parts), 1))
    for name, each in passes.items():
        assert [got[name, n] for n in range(len(each))] == each.tolist()


def test_the_others_count_with_their_repeats() -> None:
    parts = [
        part("cats", 3, repeats=4),
        part("class", 5, regularisation=True),
        part("dogs", 2),
    ]
    assert mixing.balanced(parts)["class"].tolist() == [3, 3, 3, 3, 2]
    assert mixing.notes(parts) == [
        ("class", "is seen 2 to 3 times in an epoch, to match 14 of the others")
    ]


def test_surplus_pictures_are_told() -> None:
    parts = [part("cats", 60), part("class", 100, regularisation=True)]
    told = dict(mixing.notes(parts))["class"]
    assert "40 of 100 pictures that are never used" in told and "only 60" in told
    got = seen(epoch(order(*parts), 0))
    assert sum(count for (name, _), count in got.items() if name == "class") == 60


def test_shares_are_stronger_than_balance_and_that_is_told() -> None:
    parts = [
        part("cats", 60, share=1.0),
        part("class", 10, share=1.0, regularisation=True),
    ]
    assert [name for name, _ in mixing.notes(parts)] == ["class"]
    assert order(*parts).examples_in_epoch(0, 1) == 10


def test_without_regularisation_there_is_nothing_to_tell() -> None:
    assert mixing.notes([part("cats", 3)]) == [] and mixing.balanced([part("cats", 3)]) == {}


@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_ranks_learns_the_same(world: int) -> None:
    def parts() -> list[Part]:
        return [
            recut("cats", 23),
            part("dogs", 9, repeats=3, start_step=4, short="fill"),
            part("class", 6, regularisation=True, probability=3.0),
        ]

    found = set()
    for rank in range(world):
        mine = order(*parts(), units_per_step=4)
        for s in range(1, 25):
            units = mine.step(s)
            slots = np.cumsum([0, *(len(unit.rows) for unit in units)]).tolist()
            for number in range(rank, 4, world):
                unit = units[number]
                rows = enumerate(unit.rows, slots[number])
                found |= {(s, slot, unit.dataset, row) for slot, row in rows}
    alone = order(*parts(), units_per_step=4)
    wanted = {
        (s, slot, name, row)
        for s in range(1, 25)
        for slot, (name, row) in enumerate(
            (unit.dataset, row) for unit in alone.step(s) for row in unit.rows
        )
    }
    assert found == wanted
