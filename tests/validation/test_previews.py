"""Previews: the same noise each time, repeatable from what lies beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scumble import families
from scumble.sample import Sampling, sampled
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.validation import RequestSpec, ValidationSpec
from scumble.validation import previews
from tests.toys import checkpoint, journal, trained

SMALL = {
    "validation__every": 2,
    "validation__prompts": ["a cat", 'a "dog"\non a mat'],
    "validation__width": 48,
    "validation__height": 32,
    "validation__steps": 2,
}


def shown(root: Path, step: int, number: int, name: str = "toy") -> np.ndarray:
    (file,) = (root / f"out/{name}/samples/step-{step:06d}").glob(f"{number:02d}-*.png")
    return np.asarray(Image.open(file), np.float64) / 255


def test_previews_do_not_touch_the_training(tmp_path: Path) -> None:
    trained(tmp_path, name="with", **SMALL)
    trained(tmp_path, name="without")
    left, right = checkpoint(tmp_path, 4, "with"), checkpoint(tmp_path, 4, "without")
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_the_last_preview_can_be_made_again_from_the_delivered_file(tmp_path: Path) -> None:
    trained(tmp_path, export__dtype="float32", training__learning_rate=3e-2, **SMALL)
    (beside,) = (tmp_path / "out/toy/samples/step-000004").glob("01-*.json")
    about = json.loads(beside.read_text())
    asked = Sampling(
        model=ModelSpec(
            family="flux",
            flavour=about["flavour"],
            path=about["model"],
            text_tokens=about["text_tokens"],
        ),
        hardware=HardwareSpec(device="cpu", precision=about["precision"]),
        validation=ValidationSpec(
            prompts=(about["prompt"],),
            width=about["width"],
            height=about["height"],
            steps=about["steps"],
            guidance=about["guidance"],
            seed=about["seed"],
        ),
        adapter=tmp_path / "out/toy/toy.safetensors",
        strength=1.0,
        out=tmp_path / "again",
        base=tmp_path,
    )
    (file,) = sampled(asked)
    again = np.asarray(Image.open(file), np.float64) / 255
    assert again.shape == (32, 48, 3)
    assert np.abs(again - shown(tmp_path, 4, 1)).max() <= 1 / 255
    assert np.abs(shown(tmp_path, 0, 1) - shown(tmp_path, 4, 1)).max() > 0.03


def test_step_zero_shows_the_base_and_a_resumed_run_makes_no_second_one(tmp_path: Path) -> None:
    trained(tmp_path, **SMALL)
    trained(tmp_path, **(SMALL | {"training__steps": 6}))
    assert [record["step"] for record in journal(tmp_path, "Previewed")] == [0, 2, 4, 6]


def test_requests_take_the_published_values_where_the_job_is_silent() -> None:
    spec = ValidationSpec(prompts=("a", "b"), seed=7)
    dev, schnell = (families.find("flux", flavour) for flavour in ("dev", "schnell"))
    first, second = previews.requests(spec, dev)
    assert (first.steps, first.guidance, first.seed, second.seed) == (28, 3.5, 7, 8)
    assert (previews.requests(spec, schnell)[0].steps, first.width) == (4, 1024)
    assert first.noise(dev).shape == (16, 128, 128)
    assert torch.equal(
        first.noise(dev)[None],
        torch.randn(1, 16, 128, 128, generator=torch.Generator().manual_seed(7)),
    )


def test_what_a_family_cannot_do_is_said() -> None:
    schnell = families.find("flux", "schnell")
    found = previews.check(ValidationSpec(width=100, guidance=2.0), schnell)
    assert [problem.where for problem in found] == ["validation.width", "validation.guidance"]


def test_an_edit_model_that_needs_a_reference_is_not_asked_to_paint_without_one() -> None:
    edit = families.find("qwen-image", "edit-v1")
    bare, shown = RequestSpec(prompt="x"), RequestSpec(prompt="x", references=("a.png",))
    found = previews.check(ValidationSpec(prompts=("x",), requests=(shown, bare)), edit)
    places = ["validation.prompts", "validation.requests.1.references"]
    assert [problem.where for problem in found] == places
    assert "paints nothing without a reference" in str(found[0])
    assert previews.check(ValidationSpec(requests=(shown,)), edit) == []


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("A Cat, in space!", "a-cat-in-space"), ("\u732b", "picture"), ("../../x", "x")],
)
def test_prompts_become_harmless_file_names(prompt: str, name: str) -> None:
    assert previews.short(prompt) == name
