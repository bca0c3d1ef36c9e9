"""The same small runs on a CUDA card; `make gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from scumble import families
from scumble.families import weights
from tests.families import loose
from tests.toys import checkpoint, journal, opened, pictures, trained

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


@pytest.mark.gpu
def test_what_was_trained_on_a_card_is_proven_there_in_a_fresh_process(tmp_path: Path) -> None:
    layouts = {"layout": ["diffusers", "kohya"], "proof": "fresh_process"}
    outcome = trained(tmp_path, training__steps=4, export=layouts, **CARD, **PREVIEWS)
    proofs = journal(tmp_path, "Proven")
    assert outcome.code == 0 and len(proofs) == 2
    states = [verdict["state"] for one in proofs for verdict in one["verdicts"]]
    assert "failed" not in states


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["adamw-8bit", "lion-8bit", "adamw-bf16", "prodigy"])
def test_optimizers_go_on_where_they_were_on_a_card(tmp_path: Path, name: str) -> None:
    rate = 1.0 if name == "prodigy" else 1e-3
    job = {"training__optimizer": {"name": name}, "training__learning_rate": rate, **CARD}
    big = {"adapter__rank": 64}  # large enough for states in 8 bits
    trained(tmp_path, name="whole", training__steps=6, **job, **big)
    trained(tmp_path, name="parts", training__steps=3, **job, **big)
    trained(tmp_path, name="parts", training__steps=6, **job, **big)
    whole, parts = (checkpoint(tmp_path, 6, one) for one in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for key in (key for key in whole if key.endswith((".down", ".up"))):
        torch.testing.assert_close(parts[key], whole[key], rtol=0.05, atol=1e-3)


@pytest.mark.gpu
def test_narrow_weights_are_the_same_on_a_card_and_on_the_cpu(tmp_path: Path) -> None:
    family, folder = families.find("flux", "dev"), loose.folder(tmp_path / "model")
    t5 = folder / "text_encoder_2" / "model.safetensors"
    save_file(loose.scaled(loose.tensors(folder, "t5"), newer=True, layers="layer"), t5)
    model = opened(family, folder)
    there, here = (
        weights.loaded(model, "t5", dtype=torch.bfloat16, device=torch.device(device))
        for device in ("cuda", "cpu")
    )
    for name, tensor in here.state_dict().items():
        torch.testing.assert_close(there.state_dict()[name].cpu(), tensor, rtol=0, atol=0)
