"""One small random FLUX, as a diffusers folder and as the single files that others publish.

Its attention heads are 128 wide, as FLUX's are, and its encoders read with the real tokenizers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scumble.families import spelling, tokenizers
from scumble.families.flux import model as flux
from scumble.families.flux.keys import TRANSFORMER
from scumble.families.toy_parts import random_value

Tensors = dict[str, Tensor]
WIDE = 64
SIZES: Mapping[str, Mapping[str, object]] = {
    "denoiser": {
        "num_layers": 1,
        "num_single_layers": 2,
        "num_attention_heads": 1,
        "joint_attention_dim": WIDE,
        "pooled_projection_dim": WIDE,
    },
    "autoencoder": {
        "block_out_channels": [32, 32, 64, 64],
        "layers_per_block": 1,
    },
    "clip": {
        "hidden_size": WIDE,
        "projection_dim": WIDE,
        "intermediate_size": 2 * WIDE,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
    },
    "t5": {"d_model": WIDE, "d_kv": 16, "d_ff": 2 * WIDE, "num_layers": 2, "num_heads": 4},
}
FILES = {
    "denoiser": "flux1-dev.safetensors",
    "autoencoder": "ae.safetensors",
    "clip": "clip_l.safetensors",
    "t5": "t5xxl_fp16.safetensors",
}
WITHIN = {
    "denoiser": "model.diffusion_model.",
    "autoencoder": "vae.",
    "clip": "text_encoders.clip_l.transformer.",
    "t5": "text_encoders.t5xxl.transformer.",
}
"""As ComfyUI keeps the parts in a file of the whole model."""


def folder(root: Path) -> Path:
    """The diffusers folder."""
    for name, part in flux.PARTS.items():
        config = {**part.loose.published, **SIZES[name]}
        module = flux.skeleton(name, config)
        place = root / part.folder
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config))
        save_file(_random(name, module), place / f"{part.weights}.safetensors")
        if part.tokenizer:
            (root / part.tokenizer).symlink_to(tokenizers.shipped(name))
    (root / "model_index.json").write_text("{}")
    return root


def _random(name: str, module: nn.Module) -> Tensors:
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    made = {key: random_value(name, key, shape) for key, shape in shapes.items()}
    made.pop("encoder.embed_tokens.weight", None)  # one tensor with `shared.weight`
    return made


def tensors(root: Path, part: str) -> Tensors:
    """What the folder holds of a part."""
    facts = flux.PARTS[part]
    return load_file(root / facts.folder / f"{facts.weights}.safetensors")


def published(root: Path, part: str) -> Tensors:
    """The same tensors as the part's authors spell them."""
    ours = tensors(root, part)
    if part == "denoiser":
        return spelling.fused(ours, TRANSFORMER)
    if part == "autoencoder":
        return authors_autoencoder(ours)
    if part == "clip":
        extras = {"logit_scale": torch.ones(()), "text_projection.weight": torch.ones(2, 2)}
        positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
        return {f"text_model.{name}": one for name, one in ours.items()} | extras | positions
    return ours


BACK: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets", lambda found: f"up.{3 - int(found[1])}.block"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"conv_norm_out", "norm_out"),
)


def authors_autoencoder(ours: Tensors) -> Tensors:
    """Written down from the other side than `flux_files` has it."""
    made = {}
    for name, tensor in ours.items():
        theirs = name
        for pattern, replacement in BACK:
            theirs = re.sub(pattern, replacement, theirs)
        linear = "attn_1" in theirs and tensor.dim() == 2
        made[theirs] = tensor[..., None, None] if linear else tensor
    return made


def files(root: Path, place: Path) -> dict[str, Path]:
    """Every part as a file of its own."""
    place.mkdir(exist_ok=True)
    made = {part: place / name for part, name in FILES.items()}
    for part, file in made.items():
        save(published(root, part), file)
    return made


def all_in_one(root: Path, file: Path) -> Path:
    """The whole model in one file."""
    whole = {
        WITHIN[part] + name: one for part in FILES for name, one in published(root, part).items()
    }
    save(whole | {"text_encoders.clip_l.logit_scale": torch.ones(())}, file)
    return file


def save(found: Mapping[str, Tensor], file: Path) -> None:
    """Tensors as a file, each in memory of its own."""
    save_file({name: one.contiguous().clone() for name, one in found.items()}, file)


def scaled(found: Mapping[str, Tensor], *, newer: bool, layers: str) -> Tensors:
    """Layers in fp8 with a scale beside each, as ComfyUI's older or newer files have them."""
    made: Tensors = {} if newer else {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    recipe = torch.frombuffer(bytearray(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    for name, tensor in found.items():
        if not (re.search(layers, name) and tensor.dim() == 2):
            made[name] = tensor
            continue
        layer, scale = name.removesuffix(".weight"), tensor.abs().max() / 448
        made[name] = (tensor / scale).to(torch.float8_e4m3fn)
        if newer:
            made |= {f"{layer}.weight_scale": scale, f"{layer}.comfy_quant": recipe.clone()}
            made[f"{layer}.input_scale"] = torch.ones(())
        else:
            made |= {f"{layer}.scale_weight": scale, f"{layer}.scale_input": torch.ones(())}
    return made
