"""The rate as a function of the step: known values, ends, and what cannot be asked for."""

import itertools
import math
import random
from typing import Any

import pytest
from pydantic import ValidationError

from scumble.spec.training import BELONGS, ScheduleSpec, TrainingSpec
from scumble.trainer.schedules import SHAPES, decay_steps, rate, share

FALLING = [kind for kind in SHAPES if kind != "constant"]
ONCE = [kind for kind in FALLING if kind != "cosine_with_restarts"]
TO_THE_END = [kind for kind in ONCE if kind not in ("inverse_sqrt", "wave")]


def schedule(kind: str, **settings: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate({"kind": kind, **settings})


def shares(kind: str, steps: int = 10, **settings: Any) -> list[float]:
    made = schedule(kind, **settings)
    return [share(made, step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize("kind", SHAPES)
def test_warm_up_rises_in_a_straight_line_to_the_full_rate(kind: str) -> None:
    found = shares(kind, warmup_steps=4)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4] == 1.0


@pytest.mark.parametrize("kind", SHAPES)
def test_without_a_warm_up_the_first_step_has_the_full_rate(kind: str) -> None:
    assert shares(kind)[0] == 1.0
    assert rate(TrainingSpec(steps=10, learning_rate=3e-4, schedule=schedule(kind)), 1) == 3e-4


@pytest.mark.parametrize("kind", TO_THE_END)
def test_falling_shapes_fall_toward_their_floor_and_never_reach_nothing(kind: str) -> None:
    found = shares(kind, floor=0.2)
    assert found[0] == 1.0 and found == sorted(found, reverse=True)
    assert 0.2 < found[-1] < 0.7
    assert shares(kind)[-1] > 0
    assert shares(kind, 1000, floor=0.2)[-1] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("kind", SHAPES)
def test_whatever_the_settings_a_share_is_one_at_most_and_above_nothing(kind: str) -> None:
    dice = random.Random(kind)
    for _ in range(200):
        steps = dice.randint(1, 60)
        warm = dice.randint(0, steps)
        floor = 0.0 if kind == "constant" else dice.choice([0.0, 0.1, 1.0])
        found = shares(kind, steps, warmup_steps=warm, floor=floor)
        assert all(0 < one <= 1 + 1e-12 for one in found)
        after = found[warm:]
        if kind in ONCE:
            assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))
        assert all(one >= floor - 1e-12 for one in after)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_run_that_is_all_warm_up_is_possible(kind: str) -> None:
    assert shares(kind, steps=4, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0]


def test_known_values() -> None:
    assert shares("constant") == [1.0] * 10
    assert shares("linear")[5] == pytest.approx(0.5)
    assert shares("cosine")[5] == pytest.approx(0.5)
    assert shares("polynomial", power=2.0)[5] == pytest.approx(0.25)
    assert shares("polynomial") == shares("linear")
    assert shares("rex")[5] == pytest.approx(0.5 / 0.75)
    assert shares("linear")[-1] == pytest.approx(0.1)
    assert shares("rex")[-1] == pytest.approx(0.1 / 0.55)


def test_restarts_begin_at_the_full_rate_and_take_equal_parts() -> None:
    found = shares("cosine_with_restarts", 12, cycles=3)
    assert found == pytest.approx(shares("cosine", 4) * 3)
    assert [place for place, one in enumerate(found) if one == 1.0] == [0, 4, 8]
    assert shares("cosine_with_restarts", 12, cycles=1) == shares("cosine", 12)
    assert shares("cosine_with_restarts", 12) == shares("cosine_with_restarts", 12, cycles=2)


@pytest.mark.parametrize("steps", [10, 97, 1000, 2503])
@pytest.mark.parametrize("cycles", [2, 3, 7])
def test_a_restart_is_never_missed_and_never_doubled(steps: int, cycles: int) -> None:
    found = shares("cosine_with_restarts", steps, cycles=cycles)
    rises = [place for place, (a, b) in enumerate(itertools.pairwise(found)) if b > a]
    assert [place + 1 for place in rises] == [
        math.ceil(n * steps / cycles) for n in range(1, cycles)
    ]


def test_the_inverse_root_goes_on_from_its_warm_up_and_knows_no_end() -> None:
    found = shares("inverse_sqrt", 400, warmup_steps=100)
    assert found[199] == pytest.approx(math.sqrt(100 / 199))  # the first is s = 0
    assert found[399] == pytest.approx(0.5, abs=0.001)
    assert shares("inverse_sqrt", 150, warmup_steps=100) == found[:150]
    assert shares("inverse_sqrt", 3001)[3000] == pytest.approx(0.5)
    assert shares("inverse_sqrt", 31, timescale=10)[30] == pytest.approx(0.5)
    assert not schedule("inverse_sqrt").falls_by_the_end


def test_a_wave_goes_down_and_up_for_ever_whatever_the_end() -> None:
    found = shares("wave", 13, half_period=4)
    down = [1, 0.853553, 0.5, 0.146447, 0]
    assert found[:5] == pytest.approx(down, abs=2e-6)
    assert found[4:9] == pytest.approx(down[::-1], abs=2e-6)
    assert 0 < min(found) < 1e-5  # some optimizers divide by the rate
    assert found[8:] == pytest.approx(found[:5])
    assert shares("wave", 40, half_period=4)[:13] == found
    assert shares("wave", 1001)[1000] == pytest.approx(0, abs=2e-6)
    assert shares("wave", 12, half_period=4, warmup_steps=2)[2:] == pytest.approx(found[:10])


def test_a_wave_from_the_middle_is_a_sine_between_floor_and_full_rate() -> None:
    found = shares("wave", 9, half_period=4, wave_from="middle")
    known = [0.5, 0.853553, 1, 0.853553, 0.5, 0.146447, 0, 0.146447, 0.5]
    assert found == pytest.approx(known, abs=2e-6)
    floored = shares("wave", 9, half_period=4, wave_from="middle", floor=0.2)
    assert floored == pytest.approx([0.2 + 0.8 * one for one in found])
    assert min(floored) == pytest.approx(0.2, abs=2e-6)


def test_a_stable_rate_falls_only_at_the_end() -> None:
    found = shares("warmup_stable_decay", 100, warmup_steps=10)
    assert found[10:81] == [1.0] * 71  # 80 steps, and the fall begins from the full rate
    assert found[81] < 1 and found[99] == pytest.approx(1 - math.sqrt(0.95))
    linear = shares("warmup_stable_decay", 100, decay_steps=4, decay_shape="linear")
    assert linear[95:] == [1.0, 1.0, 0.75, 0.5, 0.25]
    cosine = shares("warmup_stable_decay", 100, decay_share=0.1, decay_shape="cosine")
    assert cosine[90:] == pytest.approx(shares("cosine", 10))


def test_a_decay_may_take_all_that_is_left_and_takes_a_step_at_least() -> None:
    settings = {"decay_share": 1.0, "decay_shape": "linear"}
    found = shares("warmup_stable_decay", 8, warmup_steps=4, **settings)
    assert found[4:] == [1.0, 0.75, 0.5, 0.25]
    assert decay_steps(schedule("warmup_stable_decay"), 2) == 1


def test_a_longer_run_moves_every_schedule_that_falls_by_the_end_and_no_other() -> None:
    for kind in SHAPES:
        moved = shares(kind, 100) != shares(kind, 200)[:100]
        assert moved is schedule(kind).falls_by_the_end, kind


@pytest.mark.parametrize("setting", BELONGS)
def test_a_setting_of_another_kind_is_refused_with_the_kind_it_needs(setting: str) -> None:
    value = {"decay_shape": "linear", "wave_from": "middle"}.get(setting, 1)
    with pytest.raises(ValidationError, match=f"`{setting}` needs `kind: {BELONGS[setting]}`"):
        schedule("rex", **{setting: value})
    assert schedule(BELONGS[setting], **{setting: value})
    assert schedule("rex", **{setting: None})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"warmup_steps": 11}, "`schedule.warmup_steps` is more than `steps`"),
        (
            {"kind": "cosine_with_restarts", "cycles": 9, "warmup_steps": 2},
            "`schedule.cycles` is more than the 8 steps after the warm-up",
        ),
        (
            {"kind": "warmup_stable_decay", "decay_steps": 11},
            "`schedule.decay_steps` is more than the 10 steps",
        ),
        ({"kind": "warmup_stable_decay", "decay_steps": 2, "decay_share": 0.1}, "say the same"),
        ({"kind": "warmup_stable_decay", "decay_share": 0}, "greater than 0"),
        ({"kind": "constant", "floor": 0.1}, "`floor` has no effect"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainingSpec.model_validate({"steps": 10, "schedule": settings})
