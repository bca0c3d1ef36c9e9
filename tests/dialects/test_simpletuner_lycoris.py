"""lycoris_config.json as an adapter section, held to the layers that the library itself makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scumble.adapters.attach import linear
from scumble.adapters.lycoris import making, slots
from scumble.adapters.lycoris.slots import Slot
from scumble.adapters.names import Names
from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.lycoris import lycoris
from scumble.dialects.simpletuner.settings import Settings
from scumble.families.flux.keys import KEYS
from scumble.families.flux.network import FluxTransformer
from scumble.hardware.imports import imported
from scumble.spec.lycoris import LycorisSpec
from tests.adapters.flux_toys import TOY

PLAIN = {"algo": "lokr", "multiplier": 1.0, "linear_dim": 10_000, "linear_alpha": 1, "factor": 4}
GUIDES = {
    **PLAIN,
    "apply_preset": {
        "target_module": ["Attention", "FeedForward"],
        "module_algo_map": {"Attention": {"factor": 4}, "FeedForward": {"factor": 2}},
    },
}


def made(told: dict[str, Any], **settings: Any) -> tuple[dict[str, Any], Draft]:
    draft = Draft()
    asked = Settings({"model_family": "flux", **settings}, base=Path("/here"))
    return lycoris(asked, told, draft), draft


def resolved(section: dict[str, Any], model: nn.Module) -> dict[str, Slot]:
    spec = LycorisSpec.model_validate(section)
    names = Names(network=KEYS["denoiser"])
    return slots.resolved(slots.chosen(model, spec, {"all": ("*",)}), spec, names)


def flux() -> nn.Module:
    with torch.device("meta"):
        return FluxTransformer(TOY)


def test_the_guides_config_is_told_whole() -> None:
    section, draft = made(GUIDES)
    assert section["kind"] == "lycoris"
    assert (section["algo"], section["rank"], section["alpha"]) == ("lokr", 10_000, 1.0)
    assert section["options"] == {"factor": 4}
    assert not draft.problems and not draft.notes
    found = resolved(section, flux())
    assert found["transformer_blocks.0.attn.to_q"].options["factor"] == 4
    assert found["single_transformer_blocks.0.attn.to_q"].options["factor"] == 4
    assert found["transformer_blocks.0.ff_context.net.2"].options["factor"] == 2
    assert not any("norm" in name or "proj_mlp" in name for name in found)


CONFIGS: dict[str, dict[str, Any]] = {
    "blocks": {
        "target_module": ["FluxTransformerBlock", "FluxSingleTransformerBlock"],
        "module_algo_map": {"FeedForward": {"factor": 2}},
    },
    "names": {
        "target_module": [],
        "target_name": ["transformer_blocks.*.attn.to_*"],
        "name_algo_map": {"*proj_mlp": {"algo": "loha", "dim": 3, "alpha": 2}},
        "use_fnmatch": True,
    },
    "expressions": {
        "target_module": ["FeedForward"],
        "target_name": [r".*\.attn\.to_[qk]$", "proj_out"],
        "name_algo_map": {r"single.*to_k": {"factor": 2}},
    },
    "all": {"target_module": ["Linear"]},
    "left out": {
        "target_module": ["FluxSingleTransformerBlock"],
        "exclude_name": [r".*\.attn\..*"],
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_it_picks_the_layers_that_the_library_picks(name: str) -> None:
    config = {**PLAIN, "apply_preset": CONFIGS[name]}
    section, draft = made(json.loads(json.dumps(config)))
    assert not draft.problems
    model = flux()
    ours = {
        f"lycoris_{layer.replace('.', '_')}": making.sizes(one, layer, linear(model, layer))
        for layer, one in resolved(section, model).items()
    }
    assert ours == by_the_library(config)


def by_the_library(config: dict[str, Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Its layers on diffusers' own network, whose classes SimpleTuner's files name."""
    imported("lycoris.modules")
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from lycoris import LycorisNetwork, create_lycoris

    told = {name: value for name, value in config.items() if name != "apply_preset"}
    sizes = dict(vars(TOY))
    sizes["axes_dims_rope"] = tuple(sizes["axes_dims_rope"])
    model = FluxTransformer2DModel(**sizes)
    held = ("TARGET_REPLACE_MODULE", "TARGET_REPLACE_NAME", "MODULE_ALGO_MAP", "NAME_ALGO_MAP")
    held += ("USE_FNMATCH", "TARGET_EXCLUDE_NAME")
    before = {name: vars(LycorisNetwork)[name] for name in held}
    try:
        LycorisNetwork.apply_preset(config["apply_preset"])
        network = create_lycoris(model, **told)
    finally:
        for name, value in before.items():
            setattr(LycorisNetwork, name, value)
    return {
        one.lora_name: {name: tuple(value.shape) for name, value in one.named_parameters()}
        for one in network.loras
    }


def test_each_key_is_followed_or_named() -> None:
    told = {
        **PLAIN,
        "bypass_mode": True,
        "conv_dim": 4,
        "decompose_both": False,
        "full_matrix": "true",
        "train_norm": True,
        "tlora_min_rank": 1,
        "constrain": 0,
    }
    section, draft = made(told)
    assert section["options"] == {"factor": 4, "decompose_both": False, "full_matrix": True}
    assert section["targets"] == "all"
    assert {note.where.rpartition(".")[2] for note in draft.notes} == {
        "bypass_mode", "conv_dim", "train_norm", "tlora_min_rank",
    }  # fmt: skip
    _, other = made({**PLAIN, "algo": "loha", "dora_wd": 1})
    assert [note.where for note in other.notes] == ["lycoris_config.factor"]


def test_what_cannot_be_is_told_at_once() -> None:
    _, draft = made({"algo": "tlora", "multiplier": 0.5, "linear_dim": 2.5, "factor": "x"})
    said = " ".join(str(one) for one in draft.problems)
    for words in ("`linear_alpha` is missing", "'tlora' is not here", "`multiplier` is 0.5"):
        assert words in said
    assert "`linear_dim` is 2.5" in said and "`factor` is 'x'" in said
    _, draft = made({**PLAIN, "apply_preset": {"target_module": ["ResnetBlock2D"], "typo": 1}})
    said = " ".join(str(one) for one in draft.problems)
    assert "picks no layer" in said and "there is no such key" in said
    assert draft.notes[0].text == "no module of flux is of the class ResnetBlock2D"


def test_noise_and_a_file_to_begin_with() -> None:
    section, _ = made({**GUIDES, "full_matrix": True}, init_lokr_norm=1e-3)
    assert section["start_norm"] == 1e-3
    begun, draft = made(GUIDES, init_lora="a.safetensors", init_lokr_norm=1e-3)
    assert begun["start"] == "/here/a.safetensors"
    assert LycorisSpec.model_validate(begun).start_norm is None
    assert draft.notes
    _, draft = made({**PLAIN, "algo": "lora", "factor": -1}, init_lokr_norm=1e-3)
    assert draft.notes[-1].where == "init_lokr_norm"


def test_qwen_images_classes_are_known() -> None:
    told = {**PLAIN, "apply_preset": {"target_module": ["QwenImageTransformerBlock", "Attention"]}}
    section, draft = made(told, model_family="qwen_image")
    assert section["targets"] == [r"/^transformer_blocks\./", r"/\.attn\./"]
    assert not draft.notes
