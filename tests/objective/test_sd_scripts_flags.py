"""The flags of the golden files, read by the dialect, mean what their numbers were made with."""

from __future__ import annotations

from typing import Any

import pytest

from scumble.dialects.kohya import learning
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft
from scumble.spec.objective import ObjectiveSpec
from scumble.spec.validation import HeldOutSpec
from tests.objective.test_sd_scripts import LOSSES, WITHOUT, golden, loss, loss_name, objective


def read(flags: dict[str, Any]) -> ObjectiveSpec:
    draft = Draft()
    learning.objective(Settings(flags), draft)
    return ObjectiveSpec.model_validate(draft.tree["objective"])


@pytest.mark.parametrize("name", ["sd_timesteps", "sd_prediction_types"])
def test_times_predictions_and_weights(name: str) -> None:
    for case in golden(name)["cases"]:
        flags = {"model_prediction_type": "raw"} | case["args"]
        assert read(flags) == objective(flags)


def test_losses() -> None:
    for case in (one for one in LOSSES if loss_name(one) not in WITHOUT):
        keys = ("loss_type", "huber_schedule", "huber_c", "huber_scale")
        assert read({key: case[key] for key in keys}).loss == loss(case)


@pytest.mark.parametrize("random", [False, True])
def test_input_noise(random: bool) -> None:
    flags = {"ip_noise_gamma": 0.05, "ip_noise_gamma_random_strength": random}
    found = read(flags).input_noise
    assert found is not None and (found.gamma, found.random) == (0.05, random)
    assert read({"ip_noise_gamma_random_strength": random}).input_noise is None


@pytest.mark.parametrize("case", golden("sd_validation_timesteps")["cases"], ids=str)
def test_times_of_the_held_out_loss(case: dict[str, Any]) -> None:
    # sd-scripts documents them; for FLUX it draws others, which is not repeated
    flags = {key: case[key] for key in ("min_timestep", "max_timestep")}
    draft = Draft(tree={"data": [{"id": "cat", "held_out": 0.2, "batch_size": 1}]})
    learning.held_out(Settings(flags), draft)
    about = {"times": draft.tree["validation"]["held_out"]["times"]}
    assert HeldOutSpec.model_validate(about).times == pytest.approx(
        [time / 1000 for time in case["timesteps"]]
    )
