"""The FLUX.1 transformer, block by block, with the state-dict names of the diffusers folders.

Black Forest Labs, 2024. Written here so that a run starts without importing diffusers and so
that blocks can be run one at a time; `tests/families` holds it to the published forward pass.
Shapes: batch b, heads h, tokens n (of text m), features d or _.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from scumble.hardware.blocks import Stream

Tokens = Float[Tensor, "b n _"]
Words = Float[Tensor, "b m _"]
Vector = Float[Tensor, "b _"]
EPSILON = 1e-6
WAVES = 256  # features of a number's sinusoidal embedding


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


def waves(numbers: Float[Tensor, " b"]) -> Float[Tensor, "b waves"]:
    """Cosines and sines of a number at frequencies from 1 down to 1/10000, cosines first."""
    half = WAVES // 2
    scale = torch.arange(half, dtype=torch.float32, device=numbers.device) * (
        -math.log(10000) / half
    )
    angles = numbers[:, None].float() * torch.exp(scale)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


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
    ids = torch.cat(rows)
    angles = [_angles(ids[:, axis], size) for axis, size in enumerate(axes)]
    joined = torch.cat(angles, dim=-1).repeat_interleave(2, dim=-1)
    return joined.cos().float().to(device), joined.sin().float().to(device)


def _angles(positions: Float[Tensor, " n"], size: int) -> Float[Tensor, "n half"]:
    frequencies = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    return positions[:, None] * frequencies


def turned(x: Float[Tensor, "b h n d"], by: tuple[Tensor, Tensor]) -> Float[Tensor, "b h n d"]:
    """Rotary position embedding over pairs of neighbouring features (Su et al. 2021)."""
    cosine, sine = by
    wide = x.float()
    even, odd = wide.unflatten(-1, (-1, 2)).unbind(-1)
    crossed = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (wide * cosine + crossed * sine).to(x.dtype)


def modulated(x: Tokens, scale: Vector, shift: Vector) -> Tokens:
    """Layer norm without weights, then the scale and shift that the time asks for."""
    norm = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
    return norm * (1 + scale[:, None]) + shift[:, None]


class Modulation(nn.Module):
    """Scales, shifts and gates from the time vector."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, time: Vector) -> tuple[Tensor, ...]:
        return self.linear(functional.silu(time)).chunk(self.parts, dim=-1)


class Embedder(nn.Module):
    """Two layers with a SiLU between them."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(features, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Vector) -> Vector:
        return self.linear_2(functional.silu(self.linear_1(x)))


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


class Gelu(nn.Module):
    """A layer and the tanh form of GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 4 * width)

    def forward(self, x: Tokens) -> Tokens:
        return functional.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """Four times as wide, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Gelu(width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tokens) -> Tokens:
        return self.net[2](self.net[0](x))


class HeadNorm(nn.RMSNorm):
    """With its scale in the type of x, as layers have it under autocast, which passes norms by."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Queries, keys and values of the picture's tokens; with `text`, of the text's as well."""

    def __init__(self, config: FluxConfig, *, text: bool) -> None:
        super().__init__()
        width, head = config.width, config.attention_head_dim
        self.heads = config.num_attention_heads
        self.norm_q = HeadNorm(head, eps=EPSILON)
        self.norm_k = HeadNorm(head, eps=EPSILON)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        if text:
            self.to_out = nn.ModuleList([nn.Linear(width, width)])
            self.norm_added_q = HeadNorm(head, eps=EPSILON)
            self.norm_added_k = HeadNorm(head, eps=EPSILON)
            self.add_q_proj, self.add_k_proj, self.add_v_proj = (
                nn.Linear(width, width) for _ in range(3)
            )
            self.to_add_out = nn.Linear(width, width)

    def split(self, x: Tokens) -> Float[Tensor, "b h n d"]:
        """Features cut into heads."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def of_image(self, x: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of picture (or joined) tokens."""
        query, key = self.norm_q(self.split(self.to_q(x))), self.norm_k(self.split(self.to_k(x)))
        return query, key, self.split(self.to_v(x))

    def of_text(self, x: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of text tokens."""
        query = self.norm_added_q(self.split(self.add_q_proj(x)))
        key = self.norm_added_k(self.split(self.add_k_proj(x)))
        return query, key, self.split(self.add_v_proj(x))


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    where: tuple[Tensor, Tensor],
    seen: Bool[Tensor, "b 1 1 n"] | None,
) -> Tokens:
    """Attention over the tokens that may be seen, None: all of them; heads joined again."""
    query, key = turned(query, where).to(value.dtype), turned(key, where).to(value.dtype)
    answer = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return answer.transpose(1, 2).flatten(2)


class DoubleBlock(nn.Module):
    """Picture and text keep their own weights and meet in the attention."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.norm1 = Modulation(config.width, 6)
        self.norm1_context = Modulation(config.width, 6)
        self.attn = Attention(config, text=True)
        self.ff = FeedForward(config.width)
        self.ff_context = FeedForward(config.width)

    def forward(self, stream: Stream) -> Stream:
        image, text = stream.image, stream.text
        assert text is not None
        shift, scale, gate, *image_rest = self.norm1(stream.time)
        text_shift, text_scale, text_gate, *text_rest = self.norm1_context(stream.time)
        of_image = self.attn.of_image(modulated(image, scale, shift))
        of_text = self.attn.of_text(modulated(text, text_scale, text_shift))
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(of_text, of_image, strict=True))
        answer = attended(query, key, value, stream.places, stream.seen)
        to_text, to_image = answer.split([text.shape[1], image.shape[1]], dim=1)
        image = image + gate[:, None] * self.attn.to_out[0](to_image)
        text = text + text_gate[:, None] * self.attn.to_add_out(to_text)
        image = self.thought(image, self.ff, image_rest)
        return replace(stream, image=image, text=self.thought(text, self.ff_context, text_rest))

    def thought(self, x: Tokens, layers: nn.Module, told: list[Tensor]) -> Tokens:
        """The feed-forward half of a block."""
        shift, scale, gate = told
        return x + gate[:, None] * layers(modulated(x, scale, shift))


class SingleBlock(nn.Module):
    """Attention and feed-forward side by side over the joined tokens."""

    def __init__(self, config: FluxConfig) -> None:
        super().__init__()
        self.norm = Modulation(config.width, 3)
        self.attn = Attention(config, text=False)
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


def hidden(stream: Stream, words: UInt8[Tensor, "b m"]) -> Stream:
    """The stream before the first block, with text that is 0 there unseen by every token.

    Pictures are seen always; what padding holds has no effect on them then.
    """
    pictures = words.new_ones(len(words), stream.image.shape[1])
    seen = torch.cat([words, pictures], dim=1).bool()
    return replace(stream, seen=seen[:, None, None])


def joined(stream: Stream) -> Stream:
    """Text and picture as one run of tokens, text first."""
    assert stream.text is not None
    return replace(stream, image=torch.cat([stream.text, stream.image], dim=1), text=None)
