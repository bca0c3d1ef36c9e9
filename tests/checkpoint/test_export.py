"""The delivered file, in our hands and in those of the published pipeline."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export
from scumble.errors import FileError
from scumble.families import weights
from scumble.sample import Sampling, sampled
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.validation import ValidationSpec
from tests.toys import trained

PROMPT, SIDE, STEPS, SEED = "a cat", 64, 3, 5


def layer(rank: int = 2, alpha: float = 1.0) -> LoraTensors:
    make = torch.Generator().manual_seed(rank)
    return LoraTensors(
        torch.randn(rank, 8, generator=make), torch.randn(6, rank, generator=make), alpha
    )


def change(told: LoraTensors) -> torch.Tensor:
    return told.alpha / len(told.down) * told.up @ told.down


def picture(folder: Path, adapter: Path | None) -> np.ndarray:
    """What `scumble sample` paints, as numbers from 0 to 1."""
    asked = Sampling(
        model=ModelSpec(family="flux", flavour="dev", path="builtin:tiny-flux", text_tokens=40),
        hardware=HardwareSpec(device="cpu", precision="fp32"),
        validation=ValidationSpec(
            prompts=(PROMPT,), width=SIDE, height=SIDE, steps=STEPS, seed=SEED
        ),
        adapter=adapter,
        strength=1.0,
        out=folder,
        base=Path(),
    )
    (file,) = sampled(asked)
    about = json.loads(file.with_suffix(".json").read_text())
    assert (about["seed"], about["steps"], about["guidance"]) == (SEED, STEPS, 3.5)
    return np.asarray(Image.open(file), np.float64) / 255


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative error."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_what_is_written_is_read_back_and_changes_the_same(tmp_path: Path) -> None:
    told = {"blocks.0.to_q": layer(alpha=1.0), "blocks.1.to_q": layer(rank=3, alpha=3.0)}
    file = tmp_path / "a.safetensors"
    assert export.write(file, told, dtype="float32", about={"x": "y"}) == 4
    found = export.read(file)
    assert found.keys() == told.keys()
    for name, one in told.items():
        torch.testing.assert_close(change(found[name]), change(one))
    assert export.info(file)["rank"] == "2, 3" and export.info(file)["x"] == "y"


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    bad = layer()
    bad.up[0, 0] = float("nan")
    huge = LoraTensors(torch.full((1, 4), 1e6), torch.ones(4, 1), 1.0)
    for told, dtype in ((bad, "float32"), (huge, "float16")):
        with pytest.raises(FileError, match="not finite"):
            export.write(tmp_path / "a.safetensors", {"to_q": told}, dtype=dtype, about={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["lora_unet_a.lora_down.weight"], "spelt as kohya does"),
        (["diffusion_model.a.lora_A.weight"], "spelt as ComfyUI does"),
        (["transformer.a.lora_A.weight"], "has no lora_B.weight"),
    ],
)
def test_files_of_other_layouts_are_named(tmp_path: Path, keys: list[str], words: str) -> None:
    file = tmp_path / "a.safetensors"
    save_file({key: torch.zeros(2, 4) for key in keys}, file)
    with pytest.raises(FileError, match=words):
        export.read(file)


def test_pickles_and_broken_files_are_refused(tmp_path: Path) -> None:
    pickle, broken = tmp_path / "a.pt", tmp_path / "b.safetensors"
    torch.save({"a": torch.zeros(1)}, pickle)
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(FileError, match="pickles can run any code"):
        export.read(pickle)
    with pytest.raises(FileError, match="not a whole safetensors file"):
        export.read(broken)
    with pytest.raises(FileError, match="no such file"):
        export.read(tmp_path / "c.safetensors")


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    export.write(file, {"blocks.9.to_q": layer()}, dtype="float32", about={})
    with pytest.raises(FileError, match="made for another model"):
        picture(tmp_path / "out", file)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_published_pipeline_loads_it_and_paints_what_we_paint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: str
) -> None:
    from diffusers import FluxPipeline

    changes = {"training__steps": 3, "adapter__targets": "all", "adapter__alpha": 2.0}
    trained(tmp_path, export__dtype=dtype, training__learning_rate=3e-2, **changes)
    file = tmp_path / "out/toy/toy.safetensors"
    ours, base = picture(tmp_path / "with", file), picture(tmp_path / "without", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = FluxPipeline.from_pretrained(weights.located("builtin:tiny-flux", Path()))
        with caplog.at_level(logging.WARNING):
            pipeline.load_lora_weights(str(file))
        answer: Any = pipeline(
            PROMPT,
            width=SIDE,
            height=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=3.5,
            max_sequence_length=40,
            generator=torch.Generator().manual_seed(SEED),
            output_type="np",
        )
    loaded = {
        name.replace(".default_0.weight", ".weight")
        for name in pipeline.transformer.state_dict()
        if "lora_" in name
    }
    written = {key.removeprefix("transformer.") for key in load_file(file)}
    assert loaded == written, "every key found its place and no place is left without one"
    said = [r.getMessage() for r in caplog.records]
    assert not [m for m in said if "key" in m.lower() and "CLIPTextModel" not in m], said
    (theirs,) = answer.images
    assert off(theirs, base) > 0.02
    assert off(ours, np.round(theirs * 255) / 255) < 1e-3
