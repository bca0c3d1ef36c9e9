"""Whatever the data is made to do, a run that was broken off ends like an unbroken one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.toys import checkpoint, pictures, trained

SIZES = [(64, 64), (96, 64), (70, 90), (100, 48), (64, 64), (61, 77), (90, 60)]
KONTEXT = {
    "family": "flux",
    "flavour": "kontext",
    "path": "builtin:tiny-flux-kontext",
    "text_tokens": 16,
}
SHAPES = {
    "kind": "aspect",
    "crop": True,
    "crop_aspect": "random",
    "crop_aspect_buckets": [1.0, 1.5, 0.66],
}
LOOSE = {"folder": "r", "fit": "loose", "resolution": 64, "sizing": {"kind": "aspect"}}
A = {"id": "a", "folder": "a", "resolution": 32, "flip": True, "colour": True}
B = {"id": "b", "folder": "b", "resolution": 32, "repeats": 2}
EDITS = {"shuffle": True, "tag_dropout": 0.3, "wildcards": True, "keep_tokens": 1}

CASES: dict[str, dict[str, Any]] = {
    "versions, references and masks": {
        "data": [
            {
                **A,
                "variants": 3,
                "references": [LOOSE, {"degrade": {"kind": "blur"}}],
                "reference_sampling": "random",
                "mask": {"folder": "m", "blur": 2, "weight": 2.0},
            }
        ],
        "model": KONTEXT,
    },
    "epochs and growing captions": {
        "data": [
            {**A, "variants": "epoch", "caption_edits": {**EDITS, "warmup_steps": 6}},
            {**B, "start_epoch": 2, "end_epoch": 3},
        ],
    },
    "nothing kept": {
        "data": [
            {**A, "variants": "fresh", "caption_edits": EDITS, "share": 2.0},
            {**B, "share": 1.0, "caption_dropout": 0.3},
        ],
        "cache": {"mode": "on_demand", "text_dtype": "fp8"},
    },
    "drawn shapes": {
        "data": [{**A, "resolution": 64, "sizing": SHAPES, "variants": "epoch", "short": "fill"}],
    },
}


def planted(root: Path) -> None:
    pictures(root / "a", SIZES)
    pictures(root / "b", SIZES[:3], seed=1)
    pictures(root / "r", SIZES[::-1], seed=2)
    for file in (root / "a").glob("*.txt"):
        file.write_text("one, two {x|y}, three, four, five")
    (root / "m").mkdir()
    for place, (width, height) in enumerate(SIZES):
        grey = np.zeros((height, width), np.uint8)
        grey[:, : width // 2] = 255
        Image.fromarray(grey).save(root / "m" / f"p{place:02d}.png")


@pytest.mark.parametrize("case", CASES)
def test_a_broken_and_a_longer_run_end_like_a_whole_one(tmp_path: Path, case: str) -> None:
    planted(tmp_path)
    wanted = {**CASES[case], "training__units_per_step": 1, "saving__every": 3, "saving__keep": 0}
    trained(tmp_path, name="whole", training__steps=9, **wanted)
    shutil.rmtree(tmp_path / "out/.cache")
    trained(tmp_path, name="longer", training__steps=3, **wanted)
    trained(tmp_path, name="longer", training__steps=9, **wanted)
    shutil.rmtree(tmp_path / "out/longer/checkpoints/step-000009")
    trained(tmp_path, name="longer", training__steps=9, **wanted)
    whole, longer = (checkpoint(tmp_path, 9, name) for name in ("whole", "longer"))
    assert all(torch.equal(whole[key], longer[key]) for key in whole)
