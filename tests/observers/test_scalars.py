"""Curves by sd-scripts' names, and its moving average."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from scumble.events import Finished, Measured, Saved, Started, StepDone
from scumble.observers import trackers
from scumble.observers.averages import EpochAverage
from scumble.observers.scalars import Scalars, rates
from scumble.spec.adapter import FullSpec
from scumble.spec.job import JobSpec
from tests.observers import runs
from tests.observers.test_trackers import drawn, followed
from tests.toys import job

LOSSES = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4]


def averages(length: int, losses: list[float]) -> list[float]:
    average, found = EpochAverage(length), []
    for loss in losses:
        average.add(loss)
        found.append(average.mean)
    return found


def by_places(length: int, losses: list[float]) -> list[float]:
    """As it is described: in later epochs a loss takes the place of the one an epoch before."""
    kept: dict[int, float] = {}
    found = []
    for number, loss in enumerate(losses):
        kept[number % length] = loss
        found.append(fmean(kept.values()))
    return found


@pytest.mark.parametrize("length", [1, 3, 4, 8, 100])
def test_the_average_is_over_the_newest_epoch(length: int) -> None:
    assert averages(length, LOSSES) == pytest.approx(by_places(length, LOSSES))
    assert averages(length, LOSSES)[-1] == pytest.approx(fmean(LOSSES[-length:]))


def test_there_is_no_average_of_nothing() -> None:
    assert math.isnan(EpochAverage(3).mean)
    assert math.isnan(averages(3, [math.nan])[0])


def test_a_loss_that_is_not_finite_does_not_spoil_the_average() -> None:
    assert averages(2, [0.5, math.nan, 0.7, math.inf])[-1] == pytest.approx(0.6)


def test_an_outlier_is_forgotten_with_its_epoch() -> None:
    assert averages(2, [1e20, 0.25, 0.5, 0.75])[-1] == 0.625


def started(steps_per_epoch: float, after: int = 0) -> Started:
    return replace(runs.started(Path("toy"), after=after), steps_per_epoch=steps_per_epoch)


def done(number: int, loss: float, rate: float = 1e-2) -> StepDone:
    return replace(runs.step(number, loss), learning_rate=rate)


def measured(step: int, mean: float) -> Measured:
    return Measured(
        step=step,
        mean=mean,
        low=None,
        high=None,
        by_time=(),
        sets={},
        examples={},
        conditions="",
        first=None,
        lowest=None,
        seconds=1.0,
    )


def lora(root: Path, **changes: object) -> JobSpec:
    return job(root, adapter__kind="lora", **changes)


def test_a_step_is_logged_under_the_names_its_users_know(tmp_path: Path) -> None:
    scalars = Scalars(lora(tmp_path))
    assert scalars(started(3.0)) == {}
    assert math.isnan(scalars.average)
    rows = [scalars(done(step, loss)) for step, loss in enumerate(LOSSES, start=1)]
    assert [row["loss/current"] for row in rows] == LOSSES
    assert [row["loss/average"] for row in rows] == pytest.approx(averages(3, LOSSES))
    ends = [place for place, row in enumerate(rows, start=1) if "loss/epoch_average" in row]
    assert ends == [3, 6]
    assert (
        rows[5]["loss/epoch_average"]
        == pytest.approx(fmean(LOSSES[3:6]))
        == rows[5]["loss/average"]
    )
    assert scalars(Saved(step=8, folder=Path("toy"), seconds=1.0)) == {}


@pytest.mark.parametrize(
    ("steps_per_epoch", "ends"),
    [(2.5, [3, 5, 8, 10]), (10 / 3, [4, 7, 10]), (0.5, list(range(1, 11))), (40.0, [])],
)
def test_an_epoch_ends_with_the_step_that_completes_it(
    tmp_path: Path, steps_per_epoch: float, ends: list[int]
) -> None:
    scalars = Scalars(lora(tmp_path))
    scalars(started(steps_per_epoch))
    rows = {step: scalars(done(step, 0.5)) for step in range(1, 11)}
    assert [step for step, row in rows.items() if "loss/epoch_average" in row] == ends


def test_a_run_that_goes_on_averages_what_it_sees_itself(tmp_path: Path) -> None:
    scalars = Scalars(lora(tmp_path))
    scalars(started(4.0, after=6))
    assert scalars(done(7, 0.5))["loss/average"] == 0.5
    row = scalars(done(8, 0.7))
    assert row["loss/epoch_average"] == pytest.approx(0.6)


def test_each_network_has_a_rate_of_its_own_and_the_schedule_moves_them_all(tmp_path: Path) -> None:
    changes = {"adapter__parts": ("denoiser", "clip", "t5"), "training__rates": {"clip": 5e-3}}
    scalars = Scalars(lora(tmp_path, **changes, adapter__up_rate={"denoiser": 4.0}))
    scalars(started(4.0))
    row = scalars(done(1, 0.5, rate=5e-3))  # half of the full rate
    found = {name: rate for name, rate in row.items() if name.startswith("lr/")}
    assert found == {
        "lr/unet": 5e-3,
        "lr/unet plus": 2e-2,
        "lr/textencoder 1 ": 2.5e-3,
        "lr/textencoder 2 ": 5e-3,
    }


def test_a_network_that_is_trained_whole_has_the_denoiser_s_name(tmp_path: Path) -> None:
    spec = lora(tmp_path)
    full = spec.model_copy(update={"adapter": FullSpec(kind="full")})
    assert rates(full) == {"lr/unet": 1e-2}


def test_a_network_that_is_kept_as_it_starts_has_no_curve(tmp_path: Path) -> None:
    changes = {"adapter__parts": ("denoiser", "clip"), "training__rates": {"denoiser": 0.0}}
    found = rates(lora(tmp_path, **changes, adapter__up_rate=16.0))
    assert found == {"lr/textencoder 1 ": 1e-2, "lr/textencoder 1  plus": pytest.approx(0.16)}


def test_a_held_out_loss_is_told_with_its_distance_from_the_average(tmp_path: Path) -> None:
    scalars = Scalars(lora(tmp_path))
    scalars(started(4.0))
    before = scalars(measured(0, 0.5))
    assert before == {"loss/validation/step_average": 0.5}
    scalars(done(1, 0.3))
    scalars(done(2, 0.5))
    assert scalars(measured(2, 0.5)) == {
        "loss/validation/step_average": 0.5,
        "loss/validation/step_divergence": pytest.approx(0.1),
    }


def test_changes_that_are_kept_small_are_counted_under_its_names(tmp_path: Path) -> None:
    scalars = Scalars(lora(tmp_path, adapter__max_norm=1.0))
    scalars(started(4.0))
    row = scalars(replace(done(1, 0.5), scaled_layers=3, largest_change=1.0))
    assert row["max_norm/keys_scaled"] == 3 and row["max_norm/max_key_norm"] == 1.0
    assert not any(name.startswith("max_norm") for name in scalars(done(2, 0.5)))


def test_a_job_of_sd_scripts_is_drawn_under_its_names_besides_ours(tmp_path: Path) -> None:
    changes = {"tracking": {"to": "tensorboard", "every": 2}, "origin": {"tool": "sd-scripts"}}
    (tracker,) = trackers.opened(lora(tmp_path, **changes), tmp_path / "run", "")
    steps = [runs.step(number, loss) for number, loss in enumerate(LOSSES, start=1)]
    begin, end = runs.started(tmp_path / "run"), Finished(step=8, seconds=1.0)
    assert followed(tracker, [begin, *steps, measured(8, 0.5), end]) == []
    found = drawn(tmp_path / "run")[0]
    assert {"loss/current", "loss/epoch_average", "lr/unet", "train/loss"} < found.keys()
    # an average knows the steps between two points, too
    means = averages(4, LOSSES)
    shown = [(step, pytest.approx(means[step - 1], rel=1e-5)) for step in (2, 4, 6, 8)]
    assert found["loss/average"] == shown
    divergence = found["loss/validation/step_divergence"]
    assert divergence == [(8, pytest.approx(0.5 - means[-1], rel=1e-4))]
