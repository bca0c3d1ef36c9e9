"""The same small runs on a CUDA card; `make gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.toys import checkpoint, journal, trained

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
