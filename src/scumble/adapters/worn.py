"""The layers of an adapter file put on a network that may spell their names in another way."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from scumble.adapters.attach import Adapters, attach_tensors
from scumble.adapters.lora import LoraTensors

Aliases = tuple[tuple[str, str], ...]
"""Beginnings of names as files spell them, and as the module does."""


def put_on(
    module: nn.Module, layers: Mapping[str, LoraTensors], aliases: Aliases, strength: float
) -> Adapters:
    """Attach layers that fit."""
    named = {_inside(module, name, aliases): told for name, told in layers.items()}
    return attach_tensors(module, named, strength=strength)


def _inside(module: nn.Module, name: str, aliases: Aliases) -> str:
    """A layer's name in the module itself."""
    spelt = [
        ours + name.removeprefix(theirs) for theirs, ours in aliases if name.startswith(theirs)
    ]
    return next((one for one in [name, *spelt] if _there(module, one)), name)


def _there(module: nn.Module, name: str) -> bool:
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True
