import pytest

from scumble.spec.training import ScheduleSpec
from scumble.trainer.schedules import share

KINDS = ("constant", "linear", "cosine", "polynomial")


def shares(kind: str, steps: int = 10, **settings) -> list[float]:
    schedule = ScheduleSpec(kind=kind, **settings)  # pyright: ignore[reportArgumentType]
    return [share(schedule, step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_rises_in_a_straight_line_to_the_full_rate(kind: str) -> None:
    found = shares(kind, warmup_steps=4)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4] == 1.0


@pytest.mark.parametrize("kind", KINDS[1:])
def test_falling_shapes_fall_toward_their_floor_and_never_reach_nothing(kind: str) -> None:
    found = shares(kind, floor=0.2)
    assert found[0] == 1.0 and found == sorted(found, reverse=True)
    assert 0.2 < found[-1] < 0.4
    assert shares(kind)[-1] > 0


def test_known_values() -> None:
    assert shares("constant") == [1.0] * 10
    assert shares("linear")[5] == pytest.approx(0.5)
    assert shares("cosine")[5] == pytest.approx(0.5)
    assert shares("polynomial", power=2.0)[5] == pytest.approx(0.25)


def test_a_run_that_is_all_warm_up_is_possible() -> None:
    assert shares("cosine", steps=4, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0]
