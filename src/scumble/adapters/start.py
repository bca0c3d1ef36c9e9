"""Where an adapter begins: the values of a file, as far as they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scumble.adapters.attach import Adapters
from scumble.adapters.fused import times
from scumble.adapters.lora import LoraTensors
from scumble.adapters.shapes import Shape, alike

NAMED = 3  # layers that a sentence names


@dataclass(frozen=True)
class Fit:
    """What of a file a shape can take."""

    taken: tuple[str, ...]
    """Layers, by their names in the module."""

    left: tuple[str, ...]
    """Why others of the file's layers are not taken, by their names in the tables."""

    fresh: tuple[str, ...]
    """Layers of the shape that begin with a change of zero."""


def fitted(shape: Shape, layers: Mapping[str, nn.Linear], told: Mapping[str, LoraTensors]) -> Fit:
    """Hold a file's layers against a shape; nothing is changed."""
    taken: list[str] = []
    left: list[str] = []
    for ours in _sharing(shape):
        found = {n: told[shape.names.table(n)] for n in ours if shape.names.table(n) in told}
        faults = {n: _fault(shape, layers[n], n, one) for n, one in found.items()}
        if len(ours) > 1 and not any(faults.values()) and found and not _one(found):
            faults = dict.fromkeys(found, "have a `down` of their own, and here they share one")
        taken += [n for n, fault in faults.items() if not fault]
        left += [f"{shape.names.table(n)} {fault}" for n, fault in faults.items() if fault]
    here = {shape.names.table(layer) for layer in shape.slots}
    left += [f"{name} is not trained here" for name in told if name not in here]
    fresh = tuple(layer for layer in shape.slots if layer not in set(taken))
    return Fit(tuple(taken), tuple(left), fresh)


@torch.no_grad()
def begun(adapters: Adapters, told: Mapping[str, LoraTensors]) -> None:
    """Give the layers that fit the values of the file.

    What a layer is changed by is what the file says: where its scale is another, the `up` matrix
    makes up for it.
    """
    layers = {name: one.base for name, one in adapters.layers.items()}
    fit = fitted(adapters.shape, layers, told)
    branches = dict(adapters.branches())
    for layer in fit.taken:
        one, branch = told[adapters.names.table(layer)], branches[layer]
        branch.down.copy_(one.down)
        branch.up.copy_(times(one.up, one.alpha / len(one.down) / branch.scale))


def sentences(fit: Fit) -> list[str]:
    """What of the file is not taken, and what begins without it."""
    said = []
    if fit.left:
        count, more = len(fit.left), len(fit.left) - NAMED
        listed = "; ".join(fit.left[:NAMED]) + (f"; and {more} more" if more > 0 else "")
        layers = "layer" if count == 1 else "layers"
        said.append(f"`adapter.start` leaves {count} {layers} of the file out: {listed}.")
    if fit.taken and fit.fresh:
        said.append(f"{len(fit.fresh)} layers begin anew: `adapter.start` has nothing for them.")
    return said


def _sharing(shape: Shape) -> list[list[str]]:
    """The layers of a shape, those with one `down` together."""
    found: dict[str, list[str]] = {}
    for layer in shape.slots:
        found.setdefault(shape.down(layer), []).append(layer)
    return list(found.values())


def _one(found: Mapping[str, LoraTensors]) -> bool:
    """Whether changes have one `down`; with other scales it is one still."""
    first = next(iter(found.values()))
    return alike([LoraTensors(one.down, one.up, first.alpha) for one in found.values()])


def _fault(shape: Shape, base: nn.Linear, layer: str, told: LoraTensors) -> str:
    """Why a layer of a file cannot be taken; empty where it can."""
    rank = shape.slots[layer].rank
    outputs, inputs = base.weight.shape
    if (len(told.up), told.down.shape[1]) != (outputs, inputs):
        return f"is {len(told.up)} x {told.down.shape[1]} there and {outputs} x {inputs} here"
    if len(told.down) != rank:
        return f"has rank {len(told.down)} there and {rank} here"
    return ""
