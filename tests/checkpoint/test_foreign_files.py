"""Adapter files that peft and diffusers write, made here by them: each layer's change is theirs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scumble.checkpoint import export
from scumble.errors import FileError
from scumble.families import weights
from scumble.families.flux.keys import KEYS

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_mlp", "proj_out", "norm1.linear"]
PATTERNS = {
    "rank_pattern": {"to_q": 2, "transformer_blocks.0.attn.to_k": 3},
    "alpha_pattern": {
        "to_v": 1,
        r"^transformer_blocks\.\d+\.attn\.to_k": 5,
        "single_transformer_blocks.0.proj_out": 3,
    },
}
Save = Callable[[nn.Module, Path], Path]


def by_peft(model: Any, folder: Path) -> Path:
    """`save_pretrained`: the settings lie beside the file."""
    model.save_pretrained(folder)
    return folder / "adapter_model.safetensors"


def by_the_model(model: Any, folder: Path) -> Path:
    """diffusers' `save_lora_adapter`: settings without a part before them."""
    model.base_model.model.save_lora_adapter(folder, adapter_name="default")
    return folder / "pytorch_lora_weights.safetensors"


def by_the_pipeline(model: Any, folder: Path) -> Path:
    """diffusers' `save_lora_weights`: settings in the metadata, after the name of the part."""
    from diffusers import FluxPipeline
    from peft import get_peft_model_state_dict

    inner = model.base_model.model
    FluxPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=dict(get_peft_model_state_dict(inner)),
        transformer_lora_adapter_metadata=inner.peft_config["default"].to_dict(),
    )
    return folder / "pytorch_lora_weights.safetensors"


def adapted(**settings: Any) -> Any:
    """A tiny FLUX of diffusers with an adapter of peft."""
    from diffusers import FluxTransformer2DModel
    from peft import LoraConfig, get_peft_model

    config: Any = FluxTransformer2DModel.load_config(_folder() / "transformer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = FluxTransformer2DModel.from_config(config)
        settings = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, **settings}
        model: Any = get_peft_model(network, LoraConfig(**settings))
        for name, parameter in model.named_parameters():
            if "lora_B" in name and not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    return model


def _folder() -> Path:
    return weights.located("builtin:tiny-flux", Path())


def deltas(model: Any) -> dict[str, Tensor]:
    """What peft adds to each layer's weight."""
    return {
        name.removeprefix("base_model.model."): layer.get_delta_weight("default").detach()
        for name, layer in model.named_modules()
        if "default" in getattr(layer, "lora_A", ())
    }


@pytest.fixture(autouse=True)
def _libraries_say_what_they_like() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("save", [by_peft, by_the_model, by_the_pipeline])
@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, PATTERNS, {**PATTERNS, "use_rslora": True}],
    ids=["plain", "rslora", "patterns", "both"],
)
def test_every_layer_is_as_strong_as_it_was_trained(
    tmp_path: Path, save: Save, settings: dict[str, Any]
) -> None:
    model = adapted(**settings)
    wanted = deltas(model)
    (found,) = export.layers(save(model, tmp_path), KEYS).values()
    assert found.keys() == wanted.keys() and len(found) > 10
    for name, told in found.items():
        made = told.alpha / len(told.down) * told.up @ told.down
        torch.testing.assert_close(made, wanted[name], rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "layers are DoRA"),
        ({"lora_bias": True}, "LoRA with biases"),
        ({"init_lora_weights": "pissa"}, "started with pissa, which changes the base model"),
    ],
)
def test_what_is_no_change_of_the_published_weights_is_not_read_as_one(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    file = by_peft(adapted(**settings), tmp_path)
    with pytest.raises(FileError, match=words):
        export.layers(file, KEYS)


@pytest.mark.parametrize(
    ("settings", "alpha"),
    [
        ({"transformer.alpha_pattern": [1]}, 3.0),
        ({"transformer.alpha_pattern": {"(": 1}}, 3.0),
        ({"transformer.alpha_pattern": {"to_q": "much"}}, 4.0),
        ({"transformer.lora_alpha": None}, 4.0),
    ],
)
def test_settings_that_make_no_sense_are_no_crash(
    tmp_path: Path, settings: dict[str, Any], alpha: float
) -> None:
    file, stem = tmp_path / "a.safetensors", "transformer.transformer_blocks.0.attn.to_q"
    tensors = {f"{stem}.lora_A.weight": torch.ones(4, 8), f"{stem}.lora_B.weight": torch.ones(8, 4)}
    about = json.dumps({"transformer.lora_alpha": 3, **settings})
    save_file(tensors, file, {"lora_adapter_metadata": about})
    ((told,),) = [layers.values() for layers in export.layers(file, KEYS).values()]
    assert told.alpha == alpha
    scalar = {**load_file(file), f"{stem}.lora_A.weight": torch.tensor(1.0)}
    save_file(scalar, file, {"lora_adapter_metadata": about})
    assert "do not fit each other" in export.read(file, KEYS).unread()


def test_packed_numbers_are_refused_and_named(tmp_path: Path) -> None:
    file, packed = tmp_path / "a.safetensors", torch.ones(2, 2, dtype=torch.uint8)
    save_file({"a": packed.view(torch.float4_e2m1fn_x2)}, file)
    with pytest.raises(FileError, match="packed 4-bit numbers, first 'a'"):
        export.read(file, KEYS)
