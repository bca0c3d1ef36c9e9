"""A bound on how far each layer may be changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.adapters.attach import Adapters
from scumble.adapters.lora import LoraBranch


@torch.no_grad()
def bounded(adapters: Adapters, most: float) -> Float[Tensor, " 2"]:
    """Scale down every change with a Frobenius norm above `most`; the host does not wait for it.

    How many were scaled, and the largest norm that is left. Layers that share a `down` have one
    norm, that of the layer which the authors hold; both matrices take the root of the factor.
    """
    norms = []
    for group in adapters.groups():
        branches = [branch for _, branch in group]
        norm = change_norm(branches)
        factor = (most / norm.clamp(min=most)).sqrt()
        for parameter in (branches[0].down, *(one.up for one in branches)):
            parameter.mul_(factor.to(parameter.dtype))
        norms.append(norm)
    found = torch.stack(norms)
    return torch.stack([(found > most).sum().to(found.dtype), found.clamp(max=most).max()])


def change_norm(branches: Sequence[LoraBranch]) -> Float[Tensor, ""]:
    """Frobenius norm of the change of layers that share a `down`, stacked.

    From two products of rank x rank: |U D|^2 is the sum of (U^T U) * (D D^T).
    """
    down = branches[0].bottleneck.rows().float()
    ups = [one.columns().float() * one.scale for one in branches]
    inner = torch.stack([up.T @ up for up in ups]).sum(0)
    return (inner * (down @ down.T)).sum().clamp(min=0).sqrt()
