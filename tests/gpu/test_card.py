"""The same small runs on a CUDA card; `make gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.toys import checkpoint, journal, pictures, trained

CARD = {"hardware__device": "cuda", "hardware__precision": "bf16"}
PREVIEWS = {
    "validation__every": 2,
    "validation__prompts": ["a cat"],
    "validation__width": 48,
    "validation__height": 32,
    "validation__steps": 2,
}


@pytest.mark.gpu
def test_a_run_trains_previews_and_resumes_on_a_card(tmp_path: Path) -> None:
    trained(tmp_path, name="whole", training__steps=6, **CARD, **PREVIEWS)
    trained(tmp_path, name="parts", training__steps=3, **CARD)
    trained(tmp_path, name="parts", training__steps=6, **CARD)
    whole, parts = (checkpoint(tmp_path, 6, name) for name in ("whole", "parts"))
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], rtol=0.05, atol=1e-3)
    assert [r["step"] for r in journal(tmp_path, "Previewed", "whole")] == [0, 2, 4, 6]


@pytest.mark.gpu
def test_a_card_and_the_cpu_agree_in_fp32(tmp_path: Path) -> None:
    trained(tmp_path, name="cpu", training__steps=3)
    trained(tmp_path, name="card", training__steps=3, hardware__device="cuda")
    losses = [[r["loss"] for r in journal(tmp_path, "StepDone", name)] for name in ("cpu", "card")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.gpu
def test_computing_blocks_again_takes_less_of_the_card(tmp_path: Path) -> None:
    peaks = []
    for again in (False, True):
        torch.cuda.reset_peak_memory_stats()
        changes = {"hardware__gradient_checkpointing": again, "training__steps": 2}
        trained(tmp_path, name=f"again-{again}", training__batch_size=8, **CARD, **changes)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0]


@pytest.mark.gpu
def test_pairs_and_masks_train_alike_from_the_cache_and_on_demand(tmp_path: Path) -> None:
    model = {
        "family": "flux",
        "flavour": "kontext",
        "path": "builtin:tiny-flux-kontext",
        "text_tokens": 16,
    }
    for name in ("after", "before"):
        pictures(tmp_path / name, [(64, 64), (96, 64)] * 2)
    square = Image.new("L", (64, 64))
    square.paste(255, (0, 0, 32, 64))
    (tmp_path / "masks").mkdir()
    for number in (0, 2):
        square.save(tmp_path / "masks" / f"p{number:02d}.png")
    edits = {
        "id": "edits",
        "folder": "after",
        "resolution": 48,
        "references": [{"folder": "before"}],
        "mask": {"folder": "masks", "missing": "whole"},
    }
    job = {"data": [edits], "model": model, "training__steps": 3, "hardware__device": "cuda"}
    trained(tmp_path, name="kept", **job)
    trained(tmp_path, name="demand", cache={"mode": "on_demand"}, **job)
    found = [
        [r["loss"] for r in journal(tmp_path, "StepDone", name)] for name in ("kept", "demand")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)
