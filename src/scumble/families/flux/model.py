"""FLUX.1 dev and schnell: a rectified flow in the latents of a 16-channel autoencoder.

Facts are those of the published folders (black-forest-labs/FLUX.1-dev and -schnell).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scumble.families.encoders import clip, t5, vae
from scumble.families.family import (
    TEXT_MASK,
    Config,
    Entry,
    Family,
    Fit,
    Knobs,
    Modules,
    Pixels,
    Prompt,
    Scene,
    Told,
    Tools,
    stacked,
)
from scumble.families.flux.files import GUIDED, NEEDS, PARTS, UNGUIDED
from scumble.families.flux.keys import KEYS
from scumble.families.flux.network import FluxConfig, FluxTransformer, Grid, joined
from scumble.families.layers import PATCH, hidden, pack, unpack
from scumble.hardware.blocks import Net
from scumble.objective.process import Latents, RectifiedFlow, Times

if TYPE_CHECKING:
    from collections.abc import Callable

ATTENTION = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
)
FEED_FORWARD = (
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
    "proj_mlp",
    "single_transformer_blocks.*.proj_out",
)

MODULATION = ("norm1.linear", "norm1_context.linear", "single_transformer_blocks.*.norm.linear")


def skeleton(part: str, config: Config) -> nn.Module:
    """One part without weights."""
    if part == "denoiser":
        known = {name: config[name] for name in FluxConfig.__dataclass_fields__ if name in config}
        if "axes_dims_rope" in known:
            known["axes_dims_rope"] = tuple(known["axes_dims_rope"])
        with torch.device("meta"):
            return FluxTransformer(FluxConfig(**known))
    makers: dict[str, Callable[[Config], nn.Module]] = {
        "autoencoder": vae.skeleton,
        "clip": clip.skeleton,
        "t5": t5.skeleton,
    }
    return makers[part](config)


def words(tools: Tools, prompt: Prompt) -> Entry:
    """Token numbers for both encoders; CLIP's padding is never hidden."""
    numbers = {
        clip.IDS: clip.words(tools["clip"], prompt.text),
        t5.IDS: t5.words(tools["t5"], prompt.text, prompt.tokens),
    }
    if prompt.masked:
        numbers[t5.MASK] = t5.mask(tools["t5"], prompt.text, prompt.tokens)
    return numbers


def read(modules: Modules, entries: Sequence[Entry]) -> list[Entry]:
    """T5's tokens and CLIP's summary, and the mask of words that came with one."""
    ids, told = stacked(entries), dict[str, Tensor]()
    mask = ids.get(t5.MASK) if "t5" in modules else None
    if "t5" in modules:
        told["text"] = t5.read(modules["t5"], ids[t5.IDS], mask)
    if "clip" in modules:
        told["summary"] = clip.read(modules["clip"], ids[clip.IDS])
    if mask is not None:
        told[TEXT_MASK] = mask
    return [{name: one[row] for name, one in told.items()} for row in range(len(entries))]


def see(modules: Modules, pixels: Pixels) -> list[Entry]:
    """Clean latents."""
    return [{"latents": one} for one in vae.see(modules["autoencoder"], pixels).unbind()]


def show(modules: Modules, latents: Latents) -> Pixels:
    """Pixels of clean latents."""
    return vae.show(modules["autoencoder"], latents)


def tell(told: Told, scene: Scene, knobs: Knobs) -> Told:
    """The guidance, which schnell's network does not look at."""
    text = told.values["text"]
    guidance = torch.full((len(text),), knobs.guidance, device=text.device)
    if scene.spare is not None:
        guidance = guidance + knobs.spread * (2 * scene.spare - 1)
    return replace(told, values=told.values | {"guidance": guidance})


def predict(net: Net, noisy: Latents, times: Times, told: Told) -> Latents:
    """Velocity at each example's time; padding goes unseen where the text tells which it is."""
    module, values = net.module, told.values
    assert isinstance(module, FluxTransformer)
    height, width = noisy.shape[-2:]
    length = height * width // PATCH**2
    tokens = torch.cat([pack(one) for one in (noisy, *told.references)], dim=1)
    tokens = tokens.to(values["text"].dtype)
    time = module.time_text_embed(times, values["guidance"], values["summary"])
    grids = [Grid(height // PATCH, width // PATCH), *beside(told.references)]
    stream = module.opened(tokens, values["text"], time, grids)
    if TEXT_MASK in values:
        stream = hidden(stream, values[TEXT_MASK])
    for index, block in module.blocks():
        if index == module.config.num_layers:
            stream = joined(stream)
        stream = net.run(index, block, stream)
    images = stream.image[:, -tokens.shape[1] :]
    return unpack(module.closed(images[:, :length], time), height=height)


def beside(references: Sequence[Tensor]) -> list[Grid]:
    """Where each reference's patches stand on plane 1: none over another.

    As ComfyUI lays them out: beside what is there while that is taller than wide, else below.
    """
    grids: list[Grid] = []
    right = bottom = 0
    for one in references:
        height, width = one.shape[-2:]
        left, top = (right, 0) if height + bottom > width + right else (0, bottom)
        place = (top // PATCH, left // PATCH)
        grids.append(Grid(height // PATCH, width // PATCH, 1, *place))
        right, bottom = max(right, left + width), max(bottom, top + height)
    return grids


def guided(with_prompt: Latents, without: Latents, scale: float) -> Latents:
    """Away from the answer without the prompt (Ho and Salimans 2022)."""
    return without + scale * (with_prompt - without)


def _text_shape(configs: Mapping[str, Config], tokens: int) -> tuple[int, ...]:
    return (tokens, int(configs["denoiser"]["joint_attention_dim"]))


def _summary_shape(configs: Mapping[str, Config], tokens: int) -> tuple[int, ...]:
    return (int(configs["denoiser"]["pooled_projection_dim"]),)


FLUX_DEV = Family(
    name="flux",
    flavour="dev",
    process=RectifiedFlow(lean=((256, 0.5), (4096, 1.15))),
    parts=PARTS,
    pixels_per_step=16,
    pixels_per_latent=8,
    latent_channels=16,
    text_tokens=512,
    text_fields={"text": _text_shape, "summary": _summary_shape},
    text_parts={"text": "t5", "summary": "clip"},
    needs=(GUIDED, *NEEDS),
    fits=(
        Fit("clip", "hidden_size", "pooled_projection_dim"),
        Fit("t5", "d_model", "joint_attention_dim"),
        Fit("autoencoder", "latent_channels", "in_channels", times=PATCH**2),
    ),
    guidance_embedded=True,
    preview_steps=28,
    preview_guidance=3.5,
    targets={
        "attention": ATTENTION,
        "blocks": ATTENTION + FEED_FORWARD,
        "sd-scripts": ATTENTION + FEED_FORWARD + MODULATION,
        "all": ("*",),
    },
    keys=KEYS,
    pipeline="FluxPipeline",
    skeleton=skeleton,
    words=words,
    read=read,
    see=see,
    show=show,
    tell=tell,
    predict=predict,
    guided=guided,
)

FLUX_SCHNELL = replace(
    FLUX_DEV,
    flavour="schnell",
    process=RectifiedFlow(),
    text_tokens=256,
    needs=(UNGUIDED, *NEEDS),
    guidance_embedded=False,
    preview_steps=4,
    preview_guidance=0.0,
)

FLUX_KONTEXT = replace(
    FLUX_DEV,
    flavour="kontext",
    references=16,
    preview_guidance=2.5,
    pipeline="FluxKontextPipeline",
)
