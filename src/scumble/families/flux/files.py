"""FLUX.1's parts as single files: how they are spelt, and the configs that their shapes tell.

What shapes cannot tell is a fact of the published model (black-forest-labs/FLUX.1-dev).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from scumble.families.encoders import clip, t5
from scumble.families.family import Config, Loose, Need, Part
from scumble.families.flux.keys import TRANSFORMER
from scumble.families.spelling import Cut, cutter, whole
from scumble.families.tensor_files import Shape

Shapes = Mapping[str, Shape]
HEAD = 128  # features of an attention head, over which the axes (16, 56, 56) are laid
CLIP_HEAD = 64  # of all CLIP text encoders that OpenAI published

DENOISER = {
    "_class_name": "FluxTransformer2DModel",
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": HEAD,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": [16, 56, 56],
}
AUTOENCODER = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "sample_size": 1024,
    "latent_channels": 16,
    "norm_num_groups": 32,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "mid_block_add_attention": True,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "force_upcast": True,
}
CLIP = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": clip.LENGTH,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
T5 = {
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "dropout_rate": 0.1,
    "is_encoder_decoder": False,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
}


def numbered(shapes: Iterable[str], template: str) -> int:
    """How many blocks there are: one more than the highest number in place of `{}`."""
    pattern = re.compile(re.escape(template).replace(r"\{\}", r"(\d+)"))
    numbers = [int(found[1]) for name in shapes if (found := pattern.match(name))]
    return max(numbers, default=-1) + 1


def denoiser_sizes(shapes: Shapes) -> Config:
    """Of the transformer. ValueError for heads of another width than FLUX's."""
    width, channels = shapes["x_embedder.weight"]
    norm = "attn.norm_q.weight"
    (head,) = (
        shapes.get(f"transformer_blocks.0.{norm}") or shapes[f"single_transformer_blocks.0.{norm}"]
    )
    if head != HEAD:
        problem = f"its attention heads are {head} wide; without a config.json that says how"
        raise ValueError(f"{problem} positions are laid over them, only FLUX's {HEAD} are read")
    return {
        "in_channels": channels,
        "num_layers": numbered(shapes, "transformer_blocks.{}."),
        "num_single_layers": numbered(shapes, "single_transformer_blocks.{}."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
    }


def autoencoder_sizes(shapes: Shapes) -> Config:
    """Of the autoencoder."""
    levels = numbered(shapes, "encoder.down_blocks.{}.")
    blocks = [f"encoder.down_blocks.{at}.resnets.0.conv1.weight" for at in range(levels)]
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [shapes[name][0] for name in blocks],
        "layers_per_block": numbered(shapes, "encoder.down_blocks.0.resnets.{}."),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def clip_sizes(shapes: Shapes) -> Config:
    """Of CLIP's text encoder."""
    words, width = shapes["embeddings.token_embedding.weight"]
    if width % CLIP_HEAD:
        raise ValueError(f"its {width} features are no multiple of CLIP's heads of {CLIP_HEAD}")
    return {
        "vocab_size": words,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": numbered(shapes, "encoder.layers.{}."),
        "num_attention_heads": width // CLIP_HEAD,
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
        "bos_token_id": words - 2,  # the last two words of its vocabulary
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
    }


def t5_sizes(shapes: Shapes) -> Config:
    """Of T5's encoder, version 1.1. ValueError for the relatives that FLUX does not read."""
    words, width = shapes["shared.weight"]
    block = "encoder.block.0.layer"
    if f"{block}.1.DenseReluDense.wi.weight" in shapes:
        raise ValueError("it is a T5 of version 1.0, and FLUX reads version 1.1")
    if "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" in shapes:
        raise ValueError("it is a UMT5, and FLUX reads T5 of version 1.1")
    buckets, heads = shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"]
    return {
        "vocab_size": words,
        "d_model": width,
        "d_kv": shapes[f"{block}.0.SelfAttention.q.weight"][0] // heads,
        "d_ff": shapes[f"{block}.1.DenseReluDense.wi_0.weight"][0],
        "num_layers": numbered(shapes, "encoder.block.{}."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }


AUTOENCODER_NAMES = (
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.nin_shortcut\.", r".conv_shortcut."),
    (r"\.mid\.block_1\.", r".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", r".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", r".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", r".mid_block.attentions.0.to_out.0."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
)
"""The authors' names and diffusers', as replacements, one after the other."""


def autoencoder_cuts(shapes: Shapes) -> dict[str, tuple[Cut, ...]]:
    """The authors count the decoder's levels from the fine end, diffusers from the coarse one."""
    levels = numbered(shapes, "decoder.up.{}.")

    def ours(name: str) -> str:
        if found := re.match(r"decoder\.up\.(\d+)\.", name):
            name = f"decoder.up.{levels - 1 - int(found[1])}.{name[found.end() :]}"
        for theirs, replacement in AUTOENCODER_NAMES:
            name = re.sub(theirs, replacement, name)
        return name

    return {name: whole(ours(name), shape) for name, shape in shapes.items()}


PARTS = {
    "denoiser": Part(
        "transformer",
        "diffusion_pytorch_model",
        cuts=cutter(TRANSFORMER),
        wide=(
            *(("*", name) for name in ("x_embedder", "context_embedder", "norm_out.*", "proj_out")),
            ("*-quanto", "*.norm*.linear"),  # as SimpleTuner does; 6 of 24 GB
        ),
        loose=Loose(
            called="a FLUX.1 transformer",
            example="flux1-dev.safetensors",
            signs=("single_blocks.0.linear1.weight", "single_transformer_blocks.0.proj_mlp.weight"),
            within=("", "model.diffusion_model.", "diffusion_model.", "transformer."),
            published=DENOISER,
            sizes=denoiser_sizes,
        ),
    ),
    "autoencoder": Part(
        "vae",
        "diffusion_pytorch_model",
        cuts=autoencoder_cuts,
        loose=Loose(
            called="an autoencoder",
            example="ae.safetensors",
            signs=("decoder.mid.block_1.conv1.weight", "decoder.mid_block.resnets.0.conv1.weight"),
            within=("", "vae.", "first_stage_model."),
            published=AUTOENCODER,
            sizes=autoencoder_sizes,
        ),
    ),
    "clip": Part(
        "text_encoder",
        "model",
        "tokenizer",
        aliases=(("text_model.", ""),),
        tokenized=clip.tokenizer,
        nested="text_config",
        idle=(
            "*position_ids",  # counted, not learnt
            "text_projection",
            "text_projection.weight",
            "logit_scale",
            "visual_projection.weight",
            "vision_model.*",
        ),
        loose=Loose(
            called="a CLIP text encoder",
            example="clip_l.safetensors",
            signs=(
                "text_model.embeddings.token_embedding.weight",
                "embeddings.token_embedding.weight",
            ),
            within=("", "text_encoders.clip_l.transformer.", "text_encoders.clip_l.", "clip_l."),
            published=CLIP,
            sizes=clip_sizes,
        ),
    ),
    "t5": Part(
        "text_encoder_2",
        "model",
        "tokenizer_2",
        text_is_measured=True,
        tokenized=t5.tokenizer,
        idle=("decoder.*", "lm_head.weight", "spiece_model"),
        ties=(("shared.weight", "encoder.embed_tokens.weight"),),
        loose=Loose(
            called="a T5 text encoder",
            example="t5xxl_fp16.safetensors",
            signs=("encoder.block.0.layer.0.SelfAttention.q.weight",),
            within=("", "text_encoders.t5xxl.transformer.", "text_encoders.t5xxl.", "t5xxl."),
            published=T5,
            sizes=t5_sizes,
        ),
    ),
}

NEEDS = (
    Need(
        "denoiser",
        "in_channels",
        64,
        64,
        {384: "is FLUX.1 Fill", 128: "is FLUX.1 Canny or Depth"},
    ),
    Need(
        "autoencoder",
        "latent_channels",
        16,
        4,
        {4: "is that of Stable Diffusion or SDXL", 32: "is that of FLUX.2"},
    ),
)
GUIDED = Need("denoiser", "guidance_embeds", True, False, {False: "takes no guidance"})
UNGUIDED = Need("denoiser", "guidance_embeds", False, False, {True: "takes guidance"})
