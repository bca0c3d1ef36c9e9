"""Qwen-Image's parts as single files: how they are spelt, and the configs that their shapes tell.

What shapes cannot tell is a fact of the published model (Qwen/Qwen-Image).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from scumble.families.family import Config, Loose, Need, Part
from scumble.families.flux.files import numbered
from scumble.families.layers import PATCH
from scumble.families.qwen.text import NAME, PART, SEEING_PART
from scumble.families.spelling import Cut, whole
from scumble.families.tensor_files import Shape

Shapes = Mapping[str, Shape]
HEAD = 128  # features of an attention head, over which the axes (16, 56, 56) are laid
MARK = "__index_timestep_zero__"  # what ComfyUI's files of Qwen-Image-Edit-2511 hold besides

DENOISER = {
    "_class_name": "QwenImageTransformer2DModel",
    "patch_size": PATCH,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": HEAD,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
    "guidance_embeds": False,
    "axes_dims_rope": [16, 56, 56],
}
AUTOENCODER = {
    "_class_name": "AutoencoderKLQwenImage",
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "dropout": 0.0,
    "latents_mean": [
        *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
        *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    ],
    "latents_std": [
        *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
        *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    ],
}


def denoiser_sizes(shapes: Shapes) -> Config:
    """Of the transformer. ValueError for heads of another width than Qwen-Image's."""
    width, channels = shapes["img_in.weight"]
    (head,) = shapes["transformer_blocks.0.attn.norm_q.weight"]
    if head != HEAD:
        problem = f"its attention heads are {head} wide; without a config.json that says how"
        raise ValueError(f"{problem} positions are laid over them, only Qwen-Image's {HEAD} are")
    return {
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0] // PATCH**2,
        "num_layers": numbered(shapes, "transformer_blocks.{}."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "zero_cond_t": MARK in shapes,
        "use_additional_t_cond": "time_text_embed.addition_t_embedding.weight" in shapes,
    }


def autoencoder_sizes(shapes: Shapes) -> Config:
    """Of the autoencoder, whose encoder names blocks and samplers in one row."""
    base, colours = shapes["encoder.conv_in.weight"][:2]
    levels = numbered(shapes, "decoder.up_blocks.{}.")
    widths = [shapes[f"decoder.up_blocks.{at}.resnets.0.conv1.weight"][0] for at in range(levels)]
    blocks = numbered(shapes, "decoder.up_blocks.0.resnets.{}.") - 1
    samplers = [at * (blocks + 1) + blocks for at in range(levels - 1)]
    return {
        "base_dim": base,
        "input_channels": colours,
        "z_dim": shapes["decoder.conv_in.weight"][1],
        "dim_mult": [width // base for width in reversed(widths)],
        "num_res_blocks": blocks,
        "temperal_downsample": [
            f"encoder.down_blocks.{at}.time_conv.weight" in shapes for at in samplers
        ],
    }


WAN_NAMES = (
    (r"^conv1\.", r"quant_conv."),
    (r"^conv2\.", r"post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"\.head\.0\.", r".norm_out."),
    (r"\.head\.2\.", r".conv_out."),
    (r"\.middle\.0\.", r".mid_block.resnets.0."),
    (r"\.middle\.1\.", r".mid_block.attentions.0."),
    (r"\.middle\.2\.", r".mid_block.resnets.1."),
    (r"\.downsamples\.", r".down_blocks."),
    (r"\.residual\.0\.", r".norm1."),
    (r"\.residual\.2\.", r".conv1."),
    (r"\.residual\.3\.", r".norm2."),
    (r"\.residual\.6\.", r".conv2."),
    (r"\.shortcut\.", r".conv_shortcut."),
)
"""Wan's names and diffusers', as replacements, one after the other."""

UP = re.compile(r"decoder\.upsamples\.(\d+)\.(\w+)")


def autoencoder_cuts(shapes: Shapes) -> dict[str, tuple[Cut, ...]]:
    """Wan counts the decoder's blocks and samplers in one row, diffusers by level."""
    places = _levels(shapes)

    def ours(name: str) -> str:
        if found := UP.match(name):
            name = places[int(found[1])] + name[found.end(1) :]
        for theirs, replacement in WAN_NAMES:
            name = re.sub(theirs, replacement, name)
        return name

    return {name: whole(ours(name), shape) for name, shape in shapes.items()}


def _levels(shapes: Shapes) -> dict[int, str]:
    """What each place in the decoder's row is called; a sampler is the last of its level."""
    found = {int(match[1]): set[str]() for name in shapes if (match := UP.match(name))}
    for name in shapes:
        if match := UP.match(name):
            found[int(match[1])].add(match[2])
    places, level, block = dict[int, str](), 0, 0
    for at in sorted(found):
        if "resample" in found[at]:
            places[at] = f"decoder.up_blocks.{level}.upsamplers.0"
            level, block = level + 1, 0
        else:
            places[at] = f"decoder.up_blocks.{level}.resnets.{block}"
            block += 1
    return places


DENOISER_PART = Part(
    "transformer",
    "diffusion_pytorch_model",
    wide=tuple(("*", name) for name in ("img_in", "txt_in", "norm_out.*", "proj_out")),
    loose=Loose(
        called="a Qwen-Image transformer",
        example="qwen_image_bf16.safetensors",
        signs=("transformer_blocks.0.img_mod.1.weight",),
        within=("", "model.diffusion_model.", "diffusion_model.", "transformer."),
        published=DENOISER,
        sizes=denoiser_sizes,
    ),
)
AUTOENCODER_PART = Part(
    "vae",
    "diffusion_pytorch_model",
    cuts=autoencoder_cuts,
    loose=Loose(
        called="an autoencoder of Qwen-Image",
        example="qwen_image_vae.safetensors",
        signs=(
            "decoder.middle.0.residual.0.gamma",
            "decoder.mid_block.resnets.0.norm1.gamma",
        ),
        within=("", "vae.", "first_stage_model."),
        published=AUTOENCODER,
        sizes=autoencoder_sizes,
    ),
)
PARTS = {"denoiser": DENOISER_PART, "autoencoder": AUTOENCODER_PART, NAME: PART}
EDIT_PARTS = PARTS | {NAME: SEEING_PART}

LAYERED = "is Qwen-Image-Layered"
NEEDS = (
    Need("denoiser", "patch_size", PATCH, PATCH, {}),
    Need("denoiser", "in_channels", 64, 64, {}),
    Need("denoiser", "out_channels", 16, 16, {}),
    Need("denoiser", "guidance_embeds", False, False, {True: "takes guidance"}),
    Need("denoiser", "zero_cond_t", False, False, {True: "is Qwen-Image-Edit-2511"}),
    Need("denoiser", "use_additional_t_cond", False, False, {True: LAYERED}),
    Need("denoiser", "use_layer3d_rope", False, False, {True: LAYERED}),
    Need("autoencoder", "z_dim", 16, 16, {48: "is that of Wan 2.2"}),
    Need(
        "autoencoder", "input_channels", 3, 3, {4: "sees layers with alpha, as Qwen-Image-Layered"}
    ),
)
