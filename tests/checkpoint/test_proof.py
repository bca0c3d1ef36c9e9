"""Planted faults: what is wrong with an adapter file is named, and a good one passes."""

from __future__ import annotations

import random
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
from scumble.families.flux.network import FluxConfig, FluxTransformer
from tests.toys import opened

FLUX = families.find("flux", "dev")
SPELLINGS = ("diffusers", "kohya", "comfy")
LAYOUTS = (*SPELLINGS, "ai-toolkit")
"""The last is the first by another name, so faults are planted in the others."""

QUERY, KEY = (f"transformer_blocks.0.attn.{name}" for name in ("to_q", "to_k"))
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def base() -> Base:
    """A small FLUX on the meta device."""
    config = FluxConfig(
        num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2
    )
    with torch.device("meta"):
        network = FluxTransformer(config)
    return Base(keys=FLUX.keys, shapes={"denoiser": bases.linears(network)}, told="a small flux")


@pytest.fixture(scope="module")
def published() -> Base:
    """FLUX.1 at its size."""
    return bases.published(FLUX)


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
def test_a_good_file_passes_in_every_layout(
    tmp_path: Path, base: Base, trained: Changes, layout: str
) -> None:
    for dtype in ("float32", "bfloat16", "float16"):
        file = written(tmp_path / "a.safetensors", trained, layout, dtype=dtype)
        assert set(states(file, base).values()) == {"ok"}
        count = len(load_file(file))
        assert f"{count} of {count} keys" in said(file, base, "keys")


def drawn(base: Base, seed: int) -> tuple[Changes, bool]:
    """An adapter that nobody planned, and whether some of its layers change nothing."""
    plan, draw = random.Random(seed), torch.Generator().manual_seed(seed)
    size, share = plan.choice([1e-7, 1e-3, 1.0, 100.0]), plan.choice([0.1, 0.5, 1.0])
    rank, alpha, mixed = plan.choice([1, 4, 16]), plan.choice([0.3, 1.0, 16.0]), seed % 3 == 0
    layers: dict[str, LoraTensors] = {}
    for name, (outputs, inputs) in base.shapes["denoiser"].items():
        if plan.random() > share and layers:
            continue
        width = plan.choice([1, 3, 8]) if mixed else rank
        down = torch.randn(width, inputs, generator=draw) / inputs**0.5
        zero = seed % 4 == 0 and bool(layers) and plan.random() < 0.2
        up = torch.randn(outputs, width, generator=draw) * (0.0 if zero else size)
        layers[name] = LoraTensors(down, up, plan.choice([0.7, 4.0]) if mixed else alpha)
    return {"denoiser": layers}, any(not one.up.any() for one in layers.values())


@pytest.mark.parametrize("seed", range(16))
def test_no_good_adapter_is_ever_called_bad_wherever_it_travels(
    tmp_path: Path, base: Base, seed: int
) -> None:
    """Any ranks, alphas, sizes, subsets, number types and layouts, marked or not."""
    (changes, zeros), plan = drawn(base, seed), random.Random(seed)
    marked = zeros or seed % 2 == 0  # a zero layer that nobody vouches for is a fault
    kind = plan.choice(["float32", "bfloat16", "float16"])
    file = tmp_path / "0.safetensors"
    written(file, changes, plan.choice(LAYOUTS), marked=marked, dtype=kind)
    for hop in range(1, 4):
        found = verdicts.looked(file, base).verdicts
        assert [(one.name, one.text) for one in found if one.state == "failed"] == []
        out, layout = tmp_path / f"{hop}.safetensors", plan.choice(LAYOUTS)
        dtype = plan.choice([None, "float32", "bfloat16", "float16"])
        converted(file, out, FLUX.keys, layout=layout, dtype=dtype, drop=False)
        file = out


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_an_untrained_layer_may_be_left_out_and_come_back(
    tmp_path: Path, base: Base, trained: Changes, layout: str
) -> None:
    """A fused layer cannot say whether a part of zeros was there."""
    layers = dict(trained["denoiser"])
    layers[KEY] = replace(layers[KEY], up=torch.zeros(32, 4))
    file = written(tmp_path / "a.safetensors", {"denoiser": layers}, layout)
    assert failed(file, base) == set()
    assert (KEY in export.layers(file, FLUX.keys)["denoiser"]) == (layout == "diffusers")


def test_two_faults_at_once_are_both_named(tmp_path: Path, base: Base, trained: Changes) -> None:
    layers = {name: replace(one, alpha=2 * one.alpha) for name, one in trained["denoiser"].items()}
    layers[QUERY], layers[KEY] = layers[KEY], layers[QUERY]
    file, about = tmp_path / "a.safetensors", proof.marks(trained)
    changes = {"denoiser": layers}
    export.write(file, changes, FLUX.keys, layout="kohya", dtype="bfloat16", about=about)
    assert failed(file, base) == {"alpha", "layers"}
    assert "2 times as strong" in said(file, base, "alpha")
    assert f"'{QUERY}' holds what was trained for '{KEY}'" in said(file, base, "layers")


def test_another_adapter_altogether_is_told_without_trying_every_pair(trained: Changes) -> None:
    draw = torch.Generator().manual_seed(9)
    other = {
        name: replace(one, up=torch.randn(one.up.shape, generator=draw))
        for name, one in trained["denoiser"].items()
    }
    differences = proof.compared({"denoiser": other}, proof.marks(trained)) or []
    assert {one.kind for one in differences} == {"other"} and len(differences) == len(other)


def test_marks_reach_beyond_the_range_of_float32(trained: Changes) -> None:
    for size in (1e-14, 1e14):
        one = trained["denoiser"][QUERY]
        told = LoraTensors(one.down * size, one.up * size, 2.0)
        wanted = 0.5 * torch.linalg.norm(one.up @ one.down) * size**2
        assert proof.mark("denoiser", QUERY, told).norm == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("layout", SPELLINGS)
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


@pytest.mark.parametrize("layout", SPELLINGS)
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


@pytest.mark.parametrize("layout", SPELLINGS)
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


@pytest.mark.parametrize("layout", SPELLINGS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
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


@pytest.mark.parametrize("layout", SPELLINGS)
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


@pytest.mark.parametrize("layout", SPELLINGS)
def test_a_file_of_another_size_is_named_as_such(
    tmp_path: Path, published: Base, trained: Changes, layout: str
) -> None:
    file = written(tmp_path / "a.safetensors", trained, layout)
    assert {"family", "shapes"} <= failed(file, published)
    assert "32x32 in the file, 3072x3072 in the model" in said(file, published, "shapes")
    assert not verdicts.looked(file, published).fits


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


def test_a_little_of_another_layer_is_too_much(trained: Changes) -> None:
    """Rounding moves a mark by less than a hundredth; this is a seventh."""
    layers = dict(trained["denoiser"])
    one, other = layers[QUERY], layers[KEY]
    size = (one.up @ one.down).norm() / (other.up @ other.down).norm()
    mixed = torch.cat([one.up, 0.15 * size * other.up], dim=1)
    down = torch.cat([one.down, other.down])
    layers[QUERY] = LoraTensors(down, mixed, one.alpha * len(down) / len(one.down))
    differences = proof.compared({"denoiser": layers}, proof.marks(trained)) or []
    assert [(one.layer, one.kind) for one in differences] == [(QUERY, "other")]


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


@pytest.mark.parametrize("told", ["Dynamic", "None", "nan", "inf"])
def test_a_rank_or_alpha_that_is_no_number_says_nothing(
    tmp_path: Path, base: Base, trained: Changes, told: str
) -> None:
    """Tools that resize adapters write such things."""
    file, about = tmp_path / "a.safetensors", {"ss_network_dim": told, "ss_network_alpha": told}
    export.write(file, trained, FLUX.keys, layout="kohya", dtype="float32", about=about)
    assert states(file, base)["alpha"] == "unknown"
    assert "alpha / rank is 0.5" in said(file, base, "alpha")


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


def test_the_published_sizes_know_text_encoders_too(tmp_path: Path, published: Base) -> None:
    base = published
    assert [len(base.shapes[part]) for part in ("clip", "t5")] == [72, 168]
    assert all(
        FLUX.keys[part].by_ours(layer) for part, layers in base.shapes.items() for layer in layers
    )
    layer = "text_model.encoder.layers.3.mlp.fc1"
    fitting = LoraTensors(torch.ones(2, 768), torch.ones(3072, 2), 2.0)
    file = written(tmp_path / "a.safetensors", {"clip": {layer: fitting}}, "kohya")
    assert failed(file, base) == set()


@pytest.mark.parametrize(
    "stem",
    [
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "text_encoders.clip_l.text_model.encoder.layers.0.mlp.fc1",
    ],
)
def test_every_spelling_of_a_text_encoder_is_held_against_the_models(
    tmp_path: Path, stem: str
) -> None:
    model, file = opened(FLUX, "builtin:tiny-flux"), tmp_path / "a.safetensors"
    ((outputs, inputs),) = {
        shape
        for name, shape in bases.of_parts(model, ["clip"])["clip"].items()
        if name.endswith("layers.0.mlp.fc1")
    }
    save_file(
        {
            f"{stem}.lora_down.weight": torch.ones(2, inputs),
            f"{stem}.lora_up.weight": torch.ones(outputs, 2),
        },
        file,
    )
    assert failed(file, bases.of_model(model, "tiny", [file])) == set()


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
