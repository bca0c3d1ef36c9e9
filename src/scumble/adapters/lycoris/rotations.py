"""Orthogonal matrices near the identity, and what they add to a layer's answers.

Qiu et al. 2023 (OFT) and Liu et al. 2024 (BOFT), in the arrangement of LyCORIS' files.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.adapters.lycoris.forms import Form


def turned(form: Form, answers: Float[Tensor, "*many outputs"]) -> Float[Tensor, "*many outputs"]:
    """What a rotation adds to a layer's answers, bias left out."""
    moves = departures(form)
    moves = moves if torch.is_autocast_enabled(answers.device.type) else moves.to(answers.dtype)
    added = _blockwise(moves, answers) if form.algo == "diag-oft" else _butterfly(moves, answers)
    if "rescale" not in form.tensors:
        return added
    factor = form["rescale"].flatten()
    return added * factor.to(added.dtype) + answers * (factor - 1).to(answers.dtype)


def departures(form: Form) -> Float[Tensor, "*many block block"]:
    """R - I of every block, in float32: Cayley's R = (I + Q) (I - Q)^-1 of a skew Q.

    With a constraint c, Q of the whole layer is at most c times its outputs long.
    """
    blocks = form["oft_blocks"]
    with torch.autocast(blocks.device.type, enabled=False):
        skew = (blocks - blocks.mT).float()
        most = (form.alpha or 0.0) * blocks.shape[-3] * blocks.shape[-1]
        if most > 0:
            skew = skew * (most / (skew.norm() + 1e-8)).clamp(max=1)
        one = torch.eye(blocks.shape[-1], device=blocks.device)
        # R - I = 2 Q (I - Q)^-1, and both factors commute; without asking the card for errors
        return torch.linalg.solve_ex(one - skew, 2 * skew).result


def _blockwise(moves: Tensor, answers: Tensor) -> Tensor:
    count, block, _ = moves.shape
    parts = answers.unflatten(-1, (count, block))
    return torch.einsum("k n m, ... k n -> ... k m", moves, parts).flatten(-2)


def _butterfly(moves: Tensor, answers: Tensor) -> Tensor:
    """Stage i mixes features that are up to 2^i blocks apart; what is added is summed apart from
    the answers, so that small turns are not lost beside them."""
    added = torch.zeros_like(answers)
    for stage, each in enumerate(moves):
        block = each.shape[-1]
        near = 2**stage * block // 2
        mixed = (answers + added).unflatten(-1, (-1, 2, near)).transpose(-1, -2).flatten(-3)
        mixed = torch.einsum("b i j, ... b j -> ... b i", each, mixed.unflatten(-1, (-1, block)))
        mixed = mixed.flatten(-2).unflatten(-1, (-1, near, 2)).transpose(-1, -2).flatten(-3)
        added = added + mixed
    return added
