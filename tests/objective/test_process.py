import json
import math
from pathlib import Path

import pytest
import torch

from scumble.objective import timesteps
from scumble.objective.loss import per_example
from scumble.objective.process import RectifiedFlow
from scumble.objective.solvers import walked
from scumble.spec.objective import HuberLoss, PlainLoss, SigmoidTimes, UniformTimes

GOLDEN = Path(__file__).parent.parent / "golden"
GOLDEN_FLOW = json.loads((GOLDEN / "flow.json").read_text())
DEV = RectifiedFlow(lean=((256, 0.5), (4096, 1.15)))
LATENTS = (3, 4, 6, 8)


def drawn(seed: int) -> torch.Tensor:
    return torch.randn(LATENTS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("process", [DEV, RectifiedFlow()], ids=["leaning", "even"])
def test_split_undoes_noised(process: RectifiedFlow) -> None:
    clean, noise, times = drawn(0), drawn(1), torch.tensor([0.1, 0.5, 0.9])
    noisy = process.noised(clean, noise, times)
    found = process.split(noisy, process.target(clean, noise, times), times)
    torch.testing.assert_close(found, (clean, noise), atol=1e-6, rtol=0)


def test_at_time_zero_nothing_is_noise_and_at_one_everything() -> None:
    clean, noise = drawn(0), drawn(1)
    assert torch.equal(DEV.noised(clean, noise, torch.zeros(3)), clean)
    assert torch.equal(DEV.noised(clean, noise, torch.ones(3)), noise)


@pytest.mark.parametrize(("shift", "middle"), [(1.0, 0.5), (3.0, 0.75)])
def test_shift_moves_the_middle_and_keeps_the_ends(shift: float, middle: float) -> None:
    times = torch.tensor([0.0, 0.5, 1.0])
    assert timesteps.shifted(times, shift).tolist() == [0.0, middle, 1.0]


def test_the_shift_by_resolution_agrees_with_golden_numbers() -> None:
    for row in GOLDEN_FLOW["sd_scripts"]["lin_function"]:
        assert math.log(DEV.shift(row["seq"])) == pytest.approx(row["mu"], rel=1e-6)


def test_preview_paths_agree_with_golden_numbers() -> None:
    for row in GOLDEN_FLOW["sd_scripts"]["get_schedule"]:
        # the reference walks linspace(1, 0, steps + 1), of which ours is the same set of times
        process = DEV if row["shift"] else RectifiedFlow()
        found = process.path(row["num_steps"], row["seq"])
        torch.testing.assert_close(found, torch.tensor(row["values"]), atol=1e-5, rtol=0)


def test_shifted_times_agree_with_golden_numbers() -> None:
    for row in GOLDEN_FLOW["simpletuner"]["shift"]:
        if "latent_hw" in row:
            height, width = row["latent_hw"]
            shift = DEV.shift((height // 2) * (width // 2))
        else:
            shift = row["shift"]
        found = timesteps.shifted(torch.tensor(row["sigmas_in"]), shift)
        torch.testing.assert_close(found, torch.tensor(row["sigmas_out"]), atol=1e-5, rtol=0)


def test_a_perfect_answer_leads_from_noise_to_the_picture() -> None:
    clean, noise = drawn(0), drawn(1)
    path = DEV.path(7, 1024)
    answer = walked(DEV, lambda noisy, times: noise - clean, noise, path)
    assert path[0] == 1 and path[-1] == 0
    torch.testing.assert_close(answer, clean, atol=2e-6, rtol=0)


@pytest.mark.parametrize("law", [UniformTimes(), SigmoidTimes(mean=0.5, spread=2.0)])
def test_times_lie_between_clean_and_noise_and_follow_their_generator(law) -> None:
    first, again, other = (
        timesteps.drawn(law, 4096, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def test_a_higher_mean_leans_toward_noise() -> None:
    def mean_at(mean: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return timesteps.sigmoid(4096, mean=mean, spread=1.0, generator=generator).mean()

    means = [mean_at(mean) for mean in (-1.0, 0.0, 1.0)]
    assert means == sorted(means) and abs(means[1] - 0.5) < 0.02


@pytest.mark.parametrize(
    ("kind", "small", "large"),
    [
        (PlainLoss(kind="l2"), 1e-4, 9.0),
        (PlainLoss(kind="l1"), 1e-2, 3.0),
        (HuberLoss(kind="huber", delta=0.1), 1e-4, 0.2 * 2.9),
        (HuberLoss(kind="smooth_l1", delta=0.1), 1e-3, 2 * 2.9),
    ],
    ids=["l2", "l1", "huber", "smooth_l1"],
)
def test_losses_near_zero_and_far_out(kind, small: float, large: float) -> None:
    target = torch.zeros(2, 1, 1, 1)
    answer = torch.tensor([0.01, 3.0]).reshape(2, 1, 1, 1)
    found = per_example(kind, answer, target, torch.tensor([0.5, 0.5]))
    assert found[0] == pytest.approx(small, rel=0.01)
    assert found[1] == pytest.approx(large, rel=0.01)
