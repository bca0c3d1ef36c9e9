"""Adapter files on a network: whether they fit it, and put on."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from scumble.adapters.attach import Adapters, attach_tensors
from scumble.adapters.lora import LoraTensors

Aliases = tuple[tuple[str, str], ...]
"""Beginnings of names as files spell them, and as the module does."""


def misfits(module: nn.Module, layers: Mapping[str, LoraTensors], aliases: Aliases) -> list[str]:
    """What keeps layers from being put on a network (which may be on the meta device), in words."""
    said = []
    for name, told in layers.items():
        layer = _linear(module, _inside(module, name, aliases))
        if layer is None:
            said.append(f"the model has no layer '{name}'")
            continue
        here, there = tuple(layer.weight.shape), (len(told.up), told.down.shape[1])
        if here != there:
            said.append(f"'{name}' is {here} in the model, {there} in the file")
    return said


def put_on(
    module: nn.Module, layers: Mapping[str, LoraTensors], aliases: Aliases, strength: float
) -> Adapters:
    """Attach layers that fit."""
    named = {_inside(module, name, aliases): told for name, told in layers.items()}
    return attach_tensors(module, named, strength=strength)


def _inside(module: nn.Module, name: str, aliases: Aliases) -> str:
    """A layer's name in the module itself."""
    if _linear(module, name) is not None:
        return name
    for theirs, ours in aliases:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _linear(module: nn.Module, name: str) -> nn.Linear | None:
    try:
        layer = module.get_submodule(name)
    except AttributeError:
        return None
    match layer:
        case nn.Linear():
            return layer
        case _:
            return None
