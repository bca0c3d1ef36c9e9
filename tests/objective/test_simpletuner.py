"""Losses of SimpleTuner's training (bghira/SimpleTuner bc8e6ab), by the settings of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from scumble.data import masks
from scumble.objective.loss import per_example
from scumble.spec.objective import LossSpec

GOLDEN = Path(__file__).parent.parent / "golden"
LOSSES = json.loads((GOLDEN / "st_losses.json").read_text())


def named(case: dict[str, Any]) -> str:
    return "-".join(
        map(str, (case["loss_type"], case["huber_schedule"], case["huber_c"], case["mask"]))
    )


@pytest.mark.parametrize("case", LOSSES["cases"], ids=named)
def test_losses_are_those_of_simpletuner(case: dict[str, Any]) -> None:
    tensors = load_file(GOLDEN / "sd_loss_inputs.safetensors")
    told: dict[str, Any] = {"kind": case["loss_type"]}
    if case["loss_type"] != "l2":
        told |= {"delta": case["huber_c"], "schedule": case["huber_schedule"]}
    mask = None
    if case["mask"]:  # the red channel of a picture from -1 to 1, reduced by area
        grey = ((tensors["mask"][:, 0] + 1) / 2).numpy()
        mask = torch.stack([torch.from_numpy(masks.reduced(one, 8)) for one in grey])[:, None]
    found = per_example(
        TypeAdapter(LossSpec).validate_python(told),
        tensors["pred"],
        tensors["target"],
        tensors["timesteps"] / 1000,
        mask,
    )
    assert found.mean().item() == pytest.approx(case["loss"], rel=1e-5)


def test_the_base_model_is_the_target_of_prior_preservation_there_too() -> None:
    plain, prior = LOSSES["prior_target"]
    assert plain["equals_noise_minus_latents"] and not plain["equals_parent"]
    assert prior["equals_parent"] and not prior["equals_noise_minus_latents"]
