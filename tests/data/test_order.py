from collections import Counter
from itertools import chain

import pytest

from scumble.data.order import Order, Row, Shelf
from scumble.dice import shuffled


def shelf(name: str, count: int, *, batch: int = 2, passes: int = 1, first: int = 0) -> Shelf:
    members = tuple(range(first, first + count))
    return Shelf(dataset=name, size=(512, 768), members=members, batch=batch, passes=passes)


CATS, DOGS = shelf("cats", 7, passes=2), shelf("dogs", 10, batch=4, first=100)


def rows(order: Order, units: range) -> list[Row]:
    return list(chain.from_iterable(order.unit(u).rows for u in units))


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize("shelves", [[CATS, DOGS], [CATS], [DOGS]])
def test_in_an_epoch_each_member_comes_as_often_as_its_passes(
    shelves: list[Shelf], epoch: int
) -> None:
    order = Order(shelves, seed=3)
    first = epoch * order.units_per_epoch
    seen = Counter(rows(order, range(first, first + order.units_per_epoch)))
    wanted = Counter(Row(m, epoch, t) for s in shelves for m in s.members for t in range(s.passes))
    assert seen == wanted
    assert order.examples_per_epoch == sum(wanted.values())


def test_a_unit_asked_for_alone_is_the_unit_met_in_sequence() -> None:
    order = Order([CATS, DOGS], seed=3)
    sequence = [order.unit(u) for u in range(60)]
    for u in (0, 59, 7, 31, 8, 58):
        assert Order([CATS, DOGS], seed=3).unit(u) == sequence[u]
        assert order.unit(u) == sequence[u]


def test_batch_4_sees_what_twice_batch_2_sees_slot_by_slot() -> None:
    whole = Order([shelf("cats", 12, batch=4, passes=3)], seed=1)
    halves = Order([shelf("cats", 12, batch=2, passes=3)], seed=1)
    for s in range(1, 40):
        one = chain.from_iterable(unit.rows for unit in whole.step(s, 1))
        two = chain.from_iterable(unit.rows for unit in halves.step(s, 2))
        assert list(one) == list(two)


@pytest.mark.parametrize("shelves", [[CATS, DOGS], [DOGS]])
def test_another_seed_is_another_order(shelves: list[Shelf]) -> None:
    orders = [
        [row.member for row in rows(order, range(order.units_per_epoch))]
        for order in (Order(shelves, seed=seed) for seed in range(4))
    ]
    assert len({tuple(members) for members in orders}) == 4


def test_another_epoch_and_another_pass_are_other_orders() -> None:
    order = Order([shelf("cats", 30, batch=30, passes=2)], seed=0)
    runs = [tuple(row.member for row in order.unit(u).rows) for u in range(4)]
    assert len(set(runs)) == 4
    assert {tuple(sorted(run)) for run in runs} == {tuple(range(30))}


def test_the_order_of_a_shelf_knows_nothing_of_the_others() -> None:
    alone, among = Order([DOGS], seed=3), Order([CATS, DOGS], seed=3)
    units = [among.unit(u) for u in range(among.units_per_epoch)]
    dogs = {unit.rows for unit in units if unit.shelf == 1}
    assert dogs == {alone.unit(u).rows for u in range(alone.units_per_epoch)}


def test_the_short_last_unit_of_a_shelf_is_kept() -> None:
    order = Order([CATS, DOGS], seed=3)
    sizes = [len(order.unit(u).rows) for u in range(order.units_per_epoch)]
    assert sorted(sizes) == [2] * 7 + [2] + [4, 4]
    assert [len(Order([DOGS], seed=3).unit(u).rows) for u in range(4)] == [4, 4, 2, 4]


def test_the_units_of_two_shelves_are_mixed() -> None:
    order = Order([shelf("cats", 40), shelf("dogs", 40)], seed=0)
    kinds = [order.unit(u).shelf for u in range(order.units_per_epoch)]
    assert kinds != sorted(kinds)


def test_steps_are_laid_end_to_end_and_cross_epochs() -> None:
    order = Order([CATS, DOGS], seed=3)
    assert order.units_per_epoch == 10
    laid = list(chain.from_iterable(order.step(s, 4) for s in range(1, 6)))
    assert laid == [order.unit(u) for u in range(20)]
    assert {row.epoch for unit in order.step(3, 4) for row in unit.rows} == {0, 1}


@pytest.mark.parametrize(
    ("count", "key", "first"),
    [
        (8, (0, "order"), [6, 7, 0, 1, 4, 2, 3, 5]),
        (5, (7, "units", 3), [0, 1, 3, 2, 4]),
        (100_000, (1,), [92958, 60238, 39867, 30156, 27523]),
    ],
)
def test_a_shuffle_is_the_same_for_ever(
    count: int, key: tuple[int | str, ...], first: list[int]
) -> None:
    assert shuffled(count, *key)[: len(first)].tolist() == first


def test_an_order_is_the_same_for_ever() -> None:
    order = Order([CATS, DOGS], seed=3)
    units = [[row.member for row in order.unit(u).rows] for u in range(4)]
    assert units == [[6, 2], [3, 5], [107, 103, 106, 108], [4, 6]]
