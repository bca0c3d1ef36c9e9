"""Layers that the transformers of several families have in common.

Names are those of the diffusers folders. Shapes: batch b, heads h, tokens n (of text m), features
d or _.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from scumble.hardware.blocks import Stream

Tokens = Float[Tensor, "b n _"]
Words = Float[Tensor, "b m _"]
Vector = Float[Tensor, "b _"]
Told = Sequence[Tensor]
EPSILON = 1e-6
WAVES = 256  # features of a number's sinusoidal embedding
PATCH = 2  # latents per side of a token
THETA = 10000.0  # of positions and of numbers


def pack(latents: Float[Tensor, "b c rows columns"]) -> Tokens:
    """Cut into 2x2 patches, row by row."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=PATCH, q=PATCH)


def unpack(tokens: Tokens, *, height: int) -> Float[Tensor, "b c rows columns"]:
    """Undo `pack`; `height` is the latents' own, which the tokens no longer tell."""
    return rearrange(
        tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=height // PATCH, p=PATCH, q=PATCH
    )


def waves(numbers: Float[Tensor, " b"], scale: float = 1.0) -> Float[Tensor, "b waves"]:
    """Cosines and sines of a number at frequencies from `scale` down to 1/10000 of it."""
    half = WAVES // 2
    steps = torch.arange(half, dtype=torch.float32, device=numbers.device)
    angles = scale * (numbers[:, None].float() * torch.exp(steps * (-math.log(THETA) / half)))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def angles(positions: Float[Tensor, " n"], size: int) -> Float[Tensor, "n half"]:
    """By how much each pair of `size` features is turned, in the precision of the positions."""
    steps = torch.arange(0, size, 2, dtype=positions.dtype) / size
    return positions[:, None] * (1.0 / THETA**steps)


def cosines(
    ids: Float[Tensor, "n axes"], axes: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each token and each of the features that are shared out to the axes."""
    turns = [angles(ids[:, axis], size) for axis, size in enumerate(axes)]
    joined = torch.cat(turns, dim=-1).repeat_interleave(2, dim=-1)
    return joined.cos().float().to(device), joined.sin().float().to(device)


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

    def __init__(self, heads: int, head: int, *, text: bool) -> None:
        super().__init__()
        width = heads * head
        self.heads = heads
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


def met(attention: Attention, stream: Stream, image: Told, text: Told) -> Stream:
    """The attention half of a block in which pictures and text keep their own weights.

    `image` and `text` are the shift, the scale and the gate of each.
    """
    assert stream.text is not None
    of_image = attention.of_image(modulated(stream.image, image[1], image[0]))
    of_text = attention.of_text(modulated(stream.text, text[1], text[0]))
    query, key, value = (torch.cat(pair, dim=2) for pair in zip(of_text, of_image, strict=True))
    answer = attended(query, key, value, stream.places, stream.seen)
    to_text, to_image = answer.split([stream.text.shape[1], stream.image.shape[1]], dim=1)
    return replace(
        stream,
        image=stream.image + image[2][:, None] * attention.to_out[0](to_image),
        text=stream.text + text[2][:, None] * attention.to_add_out(to_text),
    )


def thought(x: Tokens, layers: nn.Module, told: Told) -> Tokens:
    """The feed-forward half of a block; `told` is the shift, the scale and the gate."""
    shift, scale, gate = told
    return x + gate[:, None] * layers(modulated(x, scale, shift))


def hidden(stream: Stream, words: UInt8[Tensor, "b m"]) -> Stream:
    """The stream before the first block, with text that is 0 there unseen by every token.

    Pictures are seen always; what padding holds has no effect on them then.
    """
    pictures = words.new_ones(len(words), stream.image.shape[1])
    seen = torch.cat([words, pictures], dim=1).bool()
    return replace(stream, seen=seen[:, None, None])
