"""What keys that are no plain LoRA of ours seem to be, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

KINDS = (
    (".dora_scale", "DoRA"),
    (".lora_magnitude_vector", "DoRA"),
    (".lora_magnitude_vector.weight", "DoRA"),
    (".lora_magnitude_vector.default.weight", "DoRA"),
    (".lokr_", "LoKr"),
    (".hada_", "LoHa"),
    (".oft_", "OFT"),
    (".boft_", "BOFT"),
    (".lora_mid.", "LoCon with a core"),
    (".lora_B.bias", "LoRA with biases"),
    (".lora_B.default.bias", "LoRA with biases"),
    (".lora_up.bias", "LoRA with biases"),
    (".diff_b", "full changes of biases"),
    (".diff", "full changes of weights"),
    (".set_weight", "replaced weights"),
    (".reshape_weight", "LoRA of a reshaped layer"),
    (".w_norm", "trained norms"),
    (".b_norm", "trained norms"),
    (".on_input", "IA3"),
    (".a1.weight", "GLoRA"),
    (".a2.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".b2.weight", "GLoRA"),
)
"""Endings that make a layer something else than W + B A; after a last `_` or `.` more may come."""

TELLS = (
    ("lora_unet_input_blocks_", "an adapter of SDXL"),
    ("lora_unet_output_blocks_", "an adapter of SDXL"),
    ("lora_te2_text_model_", "an adapter of SDXL"),
    ("lora_unet_down_blocks_", "an adapter of Stable Diffusion"),
    ("lora_unet_up_blocks_", "an adapter of Stable Diffusion"),
    ("unet.down_blocks.", "an adapter of Stable Diffusion in diffusers layout"),
    ("joint_blocks", "an adapter of Stable Diffusion 3"),
    ("img_mlp.net.", "an adapter of Qwen-Image"),
    ("img_mlp_net_", "an adapter of Qwen-Image"),
    ("transformer.transformer_blocks.59.", "an adapter of Qwen-Image"),
    (".processor.", "an adapter as XLabs writes it"),
    ("diffusion_model.blocks.", "an adapter of a video model such as Wan"),
    ("lora_unet_blocks_", "an adapter of a video model such as Wan"),
    ("double_stream_modulation", "an adapter of FLUX.2"),
)
"""Words in a key that other models' adapters have."""

OURS = (
    ("single_transformer_blocks", "an adapter of FLUX.1"),
    ("single_blocks", "an adapter of FLUX.1"),
)
"""The same of models that have families here; in `TELLS` stand those that have one as well."""

STATE = (".down", ".up", ".shared_down")
LORA = ("lora", ".alpha")


def kind(key: str) -> tuple[str, str] | None:
    """The layer of such a key and what was trained there; None for any other key."""
    for word, name in KINDS:
        layer, there, rest = key.rpartition(word)
        if there and (not rest or word.endswith(("_", "."))):
            return layer, name
    return None


def seems(keys: Iterable[str], own: Collection[str] = ()) -> str:
    """What a file of such keys seems to be; empty where nothing tells.

    `own` are the keys that an adapter of the model in question may have: what stands in them too
    tells nothing.
    """
    found = list(keys)
    for word, name in (*TELLS, *OURS) if own else TELLS:
        if any(word in key for key in found) and not any(word in key for key in own):
            return name
    if not found:
        return ""
    if all(key.endswith(STATE) for key in found):
        return "the state of a checkpoint; the adapter is NAME.safetensors"
    if not any(word in key for key in found for word in LORA):
        return "the weights of a model, not an adapter"
    return ""
