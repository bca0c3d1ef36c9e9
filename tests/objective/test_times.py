"""Laws of the noise levels: what they draw, and what SimpleTuner would have drawn."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from scumble.objective import densities, timesteps
from scumble.objective.process import RectifiedFlow
from scumble.spec.objective import (
    BetaTimes,
    CubicTimes,
    ListedTimes,
    SigmoidTimes,
    TimesSpec,
    UniformTimes,
)

GOLDEN = json.loads((Path(__file__).parent.parent / "golden/st_flow.json").read_text())
"""Of bghira/SimpleTuner bc8e6ab; eight noise levels each, drawn from a seed."""

DEV = RectifiedFlow(lean=((256, 0.5), (4096, 1.15)))
FAST = (*[1.0] * 7, 0.75, 0.5, 0.25)
"""`flux_fast_schedule`."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def law(args: dict[str, Any]) -> TimesSpec:
    """What stands for its settings, in its order of precedence."""
    if listed := args["flow_custom_timesteps"]:
        levels = [float(one) for one in listed.split(",")]
        return ListedTimes(
            law="listed", levels=tuple(one / (1 if max(levels) <= 1 else 1000) for one in levels)
        )
    if args["flux_fast_schedule"]:
        return ListedTimes(law="listed", levels=FAST)
    if args["flow_use_beta_schedule"]:
        alpha, beta = args["flow_beta_schedule_alpha"], args["flow_beta_schedule_beta"]
        return BetaTimes(law="beta", alpha=alpha, beta=beta)
    if args["flow_use_uniform_schedule"]:
        return UniformTimes()
    return SigmoidTimes(spread=args["flow_sigmoid_scale"])


def shift(args: dict[str, Any], size: tuple[int, int]) -> float:
    if args["flow_schedule_auto_shift"]:
        return DEV.shift(size[0] // 2 * (size[1] // 2))
    return args["flow_schedule_shift"] or 1.0


def named(case: dict[str, Any]) -> str:
    size = "x".join(map(str, case["latent_hw"]))
    return "-".join([*map(str, case["args"].values()), str(case["seed"]), size])


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=named)
def test_noise_levels_are_those_of_simpletuner(case: dict[str, Any]) -> None:
    """Normal and uniform numbers are torch's from the same seed; of the laws that it draws with
    other generators, only what can be drawn is compared."""
    args = GOLDEN["defaults"] | case["args"]
    wanted, lean = torch.tensor(case["sigmas"]), shift(args, case["latent_hw"])
    match law(args):
        case ListedTimes() as drawn:
            allowed = torch.tensor(drawn.levels)
            assert all(torch.isclose(allowed, one).any() for one in wanted)
            ours = timesteps.drawn(drawn, 500, generator=seeded(0))
            assert set(ours.tolist()) == set(allowed.tolist())
            assert not timesteps.shifts(drawn), "a list is never shifted"
        case BetaTimes():
            plain = wanted / (lean - (lean - 1) * wanted)
            torch.testing.assert_close(timesteps.shifted(plain, lean), wanted)
            assert 0.3 < plain.mean() < 0.7 and plain.std() < 0.3
        case drawn:
            ours = timesteps.drawn(drawn, 8, generator=seeded(case["seed"]))
            torch.testing.assert_close(timesteps.shifted(ours, lean), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", GOLDEN["shift"], ids=str)
def test_shifts_are_those_of_simpletuner(case: dict[str, Any]) -> None:
    height, width = case.get("latent_hw", (0, 0))
    lean = DEV.shift(height // 2 * (width // 2)) if "auto" in case else case["shift"]
    found = timesteps.shifted(torch.tensor(case["sigmas_in"]).double(), lean)
    assert found.tolist() == pytest.approx(case["sigmas_out"], rel=1e-5)


def below(values: Tensor, place: float) -> float:
    return (values <= place).double().mean().item()


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 2.0), (1.0, 3.0), (0.5, 0.5), (0.05, 0.05)])
def test_the_beta_law_has_its_mean_and_spread(alpha: float, beta: float) -> None:
    found = densities.beta(alpha, beta, 20_000, generator=seeded(1))
    total = alpha + beta
    assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1
    assert found.mean().item() == pytest.approx(alpha / total, abs=0.01)
    spread = math.sqrt(alpha * beta / total**2 / (total + 1))
    assert found.std().item() == pytest.approx(spread, rel=0.03)
    if alpha == beta:
        assert below(found, 0.5) == pytest.approx(0.5, abs=0.015)


def test_the_beta_law_of_one_and_three_is_a_cube() -> None:
    found = densities.beta(1.0, 3.0, 20_000, generator=seeded(2))
    for place in (0.1, 0.3, 0.6):
        assert below(found, place) == pytest.approx(1 - (1 - place) ** 3, abs=0.012)


def cubic(*weights: float, count: int = 20_001) -> Tensor:
    """Evenly spread over the law."""
    return densities.cubic(weights, torch.linspace(0, 1, count))


def test_even_weights_are_the_uniform_law() -> None:
    torch.testing.assert_close(cubic(3.0, 3.0, 3.0), torch.linspace(0, 1, 20_001))


def test_two_weights_are_a_straight_line() -> None:
    """A density that rises from 0: the share below x is its square."""
    shares = torch.linspace(0, 1, 101)
    torch.testing.assert_close(
        densities.cubic((0.0, 2.0), shares), shares.sqrt(), atol=2e-4, rtol=0
    )


def test_levels_are_drawn_as_often_as_their_weights_say() -> None:
    found = cubic(1.0, 4.0, 2.0, 1.0)
    density = [below(found, x + 0.005) - below(found, x - 0.005) for x in (1 / 3, 2 / 3)]
    assert density[0] / density[1] == pytest.approx(2, rel=0.03)
    assert below(found, 0.5) > 0.5


def test_where_two_weights_are_zero_nothing_is_drawn() -> None:
    """A curve through all of them that swung below zero there would draw elsewhere too much."""
    found = cubic(5.0, 0.0, 0.0, 0.0, 1.0)
    assert below(found, 0.75) - below(found, 0.25) < 1e-3
    assert (found.diff() >= 0).all() and found[0] == 0 and found[-1] == 1


def test_a_curve_without_any_weight_is_refused() -> None:
    assert CubicTimes(law="cubic", weights=(0.0, 1.0)).weights == (0.0, 1.0)
    with pytest.raises(ValidationError, match="all `weights` are 0; raise one"):
        CubicTimes(law="cubic", weights=(0.0, 0.0))


def test_a_level_that_is_listed_twice_comes_twice_as_often() -> None:
    found = timesteps.drawn(ListedTimes(law="listed", levels=FAST), 4000, generator=seeded(3))
    counts = Counter(found.tolist())
    assert counts[1.0] / 4000 == pytest.approx(0.7, abs=0.03)
    assert counts[0.25] / 4000 == pytest.approx(0.1, abs=0.02)


def test_a_list_in_turn_goes_on_where_the_step_before_ended() -> None:
    drawn = ListedTimes(law="listed", levels=(0.25, 0.5, 1.0), order="in_turn")
    found = torch.cat([timesteps.in_turn(drawn, 4 * step, 4) for step in range(3)])
    assert found.tolist() == [0.25, 0.5, 1.0] * 4


def test_an_offset_is_added_to_the_normal_number() -> None:
    plain = timesteps.sigmoid(50, mean=0.0, spread=1.3, generator=seeded(4))
    moved = timesteps.sigmoid(50, mean=0.8, spread=1.3, generator=seeded(4))
    torch.testing.assert_close(timesteps.offset(plain, 0.8), moved)
    ends = timesteps.offset(torch.tensor([0.0, 1.0]), -3.0)
    assert ends.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "told",
    [
        {"law": "beta", "alpha": 0.3},
        {"law": "cubic", "weights": [1, 0, 2]},
        {"law": "listed", "levels": [0.9, 0.5]},
    ],
    ids=str,
)
def test_a_seed_decides_what_is_drawn(told: dict[str, Any]) -> None:
    wanted = TypeAdapter(TimesSpec).validate_python(told)
    one, same, other = (timesteps.drawn(wanted, 40, generator=seeded(n)) for n in (5, 5, 6))
    assert one.dtype == torch.float32 and torch.equal(one, same) and not torch.equal(one, other)
