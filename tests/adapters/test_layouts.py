"""Layouts of adapter files: names, shapes and alphas as other tools have them, nothing lost."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from scumble.adapters.layouts import ENDINGS, LAYOUTS, Changes, balanced, parsed, spelt
from scumble.adapters.lora import LoraTensors
from scumble.families.flux.keys import KEYS
from tests.adapters import flux_toys
from tests.adapters.flux_toys import TOY, shapes_only

GOLDEN = Path("tests/golden")
PIECE = "transformer_blocks.0.attn"
QKV = tuple(f"{PIECE}.to_{letter}" for letter in "qkv")
FUSED = "lora_unet_double_blocks_0_img_attn_qkv"


def layer(
    seed: int, rank: int = 2, alpha: float = 1.0, shape: tuple[int, int] = (8, 8)
) -> LoraTensors:
    make = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, shape[1], generator=make)
    return LoraTensors(down, torch.randn(shape[0], rank, generator=make), alpha)


def delta(told: LoraTensors) -> Tensor:
    return told.alpha / len(told.down) * told.up.double() @ told.down.double()


def same_change(one: Changes, other: Changes, tolerance: float = 1e-6) -> None:
    """Each layer's change, and no layer that is on one side only unless it changes nothing."""
    names = {(part, name) for side in (one, other) for part in side for name in side[part]}
    for part, name in names:
        there = [side[part][name] for side in (one, other) if name in side.get(part, {})]
        assert len(there) == 2 or not delta(there[0]).any(), name
        first, last = delta(there[0]), delta(there[-1])
        assert torch.linalg.norm(last - first) <= tolerance * torch.linalg.norm(first), name


def around(changes: Changes, *route: str) -> Changes:
    """Written and read again in one layout after another."""
    for layout in route:
        told = parsed(spelt(changes, layout, KEYS), KEYS)
        assert (told.strangers, told.faults) == ((), ()), layout
        changes = told.changes
    return changes


def kohya_golden() -> dict[str, tuple[int, float, list[int], list[int]]]:
    return json.loads((GOLDEN / "sd_lora_modules.json").read_text())["default_rank4_alpha1"]


def test_kohya_files_have_the_modules_shapes_and_alphas_of_sd_scripts() -> None:
    blocks = {name: shape for name, shape in flux_toys.linears().items() if "blocks." in name}
    made = spelt({"denoiser": shapes_only(blocks, 4, 1.0)}, "kohya", KEYS)
    wanted = kohya_golden()
    assert len(wanted) == 304 and len(made) == 912
    found = {}
    for name in wanted:
        down, up = made.pop(f"{name}.lora_down.weight"), made.pop(f"{name}.lora_up.weight")
        alpha = made.pop(f"{name}.alpha")
        assert alpha.shape == () and alpha.dtype == torch.float32
        found[name] = [len(down), float(alpha), list(down.shape), list(up.shape)]
    assert found == wanted and not made


def test_text_encoders_have_the_names_of_sd_scripts() -> None:
    changes = {
        "clip": shapes_only(flux_toys.clip(), 4, 1.0),
        "t5": shapes_only(flux_toys.t5(), 4, 1.0),
    }
    stems = {key.rpartition(".alpha")[0] for key in spelt(changes, "kohya", KEYS)} - {""}
    clip = json.loads((GOLDEN / "sd_lora_modules.json").read_text())["clip_l"]
    assert {stem for stem in stems if "_te1_" in stem} == set(clip) and len(clip) == 72
    t5 = {stem for stem in stems if "_te3_" in stem}
    assert len(t5) == 168 and stems == set(clip) | t5
    assert {
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
        "lora_te3_encoder_block_23_layer_1_DenseReluDense_wi_1",
    } <= t5


@pytest.mark.parametrize(
    ("before", "after", "layout"),
    [
        ("sdscripts_in", "sdscripts_to_aitoolkit", "ai-toolkit"),
        ("sdscripts_in", "sdscripts_to_aitoolkit", "diffusers"),
        ("aitoolkit_in", "aitoolkit_to_sdscripts", "kohya"),
        ("aitoolkit_to_sdscripts", "aitoolkit_in", "ai-toolkit"),
    ],
)
def test_conversions_are_those_of_sd_scripts_to_the_last_bit(
    before: str, after: str, layout: str
) -> None:
    told = parsed(load_file(GOLDEN / f"flux_lora_{before}.safetensors"), KEYS)
    wanted = load_file(GOLDEN / f"flux_lora_{after}.safetensors")
    found = spelt(told.changes, layout, KEYS)
    assert (told.strangers, told.faults) == ((), ()) and found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(found[key].to(value.dtype), value), key


@pytest.mark.parametrize(
    ("alpha", "rank", "factors"),
    [(1, 16, (0.25, 0.25)), (8, 16, (0.5, 1)), (16, 16, (1, 1)), (32, 16, (2, 1)), (0, 4, (0, 1))],
)
def test_scales_go_into_both_matrices_about_evenly(
    alpha: float, rank: int, factors: tuple[float, float]
) -> None:
    told = layer(0, rank, float(alpha))
    down, up = balanced(told)
    assert torch.equal(down, told.down * factors[0]) and torch.equal(up, told.up * factors[1])


@pytest.mark.parametrize("alpha", [-3.0, 1e-30, 7.7, 1e6])
def test_odd_scales_are_kept(alpha: float) -> None:
    changes = {"denoiser": {QKV[0]: layer(1, 5, alpha)}}
    same_change(changes, around(changes, "diffusers"))


def drawn(random: random.Random) -> dict[str, LoraTensors]:
    """Some layers of a toy, with ranks, alphas and shared downs that nobody planned."""
    made: dict[str, LoraTensors] = {}
    for name, (outputs, inputs) in flux_toys.linears(TOY).items():
        if random.random() < 0.3:
            continue
        rank, alpha = random.choice([1, 2, 3, 8]), random.choice([1.0, 2.0, 0.7, 16.0])
        told = layer(random.randrange(10**6), rank, alpha, (outputs, inputs))
        others = [one for one in made.values() if one.down.shape[1] == inputs]
        if others and random.random() < 0.4:
            down = random.choice(others).down
            up = torch.randn(outputs, len(down), generator=torch.Generator().manual_seed(rank))
            told = LoraTensors(down, up, random.choice([alpha, 1.0]))
        made[name] = told
    return made


def ranks(changes: Changes) -> dict[str, int]:
    return {name: len(one.down) for part in changes.values() for name, one in part.items()}


@pytest.mark.parametrize("seed", range(12))
def test_a_journey_through_all_layouts_keeps_every_change_and_lets_no_rank_grow(seed: int) -> None:
    changes = {"denoiser": drawn(random.Random(seed))}
    there = around(changes, "diffusers", "kohya", "comfy", "diffusers")
    same_change(changes, there)
    assert ranks(there) == ranks(changes)
    twice = around(there, "kohya", "diffusers", "comfy", "kohya")
    same_change(changes, twice)
    assert ranks(twice) == ranks(changes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_files_whose_scale_is_one_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    told = {
        name: LoraTensors(one.down.to(dtype), one.up.to(dtype), float(len(one.down)))
        for name, one in drawn(random.Random(3)).items()
    }
    there = around({"denoiser": told}, "kohya", "comfy", "diffusers")["denoiser"]
    assert there.keys() == told.keys()
    for name, one in told.items():
        assert there[name].up.dtype == dtype
        assert torch.equal(there[name].up, one.up) and torch.equal(there[name].down, one.down)


def test_parts_with_one_down_keep_their_rank_in_a_fused_layer() -> None:
    first = layer(0, 4, 2.0)
    told = {n: LoraTensors(first.down, layer(i, 4).up, 2.0) for i, n in enumerate(QKV)}
    made = spelt({"denoiser": told}, "kohya", KEYS)
    assert made[f"{FUSED}.lora_down.weight"].shape == (4, 8)
    assert made[f"{FUSED}.lora_up.weight"].shape == (24, 4)
    assert float(made[f"{FUSED}.alpha"]) == 2.0
    copies = {n: LoraTensors(one.down.clone(), one.up, 2.0) for n, one in told.items()}
    again = spelt({"denoiser": copies}, "kohya", KEYS)
    assert again[f"{FUSED}.lora_down.weight"].shape == (4, 8), "equal is as good as the same"


def test_parts_of_other_downs_stand_on_the_diagonal_and_untrained_ones_are_zero() -> None:
    told = {QKV[0]: layer(0, 2, 2.0), QKV[2]: layer(2, 3, 3.0)}
    made = spelt({"denoiser": told}, "kohya", KEYS)
    up = made[f"{FUSED}.lora_up.weight"]
    assert up.shape == (24, 5) and float(made[f"{FUSED}.alpha"]) == 5.0
    assert torch.equal(up[:8, :2], told[QKV[0]].up) and torch.equal(up[16:, 2:], told[QKV[2]].up)
    assert not up[:8, 2:].any() and not up[8:16].any() and not up[16:, :2].any()
    back = parsed(made, KEYS).changes["denoiser"]
    assert set(back) == {QKV[0], QKV[2]} and back[QKV[0]].alpha == 2.0


def test_parts_of_other_scales_get_one_alpha_that_is_right_for_each() -> None:
    told = {QKV[0]: layer(0, 4, 4.0), QKV[1]: layer(1, 4, 1.0), QKV[2]: layer(2, 2, 0.0)}
    changes = {"denoiser": told}
    same_change(changes, around(changes, "kohya"))
    nothing = {"denoiser": {name: layer(i, 2, 0.0) for i, name in enumerate(QKV)}}
    same_change(nothing, around(nothing, "comfy", "kohya"))


def test_a_dense_fused_layer_is_shared_out_with_its_down_whole() -> None:
    up, down = torch.randn(24, 3), torch.randn(3, 8)
    found = {f"{FUSED}.lora_down.weight": down, f"{FUSED}.lora_up.weight": up}
    told = parsed(found | {f"{FUSED}.alpha": torch.tensor(1.5)}, KEYS).changes["denoiser"]
    assert [told[name].down is down for name in QKV] == [True] * 3
    assert torch.equal(torch.cat([told[name].up for name in QKV]), up)
    assert {one.alpha for one in told.values()} == {1.5}


def test_a_column_that_one_part_happens_not_to_use_splits_no_shared_down() -> None:
    first = layer(0, 4, 4.0)
    told = {n: LoraTensors(first.down, layer(i, 4).up, 4.0) for i, n in enumerate(QKV)}
    told[QKV[1]].up[:, 2] = 0
    assert ranks(around({"denoiser": told}, "kohya", "comfy", "kohya")) == dict.fromkeys(QKV, 4)


def test_an_adapter_that_changes_nothing_keeps_its_layers() -> None:
    told = {n: LoraTensors(layer(i).down, torch.zeros(8, 2), 2.0) for i, n in enumerate(QKV)}
    assert set(around({"denoiser": told}, "kohya")["denoiser"]) == set(QKV)


def test_the_last_layers_halves_change_places_and_come_back() -> None:
    told = {"denoiser": {"norm_out.linear": layer(0, shape=(16, 8))}}
    made = spelt(told, "kohya", KEYS)
    up = made["lora_unet_final_layer_adaLN_modulation_1.lora_up.weight"]
    ours = told["denoiser"]["norm_out.linear"].up
    assert torch.equal(up[:8], ours[8:]) and torch.equal(up[8:], ours[:8])
    back = around(told, "kohya", "comfy")["denoiser"]["norm_out.linear"]
    assert torch.equal(back.up, ours)


def test_layers_outside_the_blocks_have_their_scale_in_the_numbers() -> None:
    """diffusers forgets some of their alphas, so these are the rank."""
    told = {"denoiser": {"proj_out": layer(0, rank=4, alpha=1.0), QKV[0]: layer(1, alpha=1.0)}}
    made = spelt(told, "kohya", KEYS)
    assert float(made["lora_unet_final_layer_linear.alpha"]) == 4.0
    assert float(made[f"{FUSED}.alpha"]) == 1.0
    same_change(told, around(told, "kohya", "comfy"))


def test_what_is_written_shares_no_numbers_with_alphas_of_another_kind() -> None:
    """sd-scripts writes alphas as int64 when they were given as such; half precision as well."""
    told = {
        f"{FUSED}.lora_down.weight": torch.randn(2, 8),
        f"{FUSED}.lora_up.weight": torch.ones(24, 2),
    }
    for alpha in (
        torch.tensor(1),
        torch.tensor([1.0], dtype=torch.float16),
        torch.tensor(1.0).double(),
    ):
        found = parsed(told | {f"{FUSED}.alpha": alpha}, KEYS).changes["denoiser"]
        assert {one.alpha for one in found.values()} == {1.0}
    assert parsed(told, KEYS).changes["denoiser"][QKV[0]].alpha == 2.0, "missing: the rank"


@pytest.mark.parametrize(
    ("stem", "name", "layout"),
    [
        (f"transformer.{QKV[0]}", QKV[0], "diffusers"),
        (f"diffusion_model.{QKV[0]}", QKV[0], "comfy with diffusers' names"),
        (f"base_model.model.{QKV[0]}", QKV[0], "peft"),
        (f"base_model.model.transformer.{QKV[0]}", QKV[0], "peft"),
        (f"lora_transformer_{QKV[0].replace('.', '_')}", QKV[0], "OneTrainer"),
        (f"lycoris_{QKV[0].replace('.', '_')}", QKV[0], "LyCORIS"),
        (f"lora_unet_{QKV[0].replace('.', '_')}", QKV[0], "kohya with diffusers' names"),
        (QKV[0], QKV[0], "bare names"),
        (
            "transformer.double_blocks.0.img_attn.proj",
            f"{PIECE}.to_out.0",
            "diffusers with the authors' names",
        ),
        ("diffusion_model.double_blocks.0.img_attn.proj", f"{PIECE}.to_out.0", "comfy"),
        ("lora_unet_double_blocks_0_img_attn_proj", f"{PIECE}.to_out.0", "kohya"),
        ("base_model.model.double_blocks.0.img_attn.proj", f"{PIECE}.to_out.0", "peft"),
    ],
)
def test_every_spelling_that_is_about_is_read(stem: str, name: str, layout: str) -> None:
    told = layer(0)
    for down, up in (
        (".lora_A.weight", ".lora_B.weight"),
        (".lora_down.weight", ".lora_up.weight"),
        (".lora.down.weight", ".lora.up.weight"),
        (".lora_A.default.weight", ".lora_B.default.weight"),
    ):
        read = parsed({stem + down: told.down, stem + up: told.up}, KEYS)
        assert (read.layout, read.strangers, read.faults) == (layout, (), ())
        assert list(read.changes["denoiser"]) == [name]
        assert read.changes["denoiser"][name].alpha == 2.0


def test_text_encoders_are_read_in_every_layout() -> None:
    names = {
        "clip": "text_model.encoder.layers.3.mlp.fc1",
        "t5": "encoder.block.7.layer.1.DenseReluDense.wi_0",
    }
    changes = {part: {name: layer(0)} for part, name in names.items()}
    for layout in LAYOUTS:
        found = around(changes, layout)
        assert {part: next(iter(layers)) for part, layers in found.items()} == names
        same_change(changes, found)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (".dora_scale", "DoRA"),
        (".lora_magnitude_vector", "DoRA"),
        (".lora_magnitude_vector.weight", "DoRA"),
        (".lokr_w1", "LoKr"),
        (".hada_w1_a", "LoHa"),
        (".oft_blocks", "OFT"),
        (".lora_mid.weight", "LoCon"),
        (".lora_B.bias", "biases"),
        (".diff", "full changes"),
    ],
)
def test_layers_of_another_kind_are_named_and_not_read_as_lora(ending: str, kind: str) -> None:
    good = spelt({"denoiser": {QKV[0]: layer(0), QKV[1]: layer(1)}}, "diffusers", KEYS)
    odd = f"transformer.{QKV[0]}"
    read = parsed(good | {odd + ending: torch.ones(8)}, KEYS)
    assert set(read.strangers) == {k for k in good if k.startswith(f"{odd}.")} | {odd + ending}
    (fault,) = read.faults
    assert kind in fault and odd in fault
    assert list(read.changes["denoiser"]) == [QKV[1]], "the other layer is what it was"


def test_a_beginning_that_looks_like_a_kind_is_none() -> None:
    made = spelt({"denoiser": {QKV[0]: layer(0)}}, "comfy", KEYS)
    read = parsed({f"model.{key}": value for key, value in made.items()}, KEYS)
    assert (read.strangers, read.faults) == ((), ()) and read.layout == "comfy"


def broken() -> Iterator[tuple[str, dict[str, Tensor], str]]:
    down, up = layer(0).down, layer(0).up
    stem, a, b = f"transformer.{QKV[0]}", ".lora_A.weight", ".lora_B.weight"
    yield "no up", {stem + a: down}, "has no up matrix"
    yield "no down", {stem + b: up}, "has no down matrix"
    yield "alpha only", {f"{stem}.alpha": torch.tensor(1.0)}, "has no down matrix"
    yield "ranks", {stem + a: down, stem + b: torch.ones(8, 3)}, "do not fit each other"
    yield "rank 0", {stem + a: torch.ones(0, 8), stem + b: torch.ones(8, 0)}, "do not fit"
    yield "conv", {stem + a: torch.ones(2, 8, 1, 1), stem + b: up}, "do not fit each other"
    yield "two alphas", {stem + a: down, stem + b: up, f"{stem}.alpha": torch.ones(2)}, "alpha"
    bad = torch.tensor(float("nan"))
    yield "alpha nan", {stem + a: down, stem + b: up, f"{stem}.alpha": bad}, "not one finite"
    yield "complex", {stem + a: down.to(torch.complex64), stem + b: up}, "complex numbers"
    whole = {stem + a: down.to(torch.int8), stem + b: up.to(torch.int8)}
    yield "whole numbers", whole, "nothing says how they are scaled"
    again = {f"{stem}.lora_down.weight": down}
    yield "twice", {stem + a: down, stem + b: up, **again}, "two tensors for down"
    rows = {f"{FUSED}.lora_down.weight": down, f"{FUSED}.lora_up.weight": torch.ones(25, 2)}
    yield "rows", rows, "the 25 rows"
    key = f"transformer.{QKV[1]}"
    sizes = {stem + a: down, stem + b: up, key + a: down, key + b: torch.ones(4, 2)}
    yield "sizes", sizes, "do not fit one another"
    inputs = {stem + a: down, stem + b: up, key + a: torch.ones(2, 5), key + b: up}
    yield "inputs", inputs, "do not fit one another"


@pytest.mark.parametrize(
    ("found", "words"), [(f, w) for _, f, w in broken()], ids=[n for n, _, _ in broken()]
)
def test_what_cannot_be_is_told_in_a_sentence(found: dict[str, Tensor], words: str) -> None:
    read = parsed(found, KEYS)
    assert not read.changes.get("denoiser") and not read.strangers
    assert any(words in fault for fault in read.faults), read.faults


def test_one_layer_in_two_spellings_is_told() -> None:
    told = {"denoiser": {name: layer(i) for i, name in enumerate(QKV)}}
    read = parsed(spelt(told, "kohya", KEYS) | spelt(told, "diffusers", KEYS), KEYS)
    assert read.layout == "diffusers and kohya"
    assert all("there twice" in fault for fault in read.faults) and len(read.faults) == 3
    assert read.changes == {}, "nobody knows which of them is meant"


def test_nothing_is_nothing() -> None:
    read = parsed({}, KEYS)
    assert (read.layout, read.changes, read.strangers, read.faults) == ("", {}, (), ())


def test_diffusers_makes_the_same_of_our_kohya_layout() -> None:
    """Its own converter, at the real widths that it takes for granted."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    every = flux_toys.linears().items()
    shapes = {n: shape for n, shape in every if "blocks." not in n or "blocks.0." in n}
    assert {"norm_out.linear", "proj_out"} < shapes.keys(), "whose alphas it leaves out"
    told = {n: layer(i, 1 + i % 2, 0.5, shape) for i, (n, shape) in enumerate(shapes.items())}
    made = spelt({"denoiser": told}, "kohya", KEYS)
    read = parsed(_convert_kohya_flux_lora_to_diffusers(made), KEYS)
    assert (read.strangers, read.faults) == ((), ())
    found = read.changes["denoiser"]
    assert found.keys() == told.keys()
    for name, one in told.items():
        probe = torch.randn(one.down.shape[1], generator=torch.Generator().manual_seed(0))
        answers = [
            side.alpha / len(side.down) * side.up @ (side.down @ probe)
            for side in (one, found[name])
        ]
        torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-4)


def comfy_map() -> dict[str, tuple[int, int]]:
    """What stands before the ending of every key that ComfyUI takes for FLUX.1, with the shape of
    the weight it changes, or of the rows of it.

    Facts of its key map: every weight of the model as `diffusion_model.X` and `lora_unet_X` with
    underscores, the diffusers names in three spellings, encoders as they are loaded and as kohya
    and diffusers call them; T5 has no diffusers name there.
    """
    wide = 3072
    layers = {"img_in": (wide, 64), "txt_in": (wide, 4096), "final_layer.linear": (64, wide)}
    layers["final_layer.adaLN_modulation.1"] = (2 * wide, wide)
    for name, inputs in (("time_in", 256), ("vector_in", 768), ("guidance_in", 256)):
        layers |= {f"{name}.in_layer": (wide, inputs), f"{name}.out_layer": (wide, wide)}
    for number in range(19):
        for side in ("img", "txt"):
            block = f"double_blocks.{number}.{side}"
            layers |= {
                f"{block}_mod.lin": (6 * wide, wide),
                f"{block}_attn.qkv": (3 * wide, wide),
                f"{block}_attn.proj": (wide, wide),
                f"{block}_mlp.0": (4 * wide, wide),
                f"{block}_mlp.2": (wide, 4 * wide),
            }
    for number in range(38):
        block = f"single_blocks.{number}"
        layers |= {
            f"{block}.linear1": (7 * wide, wide),
            f"{block}.linear2": (wide, 5 * wide),
            f"{block}.modulation.lin": (3 * wide, wide),
        }
    taken = {f"diffusion_model.{name}": shape for name, shape in layers.items()}
    taken |= {f"lora_unet_{_low(name)}": shape for name, shape in layers.items()}
    for name, shape in flux_toys.linears().items():
        taken |= {f"transformer.{name}": shape, f"lycoris_{_low(name)}": shape}
        taken[f"lora_transformer_{_low(name)}"] = shape
    for name, shape in flux_toys.clip().items():
        taken |= {f"text_encoders.clip_l.transformer.{name}": shape, f"text_encoder.{name}": shape}
        taken[f"lora_te1_{_low(name)}"] = shape
    for name, shape in flux_toys.t5().items():
        taken |= {f"text_encoders.t5xxl.transformer.{name}": shape}
        taken |= {f"lora_te2_{_low(name)}": shape, f"lora_te3_{_low(name)}": shape}
    return taken


def _low(name: str) -> str:
    return name.replace(".", "_")


def unmatched(made: Mapping[str, Tensor], taken: Mapping[str, tuple[int, int]]) -> list[str]:
    """Keys without a place in ComfyUI, or with a shape that does not fit it."""
    bad = []
    for key, value in made.items():
        ending = next(one for one in ENDINGS if key.endswith(one))
        shape = taken.get(key.removesuffix(ending))
        role = ENDINGS[ending]
        fits = (
            shape is not None
            and {
                "down": value.ndim == 2 and value.shape[1] == shape[1],
                "up": value.ndim == 2 and value.shape[0] == shape[0],
                "alpha": value.ndim == 0,
            }[role]
        )
        bad += [] if fits else [key]
    return bad


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_comfyui_finds_a_place_for_every_key_we_write(layout: str) -> None:
    changes = {
        "denoiser": shapes_only(flux_toys.linears(), 4, 2.0),
        "clip": shapes_only(flux_toys.clip(), 4, 2.0),
    }
    made = spelt(changes, layout, KEYS)
    assert unmatched(made, comfy_map()) == [] and len(made) > 1000
    t5 = spelt({"t5": shapes_only(flux_toys.t5(), 4, 2.0)}, layout, KEYS)
    known = layout in ("kohya", "comfy")
    assert len(unmatched(t5, comfy_map())) == (0 if known else len(t5))
    misspelt = {
        key.replace("img_attn", "img_atn").replace("attn.to_q", "attn.q"): value
        for key, value in made.items()
    }
    assert unmatched(misspelt, comfy_map())
