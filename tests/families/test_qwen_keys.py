"""Adapters of Qwen-Image as everybody spells them, and which layers they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from scumble import families
from scumble.adapters.attach import chosen
from scumble.adapters.foreign import seems
from scumble.adapters.layouts import ENDINGS, LAYOUTS, parsed, spelt
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import bases, verdicts
from scumble.errors import JobError
from scumble.families.qwen.files import DENOISER
from scumble.families.qwen.keys import EDIT_KEYS, KEYS
from scumble.preflight import shaping
from tests import toys
from tests.families import loose

BASE = families.find("qwen-image", "base")
SMALL = DENOISER | {"num_layers": 2, "num_attention_heads": 1, "joint_attention_dim": 64}


def changes_of(shapes: Mapping[str, tuple[int, int]], rank: int = 2) -> Any:
    make = torch.Generator().manual_seed(0)
    layers = {
        name: LoraTensors(
            torch.randn(rank, inputs, generator=make),
            torch.randn(outputs, rank, generator=make),
            1.0,
        )
        for name, (outputs, inputs) in shapes.items()
    }
    return {"denoiser": layers}


PUBLISHED_BASE = bases.published(BASE)
LAYERS = PUBLISHED_BASE.shapes["denoiser"]
NARROW = dict.fromkeys(LAYERS, (4, 4))
"""Every layer of the published network, in a size that is written quickly."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layer_of_the_published_network_goes_there_and_back(layout: str) -> None:
    assert len(LAYERS) == 60 * 14 + 6
    told = changes_of(NARROW)
    read = parsed(spelt(told, layout, KEYS), KEYS)
    assert (read.strangers, read.faults) == ((), ())
    found = read.changes["denoiser"]
    assert found.keys() == LAYERS.keys()
    for name, one in told["denoiser"].items():
        sides = [at.alpha / len(at.down) * at.up @ at.down for at in (one, found[name])]
        torch.testing.assert_close(sides[0], sides[1], atol=1e-5, rtol=1e-5)


def low(name: str) -> str:
    return name.replace(".", "_")


COMFY: tuple[Callable[[str], str], ...] = (
    lambda name: f"diffusion_model.{name}",
    lambda name: f"transformer.{name}",
    lambda name: f"lora_unet_{low(name)}",
    lambda name: f"lycoris_{low(name)}",
    lambda name: name,
)
"""What stands before the ending of the keys that ComfyUI takes for a layer of Qwen-Image."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_comfyui_finds_a_place_for_every_key_we_write(layout: str) -> None:
    taken = {make(name) for name in LAYERS for make in COMFY}
    for key in spelt(changes_of(NARROW), layout, KEYS):
        ending = next(one for one in ENDINGS if key.endswith(one))
        assert key.removesuffix(ending) in taken


@pytest.mark.parametrize("spelling", COMFY)
def test_every_spelling_that_comfyui_takes_is_read(spelling: Callable[[str], str]) -> None:
    one = torch.ones(2, 4)
    made = {f"{spelling(name)}.lora_down.weight": one for name in LAYERS}
    made |= {f"{spelling(name)}.lora_up.weight": one.T.contiguous() for name in LAYERS}
    read = parsed(made, EDIT_KEYS)
    assert (read.strangers, read.faults) == ((), ())
    assert read.changes["denoiser"].keys() == LAYERS.keys()


@pytest.mark.parametrize("layout", ["kohya", "comfy"])
def test_diffusers_makes_the_same_of_our_authors_layouts(layout: str) -> None:
    """Its own converter."""
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_qwen_lora_to_diffusers,
    )

    told = changes_of(NARROW)
    made = spelt(told, layout, KEYS)
    read = parsed(_convert_non_diffusers_qwen_lora_to_diffusers(made), KEYS)
    assert (read.layout, read.strangers, read.faults) == ("diffusers", (), ())
    found = read.changes["denoiser"]
    assert found.keys() == LAYERS.keys()
    for name, one in told["denoiser"].items():
        sides = [at.alpha / len(at.down) * at.up @ at.down for at in (one, found[name])]
        torch.testing.assert_close(sides[0], sides[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("preset", "layers"),
    [("attention", 60 * 8), ("simpletuner", 60 * 4), ("blocks", 60 * 12), ("all", 60 * 14 + 6)],
)
def test_presets_take_the_layers_that_they_are_named_after(preset: str, layers: int) -> None:
    network = BASE.skeleton("denoiser", {})
    found = chosen(network, preset, BASE.targets)
    assert len(found) == layers
    assert ("transformer_blocks.59.attn.add_k_proj" in found) == (preset != "simpletuner")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_adapter_of_ours_is_not_held_to_be_another_models(tmp_path: Path, layout: str) -> None:
    file = tmp_path / "a.safetensors"
    some = {name: shape for name, shape in LAYERS.items() if ".59." in name or ".0." in name}
    loose.save(spelt(changes_of(some, rank=1), layout, KEYS), file)
    said = {one.name: one.state for one in verdicts.looked(file, PUBLISHED_BASE).verdicts}
    assert (said["keys"], said["family"], said["shapes"]) == ("ok", "ok", "ok")
    flux = bases.published(families.find("flux", "dev"))
    against = {one.name: one.text for one in verdicts.looked(file, flux).verdicts}
    assert "it seems to be an adapter of Qwen-Image" in against["family"]


def test_an_adapter_of_flux_is_named() -> None:
    family = families.find("flux", "dev")
    shapes = {"single_transformer_blocks.0.attn.to_q": (4, 4)}
    assert family.keys.keys() >= {"denoiser"}
    made = spelt(changes_of(shapes), "kohya", family.keys)
    own = spelt(changes_of(NARROW), "kohya", KEYS)
    assert seems(made, own) == "an adapter of FLUX.1"
    assert seems(own, own) == ""


def test_a_text_encoder_is_not_trained(tmp_path: Path) -> None:
    told = toys.job(tmp_path, adapter__parts=["denoiser", "qwen"])
    with pytest.raises(JobError, match="no part 'qwen'; known: denoiser"):
        shaping.checked(BASE, told)


def test_a_layer_that_no_picture_hears_is_left_out_and_alone_refused(tmp_path: Path) -> None:
    network = {"denoiser": BASE.skeleton("denoiser", SMALL)}
    every = shaping.shaped(BASE, network, toys.job(tmp_path), fresh=True).layers["denoiser"]
    assert len(every) == 2 * 8 - 2 and "transformer_blocks.0.attn.to_add_out" in every
    assert "transformer_blocks.1.attn.to_add_out" not in every
    alone = toys.job(tmp_path, adapter__targets=["transformer_blocks.1.txt_mlp.net.2"])
    with pytest.raises(JobError, match=r"txt_mlp\.net\.2 answers reaches no picture"):
        shaping.shaped(BASE, network, alone, fresh=True)
