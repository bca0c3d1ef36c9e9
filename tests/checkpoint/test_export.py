"""The delivered file, in our hands and in those of the published pipeline."""

from __future__ import annotations

import json
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scumble import families
from scumble.adapters.layouts import LAYOUTS, Changes
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export
from scumble.checkpoint.info import info
from scumble.errors import FileError
from scumble.families import weights
from scumble.families.flux.keys import KEYS
from scumble.sample import Sampling, sampled
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.validation import ValidationSpec
from tests.toys import opened, trained

PROMPT, SIDE, STEPS, SEED = "a cat", 64, 3, 5
Q, K = "transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k"
OUT = "transformer_blocks.0.attn.to_out.0"
FC1 = "text_model.encoder.layers.0.mlp.fc1"
T5_Q = "encoder.block.0.layer.0.SelfAttention.q"


def layer(rank: int = 2, alpha: float = 1.0) -> LoraTensors:
    make = torch.Generator().manual_seed(rank)
    return LoraTensors(
        torch.randn(rank, 8, generator=make), torch.randn(6, rank, generator=make), alpha
    )


def change(told: LoraTensors) -> torch.Tensor:
    return told.alpha / len(told.down) * told.up.float() @ told.down.float()


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


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What is painted without an adapter."""
    return picture(tmp_path_factory.mktemp("base"), None)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that a run has left, of every layer, with another alpha than rank."""
    root = tmp_path_factory.mktemp("run")
    trained(
        root,
        training__steps=3,
        training__learning_rate=3e-2,
        adapter__targets="all",
        adapter__alpha=2.0,
        export__dtype="float32",
    )
    return root / "out/toy/toy.safetensors"


@pytest.fixture(scope="module")
def painted(delivered: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What is painted with it."""
    return picture(tmp_path_factory.mktemp("with"), delivered)


def write(file: Path, changes: Changes, layout: str = "diffusers", dtype: str = "float32") -> int:
    return export.write(file, changes, KEYS, layout=layout, dtype=dtype, about={"x": "y"})


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_what_is_written_is_read_back_and_changes_the_same(tmp_path: Path, layout: str) -> None:
    told = {
        "denoiser": {Q: layer(alpha=1.0), OUT: layer(rank=3, alpha=3.0)},
        "clip": {FC1: layer()},
    }
    file = tmp_path / "a.safetensors"
    count = 6 if layout in ("diffusers", "ai-toolkit") else 9
    assert write(file, told, layout) == count == len(load_file(file))
    found = export.layers(file, KEYS)
    assert {part: set(layers) for part, layers in found.items()} == {
        part: set(layers) for part, layers in told.items()
    }
    for part, layers in told.items():
        for name, one in layers.items():
            torch.testing.assert_close(change(found[part][name]), change(one))
    assert export.holds(file, told, KEYS, layout=layout, dtype="float32")
    assert not export.holds(file, told, KEYS, layout=layout, dtype="bfloat16")
    other = {**told, "clip": {FC1: layer(alpha=2.0)}}
    assert not export.holds(file, other, KEYS, layout=layout, dtype="float32")
    assert export.read(file, KEYS).metadata["x"] == "y"


def test_equal_adapters_are_equal_files(tmp_path: Path) -> None:
    about = {f"key {number}": str(number) for number in range(20)}
    contents = set()
    for number in range(4):
        file = tmp_path / f"{number}.safetensors"
        told = {"denoiser": {Q: layer()}}
        export.write(file, told, KEYS, layout="kohya", dtype="float32", about=about)
        contents.add(file.read_bytes())
    assert len(contents) == 1
    assert export.read(tmp_path / "0.safetensors", KEYS).metadata["key 7"] == "7"


def test_matrices_that_layers_share_are_written_for_each(tmp_path: Path) -> None:
    first, file = layer(), tmp_path / "a.safetensors"
    told = {name: LoraTensors(first.down, first.up, 2.0) for name in (Q, K)}
    assert write(file, {"denoiser": told}) == 4
    assert torch.equal(load_file(file)[f"transformer.{K}.lora_B.weight"], first.up)


@pytest.mark.parametrize(("alpha", "kept"), [(16.0, torch.bfloat16), (0.1, torch.float32)])
def test_alphas_are_rounded_by_no_dtype(tmp_path: Path, alpha: float, kept: torch.dtype) -> None:
    file = tmp_path / "a.safetensors"
    write(file, {"denoiser": {OUT: layer(alpha=alpha)}}, "kohya", "bfloat16")
    (found,) = (value for key, value in load_file(file).items() if key.endswith(".alpha"))
    assert found.dtype == kept and float(found) == pytest.approx(alpha, rel=1e-7)


def test_kohya_files_say_what_their_readers_look_for_unless_we_are_told_otherwise(
    tmp_path: Path,
) -> None:
    file, told = tmp_path / "a.safetensors", {"denoiser": {Q: layer(), OUT: layer()}}
    write(file, told, "kohya")
    assert (
        export.read(file, KEYS).metadata.items()
        >= {
            "ss_network_module": "networks.lora_flux",
            "ss_base_model_version": "flux1",
            "ss_network_dim": "2",
            "ss_network_alpha": "1.0",
        }.items()
    )
    about = {"ss_network_dim": "8"}
    export.write(file, told, KEYS, layout="kohya", dtype="float32", about=about)
    assert export.read(file, KEYS).metadata["ss_network_dim"] == "8"
    write(file, told, "comfy")
    assert not any(name.startswith("ss_") for name in export.read(file, KEYS).metadata)


@pytest.mark.parametrize(
    ("flavour", "architecture"),
    [("dev", "flux-1-dev/lora"), ("schnell", "flux-1-schnell/lora"), ("kontext", None)],
)
def test_web_uis_are_told_the_model_where_it_has_a_name(
    tmp_path: Path, flavour: str, architecture: str | None
) -> None:
    file, told = tmp_path / "a.safetensors", {"denoiser": {Q: layer()}}
    about = {"scumble.family": "flux", "scumble.flavour": flavour, "scumble.job": "my cat"}
    export.write(file, told, KEYS, layout="kohya", dtype="float32", about=about)
    found = export.read(file, KEYS).metadata
    assert found.get("modelspec.architecture") == architecture
    assert found.get("modelspec.title") == ("my cat" if architecture else None)


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_half_precision_loses_no_small_or_large_change(tmp_path: Path, layout: str) -> None:
    """After a few steps of a warm-up, `up` holds numbers that float16 cannot tell apart."""
    make, file = torch.Generator().manual_seed(0), tmp_path / "a.safetensors"
    down = torch.randn(4, 32, generator=make)
    for size in (1e-8, 1e6):
        up = size * torch.randn(32, 4, generator=make)
        told = {name: LoraTensors(down, up * (1 + i), 2.0) for i, name in enumerate((Q, K))}
        write(file, {"denoiser": told}, layout, "float16")
        found = export.layers(file, KEYS)["denoiser"]
        for name, one in told.items():
            wanted = change(one)
            assert torch.linalg.norm(change(found[name]) - wanted) < 5e-3 * wanted.norm(), size
        assert {len(one.down) for one in found.values()} == {4}, "what is shared stays so"


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    bad = layer()
    bad.up[0, 0] = float("nan")
    huge = LoraTensors(torch.full((1, 4), 1e6), torch.full((4, 1), 1e6), 1.0)
    alpha = LoraTensors(torch.ones(1, 4), torch.ones(4, 1), float("inf"))
    for told, dtype in ((bad, "float32"), (huge, "float16"), (alpha, "float32")):
        for layout in LAYOUTS:
            with pytest.raises(FileError, match="not finite"):
                write(tmp_path / "a.safetensors", {"denoiser": {Q: told}}, layout, dtype)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["lora_unet_input_blocks_4_1_proj_in.lora_down.weight"], "an adapter of SDXL"),
        (["lora_unet_down_blocks_0_attn.lora_up.weight"], "an adapter of Stable Diffusion"),
        (["diffusion_model.blocks.0.q.lora_A.weight"], "a video model such as Wan"),
        (["double_blocks.0.img_attn.qkv.weight"], "the weights of a model, not an adapter"),
        (["transformer_blocks.0.x.down", "transformer_blocks.0.x.up"], "state of a checkpoint"),
        (["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], "has no up matrix"),
        ([], "it holds no adapter"),
        (["what"], "1 of 1 keys are not known, first 'what'"),
    ],
)
def test_a_file_that_is_no_adapter_of_ours_is_named_as_what_it_seems_to_be(
    tmp_path: Path, keys: list[str], words: str
) -> None:
    file = tmp_path / "a.safetensors"
    save_file({key: torch.zeros(2, 4) for key in keys}, file)
    with pytest.raises(FileError, match=words):
        export.layers(file, KEYS)
    rows = info(file, KEYS)
    assert words in (rows["what"] if "what" in rows else rows["CANNOT BE READ"])


def test_pickles_and_broken_files_are_refused(tmp_path: Path) -> None:
    pickle, broken = tmp_path / "a.pt", tmp_path / "b.safetensors"
    torch.save({"a": torch.zeros(1)}, pickle)
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(FileError, match="pickles can run any code"):
        export.read(pickle, KEYS)
    with pytest.raises(FileError, match="not a whole safetensors file"):
        export.read(broken, KEYS)
    with pytest.raises(FileError, match="no such file"):
        export.read(tmp_path / "c.safetensors", KEYS)


def test_settings_of_peft_in_the_metadata_give_the_strength(tmp_path: Path) -> None:
    """diffusers writes no alphas: they stand in the metadata, and there alone."""
    file = tmp_path / "a.safetensors"
    write(file, {"denoiser": {Q: layer(rank=2, alpha=2.0), OUT: layer(rank=4, alpha=4.0)}})
    settings = {
        "transformer.r": 2,
        "transformer.lora_alpha": 8,
        "transformer.alpha_pattern": {"to_out.0": 3},
        "transformer.use_rslora": False,
    }
    tensors = load_file(file)
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps(settings)})
    told = export.layers(file, KEYS)["denoiser"]
    assert (told[Q].alpha, told[OUT].alpha) == (8.0, 3.0)
    rooted = {**settings, "transformer.use_rslora": True}
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps(rooted)})
    assert export.layers(file, KEYS)["denoiser"][OUT].alpha == 6.0
    for odd in ("", "[]", "{", '{"transformer.lora_alpha": "x"}'):
        save_file(tensors, file, {"lora_adapter_metadata": odd})
        assert export.layers(file, KEYS)["denoiser"][OUT].alpha == 4.0


def test_the_config_beside_a_file_of_peft_gives_the_strength(tmp_path: Path) -> None:
    file, told = tmp_path / "adapter_model.safetensors", layer()
    names = {"lora_A": told.down, "lora_B": told.up}
    save_file({f"base_model.model.{Q}.{name}.weight": one for name, one in names.items()}, file)
    assert export.layers(file, KEYS)["denoiser"][Q].alpha == 2.0
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 1}))
    assert export.layers(file, KEYS)["denoiser"][Q].alpha == 1.0


def test_info_tells_every_part_its_ranks_and_how_much_it_changes(tmp_path: Path) -> None:
    file, first = tmp_path / "a.safetensors", layer(rank=2, alpha=1.0)
    none = LoraTensors(first.down, torch.zeros(6, 2), 2.0)
    told = {"denoiser": {Q: first, OUT: layer(rank=5, alpha=3.0)}, "t5": {T5_Q: none}}
    write(file, told, "kohya")
    rows = info(file, KEYS)
    assert rows["layout"] == "kohya" and rows["finite"] == "yes" and "float32" in rows["tensors"]
    assert rows["transformer"].startswith("2 layers, rank 2 to 5, alpha 1 to 3; size of the change")
    norms = [float(torch.linalg.norm(change(one))) for one in told["denoiser"].values()]
    assert f"size of the change {math.hypot(*norms):.4g}" in rows["transformer"]
    assert "it changes nothing" in rows["T5"] and "CLIP" not in rows
    assert rows["x"] == "y" and "CANNOT BE READ" not in rows


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    far = Q.replace("0", "9")
    for told in ({far: layer()}, {Q: layer()}):
        write(file, {"denoiser": told})
        with pytest.RaisesGroup(pytest.RaisesExc(FileError, match="made for another model")):
            picture(tmp_path / "out", file)
    assert not (tmp_path / "out").exists(), "told before anything is made"


def encoder_layers(part: str) -> dict[str, LoraTensors]:
    """A strong change of every layer of a toy's text encoder that a table knows."""
    model = opened(families.find("flux", "dev"), "builtin:tiny-flux")
    module, (alias, _) = weights.skeleton(model, part), ("text_model.", "")
    make, made = torch.Generator().manual_seed(1), {}
    for inside, one in module.named_modules():
        name = inside if KEYS[part].by_ours(inside) else alias + inside
        if isinstance(one, torch.nn.Linear) and KEYS[part].by_ours(name):
            down = torch.randn(2, one.in_features, generator=make)
            made[name] = LoraTensors(down, torch.randn(one.out_features, 2, generator=make), 1.0)
    assert made
    return made


@pytest.mark.parametrize("part", ["clip", "t5"])
def test_layers_of_text_encoders_change_the_picture(
    tmp_path: Path, base: np.ndarray, part: str
) -> None:
    told, found = {part: encoder_layers(part)}, []
    for layout in ("diffusers", "kohya"):
        file = tmp_path / f"{layout}.safetensors"
        write(file, told, layout)
        found.append(picture(tmp_path / layout, file))
        assert off(found[-1], base) > 1e-3
        assert off(found[-1], found[0]) < 1e-3


def test_an_adapter_paints_the_same_in_every_layout(
    tmp_path: Path, base: np.ndarray, delivered: Path, painted: np.ndarray
) -> None:
    assert off(painted, base) > 0.01
    for layout in ("kohya", "comfy"):
        other = tmp_path / f"{layout}.safetensors"
        write(other, export.layers(delivered, KEYS), layout)
        assert off(picture(tmp_path / layout, other), painted) < 1e-4


def test_an_adapter_of_no_numbers_paints_nothing(tmp_path: Path) -> None:
    file, told = tmp_path / "a.safetensors", layer()
    write(file, {"denoiser": {Q: told}})
    tensors = load_file(file)
    tensors[f"transformer.{Q}.lora_B.weight"][0, 0] = torch.nan
    save_file(tensors, file)
    words = f"1 layers hold values that are no .*first '{Q}'"
    with pytest.RaisesGroup(pytest.RaisesExc(FileError, match=words)):
        picture(tmp_path / "out", file)


def test_the_published_pipeline_loads_it_and_paints_what_we_paint(
    caplog: pytest.LogCaptureFixture, base: np.ndarray, delivered: Path, painted: np.ndarray
) -> None:
    from diffusers import FluxPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = FluxPipeline.from_pretrained(weights.located("builtin:tiny-flux", Path()))
        with caplog.at_level(logging.WARNING):
            pipeline.load_lora_weights(str(delivered))
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
    written = {key.removeprefix("transformer.") for key in load_file(delivered)}
    assert loaded == written, "every key found its place and no place is left without one"
    said = [r.getMessage() for r in caplog.records]
    assert not [m for m in said if "key" in m.lower() and "CLIPTextModel" not in m], said
    (theirs,) = answer.images
    assert off(theirs, base) > 0.02
    assert off(painted, np.round(theirs * 255) / 255) < 1e-3
