"""What the rest of the tool needs to know about one kind of model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from scumble.adapters.keys import Keys
from scumble.data.batch import TEXT_MASK, stacked
from scumble.families.spelling import Cutter, as_they_are
from scumble.families.tensor_files import Shape
from scumble.hardware.blocks import Net
from scumble.objective.process import Latents, Process, Times

__all__ = [
    "TEXT_MASK",
    "Config",
    "Entry",
    "Family",
    "Fit",
    "Knobs",
    "Loose",
    "Modules",
    "Need",
    "Part",
    "Pixels",
    "Prompt",
    "Scene",
    "Sight",
    "Told",
    "Tools",
    "stacked",
]

Entry = dict[str, Tensor]
"""One cached value: no batch axis, no batch padding."""

Pixels = Float[Tensor, "batch 3 rows columns"]
"""From -1 (black) to 1 (white)."""

Sight = UInt8[np.ndarray, "_ _ 3"]
"""A picture as a text's reader is shown it."""

Config = Mapping[str, Any]
"""A part's config.json."""

Modules = Mapping[str, nn.Module]
"""Loaded parts by name."""

Tools = Mapping[str, Any]
"""Tokenizers by the name of the part they belong to."""


@dataclass(frozen=True)
class Prompt:
    """What a picture is to be made from: a text, read in so many tokens."""

    text: str
    tokens: int
    masked: bool = False
    """Whether its padding is hidden from what reads it and from the network."""

    pictures: tuple[Sight, ...] = ()
    """What it is read with, in order, each at the size that `Family.glance` asks for."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the network is told besides the noisy latents; alike in shape over the batch."""

    values: dict[str, Tensor]
    """Text and numbers, [batch, ...]."""

    references: tuple[Tensor, ...] = ()
    """Clean latents of the pictures that are shown along, in order, each of a size of its own:
    [batch, channels, height, width]."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known of the examples besides words and pictures."""

    frames: Int[Tensor, "batch 8"]
    """Original h w, resized h w, corner top left, size h w; in pixels."""

    spare: Float[Tensor, " batch"] | None = None
    """A uniform number for each example, to be spent on what is drawn of the knobs; None: they
    stand in the middle."""


@dataclass(frozen=True)
class Knobs:
    """The numbers of a job that a family may tell its network."""

    guidance: float
    spread: float = 0.0
    """How far to either side of `guidance` it is drawn, evenly, where examples have a number to
    spare."""


@dataclass(frozen=True, kw_only=True)
class Loose:
    """What a part looks like as a file of its own, or in one that holds the whole model.

    Such files have no config.json: shapes decide, and what shapes cannot tell is as published.
    """

    called: str
    """What it is, with its article: a T5 text encoder."""

    example: str
    """A file of that kind that many have."""

    signs: tuple[str, ...]
    """Names by which it is known, one for each way of spelling it."""

    within: tuple[str, ...]
    """What its names may begin with; an empty beginning is a file of its own."""

    published: Config
    """The settings of the published config.json that its shapes do not tell, or that stand in
    while the file is not on this machine."""

    sizes: Callable[[Mapping[str, Shape]], Config]
    """What the shapes of its tensors tell, under our names; KeyError names a tensor that is
    missing, ValueError says what cannot be."""


@dataclass(frozen=True)
class Part:
    """One of a model's networks, and how it lies on disk."""

    folder: str
    weights: str
    """Name of the weights file, without the ending."""

    tokenizer: str | None = None
    """Folder of its tokenizer."""

    text_is_measured: bool = False
    """Whether it reads as many tokens as the job says, and not a number of its own."""

    aliases: tuple[tuple[str, str], ...] = ()
    """Beginnings of keys as some files spell them, and as the others do."""

    loose: Loose = field(kw_only=True)
    tokenized: Callable[[Path], Any] | None = field(default=None, kw_only=True)
    """Its tokenizer, from a folder."""

    nested: str | None = field(default=None, kw_only=True)
    """The setting under which a config.json of more than this part keeps those of this part."""

    beside: tuple[str, ...] = field(default=(), kw_only=True)
    """Settings beside `nested` that are this part's as well."""

    cuts: Cutter = field(default=as_they_are, kw_only=True)
    """What the tensors of its files become, whoever spelt them."""

    idle: tuple[str, ...] = field(default=(), kw_only=True)
    """Tensors that its files may hold and that nothing here needs; `*` stands for anything."""

    ties: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)
    """Names of one and the same tensor; the first is the one that is kept."""

    wide: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    """Linear layers that are not quantised, as published practice has it: patterns for the
    quantiser and for their whole names, in which `*` stands for anything."""


@dataclass(frozen=True)
class Need:
    """A setting of a part's config without which it is not this flavour."""

    part: str
    setting: str
    value: object
    unsaid: object
    """What it is where the config does not say."""

    otherwise: Mapping[object, str]
    """What a part with another value is, as the end of a sentence about it."""


@dataclass(frozen=True)
class Fit:
    """What one part gives is as wide as what the denoiser takes."""

    part: str
    gives: str
    """Setting of its config."""

    takes: str
    """Setting of the denoiser's config."""

    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Family:
    """Facts and eight plain functions. A flavour is `replace(...)` of its parent."""

    name: str
    flavour: str
    process: Process
    parts: Mapping[str, Part]
    """`denoiser`, `autoencoder` and the text encoders."""

    pixels_per_step: int
    """Sides of pictures are a multiple of this."""

    pixels_per_latent: int
    latent_channels: int
    text_tokens: int
    text_fields: Mapping[str, Callable[[Mapping[str, Config], int], tuple[int, ...]]]
    """Fields of a text entry and their shapes, from the parts' configs and the text's length."""

    text_parts: Mapping[str, str]
    """Which part makes each of these fields."""

    needs: tuple[Need, ...]
    fits: tuple[Fit, ...]
    guidance_embedded: bool
    references: int = 0
    """How many pictures an example may show along."""

    references_needed: int = 0
    """And how many it must: without them it was never published to paint anything."""

    preview_steps: int
    preview_guidance: float
    preview_scale: float = 1.0
    """How far a picture is led away from the answer without the prompt, as published; 1: not at
    all (see `guided`)."""

    glance: Callable[[int, int], tuple[int, int]] | None = None
    """Height and width at which a reference of that height and width is shown to what reads the
    texts; None: texts are read by themselves."""

    reference_side: int | None = None
    """Side of the square whose area references have in the published pipeline; None: it takes any
    size."""

    text_length: Callable[[str, Sequence[tuple[int, int]], int], int] | None = None
    """About how many tokens a text becomes, for forecasts: from the text, the heights and widths
    of the pictures it is read with, and the job's length; None: always as many as the job says."""

    targets: Mapping[str, tuple[str, ...]]
    """Layers by preset; see `adapters.attach.matches`."""

    mute: Callable[[nn.Module], Collection[str]] | None = None
    """Linear layers of the denoiser whose answer reaches no picture, so that there is nothing to
    train them by; None: every layer is heard."""

    keys: Keys
    """What the layers of its networks are called elsewhere, by part."""

    pipeline: str = ""
    """The class of diffusers that paints with it as published; empty: none."""

    skeleton: Callable[[str, Config], nn.Module]
    """One part without weights (on the meta device)."""

    words: Callable[[Tools, Prompt], Entry]
    """Text as numbers; on the CPU, without a network."""

    read: Callable[[Modules, Sequence[Entry]], list[Entry]]
    """Words as embeddings; can be differentiated."""

    see: Callable[[Modules, Pixels], list[Entry]]
    """Pixels as clean latents: {"latents": [channels, height, width]} each."""

    show: Callable[[Modules, Latents], Pixels]
    """Clean latents as pixels."""

    tell: Callable[[Told, Scene, Knobs], Told]
    """Adds what is neither word nor picture: guidance, sizes."""

    predict: Callable[[Net, Latents, Times, Told], Latents]
    """The network's answer for noisy latents, at each example's time."""

    guided: Callable[[Latents, Latents, float], Latents]
    """Answers with and without the prompt, joined as published."""
