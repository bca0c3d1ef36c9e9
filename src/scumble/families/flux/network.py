"""The FLUX.1 transformer, block by block, with the state-dict names of the diffusers folders.

Black Forest Labs, 2024. Written here so that a run starts without importing diffusers and so
that blocks can be run one at a time; `tests/families` holds it to the published forward pass.
Shapes: batch b, heads h, tokens n (of text m), features d or _.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scumble.families.layers import (
    WAVES,
    Attention,
    Embedder,
    FeedForward,
    Modulation,
    Tokens,
    Vector,
    Words,
    attended,
    cosines,
    met,
    modulated,
    thought,
    waves,
)
from scumble.hardware.blocks import Stream


@dataclass(frozen=True, kw_only=True)
class FluxConfig:
    """The fields of transformer/config.json that change the network."""

    in_channels: int = 64
    num_layers: int = 19
    num_single_layers: int = 38
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 4096
    pooled_projection_dim: int = 768
    guidance_embeds: bool = False
    axes_dims_rope: tuple[int, ...] = (16, 56, 56)

    @property
    def width(self) -> int:
        """Features of a token."""
        return self.attention_head_dim * self.num_attention_heads


@dataclass(frozen=True)
class Grid:
    """Where a picture's patches stand: row by row from (top, left), on one plane."""

    height: int
    width: int
    plane: int = 0
    """0 for the picture that is made, 1 for those it is made from."""

    top: int = 0
    left: int = 0


@lru_cache(maxsize=64)
def places(
    text: int, grids: tuple[Grid, ...], axes: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each token: text first, at (0, 0, 0), then patches at (plane, y, x).

    Angles are computed in float64 on the CPU, as published.
    """
    rows = [torch.zeros(text, 3, dtype=torch.float64)]
    for grid in grids:
        ids = torch.full((grid.height * grid.width, 3), float(grid.plane), dtype=torch.float64)
        ids[:, 1] = (grid.top + torch.arange(grid.height)).repeat_interleave(grid.width)
        ids[:, 2] = (grid.left + torch.arange(grid.width)).repeat(grid.height)
        rows.append(ids)
    return cosines(torch.cat(rows), axes, device)


class TimeText(nn.Module):
    """Noise level, guidance and the text's summary as one vector."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.timestep_embedder = Embedder(WAVES, config.width)
        self.guidance_embedder = Embedder(WAVES, config.width) if config.guidance_embeds else None
        self.text_embedder = Embedder(config.pooled_projection_dim, config.width)

    def forward(
        self, times: Float[Tensor, " b"], guidance: Float[Tensor, " b"] | None, summary: Vector
    ) -> Vector:
        vector = self.timestep_embedder(waves(times * 1000).to(summary.dtype))
        if self.guidance_embedder is not None:
            assert guidance is not None
            vector = vector + self.guidance_embedder(waves(guidance * 1000).to(summary.dtype))
        return vector + self.text_embedder(summary)


class DoubleBlock(nn.Module):
    """Picture and text keep their own weights and meet in the attention."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.norm1 = Modulation(config.width, 6)
        self.norm1_context = Modulation(config.width, 6)
        self.attn = Attention(config.num_attention_heads, config.attention_head_dim, text=True)
        self.ff = FeedForward(config.width)
        self.ff_context = FeedForward(config.width)

    def forward(self, stream: Stream) -> Stream:
        image, text = self.norm1(stream.time), self.norm1_context(stream.time)
        stream = met(self.attn, stream, image[:3], text[:3])
        assert stream.text is not None
        return replace(
            stream,
            image=thought(stream.image, self.ff, image[3:]),
            text=thought(stream.text, self.ff_context, text[3:]),
        )


class SingleBlock(nn.Module):
    """Attention and feed-forward side by side over the joined tokens."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.norm = Modulation(config.width, 3)
        self.attn = Attention(config.num_attention_heads, config.attention_head_dim, text=False)
        self.proj_mlp = nn.Linear(config.width, 4 * config.width)
        self.proj_out = nn.Linear(5 * config.width, config.width)

    def forward(self, stream: Stream) -> Stream:
        shift, scale, gate = self.norm(stream.time)
        x = modulated(stream.image, scale, shift)
        seen = attended(*self.attn.of_image(x), stream.places, stream.seen)
        thought = functional.gelu(self.proj_mlp(x), approximate="tanh")
        change = self.proj_out(torch.cat([seen, thought], dim=-1))
        return replace(stream, image=stream.image + gate[:, None] * change)


class FluxTransformer(nn.Module):
    """The parts of the transformer; `families.flux.model.predict` walks them."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.config = config
        self.x_embedder = nn.Linear(config.in_channels, config.width)
        self.context_embedder = nn.Linear(config.joint_attention_dim, config.width)
        self.time_text_embed = TimeText(config)
        self.transformer_blocks = nn.ModuleList(
            DoubleBlock(config) for _ in range(config.num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(config) for _ in range(config.num_single_layers)
        )
        self.norm_out = Modulation(config.width, 2)
        self.proj_out = nn.Linear(config.width, config.in_channels)

    def opened(self, tokens: Tokens, text: Words, time: Vector, grids: Sequence[Grid]) -> Stream:
        """The stream before the first block; the tokens are those of the grids, in their order."""
        text_length, axes = text.shape[1], self.config.axes_dims_rope
        return Stream(
            image=self.x_embedder(tokens),
            text=self.context_embedder(text),
            time=time,
            places=places(text_length, tuple(grids), axes, tokens.device),
        )

    def blocks(self) -> Iterator[tuple[int, nn.Module]]:
        """Every block with its number, in order."""
        yield from enumerate([*self.transformer_blocks, *self.single_transformer_blocks])

    def closed(self, tokens: Tokens, time: Vector) -> Tokens:
        """The answer for the picture's tokens after the last block."""
        scale, shift = self.norm_out(time)
        return self.proj_out(modulated(tokens, scale, shift))


def joined(stream: Stream) -> Stream:
    """Text and picture as one run of tokens, text first."""
    assert stream.text is not None
    return replace(stream, image=torch.cat([stream.text, stream.image], dim=1), text=None)
