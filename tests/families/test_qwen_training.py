"""Qwen-Image through the front door: cached, trained, exported and proven, on toys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from scumble import families
from scumble.adapters.layouts import parsed
from scumble.families.qwen.keys import KEYS
from tests.toys import checkpoint, journal, trained

LAYOUTS = ("diffusers", "comfy", "kohya")


def model(flavour: str, toy: str) -> dict[str, Any]:
    return {
        "family": "qwen-image",
        "flavour": flavour,
        "path": f"builtin:{toy}",
        "text_tokens": 40,
    }


def test_texts_of_any_length_are_trained_in_one_batch_and_exported_in_every_layout(
    tmp_path: Path,
) -> None:
    trained(
        tmp_path,
        model=model("base", "tiny-qwen-image"),
        training__steps=2,
        export__layout=list(LAYOUTS),
    )
    losses = [one["loss"] for one in journal(tmp_path, "StepDone")]
    assert len(losses) == 2 and all(np.isfinite(losses))
    proven = journal(tmp_path, "Proven")
    assert len(proven) == len(LAYOUTS)
    for one in proven:
        states = {verdict["name"]: verdict["state"] for verdict in one["verdicts"]}
        assert set(states.values()) == {"ok"}, (one["file"], states)
    for layout, name in zip(LAYOUTS, ("toy", "toy.comfy", "toy.kohya"), strict=True):
        file = tmp_path / "out" / "toy" / f"{name}.safetensors"
        read = parsed(load_file(file), KEYS)
        assert read.layout == layout and (read.strangers, read.faults) == ((), ())
        assert len(read.changes["denoiser"]) == 4 * 8 - 2
        assert told(file)["modelspec.architecture"] == "Qwen-Image/lora"


def told(file: Path) -> Mapping[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_the_kohya_file_says_what_musubi_tuner_looks_for(tmp_path: Path) -> None:
    trained(
        tmp_path,
        model=model("base", "tiny-qwen-image"),
        training__steps=1,
        export__layout="kohya",
        adapter__targets="blocks",
    )
    said = told(tmp_path / "out" / "toy" / "toy.safetensors")
    assert said["ss_network_module"] == "networks.lora_qwen_image"
    assert said["ss_base_model_version"] == "qwen_image"
    assert said["modelspec.implementation"] == "https://github.com/QwenLM/Qwen-Image"


def pairs(root: Path, references: int) -> dict[str, Any]:
    """Captioned targets of two shapes and `references` pictures for each, as a set of a job."""
    random = np.random.default_rng(0)
    sizes = [(64, 64), (64, 64), (96, 64)]
    for folder in ("target", *(f"reference{number}" for number in range(references))):
        (root / folder).mkdir(parents=True)
        for number, (width, height) in enumerate(sizes):
            small = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
            picture.save(root / folder / f"p{number}.png")
            if folder == "target":
                (root / folder / f"p{number}.txt").write_text(f"make it {'very ' * number}odd\n")
    shown = [{"folder": f"reference{number}"} for number in range(references)]
    return {"id": "pairs", "folder": "target", "resolution": 32, "references": shown}


@pytest.mark.parametrize(
    ("flavour", "toy", "references"),
    [("edit-v1", "tiny-qwen-edit", 1), ("edit-v2", "tiny-qwen-edit-plus", 3)],
)
def test_edits_are_trained_on_what_is_shown_to_reader_and_network(
    tmp_path: Path, flavour: str, toy: str, references: int
) -> None:
    changes = {"model": model(flavour, toy), "data": [pairs(tmp_path, references)]}
    trained(tmp_path, **changes, training__steps=2, saving__every=2)
    losses = [one["loss"] for one in journal(tmp_path, "StepDone")]
    assert len(losses) == 2 and all(np.isfinite(losses))
    found = checkpoint(tmp_path, 2)
    assert all(bool(one.isfinite().all()) for one in found.values() if one.is_floating_point())


def test_resuming_takes_the_steps_of_an_unbroken_run(tmp_path: Path) -> None:
    runs = {}
    for name, stops in (("whole", [4]), ("broken", [2, 4])):
        root = tmp_path / name
        for steps in stops:
            trained(
                root,
                model=model("base", "tiny-qwen-image"),
                training__steps=steps,
                adapter__dropout=0.0,
            )
        runs[name] = checkpoint(root, 4)
    assert all(torch.equal(runs["whole"][name], one) for name, one in runs["broken"].items())


def test_every_flavour_is_found_by_its_name() -> None:
    kinds = {kind for name, kind in families.FAMILIES if name == "qwen-image"}
    assert kinds == {"base", "edit-v1", "edit-v2"}
    for kind in kinds:
        family = families.find("qwen-image", kind)
        assert (family.name, family.flavour) == ("qwen-image", kind)
        assert sorted(family.targets) == ["all", "attention", "blocks", "simpletuner"]
