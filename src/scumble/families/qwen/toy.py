"""A toy in the shape of Qwen-Image, as a diffusers folder that its pipelines load.

Its transformer is random numbers from a seed; its autoencoder is built, so that a preview is a
blurred picture instead of noise (see `toy_parts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scumble.families.layers import PATCH
from scumble.families.qwen import vae
from scumble.families.qwen.network import QwenTransformer, configured
from scumble.families.qwen.text_toy import WIDTH, write_toy
from scumble.families.toy_parts import (
    CHANNELS,
    STEADY,
    centre,
    constant,
    sampler,
    signed_colours,
    spread,
    write_json,
    write_part,
)

HALF = CHANNELS // 2  # what a sampler of the decoder leaves
TRANSFORMER = {
    "_class_name": "QwenImageTransformer2DModel",
    "patch_size": PATCH,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": WIDTH,
    "guidance_embeds": False,
    "axes_dims_rope": [8, 12, 12],
}
AUTOENCODER = {
    "_class_name": "AutoencoderKLQwenImage",
    "base_dim": CHANNELS,
    "z_dim": 16,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "dropout": 0.0,
    "latents_mean": [round(0.01 * (at - 8), 2) for at in range(16)],
    "latents_std": [round(0.2 + 0.01 * at, 2) for at in range(16)],
}
BASE = "QwenImagePipeline"
PIPELINES: Mapping[str, str] = {
    "tiny-qwen-image": BASE,
    "tiny-qwen-edit": "QwenImageEditPipeline",
    "tiny-qwen-edit-plus": "QwenImageEditPlusPipeline",
}
"""Names, and the pipeline that each is for."""


def write_tiny_qwen(folder: Path, name: str) -> None:
    """The toy of that name as a diffusers folder."""
    write_toy(folder, vision=PIPELINES[name] != BASE)
    write_networks(folder)
    write_json(folder / "model_index.json", index(PIPELINES[name]))


def write_networks(folder: Path) -> None:
    """Transformer, autoencoder and scheduler."""
    transformer = QwenTransformer(configured(TRANSFORMER))
    write_part(folder / "transformer", TRANSFORMER, transformer)
    write_part(folder / "vae", AUTOENCODER, vae.skeleton(AUTOENCODER), values=autoencoder_value)
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler())


def autoencoder_value(name: str, shape: tuple[int, ...]) -> Tensor:
    """Blocks between the ends add nothing; silu(x) - silu(-x) = x makes the last activation
    disappear. Colours are counted from white, so that the zeros around a picture are white."""
    special = {
        "encoder.conv_in.weight": lambda: _centre(signed_colours().T, shape),
        "encoder.conv_in.bias": lambda: constant() - signed_colours().sum(0),
        "encoder.conv_out.weight": lambda: _centre(spread() @ signed_colours(), shape),
        "encoder.conv_out.bias": lambda: torch.cat([torch.zeros(16), torch.full((16,), -30.0)]),
        "decoder.conv_in.weight": lambda: _centre(signed_colours().T @ spread().T[:, :16], shape),
        "decoder.conv_in.bias": constant,
        "decoder.conv_out.weight": lambda: _centre(signed_colours(), shape),
        "decoder.conv_out.bias": lambda: torch.ones(shape),
    }
    if name in special:
        return special[name]()
    if name.endswith("resample.1.weight"):
        square = (CHANNELS, CHANNELS, *shape[2:])
        return sampler(square, smooth=name.startswith("decoder"))[: shape[0]]
    if name in {"quant_conv.weight", "post_quant_conv.weight"} or "conv_shortcut.weight" in name:
        return torch.eye(*shape[:2]).reshape(shape)
    if name.endswith("norm_out.gamma"):
        return torch.full(shape, STEADY * (2 / CHANNELS) ** 0.5)
    return torch.zeros(shape)


def _centre(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A convolution over a film that looks at one pixel of the last picture."""
    weight = torch.zeros(shape)
    weight[:, :, -1] = centre(matrix, (*shape[:2], *shape[3:]))
    return weight


def scheduler() -> dict[str, Any]:
    """The sampler's config as Qwen-Image publishes it."""
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "invert_sigmas": False,
        "max_image_seq_len": 8192,
        "max_shift": 0.9,
        "num_train_timesteps": 1000,
        "shift": 1.0,
        "shift_terminal": 0.02,
        "stochastic_sampling": False,
        "time_shift_type": "exponential",
        "use_dynamic_shifting": True,
    }


def index(pipeline: str) -> dict[str, Any]:
    """The model_index.json of a pipeline; only those that show pictures have a processor."""
    shows = pipeline != BASE
    processor = {"processor": ["transformers", "Qwen2VLProcessor"]} if shows else {}
    return {
        "_class_name": pipeline,
        **processor,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    }
