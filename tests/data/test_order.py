from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest

from scumble.data.order import ROUND, Order, Pool, Row, Shelf, Unit, quotas
from scumble.dice import shuffled
from scumble.errors import JobError

SIZE = (512, 768)


def shelf(name: str, count: int, *, batch: int = 2, passes: int = 1, first: int = 0) -> Shelf:
    members = tuple(range(first, first + count))
    return Shelf(dataset=name, size=SIZE, members=members, batch=batch, passes=passes)


def pool(*shelves: Shelf, name: str = "", share: float = 1.0) -> Pool:
    return Pool(name=name, share=share, shelves=lambda epoch, step: shelves)


def order(*shelves: Shelf, seed: int = 3, units_per_step: int = 1) -> Order:
    return Order([pool(*shelves)], seed=seed, units_per_step=units_per_step)


CATS, DOGS = shelf("cats", 7, passes=2), shelf("dogs", 10, batch=4, first=100)


def epoch(order: Order, number: int) -> list[Unit]:
    first = sum(order.units_in_epoch(e) for e in range(number))
    return [order.unit(u) for u in range(first, first + order.units_in_epoch(number))]


def rows(units: list[Unit]) -> list[Row]:
    return list(chain.from_iterable(unit.rows for unit in units))


@pytest.mark.parametrize("number", [0, 1, 5])
@pytest.mark.parametrize("shelves", [[CATS, DOGS], [CATS], [DOGS]])
def test_in_an_epoch_each_member_comes_as_often_as_its_passes(
    shelves: list[Shelf], number: int
) -> None:
    seen = Counter(rows(epoch(order(*shelves), number)))
    wanted = Counter(
        Row(m, number, t) for s in shelves for m in s.members for t in range(int(s.passes))
    )
    assert seen == wanted
    assert order(*shelves).examples_in_epoch(number) == sum(wanted.values())


def test_members_may_differ_in_their_passes() -> None:
    passes = np.array([3, 0, 1, 2, 0])
    one = Shelf(dataset="class", size=SIZE, members=np.arange(5), batch=4, passes=passes)
    seen = Counter((row.member, row.turn) for row in rows(epoch(order(one), 0)))
    assert seen == Counter({(0, 0): 1, (0, 1): 1, (0, 2): 1, (2, 0): 1, (3, 0): 1, (3, 1): 1})
    assert (order(one).units_in_epoch(0), order(one).examples_in_epoch(0)) == (2, 6)


def test_equal_passes_may_be_told_as_one_number_or_as_many() -> None:
    many = Shelf(dataset="cats", size=SIZE, members=np.arange(7), batch=2, passes=np.full(7, 2))
    assert epoch(order(many), 1) == epoch(order(CATS), 1)


def test_a_unit_asked_for_alone_is_the_unit_met_in_sequence() -> None:
    one = order(CATS, DOGS)
    sequence = [one.unit(u) for u in range(60)]
    for u in (0, 59, 7, 31, 8, 58):
        assert order(CATS, DOGS).unit(u) == sequence[u]
        assert one.unit(u) == sequence[u]


def test_batch_4_sees_what_twice_batch_2_sees_slot_by_slot() -> None:
    whole = order(shelf("cats", 12, batch=4, passes=3))
    halves = order(shelf("cats", 12, batch=2, passes=3), units_per_step=2)
    for s in range(1, 40):
        assert rows(whole.step(s)) == rows(halves.step(s))


@pytest.mark.parametrize("shelves", [[CATS, DOGS], [DOGS]])
def test_another_seed_is_another_order(shelves: list[Shelf]) -> None:
    orders = [epoch(order(*shelves, seed=seed), 0) for seed in range(4)]
    assert len({tuple(row.member for row in rows(units)) for units in orders}) == 4


def test_another_epoch_and_another_pass_are_other_orders() -> None:
    one = order(shelf("cats", 30, batch=30, passes=2))
    runs = [tuple(row.member for row in one.unit(u).rows) for u in range(4)]
    assert len(set(runs)) == 4
    assert {tuple(sorted(run)) for run in runs} == {tuple(range(30))}


def test_the_order_of_a_shelf_knows_nothing_of_the_others() -> None:
    dogs = {unit.rows for unit in epoch(order(CATS, DOGS), 0) if unit.dataset == "dogs"}
    assert dogs == {unit.rows for unit in epoch(order(DOGS), 0)}


def test_the_short_last_unit_of_a_shelf_is_kept() -> None:
    sizes = [len(unit.rows) for unit in epoch(order(CATS, DOGS), 0)]
    assert sorted(sizes) == [2] * 7 + [2] + [4, 4]
    assert [len(order(DOGS).unit(u).rows) for u in range(4)] == [4, 4, 2, 4]


def short(how: str, count: int, *, batch: int = 4, passes: int = 1) -> Shelf:
    match how:
        case "fill" | "drop":
            return Shelf(
                dataset="cats",
                size=SIZE,
                members=np.arange(count),
                batch=batch,
                passes=passes,
                short=how,
            )
    raise AssertionError(how)


@pytest.mark.parametrize(("count", "passes"), [(10, 1), (10, 3), (3, 1), (1, 1), (1, 2), (8, 1)])
def test_a_short_unit_is_filled_with_rows_that_are_new(count: int, passes: int) -> None:
    one = order(short("fill", count, passes=passes))
    units = epoch(one, 2)
    assert all(len(unit.rows) == 4 for unit in units)
    seen = Counter(rows(units))
    assert max(seen.values()) == 1, "a second look at a picture is another turn"
    assert {Row(m, 2, t) for m in range(count) for t in range(passes)} <= set(seen)
    assert one.examples_in_epoch(2) == len(seen) == 4 * one.units_in_epoch(2)
    assert epoch(order(short("fill", count, passes=passes)), 2) == units


def test_a_unit_is_filled_with_pictures_that_it_does_not_hold_yet() -> None:
    for number in range(20):
        last = epoch(order(short("fill", 10)), number)[-1]
        assert len({row.member for row in last.rows}) == 4


def test_the_fill_is_drawn_anew_in_each_epoch() -> None:
    one = order(short("fill", 9, batch=8))
    assert len({tuple(r.member for r in epoch(one, e)[-1].rows) for e in range(6)}) > 3


def test_dropping_leaves_other_pictures_out_each_epoch() -> None:
    one = order(short("drop", 10))
    assert (one.units_in_epoch(0), one.examples_in_epoch(0)) == (2, 8)
    left = [set(range(10)) - {row.member for row in rows(epoch(one, e))} for e in range(30)]
    assert all(len(out) == 2 for out in left)
    assert set.union(*left) == set(range(10))


def test_a_shelf_that_is_dropped_whole_is_told_and_disturbs_nobody() -> None:
    small = short("drop", 3)
    one = order(small, DOGS)
    assert one.never_seen(100) == [small]
    assert epoch(one, 0) == epoch(order(DOGS), 0)
    assert order(CATS, DOGS).never_seen(100) == []


def test_an_epoch_in_which_all_is_dropped_is_known_beforehand() -> None:
    one = order(short("drop", 3))
    assert one.empty_epoch(10) == 0
    with pytest.raises(JobError, match="no set has a batch for epoch 1"):
        one.unit(0)


def test_the_units_of_two_shelves_are_mixed() -> None:
    names = [unit.dataset for unit in epoch(order(shelf("cats", 40), shelf("dogs", 40)), 0)]
    assert names != sorted(names)


def test_a_weight_moves_units_forward_and_loses_none() -> None:
    def mean_places(weight: float) -> tuple[float, float]:
        heavy = Shelf(dataset="cats", size=SIZE, members=np.arange(200), batch=1, weight=weight)
        units = epoch(order(heavy, shelf("dogs", 200, batch=1)), 0)
        assert Counter(unit.dataset for unit in units) == {"cats": 200, "dogs": 200}
        assert len(set(rows(units))) == 200, "both sets number from 0"
        places = {"cats": [], "dogs": []}
        for place, unit in enumerate(units):
            places[unit.dataset].append(place)
        return float(np.mean(places["cats"])), float(np.mean(places["dogs"]))

    even, odd = mean_places(1.0), mean_places(4.0)
    assert abs(even[0] - even[1]) < 60
    # a cat is the earlier of two with chance 4/5: on average it has 100 + 200 / 5 before it
    assert abs(odd[0] - 139.5) < 12 and abs(odd[1] - 259.5) < 12


def test_equal_weights_are_no_weights() -> None:
    def heavy(one: Shelf) -> Shelf:
        return Shelf(
            dataset=one.dataset,
            size=one.size,
            members=one.members,
            batch=one.batch,
            passes=one.passes,
            weight=0.3,
        )

    assert epoch(order(heavy(CATS), heavy(DOGS)), 4) == epoch(order(CATS, DOGS), 4)


def test_steps_are_laid_end_to_end_and_cross_epochs() -> None:
    one = order(CATS, DOGS, units_per_step=4)
    assert one.units_in_epoch(0) == 10
    laid = list(chain.from_iterable(one.step(s) for s in range(1, 6)))
    assert laid == [one.unit(u) for u in range(20)]
    assert {row.epoch for unit in one.step(3) for row in unit.rows} == {0, 1}
    assert [one.first_step_of_epoch(e) for e in range(3)] == [1, 3, 6]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_a_step_without_gaps_or_doubles(world: int) -> None:
    one = order(CATS, DOGS, units_per_step=4)
    alone = [
        (s, slot, unit.dataset, row)
        for s in range(1, 30)
        for slot, (unit, row) in enumerate((u, r) for u in one.step(s) for r in u.rows)
    ]
    together = []
    for rank in range(world):
        mine = order(CATS, DOGS, units_per_step=4)
        for s in range(1, 30):
            units = mine.step(s)
            starts = np.cumsum([0, *(len(unit.rows) for unit in units)])
            for number in range(rank, 4, world):
                for place, row in enumerate(units[number].rows):
                    slot = int(starts[number]) + place
                    together.append((s, slot, units[number].dataset, row))
    assert sorted(together, key=repr) == sorted(alone, key=repr)


GROWING = Pool(
    steady=False,
    shelves=lambda epoch, step: [shelf("cats", 3 + epoch % 4), shelf("dogs", 5, batch=4)],
)


def test_epochs_may_have_different_lengths() -> None:
    one = Order([GROWING], seed=0, units_per_step=3)
    for number in range(12):
        cats = Counter(r for u in epoch(one, number) if u.dataset == "cats" for r in u.rows)
        assert cats == Counter(Row(m, number, 0) for m in range(3 + number % 4))
    sequence = [one.unit(u) for u in range(60)]
    for u in (59, 0, 33):
        assert Order([GROWING], seed=0, units_per_step=3).unit(u) == sequence[u]
        assert one.epoch_of(u) == sequence[u].rows[0].epoch


def test_a_pool_is_told_the_epoch_and_its_first_step() -> None:
    asked = {}

    def shelves(epoch: int, step: int) -> list[Shelf]:
        asked[epoch] = step
        return [DOGS]

    one = Order([Pool(shelves=shelves, steady=False)], seed=0, units_per_step=2)
    one.unit(12)
    assert asked == {0: 1, 1: 2, 2: 4, 3: 5, 4: 7}


def test_sets_that_come_and_go_leave_later_epochs_alike() -> None:
    calls = []

    def shelves(epoch: int, step: int) -> list[Shelf]:
        calls.append(epoch)
        return [CATS, DOGS] if epoch >= 2 and step >= 5 else [DOGS]

    changing = Pool(shelves=shelves, settled=(2, 5))
    one = Order([changing], seed=0, units_per_step=2)
    assert [one.units_in_epoch(e) for e in range(6)] == [3, 3, 3, 10, 10, 10]
    assert [one.first_step_of_epoch(e) for e in range(5)] == [1, 2, 4, 5, 10]
    far = 9 + 10 * 10**9 + 4
    assert one.epoch_of(far) == 3 + 10**9
    assert {row.epoch for row in one.unit(far).rows} == {3 + 10**9}
    assert max(calls) <= 5


def test_a_gap_between_two_sets_is_known_beforehand() -> None:
    def shelves(epoch: int, step: int) -> list[Shelf]:
        return {0: [CATS], 1: [CATS], 2: []}.get(epoch, [DOGS])

    one = Order([Pool(shelves=shelves, settled=(3, 0))], seed=0, units_per_step=7)
    assert one.empty_epoch(steps=2) is None, "the run ends before"
    assert one.empty_epoch(steps=3) == 2
    assert len(one.step(2)) == 7
    with pytest.raises(JobError, match="epoch 3"):
        one.step(3)


def test_a_run_whose_sets_all_start_later_is_known_beforehand() -> None:
    late = Pool(shelves=lambda epoch, step: [CATS] if step >= 10 else [], settled=(0, 10))
    assert Order([late], seed=0, units_per_step=1).empty_epoch(5) == 0


def test_cuts_that_once_leave_no_batch_are_known_beforehand() -> None:
    def shelves(epoch: int, step: int) -> list[Shelf]:
        return [short("drop", 3 if epoch == 7 else 9)]

    one = Order([Pool(shelves=shelves, steady=False)], seed=0, units_per_step=1)
    assert one.empty_epoch(14) is None, "seven epochs of two batches"
    assert one.empty_epoch(15) == 7


def test_cuts_that_leave_nobody_out_need_no_look_at_every_epoch() -> None:
    asked = []

    def shelves(epoch: int, step: int) -> list[Shelf]:
        asked.append(epoch)
        return [shelf("cats", 3 + epoch % 4)]

    one = Order([Pool(shelves=shelves, steady=False)], seed=0, units_per_step=1)
    assert one.empty_epoch(10**6) is None and one.never_seen(10**6) == []
    assert set(asked) == {0}


def test_several_threads_may_ask_at_once() -> None:
    wanted = [Order([GROWING], seed=0, units_per_step=1).unit(u) for u in range(400)]
    one = Order([GROWING], seed=0, units_per_step=1)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one.unit, range(400))) == wanted


def weighted(**shares: float) -> Order:
    pools = [
        pool(shelf(name, 11 + place), name=name, share=share)
        for place, (name, share) in enumerate(shares.items())
    ]
    return Order(pools, seed=5, units_per_step=4)


def test_shares_are_exact_in_every_round() -> None:
    one = weighted(cats=0.7, dogs=0.25, birds=0.05)
    for r in (0, 1, 7):
        units = [one.unit(u) for u in range(r * ROUND, (r + 1) * ROUND)]
        counts = Counter(unit.dataset for unit in units)
        assert counts == {"cats": 717, "dogs": 256, "birds": 51}
        assert tuple(counts[each.name] for each in one.pools) == one.units_per_round


@pytest.mark.parametrize(
    ("shares", "counts"),
    [
        ([1.0], (1024,)),
        ([2.0, 1.0], (683, 341)),
        ([1.0, 1.0, 1.0], (342, 341, 341)),
        ([0.0001, 1.0, 3.0], (1, 256, 767)),
        ([1e9, 1e-9], (1023, 1)),
        ([1.0] * 1024, (1,) * 1024),
    ],
)
def test_quotas_are_nearest_to_the_shares_and_leave_nobody_out(
    shares: list[float], counts: tuple[int, ...]
) -> None:
    assert quotas(shares) == counts


def test_each_pool_has_exact_epochs_of_its_own() -> None:
    one = weighted(cats=3.0, dogs=1.0)
    seen: dict[str, Counter[Row]] = {"cats": Counter(), "dogs": Counter()}
    for u in range(3 * ROUND):
        unit = one.unit(u)
        seen[unit.dataset].update(unit.rows)
        assert one.epoch_of(u, ["cats", "dogs"].index(unit.dataset)) == unit.rows[0].epoch
    for number, (name, members) in enumerate({"cats": 11, "dogs": 12}.items()):
        whole = one.epoch_of(3 * ROUND, number)
        assert whole > 10
        wanted = Counter(Row(m, e, 0) for e in range(whole) for m in range(members))
        assert wanted <= seen[name]
        assert all(row.epoch == whole for row in seen[name] - wanted)
        assert one.examples_in_epoch(3, number) == members


def test_a_run_knows_how_many_epochs_of_each_set_it_sees() -> None:
    one = weighted(cats=0.99, dogs=0.01)
    for steps in (1, 3, 20, 600):
        epochs: dict[str, set[int]] = {"cats": set(), "dogs": set()}
        for u in range(steps * 4):
            epochs[one.unit(u).dataset].update(row.epoch for row in one.unit(u).rows)
        assert [one.epochs(steps, n) for n in range(2)] == [len(e) for e in epochs.values()]


def test_a_weighted_unit_asked_for_alone_is_the_one_met_in_sequence() -> None:
    one = weighted(cats=0.7, dogs=0.25, birds=0.05)
    sequence = [one.unit(u) for u in range(2500)]
    for u in (2499, 0, 1023, 1024, 77):
        assert weighted(cats=0.7, dogs=0.25, birds=0.05).unit(u) == sequence[u]


def test_the_first_step_of_a_weighted_epoch_has_its_first_unit() -> None:
    one = weighted(cats=3.0, dogs=1.0)
    for number, name in enumerate(["cats", "dogs"]):
        for e in (1, 5, 90):
            step = one.first_step_of_epoch(e, number)
            mine = [u.rows[0].epoch for u in one.step(step) if u.dataset == name]
            assert e in mine
            before = [u.rows[0].epoch for u in one.step(step - 1) if u.dataset == name]
            assert all(number < e for number in before)


def test_pools_are_shuffled_apart() -> None:
    pools = [
        pool(shelf(f"{name}0", 40), shelf(f"{name}1", 40), name=name, share=0.5) for name in "xy"
    ]
    names = [Order(pools, seed=0, units_per_step=1).unit(u).dataset for u in range(120)]
    orders = [[name[1] for name in names if name[0] == which][:40] for which in "xy"]
    assert orders[0] != orders[1]
    assert all(Counter(order) == {"0": 20, "1": 20} for order in orders)


def test_a_share_alone_is_the_whole() -> None:
    one = Order([pool(CATS, DOGS, name="all", share=0.2)], seed=3, units_per_step=1)
    assert [one.unit(u) for u in range(40)] == [order(CATS, DOGS).unit(u) for u in range(40)]


def test_a_far_unit_of_many_pictures_asks_for_the_shelves_of_few_epochs() -> None:
    asked: list[int] = []
    big = Shelf(dataset="cats", size=SIZE, members=np.arange(100_000), batch=4)

    def shelves(epoch: int, _: int) -> tuple[Shelf, ...]:
        asked.append(epoch)
        return (big,)

    one = Order([Pool(shelves=shelves)], seed=3, units_per_step=1)
    for u in range(10**9, 10**9 + 1000):
        assert len(one.unit(u).rows) == 4
    assert len(asked) <= 3


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
    one = order(CATS, DOGS)
    units = [[row.member for row in one.unit(u).rows] for u in range(4)]
    assert units == [[6, 2], [3, 5], [107, 103, 106, 108], [4, 6]]


def test_a_weighted_order_is_the_same_for_ever() -> None:
    one = weighted(cats=0.7, dogs=0.25, birds=0.05)
    units = [one.unit(u) for u in range(1020, 1026)]
    assert "".join(unit.dataset[0] for unit in units) == "cccddc"
    assert [[row.member for row in unit.rows] for unit in units[2:]] == [
        [10, 4],
        [4, 2],
        [9, 1],
        [8, 5],
    ]
