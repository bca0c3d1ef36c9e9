"""Qwen-Image's weights as everybody spells them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scumble import families
from scumble.errors import ScumbleError
from scumble.families import weights
from scumble.families.builtin import materialised
from scumble.families.family import Config
from scumble.families.qwen import files as qwen_files
from scumble.families.recognising import by_names
from scumble.families.sources import Source
from scumble.families.toy_parts import random_value
from scumble.preflight import flavours
from scumble.spec.model import ModelSpec
from tests.conftest import told as told_of
from tests.families import loose

CPU = torch.device("cpu")
Tensors = dict[str, Tensor]
BASE = families.find("qwen-image", "base")
EDIT_PLUS = families.find("qwen-image", "edit-v2")
SMALL = qwen_files.DENOISER | {
    "num_layers": 2,
    "num_attention_heads": 1,
    "joint_attention_dim": 64,
}

TRANSFORMER = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
    "guidance_embeds": False,
    "axes_dims_rope": [16, 56, 56],
}
VAE = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}
PUBLISHED = [("denoiser", TRANSFORMER, 20_430_401_088), ("autoencoder", VAE, 126_892_531)]
"""Settings of Qwen/Qwen-Image that change a network's answer, and how many numbers it has."""

HALVED: Mapping[str, Config] = {
    "denoiser": {"num_layers": 3, "num_attention_heads": 2, "joint_attention_dim": 128},
    "autoencoder": {
        "base_dim": 32,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [True, False],
    },
}


def shapes_of(part: str, config: Config) -> dict[str, tuple[int, ...]]:
    tensors = BASE.skeleton(part, config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("part", "facts", "numbers"), PUBLISHED, ids=["transformer", "vae"])
def test_shapes_tell_what_the_published_config_says(part: str, facts: Config, numbers: int) -> None:
    told = BASE.parts[part].loose
    shapes = shapes_of(part, facts)
    config = {**told.published, **told.sizes(shapes)}
    assert {name: config[name] for name in facts} == facts
    assert shapes_of(part, config) == shapes
    assert sum(torch.Size(one).numel() for one in shapes.values()) == numbers


@pytest.mark.parametrize("part", HALVED)
def test_nothing_that_shapes_tell_is_taken_from_the_published_config(part: str) -> None:
    small = {**dict(PUBLISHED_FACTS)[part], **HALVED[part]}
    told = BASE.parts[part].loose
    found = told.sizes(shapes_of(part, small))
    assert {name: found[name] for name in HALVED[part]} == HALVED[part]


PUBLISHED_FACTS = [(part, facts) for part, facts, _ in PUBLISHED]


def test_the_latents_of_a_single_file_are_counted_as_published() -> None:
    import inspect

    from diffusers import AutoencoderKLQwenImage

    known = inspect.signature(AutoencoderKLQwenImage.__init__).parameters
    for name in ("latents_mean", "latents_std"):
        assert qwen_files.AUTOENCODER[name] == known[name].default


BACK: tuple[tuple[str, str], ...] = (
    (r"^quant_conv", "conv1"),
    (r"^post_quant_conv", "conv2"),
    (r"conv_in\b", "conv1"),
    (r"norm_out\b", "head.0"),
    (r"conv_out\b", "head.2"),
    (r"mid_block\.resnets\.0", "middle.0"),
    (r"mid_block\.attentions\.0", "middle.1"),
    (r"mid_block\.resnets\.1", "middle.2"),
    (r"down_blocks", "downsamples"),
    (r"conv_shortcut", "shortcut"),
    (r"(middle\.[02]|downsamples\.\d+|upsamples\.\d+)\.norm1", r"\1.residual.0"),
    (r"(middle\.[02]|downsamples\.\d+|upsamples\.\d+)\.conv1", r"\1.residual.2"),
    (r"(middle\.[02]|downsamples\.\d+|upsamples\.\d+)\.norm2", r"\1.residual.3"),
    (r"(middle\.[02]|downsamples\.\d+|upsamples\.\d+)\.conv2", r"\1.residual.6"),
)


def as_wan(name: str, blocks: int) -> str:
    """A tensor's name in Wan's files; written down from the other side than the family has it."""
    if found := re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)", name):
        at = int(found[3]) if found[2] == "resnets" else blocks + 1
        row = int(found[1]) * (blocks + 2) + at
        name = f"decoder.upsamples.{row}{name[found.end() :]}"
    for pattern, replacement in BACK:
        name = re.sub(pattern, replacement, name)
    return name


def test_wans_names_become_those_that_diffusers_makes_of_them() -> None:
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    shapes = shapes_of("autoencoder", VAE)
    wan = {as_wan(name, 2): shape for name, shape in shapes.items()}
    assert len(wan) == len(shapes) and "decoder.upsamples.14.residual.6.weight" in wan
    cuts = BASE.parts["autoencoder"].cuts(wan)
    ours = {theirs: one.name for theirs, (one,) in cuts.items()}
    theirs = convert_wan_vae_to_diffusers({name: name for name in wan})
    assert {name: ours[name] for name in wan} == {name: made for made, name in theirs.items()}
    assert set(ours.values()) == shapes.keys()


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small transformer with heads as wide as Qwen-Image's."""
    folder = tmp_path_factory.mktemp("qwen") / "transformer"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    shapes = shapes_of("denoiser", SMALL)
    made = {name: random_value("qwen", name, shape) for name, shape in shapes.items()}
    save_file(made, folder / "diffusion_pytorch_model.safetensors")
    return folder


def loaded(part: str, path: Path, flavour: str = "base") -> nn.Module:
    family = families.find("qwen-image", flavour)
    others = {"denoiser", part}
    toy = materialised("tiny-qwen-image")
    wanted = ModelSpec(family="qwen-image", flavour=flavour, path=str(toy), parts={part: str(path)})
    model = weights.opened(family, wanted, Path(), parts=others)
    return weights.loaded(model, part, dtype=torch.float32, device=CPU)


def same(module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    found = module.state_dict()
    return found.keys() == tensors.keys() and all(
        torch.equal(found[name], tensors[name]) for name in found
    )


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_single_file_of_the_transformer_is_read(
    transformer: Path, tmp_path: Path, prefix: str
) -> None:
    tensors = load_file(transformer / "diffusion_pytorch_model.safetensors")
    file = tmp_path / "qwen_image_bf16.safetensors"
    loose.save({prefix + name: one for name, one in tensors.items()}, file)
    assert same(loaded("denoiser", file), tensors)
    assert same(loaded("denoiser", transformer), tensors)


def test_shards_with_an_index_are_read_together(transformer: Path, tmp_path: Path) -> None:
    tensors = load_file(transformer / "diffusion_pytorch_model.safetensors")
    halves = [dict(list(tensors.items())[at::2]) for at in range(2)]
    names = [f"diffusion_pytorch_model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    for half, name in zip(halves, names, strict=True):
        loose.save(half, tmp_path / name)
    placed = {key: name for half, name in zip(halves, names, strict=True) for key in half}
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    assert same(loaded("denoiser", tmp_path), tensors)


@pytest.mark.parametrize("newer", [False, True], ids=["scale_weight", "weight_scale"])
def test_fp8_files_of_comfyui_are_within_fp8_rounding(
    transformer: Path, tmp_path: Path, newer: bool
) -> None:
    tensors = load_file(transformer / "diffusion_pytorch_model.safetensors")
    scaled = loose.scaled(tensors, newer=newer, layers=r"attn\.|_mlp\.")
    file = tmp_path / "qwen_image_fp8_e4m3fn_scaled.safetensors"
    loose.save(scaled, file)
    found = loaded("denoiser", file).state_dict()
    assert found.keys() == tensors.keys()
    for name, one in tensors.items():
        assert (found[name] - one).abs().max() <= one.abs().max() / 16


@pytest.mark.parametrize("prefix", ["", "vae."])
def test_the_autoencoder_is_read_in_wans_spelling(tmp_path: Path, prefix: str) -> None:
    folder = materialised("tiny-qwen-image") / "vae"
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    file = tmp_path / "qwen_image_vae.safetensors"
    loose.save({prefix + as_wan(name, 1): one for name, one in tensors.items()}, file)
    assert "autoencoder" in by_names([*load_file(file)])
    assert same(loaded("autoencoder", file), tensors)
    assert same(loaded("autoencoder", folder), tensors)


def refused(path: Path) -> str:
    """What is said of a model whose transformer lies there."""
    wanted = ModelSpec(
        family="qwen-image",
        flavour="edit-v2",
        path=str(materialised("tiny-qwen-edit-plus")),
        parts={"denoiser": str(path)},
    )
    with pytest.raises((ScumbleError, ExceptionGroup)) as caught:
        weights.opened(EDIT_PLUS, wanted, Path(), parts={"denoiser", "autoencoder"})
    return told_of(caught.value)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("zero_cond_t", True, "is Qwen-Image-Edit-2511"),
        ("use_additional_t_cond", True, "is Qwen-Image-Layered"),
        ("use_layer3d_rope", True, "is Qwen-Image-Layered"),
        ("guidance_embeds", True, "takes guidance"),
        ("in_channels", 128, "has in_channels 128 in place of 64"),
    ],
)
def test_relatives_of_qwen_image_are_named(
    transformer: Path, tmp_path: Path, setting: str, value: Any, words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {setting: value}))
    weight = "diffusion_pytorch_model.safetensors"
    (tmp_path / weight).symlink_to(transformer / weight)
    assert words in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("__index_timestep_zero__", "is Qwen-Image-Edit-2511"),
        ("time_text_embed.addition_t_embedding.weight", "is Qwen-Image-Layered"),
    ],
)
def test_relatives_are_named_by_what_their_single_files_hold(
    transformer: Path, tmp_path: Path, name: str, words: str
) -> None:
    tensors = load_file(transformer / "diffusion_pytorch_model.safetensors")
    file = tmp_path / "qwen_image_edit_2511_bf16.safetensors"
    loose.save(tensors | {name: torch.zeros(())}, file)
    assert words in refused(file)


def test_heads_of_another_width_need_a_config(tmp_path: Path) -> None:
    tensors = load_file(
        materialised("tiny-qwen-image") / "transformer" / "diffusion_pytorch_model.safetensors"
    )
    loose.save(tensors, tmp_path / "x.safetensors")
    assert "32 wide; without a config.json" in refused(tmp_path / "x.safetensors")


def test_the_autoencoders_of_other_models_are_named() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        loaded("autoencoder", materialised("tiny-flux") / "vae")
    assert "to be an autoencoder, not an autoencoder of Qwen-Image" in told_of(caught.value)
    names = shapes_of("autoencoder", VAE)
    assert by_names(names) == "the autoencoder of Qwen-Image or Wan"
    assert by_names([as_wan(name, 2) for name in names]) == by_names(names)


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("QwenImageEditPlusPipeline", "is published as qwen-image edit-v2"),
        ("QwenImagePipeline", "is published as qwen-image base"),
        ("QwenImageEditPipeline", ""),
        ("SomebodysPipeline", ""),
    ],
)
def test_a_folder_of_another_flavour_is_told(tmp_path: Path, pipeline: str, words: str) -> None:
    family, folder = families.find("qwen-image", "edit-v1"), tmp_path / "transformer"
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    source = Source({}, (folder / "x.safetensors",), None, "", str(folder))
    model = weights.Model(family, {"denoiser": source})
    large, small = nn.Linear(40_000, 40_000, device="meta"), nn.Linear(1, 1)
    said = "".join(flavours.remarks(model, large))
    assert words in said and bool(said) == bool(words)
    assert flavours.remarks(model, small) == ()
    (tmp_path / "model_index.json").write_text("[]")
    assert flavours.remarks(model, large) == ()
