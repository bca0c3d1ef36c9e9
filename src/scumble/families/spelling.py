"""Tensors of a network as its authors store them, cut into ours, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from scumble.adapters.keys import Network, Row, Spot
from scumble.families.tensor_files import Shape, Span

KINDS = ("weight", "bias")


@dataclass(frozen=True)
class Cut:
    """One of our tensors, and which rows of a stored one it is made of, in that order."""

    name: str
    spans: tuple[Span, ...]


Cutter = Callable[[Mapping[str, Shape]], dict[str, tuple[Cut, ...]]]
"""What stored tensors become, by their names, from the shapes of all of them.

ValueError when the rows of one cannot be shared out.
"""


def whole(name: str, shape: Shape) -> tuple[Cut, ...]:
    """All rows of a tensor, under a name of ours."""
    return (Cut(name, ((0, shape[0] if shape else 1),)),)


def as_they_are(shapes: Mapping[str, Shape]) -> dict[str, tuple[Cut, ...]]:
    """Every tensor under its own name."""
    return {name: whole(name, shape) for name, shape in shapes.items()}


def cutter(network: Network) -> Cutter:
    """For a table of names; a name that is not the authors' is taken for one of ours."""
    others = _others(network)

    def cuts(name: str, shape: Shape) -> tuple[Cut, ...]:
        layer, _, kind = name.rpartition(".")
        if kind in KINDS and (spot := network.by_theirs(layer)):
            names = [f"{ours}.{kind}" for ours in spot.ours]
            spans = _spans(name, spot.row, shape)
            return tuple(Cut(*one) for one in zip(names, spans, strict=True))
        spot = others.by_theirs(name)
        return whole(spot.ours[0] if spot else name, shape)

    return lambda shapes: {name: cuts(name, shape) for name, shape in shapes.items()}


def _others(network: Network) -> Network:
    """Tensors that are no layers, as rows."""
    return Network(rows=tuple(Row(theirs, (ours,)) for theirs, ours in network.tensors))


def _spans(name: str, row: Row, shape: Shape) -> list[tuple[Span, ...]]:
    """Which rows each of ours takes."""
    rows = shape[0] if shape else 1
    unit, rest = divmod(rows, 2 if row.swapped else sum(row.shares))
    if rest:
        raise ValueError(f"{name} has {rows} rows, which cannot be shared out")
    if row.swapped:
        return [((unit, rows), (0, unit))]
    ends = accumulate((share * unit for share in row.shares), initial=0)
    return [(span,) for span in pairwise(ends)]


def fused(tensors: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Our tensors as the network's authors store them: what `cutter` cuts, put together.

    ValueError when some layers of a fused one are missing.
    """
    others = _others(network)
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind in KINDS and (found := network.by_ours(layer)):
            theirs = f"{found[0].theirs}.{kind}"
            if theirs not in made:
                made[theirs] = _joined(found[0], kind, tensors)
        elif found := others.by_ours(name):
            made[found[0].theirs] = tensor
        else:
            raise ValueError(f"the authors of this network have no tensor for '{name}'")
    return made


def _joined(spot: Spot, kind: str, tensors: Mapping[str, Tensor]) -> Tensor:
    names = [f"{ours}.{kind}" for ours in spot.ours]
    if missing := [name for name in names if name not in tensors]:
        raise ValueError(f"{spot.theirs} cannot be put together without {missing[0]}")
    parts = [tensors[name] for name in names]
    return torch.cat([*reversed(parts[0].chunk(2))] if spot.row.swapped else parts)
