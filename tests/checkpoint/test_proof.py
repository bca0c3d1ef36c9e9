"""Planted faults: what is wrong with an adapter file is named, and a good one passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble import families
from scumble.adapters.layouts import Changes
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import bases, export, proof, sound, verdicts
from scumble.checkpoint.convert import converted
from scumble.checkpoint.state import ADAPTER
from scumble.checkpoint.verdicts import Base
from scumble.errors import FileError
from scumble.families.flux_network import FluxConfig, FluxTransformer

FLUX = families.find("flux", "dev")
LAYOUTS = ("diffusers", "kohya", "comfy", "ai-toolkit")
QUERY, KEY = (f"transformer_blocks.0.attn.{name}" for name in ("to_q", "to_k"))
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def base() -> Base:
    """A small FLUX on the meta device."""
    config = FluxConfig(
        num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2
    )
    with torch.device("meta"):
        network = FluxTransformer(config)
    return Base(keys=FLUX.keys, shapes={"denoiser": bases.linears(network)}, told="a small flux")


@pytest.fixture(scope="module")
def trained(base: Base) -> Changes:
    """An adapter of every layer in the blocks."""
    draw = torch.Generator().manual_seed(3)
    layers = {
        name: LoraTensors(
            torch.randn(4, inputs, generator=draw),
            0.1 * torch.randn(outputs, 4, generator=draw),
            2.0,
        )
        for name, (outputs, inputs) in base.shapes["denoiser"].items()
        if "blocks" in name
    }
    return {"denoiser": layers}


def written(
    file: Path, changes: Changes, layout: str, *, marked: bool = True, dtype: str = "bfloat16"
) -> Path:
    about = proof.marks(changes) if marked else {}
    export.write(file, changes, FLUX.keys, layout=layout, dtype=dtype, about=about)
    return file


def spoilt(file: Path, spoil: Callable[[Tensors], None]) -> Path:
    """The file with its tensors changed and its metadata as it was."""
    _, metadata = export.contents(file)
    tensors = load_file(file)
    spoil(tensors)
    save_file(tensors, file, metadata)
    return file


def states(file: Path, base: Base) -> dict[str, str]:
    return {one.name: one.state for one in verdicts.looked(file, base).verdicts}


def said(file: Path, base: Base, name: str) -> str:
    return next(one.text for one in verdicts.looked(file, base).verdicts if one.name == name)


def failed(file: Path, base: Base) -> set[str]:
    return {name for name, state in states(file, base).items() if state == "failed"}


def of_query(tensors: Tensors, role: str) -> str:
    """The key of the first block's query, which in the authors' layouts is fused with others."""
    words = ("to_q", "img_attn_qkv", "img_attn.qkv")
    endings = {"up": ("lora_B.weight", "lora_up.weight"), "alpha": (".alpha",)}[role]
    return next(
        key
        for key in tensors
        if "single" not in key and any(w in key for w in words) and key.endswith(endings)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_good_file_passes_in_every_layout(
    tmp_path: Path, base: Base, trained: Changes, layout: str, dtype: str
) -> None:
    file = written(tmp_path / "a.safetensors", trained, layout, dtype=dtype)
    assert set(states(file, base).values()) == {"ok"}
    count = len(load_file(file))
    assert f"{count} of {count} keys" in said(file, base, "keys")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_misspelt_key_is_named_with_the_one_that_was_meant(
    tmp_path: Path, base: Base, trained: Changes, layout: str
) -> None:
    file, key = written(tmp_path / "a.safetensors", trained, layout), ""

    def misspell(tensors: Tensors) -> None:
        nonlocal key
        key = of_query(tensors, "up")
        tensors[key.replace("attn", "atn")] = tensors.pop(key)

    spoilt(file, misspell)
    assert {"keys", "whole", "layers"} <= failed(file, base)
    words = said(file, base, "keys")
    assert key.replace("attn", "atn") in words and f"did you mean '{key}'?" in words


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", ["one layer", "every layer"])
def test_a_doubled_strength_is_named(
    tmp_path: Path, base: Base, trained: Changes, layout: str, where: str
) -> None:
    file = written(tmp_path / "a.safetensors", trained, layout)

    def double(tensors: Tensors) -> None:
        role = "alpha" if layout in ("kohya", "comfy") else "up"
        ending = ".alpha" if role == "alpha" else "lora_B.weight"
        every = [key for key in tensors if key.endswith(ending)]
        for key in every if where == "every layer" else [of_query(tensors, role)]:
            tensors[key] = tensors[key] * 2

    spoilt(file, double)
    assert failed(file, base) == {"alpha"}
    assert "is 2 times as strong as it was trained" in said(file, base, "alpha")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_that_were_zeroed_are_named(
    tmp_path: Path, base: Base, trained: Changes, layout: str
) -> None:
    one = written(tmp_path / "one.safetensors", trained, layout)
    spoilt(one, lambda tensors: _zero(tensors, [of_query(tensors, "up")]))
    assert failed(one, base) == {"layers"} and states(one, base)["norm"] == "remark"
    assert f"'{QUERY}' is zero" in said(one, base, "layers")
    every = written(tmp_path / "every.safetensors", trained, layout)
    spoilt(every, lambda tensors: _zero(tensors, [key for key in tensors if "alpha" not in key]))
    assert {"norm", "layers"} <= failed(every, base)
    assert "it does nothing" in said(every, base, "norm")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_named_by_its_key(
    tmp_path: Path, base: Base, trained: Changes, layout: str, value: float
) -> None:
    file, key = written(tmp_path / "a.safetensors", trained, layout), ""

    def spoil(tensors: Tensors) -> None:
        nonlocal key
        key = of_query(tensors, "up")
        tensors[key][0, 0] = value

    spoilt(file, spoil)
    assert "finite" in failed(file, base)
    assert f"1 of {len(load_file(file))}" in said(file, base, "finite")
    assert key in said(file, base, "finite")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_swapped_layers_are_named_both(
    tmp_path: Path, base: Base, trained: Changes, layout: str
) -> None:
    layers = dict(trained["denoiser"])
    layers[QUERY], layers[KEY] = layers[KEY], layers[QUERY]
    file = tmp_path / "a.safetensors"
    marks = proof.marks(trained)
    changes = {"denoiser": layers}
    export.write(file, changes, FLUX.keys, layout=layout, dtype="bfloat16", about=marks)
    assert failed(file, base) == {"layers"}
    words = said(file, base, "layers")
    assert f"'{QUERY}' holds what was trained for '{KEY}'" in words
    assert f"'{KEY}' holds what was trained for '{QUERY}'" in words


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_of_another_size_is_named_as_such(
    tmp_path: Path, base: Base, trained: Changes, layout: str
) -> None:
    file = written(tmp_path / "a.safetensors", trained, layout)
    small = bases.published(FLUX)
    assert {"family", "shapes"} <= failed(file, small)
    assert "32x32 in the file, 3072x3072 in the model" in said(file, small, "shapes")
    assert not verdicts.looked(file, small).fits


@pytest.mark.parametrize(
    ("key", "seems"),
    [
        ("lora_unet_input_blocks_1_1_proj_in", "SDXL"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "SDXL"),
        ("transformer.transformer_blocks.0.img_mlp.net.2", "Qwen-Image"),
        ("diffusion_model.blocks.0.self_attn.q", "Wan"),
    ],
)
def test_a_file_of_another_family_is_named_as_what_it_is(
    tmp_path: Path, base: Base, key: str, seems: str
) -> None:
    file = tmp_path / "a.safetensors"
    down, up = ("lora_down", "lora_up") if key.startswith("lora_") else ("lora_A", "lora_B")
    save_file(
        {f"{key}.{down}.weight": torch.ones(2, 8), f"{key}.{up}.weight": torch.ones(8, 2)}, file
    )
    assert {"keys", "family"} <= failed(file, base)
    assert seems in said(file, base, "family")


def test_a_layer_that_the_model_has_not_is_named(tmp_path: Path, base: Base) -> None:
    far = {"denoiser": {"transformer_blocks.44.attn.to_q": _layer(), QUERY: _layer()}}
    file = written(tmp_path / "a.safetensors", far, "diffusers")
    assert "shapes" in failed(file, base)
    assert "there is no layer 'transformer_blocks.44.attn.to_q'" in said(file, base, "shapes")


def test_missing_and_added_layers_are_named(base: Base, trained: Changes) -> None:
    layers = dict(trained["denoiser"])
    layers["x_embedder"] = layers.pop(QUERY)
    differences = proof.compared({"denoiser": layers}, proof.marks(trained))
    assert differences is not None
    assert [(one.layer, one.kind) for one in differences] == [
        (QUERY, "missing"),
        ("x_embedder", "added"),
    ]


def test_other_weights_of_the_same_size_are_named(trained: Changes) -> None:
    layers = dict(trained["denoiser"])
    one = layers[QUERY]
    layers[QUERY] = replace(one, down=one.down.flip(1))
    differences = proof.compared({"denoiser": layers}, proof.marks(trained)) or []
    assert [(one.layer, one.kind) for one in differences] == [(QUERY, "other")]
    layers[QUERY] = replace(one, up=-one.up)
    differences = proof.compared({"denoiser": layers}, proof.marks(trained)) or []
    assert [one.kind for one in differences] == ["other"], "as strong, but the wrong way"


def test_marks_do_not_depend_on_how_a_change_is_cut_into_two_matrices(trained: Changes) -> None:
    turned = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
    other = {
        name: LoraTensors(turned @ one.down / 8, one.up @ turned.T * 8, one.alpha)
        for name, one in trained["denoiser"].items()
    }
    assert proof.compared({"denoiser": other}, proof.marks(trained)) == []


def test_the_proof_outlives_every_conversion(tmp_path: Path, base: Base, trained: Changes) -> None:
    file = written(tmp_path / "diffusers.safetensors", trained, "diffusers")
    for layout in ("kohya", "comfy", "ai-toolkit", "diffusers"):
        out = tmp_path / f"{layout}-again.safetensors"
        converted(file, out, FLUX.keys, layout=layout, dtype=None, drop=False)
        assert failed(out, base) == set() and states(out, base)["layers"] == "ok"
        file = out


def test_what_a_foreign_file_does_not_say_is_not_known_instead_of_passed(
    tmp_path: Path, base: Base, trained: Changes
) -> None:
    file = written(tmp_path / "a.safetensors", trained, "diffusers", marked=False)
    found = states(file, base)
    assert (found["alpha"], found["layers"]) == ("unknown", "unknown")
    assert set(found.values()) == {"ok", "unknown"}
    assert "swapped layers could not be seen" in said(file, base, "layers")


def test_alpha_is_held_against_the_metadata_of_sd_scripts(
    tmp_path: Path, base: Base, trained: Changes
) -> None:
    file = written(tmp_path / "a.safetensors", trained, "kohya", marked=False)
    assert states(file, base)["alpha"] == "ok", "fused layers are read with their share of alpha"

    def double(tensors: Tensors) -> None:
        tensors[of_query(tensors, "alpha")] *= 2

    spoilt(file, double)
    assert failed(file, base) == {"alpha"}
    assert "its metadata says alpha 2" in said(file, base, "alpha")


def test_a_scale_far_above_one_is_worth_a_remark(tmp_path: Path, base: Base) -> None:
    loud = {"denoiser": {QUERY: replace(_layer(), alpha=64.0)}}
    file = written(tmp_path / "a.safetensors", loud, "comfy", marked=False)
    assert states(file, base)["alpha"] == "remark"
    assert "alpha / rank is 32" in said(file, base, "alpha")


def test_a_zero_layer_in_a_foreign_file_is_named(tmp_path: Path, base: Base) -> None:
    dead = {"denoiser": {QUERY: _layer(), KEY: replace(_layer(), up=torch.zeros(32, 2))}}
    file = written(tmp_path / "a.safetensors", dead, "diffusers", marked=False)
    assert failed(file, base) == {"norm"} and f"'{KEY}'" in said(file, base, "norm")


@pytest.mark.parametrize("marks", ["", "1:", "1:!!!", "7:abc", "1:eJwDAAAAAAE="])
def test_marks_that_cannot_be_read_are_a_failure_not_a_crash(
    tmp_path: Path, base: Base, trained: Changes, marks: str
) -> None:
    file = tmp_path / "a.safetensors"
    about = {proof.ENTRY: marks}
    export.write(file, trained, FLUX.keys, layout="diffusers", dtype="float32", about=about)
    assert "layers" in failed(file, base)


def test_a_torn_or_foreign_file_has_one_verdict(tmp_path: Path, base: Base) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (verdict,) = verdicts.looked(file, base).verdicts
    assert (verdict.name, verdict.state) == ("file", "failed")


def test_an_empty_file_and_one_of_a_model_do_not_pass(tmp_path: Path, base: Base) -> None:
    file = tmp_path / "a.safetensors"
    save_file({}, file)
    assert {"keys", "whole", "family", "norm"} <= failed(file, base)
    save_file({f"{QUERY}.weight": torch.ones(32, 32)}, file)
    assert "weights of a model" in said(file, base, "family")


def test_the_published_sizes_know_text_encoders_too(tmp_path: Path) -> None:
    base = bases.published(FLUX)
    assert [len(base.shapes[part]) for part in ("clip", "t5")] == [72, 168]
    assert all(
        FLUX.keys[part].by_ours(layer) for part, layers in base.shapes.items() for layer in layers
    )
    layer = "text_model.encoder.layers.3.mlp.fc1"
    fitting = LoraTensors(torch.ones(2, 768), torch.ones(3072, 2), 2.0)
    file = written(tmp_path / "a.safetensors", {"clip": {layer: fitting}}, "kohya")
    assert failed(file, base) == set()


def test_marks_are_small() -> None:
    layers = {f"single_transformer_blocks.{n}.attn.to_q": _layer() for n in range(494)}
    (text,) = proof.marks({"denoiser": layers}).values()
    assert len(text) < 16_000


def _zero(tensors: Tensors, keys: list[str]) -> None:
    for key in keys:
        tensors[key].zero_()


def _weights(trained: Changes) -> dict[str, Tensor]:
    layers = trained["denoiser"].items()
    return {f"{n}.down": o.down for n, o in layers} | {f"{n}.up": o.up for n, o in layers}


def test_a_checkpoint_that_nobody_could_use_is_refused(base: Base, trained: Changes) -> None:
    weights = _weights(trained)
    sound.refuse("step 1", weights, FLUX.keys, LAYOUTS)
    bad = weights | {f"{QUERY}.up": torch.full((32, 4), torch.nan)}
    with pytest.raises(FileError, match=rf"step 1: 1 of .* not finite, first '{QUERY}.up'"):
        sound.refuse("step 1", bad, FLUX.keys, LAYOUTS)
    odd = weights | {"nobody.knows.down": torch.ones(1, 1), "nobody.knows.up": torch.ones(1, 1)}
    with pytest.raises(FileError, match=r"1 of .* layers have no name in kohya layout"):
        sound.refuse("step 1", odd, FLUX.keys, ("diffusers", "kohya"))


def test_large_values_are_no_infinities() -> None:
    assert sound.finite(torch.full((8,), 3e38)), "their sum is one, they are not"
    assert not sound.finite(torch.tensor([1.0, torch.inf]))
    assert sound.finite(torch.tensor([1, 2])) and sound.finite(torch.zeros(0))


def test_a_checkpoint_is_read_back(tmp_path: Path, trained: Changes) -> None:
    weights = _weights(trained)
    save_file(weights, tmp_path / ADAPTER)
    assert sound.read_back(tmp_path, weights) == ""
    with pytest.raises(FileError, match="not what was written"):
        sound.read_back(tmp_path, weights | {f"{QUERY}.up": weights[f"{QUERY}.up"] + 1})
    idle = {name: one * (0 if name.endswith(".up") else 1) for name, one in weights.items()}
    save_file(idle, tmp_path / ADAPTER)
    assert sound.read_back(tmp_path, idle) == "the adapter changes nothing yet"
    (tmp_path / ADAPTER).write_bytes(b"torn")
    with pytest.raises(FileError, match="cannot be read back"):
        sound.read_back(tmp_path, weights)


def _layer() -> LoraTensors:
    draw = torch.Generator().manual_seed(5)
    down, up = torch.randn(2, 32, generator=draw), torch.randn(32, 2, generator=draw)
    return LoraTensors(down, up, 2.0)
