"""Numbers of sd-scripts' FLUX training (kohya-ss/sd-scripts 48d368f), by the settings of a job.

The golden files were made by its own functions. Its flags stand for these settings:

| flags | settings |
| --- | --- |
| timestep_sampling, weighting_scheme, ... | `TIMES`, `DENSITIES` below |
| model_prediction_type | objective.prediction, by the same names |
| weighting_scheme with sigma_scaled | objective.weighting: `WEIGHTINGS` below; else `none` |
| loss_type, huber_c, huber_scale, huber_schedule | objective.loss: kind, delta, scale, schedule |
| ip_noise_gamma, ..._random_strength | objective.input_noise: gamma, random |
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file

from scumble.data import masks
from scumble.objective import timesteps
from scumble.objective.loss import deltas, per_example, taken, weights
from scumble.objective.process import RectifiedFlow, wide
from scumble.spec.objective import (
    Density,
    HuberLoss,
    LossSpec,
    ObjectiveSpec,
    SigmoidTimes,
    TableTimes,
    UniformTimes,
    Weighting,
)
from scumble.spec.references import MaskSpec

GOLDEN = Path(__file__).parent.parent / "golden"
DEV = RectifiedFlow(lean=((256, 0.5), (4096, 1.15)))

DENSITIES: Mapping[str, Density] = {"logit_normal": "logit_normal", "mode": "mode"}
"""By weighting_scheme; every other one is uniform. Heeded by timestep_sampling=sigma alone."""

WEIGHTINGS: Mapping[str, Weighting] = {"sigma_sqrt": "sigma_sqrt", "cosmap": "cosmap"}
"""By weighting_scheme; every other one weighs nothing."""


def of_sigmoid(flags: Mapping[str, Any]) -> SigmoidTimes:
    return SigmoidTimes(spread=flags["sigmoid_scale"])


def of_table(flags: Mapping[str, Any]) -> TableTimes:
    return TableTimes(
        law="table",
        density=DENSITIES.get(flags["weighting_scheme"], "uniform"),
        mean=flags["logit_mean"],
        spread=flags["logit_std"],
        scale=flags["mode_scale"],
    )


TIMES = {
    "sigma": lambda flags: (of_table(flags), flags["discrete_flow_shift"]),
    "uniform": lambda flags: (UniformTimes(), 1.0),
    "sigmoid": lambda flags: (of_sigmoid(flags), 1.0),
    "shift": lambda flags: (of_sigmoid(flags), flags["discrete_flow_shift"]),
    "flux_shift": lambda flags: (of_sigmoid(flags), "resolution"),
}
"""objective.times and objective.shift, by timestep_sampling."""


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def objective(flags: Mapping[str, Any]) -> ObjectiveSpec:
    """The job's, of a golden case's flags."""
    times, shift = TIMES[flags["timestep_sampling"]](flags)
    prediction = flags.get("model_prediction_type", "raw")
    scheme = flags["weighting_scheme"] if prediction == "sigma_scaled" else "none"
    weighting = WEIGHTINGS.get(scheme, "none")
    return ObjectiveSpec(times=times, shift=shift, prediction=prediction, weighting=weighting)


def name_of(case: Mapping[str, Any]) -> str:
    flags = case["args"]
    changed = [flags[key] for key in ("timestep_sampling", "weighting_scheme", "sigmoid_scale")]
    others = [flags["discrete_flow_shift"], flags["logit_mean"], case["latent_shape"][2:]]
    return "-".join(str(part) for part in (*changed, *others, case["seed"]))


@pytest.mark.parametrize("case", golden("sd_timesteps")["cases"], ids=name_of)
def test_times_are_those_of_sd_scripts_from_the_same_generator(case: dict[str, Any]) -> None:
    how = objective(case["args"])
    count, _, height, width = case["latent_shape"]
    generator = torch.Generator().manual_seed(case["seed"])
    tokens = (height // 2) * (width // 2)
    shift = DEV.shift(tokens) if how.shift == "resolution" else how.shift
    found = timesteps.shifted(timesteps.drawn(how.times, count, generator=generator), shift)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(case["sigmas"]), atol=1e-6, rtol=1e-5)


def test_the_golden_times_hold_every_way_of_sampling() -> None:
    flags = [case["args"] for case in golden("sd_timesteps")["cases"]]
    assert {each["timestep_sampling"] for each in flags} == TIMES.keys()
    assert {each["weighting_scheme"] for each in flags} >= DENSITIES.keys()


@pytest.mark.parametrize("case", golden("sd_flow_tables")["cases"], ids=lambda one: one["shift"])
def test_the_shifted_table_is_the_schedulers(case: dict[str, Any]) -> None:
    found = timesteps.shifted(timesteps.table(1000), case["shift"])[:: case["every"]]
    torch.testing.assert_close(found, torch.tensor(case["sigmas"]), atol=1e-6, rtol=1e-5)


def test_a_bucket_beyond_the_published_sizes_leans_further_on_the_same_line() -> None:
    # sd-scripts extrapolates too: 2048 x 2048 pixels are 16,384 tokens
    assert math.log(DEV.shift(16384)) == pytest.approx(0.5 + 0.65 * (16384 - 256) / 3840)
    assert DEV.shift(64) < DEV.shift(256) < DEV.shift(4096) < DEV.shift(16384)


@pytest.mark.parametrize("case", golden("sd_prediction_types")["cases"], ids=lambda one: one["key"])
def test_predictions_and_their_weights_are_those_of_sd_scripts(case: dict[str, Any]) -> None:
    tensors = load_file(GOLDEN / golden("sd_prediction_types")["tensors"])
    how, key = objective(case["args"]), case["key"]
    times, noise, clean = tensors[f"{key}.sigmas"], tensors["noise"], tensors["latents"]
    noisy = DEV.noised(clean, noise, times)
    torch.testing.assert_close(noisy, tensors[f"{key}.noisy"], atol=1e-5, rtol=1e-5)
    found = taken(how.prediction, tensors["model_pred"], noisy, times)
    torch.testing.assert_close(found, tensors[f"{key}.pred_out"], atol=1e-5, rtol=1e-5)
    factors = weights(how.weighting, times)
    theirs = tensors.get(f"{key}.weighting", torch.ones(len(times))).flatten()
    torch.testing.assert_close(factors, theirs, rtol=1e-5, atol=0)
    target = DEV.target(clean, noise, times)
    torch.testing.assert_close(target, tensors["target"], rtol=0, atol=0)
    bare = per_example(how.loss, found, target, times)
    assert bare.tolist() == pytest.approx(case["mse_unweighted"], rel=1e-5)
    assert (factors * bare).tolist() == pytest.approx(case["loss_weighted"], rel=1e-5)


def loss(case: Mapping[str, Any]) -> LossSpec:
    """objective.loss, of a golden case's flags."""
    about = {"kind": case["loss_type"]}
    if case["loss_type"] in ("huber", "smooth_l1"):
        about |= {"delta": case["huber_c"], "scale": case["huber_scale"]}
        about |= {"schedule": case["huber_schedule"]}
    return TypeAdapter(LossSpec).validate_python(about)


def loss_name(case: Mapping[str, Any]) -> str:
    return "-".join(str(case[key]) for key in ("loss_type", "huber_schedule", *SCALES))


SCALES = ("huber_c", "huber_scale")
WITHOUT = [
    f"{kind}-snr-{delta}-{scale}"
    for kind in ("huber", "smooth_l1")
    for delta, scale in ((0.1, 1.0), (0.1, 2.0), (0.01, 2.0), (0.5, 1.0))
]
"""The snr schedule needs a diffusion scheduler: for FLUX sd-scripts raises, and its dialect refuses
it (`tests/dialects`). Ours is SimpleTuner's for flows."""

LOSSES = golden("losses")["cases"]


@pytest.mark.parametrize(
    "case", [one for one in LOSSES if loss_name(one) not in WITHOUT], ids=loss_name
)
def test_losses_are_those_of_sd_scripts(case: dict[str, Any]) -> None:
    tensors = load_file(GOLDEN / "sd_loss_inputs.safetensors")
    kind, times = loss(case), tensors["timesteps"] / 1000
    match kind:
        case HuberLoss():
            assert deltas(kind, times).tolist() == pytest.approx(case["threshold"], rel=1e-5)
        case _:
            assert case["threshold"] is None
    found = per_example(kind, tensors["pred"], tensors["target"], times)
    assert found.tolist() == pytest.approx(case["loss"], rel=1e-5)


def test_a_masked_loss_is_averaged_over_all_pixels_as_sd_scripts_does() -> None:
    tensors = load_file(GOLDEN / "sd_loss_inputs.safetensors")
    # a mask of theirs is the red channel of a picture from -1 to 1, and reduced by area
    grey = ((tensors["mask"][:, 0] + 1) / 2).numpy()
    mask = torch.stack([torch.from_numpy(masks.reduced(one, 8)) for one in grey])[:, None]
    times = tensors["timesteps"] / 1000
    found = per_example(ObjectiveSpec().loss, tensors["pred"], tensors["target"], times, mask)
    for theirs in (
        golden("losses")["masked"][key] for key in ("conditioning_images", "alpha_masks")
    ):
        assert found.tolist() == pytest.approx(theirs, rel=1e-5)


def test_a_mask_that_was_drawn_weighs_as_one_that_was_computed() -> None:
    grey = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    ours = masks.values(grey.numpy(), MaskSpec(folder="masks"))
    theirs = (grey / 127.5 - 1 + 1) / 2
    torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("density", ["uniform", "logit_normal", "mode"])
def test_a_table_has_no_other_times_than_its_entries(density: Density) -> None:
    law = TableTimes(law="table", density=density, steps=7)
    found = timesteps.drawn(law, 4096, generator=torch.Generator().manual_seed(0))
    entries = {float(one) for one in timesteps.table(7)}
    assert {float(one) for one in found} == entries
    assert min(entries) == pytest.approx(1 / 7) and max(entries) == 1


@pytest.mark.parametrize(("mean", "end"), [(40.0, 0.001), (-200.0, 1.0)])
def test_the_ends_of_the_table_are_in_it(mean: float, end: float) -> None:
    # a share of exactly 1 is beyond sd-scripts' table, and ends it with an IndexError
    law = TableTimes(law="table", density="logit_normal", mean=mean)
    found = timesteps.drawn(law, 8, generator=torch.Generator().manual_seed(0))
    assert found.tolist() == pytest.approx([end] * 8)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.29, 1.7519])
def test_every_allowed_scale_of_mode_is_a_density_on_the_table(scale: float) -> None:
    law = TableTimes(law="table", density="mode", scale=scale)
    shares = timesteps.shares(law, 20000, generator=torch.Generator().manual_seed(0))
    assert shares.min() >= -1e-6 and shares.max() <= 1 + 1e-6
    middle = ((shares - 0.5).abs() < 0.25).float().mean().item()
    assert (middle > 0.52) == (scale > 0) and (middle < 0.48) == (scale < 0)


@pytest.mark.parametrize("scale", [-1.1, 2.0])
def test_a_scale_that_would_leave_the_table_is_refused(scale: float) -> None:
    with pytest.raises(ValidationError, match="scale"):
        TableTimes(law="table", density="mode", scale=scale)


def test_a_mean_leans_the_table_to_low_noise_and_the_sigmoid_to_high() -> None:
    def mean_of(law: TableTimes | SigmoidTimes) -> float:
        return timesteps.drawn(law, 4096, generator=torch.Generator().manual_seed(0)).mean().item()

    assert mean_of(TableTimes(law="table", density="logit_normal", mean=1.0)) < 0.35
    assert mean_of(SigmoidTimes(mean=1.0)) > 0.65


def test_a_delta_of_the_exponential_schedule_goes_from_1_to_delta() -> None:
    kind = HuberLoss(delta=0.1, schedule="exponential")
    assert deltas(kind, torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx(
        [1.0, math.sqrt(0.1), 0.1]
    )


def test_each_example_has_the_delta_of_its_own_time() -> None:
    kind = HuberLoss(delta=0.1, schedule="exponential", scale=2.0)
    answer, target = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    times = torch.tensor([0.1, 0.5, 0.9])
    together = per_example(kind, answer, target, times)
    for place in range(3):
        one = slice(place, place + 1)
        single = HuberLoss(delta=2 * 0.1 ** times[place].item())
        alone = per_example(single, answer[one], target[one], times[one])
        assert together[place].item() == pytest.approx(alone.item(), rel=1e-5)


def test_no_time_weighs_more_than_can_be_counted() -> None:
    # torch.rand can be 0 exactly, about once in 17 million draws
    found = weights("sigma_sqrt", torch.tensor([0.0, 2.0**-24, 0.5, 1.0]))
    assert torch.isfinite(found).all() and found[2:].tolist() == [4.0, 1.0]
    assert found[0] == found[1]


def test_answers_of_a_lower_precision_are_widened_before_they_meet_the_latents() -> None:
    answer, noisy = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    times = torch.tensor([0.3, 0.7])
    for kind in ("raw", "additive", "sigma_scaled"):
        found = taken(kind, answer.bfloat16(), noisy, times)
        assert found.dtype == torch.float32
        assert torch.equal(found, taken(kind, answer.bfloat16().float(), noisy, times))


def test_sigma_scaled_is_the_clean_picture_where_the_answer_is_the_velocity() -> None:
    # which is why it does not fit FLUX: the target is the velocity all the same
    clean, noise = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    times = torch.tensor([0.3, 0.7])
    noisy = DEV.noised(clean, noise, times)
    velocity = DEV.target(clean, noise, times)
    found = taken("sigma_scaled", velocity, noisy, times)
    torch.testing.assert_close(found, clean, atol=1e-5, rtol=0)
    torch.testing.assert_close(noisy - wide(times) * velocity, found)
