"""Text encoders that are trained along: captions are read by them at every step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scumble import proving
from scumble.caching import complete
from scumble.events import Event
from scumble.preflight.plan import prepared
from scumble.preflight.survey import survey
from scumble.spec.hardware import HardwareSpec
from tests import toys

KOHYA: dict[str, Any] = {"export__layout": "kohya", "export__dtype": "float32"}
BOTH: dict[str, Any] = {"adapter__parts": ["denoiser", "clip", "t5"]}


def told(root: Path, kind: str) -> list[dict[str, Any]]:
    lines = (root / "out" / "toy" / "journal.jsonl").read_text().splitlines()
    return [one for one in map(json.loads, lines) if one["event"] == kind]


def losses(root: Path) -> list[float]:
    return [one["loss"] for one in told(root, "StepDone")]


def adapter(root: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(root / f"out/toy/checkpoints/step-{step:06d}/adapter.safetensors")


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with frozen encoders, whose texts were read once and kept."""
    root = tmp_path_factory.mktemp("cached")
    toys.trained(root)
    return root


@pytest.mark.parametrize("parts", [["denoiser", "clip", "t5"], ["denoiser", "clip"], ["t5"]])
@pytest.mark.parametrize("again", [False, True])
def test_encoders_whose_change_is_zero_read_what_the_cache_holds(
    tmp_path: Path, cached: Path, parts: list[str], again: bool
) -> None:
    changes = {"adapter__parts": parts, "hardware__gradient_checkpointing": again}
    toys.trained(tmp_path, training__steps=1, **changes)
    assert losses(tmp_path)[0] == pytest.approx(losses(cached)[0], rel=1e-5)
    moved = {name.split(".")[0] for name, one in adapter(tmp_path, 1).items() if one.any()}
    ups = {n for n, one in adapter(tmp_path, 1).items() if n.endswith(".up") and one.any()}
    assert {"clip", "t5"} & moved == {"clip", "t5"} & set(parts)
    assert all(any(n.startswith(f"{part}.") for n in ups) for part in parts if part != "denoiser")


def test_recomputed_blocks_give_the_same_gradients(tmp_path: Path) -> None:
    for name, again in (("kept", False), ("recomputed", True)):
        (tmp_path / name).mkdir()
        toys.trained(tmp_path / name, **BOTH, hardware__gradient_checkpointing=again)
    kept, again = adapter(tmp_path / "kept", 4), adapter(tmp_path / "recomputed", 4)
    assert all(torch.allclose(one, again[name], atol=1e-5) for name, one in kept.items())


def test_only_what_stays_as_it_is_is_kept(tmp_path: Path) -> None:
    job = toys.job(tmp_path, adapter__parts=["denoiser", "clip"])
    plan = prepared(job, tmp_path)
    plan, library = complete(job, tmp_path, plan, ignored)
    with library:
        entry = library.texts.read(library.text_key(library.saying(*plan.texts()[0])))
    assert set(entry) == {"text"}
    both = prepared(toys.job(tmp_path, **BOTH), tmp_path)
    assert both.texts() == [] and not both.keeps_texts


def ignored(_: Event) -> None:
    pass


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    changes = {**BOTH, "adapter__max_norm": 0.5, "adapter__ggpo": {"sigma": 0.1, "beta": 0.1}}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    toys.trained(tmp_path / "whole", **changes)
    toys.trained(tmp_path / "cut", training__steps=2, **changes)
    toys.trained(tmp_path / "cut", **changes)
    whole, cut = adapter(tmp_path / "whole", 4), adapter(tmp_path / "cut", 4)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(one, cut[name]) for name, one in whole.items())


def test_encoders_have_rates_of_their_own(tmp_path: Path) -> None:
    toys.trained(tmp_path, **BOTH, training__rates={"clip": 1e-7, "t5": 1e-2})
    ups = {name: one for name, one in adapter(tmp_path, 4).items() if name.endswith(".up")}
    of = {
        p: max(one.abs().max() for n, one in ups.items() if n.startswith(f"{p}."))
        for p in ("clip", "t5")
    }
    assert 0 < of["clip"] < 1e-6 < 1e-3 < of["t5"]


def test_an_encoder_that_would_not_move_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        prepared(toys.job(tmp_path, **BOTH, training__rates={"clip": 0.0}), tmp_path)
    assert "no layer of clip has a learning rate above 0" in str(caught.value.exceptions[0])


def test_previews_and_the_held_out_loss_see_what_the_encoders_have_learnt(tmp_path: Path) -> None:
    toys.trained(
        tmp_path,
        adapter__parts=["t5"],
        training__learning_rate=0.1,
        validation__every=4,
        validation__prompts=["a cat"],
        validation__width=32,
        validation__height=32,
        validation__steps=2,
        data=[{"id": "square", "folder": "square", "resolution": 32, "held_out": 0.4}],
    )
    first, *_, last = told(tmp_path, "Measured")
    assert first["mean"] != last["mean"]
    before, after = sorted((tmp_path / "out/toy/samples").glob("*/*.png"))
    assert before.read_bytes() != after.read_bytes()


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("delivered")
    toys.trained(root, **BOTH, export__proof="fresh_process", **KOHYA)
    return root / "out" / "toy"


def verdicts(run: Path, file: Path) -> Iterator[tuple[str, str]]:
    asked = proving.Asked(files=(file,), hardware=HardwareSpec(), base=Path(), run=run)
    (one,) = proving.proofs(asked)
    yield from ((each.name, each.state) for each in one.verdicts)


def test_the_file_has_the_encoders_under_the_names_of_sd_scripts(delivered: Path) -> None:
    tensors = load_file(delivered / "toy.safetensors")
    assert {name.split("_")[1] for name in tensors} == {"unet", "te1", "te3"}
    assert all(one.isfinite().all() for one in tensors.values())


def test_the_proof_reads_the_text_again(delivered: Path) -> None:
    found = dict(verdicts(delivered, delivered / "toy.safetensors"))
    assert found["texts"] == "ok" and found["velocity"] == "ok" and "failed" not in found.values()


def test_a_file_without_the_encoders_change_is_caught(delivered: Path, tmp_path: Path) -> None:
    file = delivered / "toy.safetensors"
    tensors = load_file(file)
    other = {
        n: one * 0 if n.startswith("lora_te1") and "up" in n else one for n, one in tensors.items()
    }
    save_file(other, tmp_path / "spoilt.safetensors")
    assert dict(verdicts(delivered, tmp_path / "spoilt.safetensors"))["texts"] == "failed"


def test_check_names_the_encoders_that_stay(tmp_path: Path) -> None:
    said = survey(toys.job(tmp_path, **BOTH), tmp_path).warnings
    assert any(one.startswith("clip and t5 stay loaded, ") for one in said)


def test_an_adapter_goes_on_from_a_file_with_its_encoders(delivered: Path, tmp_path: Path) -> None:
    start = {"file": str(delivered / "toy.safetensors")}
    toys.trained(
        tmp_path, **BOTH, adapter__start=start, training__steps=1, training__learning_rate=1e-8
    )
    kept = adapter(delivered.parent.parent, 4)
    begun = adapter(tmp_path, 1)
    mine = {name: one for name, one in begun.items() if name.split(".")[0] in ("clip", "t5")}
    assert mine and all(torch.allclose(one, kept[name], atol=1e-5) for name, one in mine.items())
