"""What a file seems to be, from its first bytes or from the names of its tensors: two tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

PICKLED = "pickled weights, which can run any code and are refused"
SAFE = "use the .safetensors file of the same model"
AGAIN = "fetch it again"
LISTED = "name the weights, or the folder that they lie in; or fetch them again"

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of files that are not even opened."""

BEGINNINGS = (
    (b"GGUF", "a GGUF file", SAFE),
    (
        b"version https://git-lfs",
        "a pointer that git left in place of the file",
        "fetch the file itself with `git lfs pull`",
    ),
    (b"PK\x03\x04", f"a zip archive or {PICKLED}", SAFE),
    (b"\x80\x02", PICKLED, SAFE),
    (b"\x80\x03", PICKLED, SAFE),
    (b"\x80\x04", PICKLED, SAFE),
    (b"\x80\x05", PICKLED, SAFE),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"\x89HDF", "a Keras (HDF5) file", SAFE),
    (b"\x89PNG", "a picture", "name the weights"),
    (b"\xff\xd8\xff", "a picture", "name the weights"),
    (b"<!doctype html", "a web page, as a server sends it in place of a file", AGAIN),
    (b"<html", "a web page, as a server sends it in place of a file", AGAIN),
    (b"<?xml", "an XML page, as a server sends it to tell of an error", AGAIN),
    (b"<error", "an XML page, as a server sends it to tell of an error", AGAIN),
    (b"{", "JSON text", LISTED),
    (b"[", "JSON text", LISTED),
)
"""How files begin, in lower case where it is text; what they are; what to do."""


def by_bytes(first: bytes) -> tuple[str, str]:
    """What a file seems to be that is no safetensors file, and what to do about it."""
    if not first:
        return "empty: nothing was written into it", AGAIN
    if not any(first):
        return "room that a download reserved and never filled (zeros only)", AGAIN
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    for begins, what, remedy in BEGINNINGS:
        if first.startswith(begins) or text.lower().startswith(begins):
            return what, remedy
    return "damaged or something unknown", AGAIN


@dataclass(frozen=True)
class Sign:
    """Pieces of names that together tell a kind of file; a leading newline is a name's start."""

    what: str
    pieces: tuple[str, ...]


SIGNS = (
    Sign("a LoRA adapter in ComfyUI's layout", ("\ndiffusion_model.", ".lora_A.")),
    Sign("a LoRA adapter in ComfyUI's layout", ("\ndiffusion_model.", ".lora_down.")),
    Sign("a LoRA adapter in kohya's layout", ("\nlora_", ".lora_down.")),
    Sign("a LoRA adapter in the layout of diffusers", (".lora_A.",)),
    Sign("a LoRA adapter", (".lora_down.",)),
    Sign("a LoRA adapter in XLabs' layout", (".processor.", "_lora1.")),
    Sign("a LyCORIS adapter", (".lokr_w",)),
    Sign("a LyCORIS adapter", (".hada_w",)),
    Sign("weights in bitsandbytes' NF4", (".quant_state.bitsandbytes__nf4",)),
    Sign("weights in bitsandbytes' FP4", (".quant_state.bitsandbytes__fp4",)),
    Sign("a ControlNet", ("control_model.",)),
    Sign("a ControlNet", ("\ncontrolnet_",)),
    Sign("a Chroma model", ("distilled_guidance_layer.",)),
    Sign("a FLUX.2 model", ("double_stream_modulation_img.",)),
    Sign("a Stable Diffusion 3 model", ("joint_blocks.0.",)),
    Sign("an SDXL checkpoint", ("\nconditioner.embedders.",)),
    Sign("a Stable Diffusion 2 checkpoint", ("\ncond_stage_model.model.",)),
    Sign("a Stable Diffusion 1.5 checkpoint", ("\ncond_stage_model.transformer.",)),
    Sign("the UNet of SDXL", ("label_emb.0.0.", "input_blocks.")),
    Sign("the UNet of SDXL", ("\nadd_embedding.linear_1.", "\ndown_blocks.")),
    Sign("the UNet of Stable Diffusion 1.5 or 2", ("input_blocks.1.1.",)),
    Sign(
        "the UNet of Stable Diffusion 1.5 or 2", ("\nup_blocks.1.attentions.", "\ntime_embedding")
    ),
    Sign("a Qwen-Image transformer", ("transformer_blocks.0.img_mod.", "txt_norm.")),
    Sign("a Wan video model", ("blocks.0.cross_attn.", "patch_embedding.")),
    Sign("a whole FLUX.1 checkpoint", ("double_blocks.0.img_attn.qkv.", "text_encoders.")),
    Sign("a FLUX.1 transformer", ("double_blocks.0.img_attn.qkv.", "single_blocks.0.linear1.")),
    Sign(
        "a FLUX.1 transformer", ("single_transformer_blocks.0.", "transformer_blocks.0.ff_context")
    ),
    Sign("the autoencoder of Qwen-Image or Wan", ("decoder.middle.0.residual.",)),
    Sign("the autoencoder of Qwen-Image or Wan", ("decoder.mid_block.resnets.0.norm1.gamma",)),
    Sign("an autoencoder", ("decoder.mid.block_1.", "encoder.conv_in.")),
    Sign("an autoencoder", ("decoder.mid_block.resnets.0.", "encoder.conv_in.")),
    Sign("a T5 text encoder", ("block.0.layer.0.SelfAttention.q.",)),
    Sign("a CLIP text encoder with its vision half", ("vision_model.", "token_embedding.")),
    Sign("a CLIP vision model", ("vision_model.",)),
    Sign("a CLIP text encoder", ("encoder.layers.0.self_attn.", "token_embedding.")),
    Sign("an OpenCLIP text encoder", ("resblocks.0.attn.",)),
    Sign("a Qwen2.5-VL model", ("\nvisual.blocks.0.", "model.layers.0.")),
    Sign("a language model", ("model.layers.0.self_attn.",)),
)
"""The first that fits wins: what is special stands before what is general."""


def by_names(names: Collection[str]) -> str:
    """What a safetensors file seems to be."""
    joined = "".join(f"\n{name}" for name in names)
    for sign in SIGNS:
        if all(piece in joined for piece in sign.pieces):
            return sign.what
    return f"something unknown (its first tensor is {min(names)})" if names else "empty"
