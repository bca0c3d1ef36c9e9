"""Qwen-Image's layers: everybody calls them as diffusers does, behind one beginning or another.

ComfyUI and musubi-tuner load the published transformer under its own names, so that only what
stands before them differs, and musubi-tuner's underscores.
"""

from collections.abc import Mapping
from dataclasses import replace

from scumble.adapters.keys import Network, Row

BLOCK = "transformer_blocks.{}"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ATTENTION = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
FEED_FORWARD = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
MODULATION = ("img_mod.1", "txt_mod.1")
ENDS = (
    "img_in",
    "txt_in",
    "time_text_embed.timestep_embedder.linear_1",
    "time_text_embed.timestep_embedder.linear_2",
    "norm_out.linear",
    "proj_out",
)
LAYERS = (
    *(f"{BLOCK}.attn.{name}" for name in (*ATTENTION, *TEXT_ATTENTION)),
    *(f"{BLOCK}.{name}" for name in (*FEED_FORWARD, *MODULATION)),
    *ENDS,
)
NORMS = (
    *(f"{BLOCK}.attn.norm_{name}.weight" for name in ("q", "k", "added_q", "added_k")),
    "txt_norm.weight",
)


def told(model: str) -> Mapping[str, str]:
    """What the metadata of a musubi-tuner file says of a model."""
    return {
        "ss_network_module": "networks.lora_qwen_image",
        "ss_base_model_version": model,
    }


TRANSFORMER = Network(
    rows=tuple(Row(layer, (layer,)) for layer in LAYERS),
    tensors=tuple((name, name) for name in NORMS),
    prefixes={
        "diffusers": "transformer.",
        "kohya": "lora_unet_",
        "comfy": "diffusion_model.",
    },
    also={
        "base_model.model.": "peft",
        "base_model.model.transformer.": "peft",
        "lora_transformer_": "OneTrainer",
        "lycoris_": "LyCORIS",
        "model.diffusion_model.": "comfy",
        "": "bare names",
    },
    kohya=told("qwen_image"),
)

KEYS = {"denoiser": TRANSFORMER}
EDIT_KEYS = {"denoiser": replace(TRANSFORMER, kohya=told("qwen_image_edit"))}
