"""The Qwen-Image transformer, block by block, with the state-dict names of the diffusers folders.

Qwen team, 2025 (arXiv 2508.02324). Written here so that a run starts without importing diffusers
and so that blocks can be run one at a time; `tests/families` holds it to the published forward
pass. Shapes: batch b, heads h, tokens n (of text m), features d or _.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scumble.families.layers import (
    EPSILON,
    WAVES,
    Attention,
    Embedder,
    FeedForward,
    HeadNorm,
    Modulation,
    Tokens,
    Vector,
    Words,
    cosines,
    met,
    modulated,
    thought,
    waves,
)
from scumble.hardware.blocks import Stream

DIAGONAL = 4096  # places of a text that are counted at once, as many as published
Grid = tuple[int, int]
"""A picture's patches: rows and columns."""


@dataclass(frozen=True, kw_only=True)
class QwenConfig:
    """The fields of transformer/config.json that change the network."""

    in_channels: int = 64
    out_channels: int = 16
    patch_size: int = 2
    num_layers: int = 60
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 3584
    axes_dims_rope: tuple[int, ...] = (16, 56, 56)

    @property
    def width(self) -> int:
        """Features of a token."""
        return self.attention_head_dim * self.num_attention_heads


def configured(config: Mapping[str, Any]) -> QwenConfig:
    """What a config.json says of it."""
    known = {name: config[name] for name in QwenConfig.__dataclass_fields__ if name in config}
    if "axes_dims_rope" in known:
        known["axes_dims_rope"] = tuple(known["axes_dims_rope"])
    return QwenConfig(**known)


def places(
    text: int, grids: tuple[Grid, ...], axes: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each token: text first, then every picture's patches.

    Each picture lies on a plane of its own, 0 for the one that is made, with its middle at (0, 0);
    the text goes on along the diagonal from where the largest picture ends, on all three axes
    alike. Angles are computed in float32 on the CPU, as published, and only once: texts have many
    lengths, and no step is to wait for numbers on their way to a card.
    """
    start = max(max(height, width) // 2 for height, width in grids)
    rows = math.ceil((start + text) / DIAGONAL) * DIAGONAL
    words = (one[start : start + text] for one in _diagonal(rows, axes, device))
    pairs = zip(words, _patches(grids, axes, device), strict=True)
    cosine, sine = (torch.cat(pair) for pair in pairs)
    return cosine, sine


@lru_cache(maxsize=8)
def _diagonal(rows: int, axes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Of the text's tokens, from where there is no picture at all."""
    along = torch.arange(rows, dtype=torch.float32)
    return cosines(along[:, None].expand(rows, len(axes)), axes, device)


@lru_cache(maxsize=64)
def _patches(
    grids: tuple[Grid, ...], axes: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Of the pictures' tokens."""
    rows = []
    for plane, (height, width) in enumerate(grids):
        ids = torch.full((height * width, 3), float(plane))
        down = torch.arange(height) - (height - height // 2)
        across = torch.arange(width) - (width - width // 2)
        ids[:, 1], ids[:, 2] = down.repeat_interleave(width), across.repeat(height)
        rows.append(ids)
    return cosines(torch.cat(rows), axes, device)


class Time(nn.Module):
    """The noise level as a vector; the text has no part in it, whatever its name says."""

    def __init__(self, config: QwenConfig) -> None:
        super().__init__()
        self.timestep_embedder = Embedder(WAVES, config.width)

    def forward(self, times: Float[Tensor, " b"], like: Tensor) -> Vector:
        return self.timestep_embedder(waves(times, 1000.0).to(like.dtype))


def _modulation(width: int) -> nn.Module:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))


class Block(nn.Module):
    """Pictures and text keep their own weights and meet in the attention."""

    def __init__(self, config: QwenConfig) -> None:
        super().__init__()
        width = config.width
        self.img_mod, self.txt_mod = _modulation(width), _modulation(width)
        self.attn = Attention(config.num_attention_heads, config.attention_head_dim, text=True)
        self.img_mlp, self.txt_mlp = FeedForward(width), FeedForward(width)

    def forward(self, stream: Stream) -> Stream:
        image = self.img_mod(stream.time).chunk(6, dim=-1)
        text = self.txt_mod(stream.time).chunk(6, dim=-1)
        stream = met(self.attn, stream, image[:3], text[:3])
        assert stream.text is not None
        return replace(
            stream,
            image=thought(stream.image, self.img_mlp, image[3:]),
            text=thought(stream.text, self.txt_mlp, text[3:]),
        )


class QwenTransformer(nn.Module):
    """The parts of the transformer; `families.qwen.model.predict` walks them."""

    def __init__(self, config: QwenConfig) -> None:
        super().__init__()
        self.config = config
        self.time_text_embed = Time(config)
        self.txt_norm = HeadNorm(config.joint_attention_dim, eps=EPSILON)
        self.img_in = nn.Linear(config.in_channels, config.width)
        self.txt_in = nn.Linear(config.joint_attention_dim, config.width)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm_out = Modulation(config.width, 2)
        self.proj_out = nn.Linear(config.width, config.patch_size**2 * config.out_channels)

    def opened(
        self, tokens: Tokens, text: Words, times: Float[Tensor, " b"], grids: tuple[Grid, ...]
    ) -> Stream:
        """The stream before the first block; the tokens are those of the grids, in their order."""
        image = self.img_in(tokens)
        return Stream(
            image=image,
            text=self.txt_in(self.txt_norm(text)),
            time=self.time_text_embed(times, text),
            places=places(text.shape[1], grids, self.config.axes_dims_rope, tokens.device),
        )

    def blocks(self) -> Iterator[tuple[int, nn.Module]]:
        """Every block with its number, in order."""
        yield from enumerate(self.transformer_blocks)

    def closed(self, tokens: Tokens, time: Vector) -> Tokens:
        """The answer for the picture's tokens after the last block."""
        scale, shift = self.norm_out(time)
        return self.proj_out(modulated(tokens, scale, shift))
