"""Qwen-Image and Qwen-Image-Edit: a rectified flow in the latents of Wan's autoencoder.

Facts are those of the published folders (Qwen/Qwen-Image, -Edit and -Edit-2509).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from scumble.families.family import (
    TEXT_MASK,
    Config,
    Entry,
    Family,
    Fit,
    Knobs,
    Modules,
    Pixels,
    Scene,
    Told,
)
from scumble.families.layers import PATCH, hidden, pack, unpack
from scumble.families.qwen import text, vae
from scumble.families.qwen.files import EDIT_PARTS, NEEDS, PARTS
from scumble.families.qwen.keys import (
    ATTENTION,
    EDIT_KEYS,
    FEED_FORWARD,
    KEYS,
    TEXT_ATTENTION,
)
from scumble.families.qwen.network import QwenTransformer, configured
from scumble.hardware.blocks import Net
from scumble.objective.process import Latents, RectifiedFlow, Times


def skeleton(part: str, config: Config, *, sees: bool) -> nn.Module:
    """One part without weights; `sees`: its texts are read with pictures."""
    if part == "denoiser":
        with torch.device("meta"):
            return QwenTransformer(configured(config))
    return vae.skeleton(config) if part == "autoencoder" else text.skeleton(config, sees=sees)


def see(modules: Modules, pixels: Pixels) -> list[Entry]:
    """Clean latents."""
    return [{"latents": one} for one in vae.see(modules["autoencoder"], pixels).unbind()]


def show(modules: Modules, latents: Latents) -> Pixels:
    """Pixels of clean latents."""
    return vae.show(modules["autoencoder"], latents)


def tell(told: Told, scene: Scene, knobs: Knobs) -> Told:
    """Text and references are all that this network looks at."""
    return told


def predict(net: Net, noisy: Latents, times: Times, told: Told) -> Latents:
    """Velocity at each example's time, which is told to the references' tokens as well; padding
    goes unseen where the text tells which it is."""
    module, words = net.module, told.values["text"]
    assert isinstance(module, QwenTransformer)
    pictures = (noisy, *told.references)
    grids = tuple((one.shape[-2] // PATCH, one.shape[-1] // PATCH) for one in pictures)
    tokens = torch.cat([pack(one) for one in pictures], dim=1).to(words.dtype)
    stream = module.opened(tokens, words, times, grids)
    if TEXT_MASK in told.values:
        stream = hidden(stream, told.values[TEXT_MASK])
    for index, block in module.blocks():
        stream = net.run(index, block, stream)
    rows, columns = grids[0]
    return unpack(
        module.closed(stream.image[:, : rows * columns], stream.time), height=noisy.shape[-2]
    )


def mute(denoiser: nn.Module) -> tuple[str, ...]:
    """What the last block makes of the text for itself: nobody reads it any more."""
    assert isinstance(denoiser, QwenTransformer)
    last = f"transformer_blocks.{denoiser.config.num_layers - 1}"
    layers = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")
    return tuple(f"{last}.{layer}" for layer in layers)


def guided(with_prompt: Latents, without: Latents, scale: float) -> Latents:
    """Away from the answer without the prompt, but every token as long as with the prompt alone.

    As the published pipelines do it, so that a large scale does not burn the picture.
    """
    height = with_prompt.shape[-2]
    kept, free = pack(with_prompt), pack(without + scale * (with_prompt - without))
    long = free.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(free.dtype).tiny)
    return unpack(free * (kept.norm(dim=-1, keepdim=True) / long), height=height)


def _text_shape(configs: Mapping[str, Config], tokens: int) -> tuple[int, ...]:
    return (tokens, int(configs["denoiser"]["joint_attention_dim"]))


QWEN_IMAGE = Family(
    name="qwen-image",
    flavour="base",
    process=RectifiedFlow(lean=((256, 0.5), (8192, 0.9)), terminal=0.02),
    parts=PARTS,
    pixels_per_step=16,
    pixels_per_latent=8,
    latent_channels=16,
    text_tokens=1024,
    text_fields={"text": _text_shape},
    text_parts={"text": "qwen"},
    needs=NEEDS,
    fits=(
        Fit(text.NAME, "hidden_size", "joint_attention_dim"),
        Fit("autoencoder", "z_dim", "in_channels", times=PATCH**2),
    ),
    guidance_embedded=False,
    preview_steps=50,
    preview_guidance=0.0,
    preview_scale=4.0,
    text_length=text.TEXT.length,
    targets={
        "attention": ATTENTION + TEXT_ATTENTION,
        "blocks": ATTENTION + TEXT_ATTENTION + FEED_FORWARD,
        "simpletuner": ATTENTION,
        "all": ("*",),
    },
    mute=mute,
    keys=KEYS,
    pipeline="QwenImagePipeline",
    skeleton=partial(skeleton, sees=False),
    words=text.TEXT.words,
    read=text.TEXT.read,
    see=see,
    show=show,
    tell=tell,
    predict=predict,
    guided=guided,
)
"""Sides are multiples of 16, for the published sizes are (1328 x 1328 among them); the edit
pipelines round what nobody names to multiples of 32, and take any of 16 that is named."""

QWEN_EDIT = replace(
    QWEN_IMAGE,
    flavour="edit-v1",
    parts=EDIT_PARTS,
    references=1,
    references_needed=1,
    reference_side=1024,
    glance=text.GLANCE,
    text_length=text.EDIT.length,
    keys=EDIT_KEYS,
    pipeline="QwenImageEditPipeline",
    skeleton=partial(skeleton, sees=True),
    words=text.EDIT.words,
    read=text.EDIT.read,
)

QWEN_EDIT_PLUS = replace(
    QWEN_EDIT,
    flavour="edit-v2",
    references=16,
    references_needed=0,
    preview_steps=40,
    glance=text.GLANCE_PLUS,
    text_length=text.EDIT_PLUS.length,
    pipeline="QwenImageEditPlusPipeline",
    words=text.EDIT_PLUS.words,
    read=text.EDIT_PLUS.read,
)
"""Trained with up to three references, as published; it takes more."""
