"""The layers of an adapter file put on a network that may spell their names in another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from scumble.adapters.attach import Adapters, attach_tensors
from scumble.adapters.lora import LoraTensors
from scumble.adapters.names import Aliases


def put_on(
    module: nn.Module, layers: Mapping[str, LoraTensors], aliases: Aliases, strength: float
) -> Adapters:
    """Attach layers that fit."""
    named = {_inside(module, name, aliases): told for name, told in layers.items()}
    return attach_tensors(module, named, strength=strength)


@dataclass(frozen=True)
class Merged:
    """An adapter that is part of a base model."""

    file: Path
    strength: float
    changes: Mapping[str, Mapping[str, LoraTensors]]
    """By part and layer."""

    def into(self, module: nn.Module, part: str, aliases: Aliases) -> None:
        """Add its change to a part's weights, in float32, and give them their type back."""
        put_on(module, self.changes.get(part, {}), aliases, self.strength).merge()

    def by_layer(self, module: nn.Module, part: str, aliases: Aliases) -> dict[str, Merged]:
        """Itself in pieces that change one layer each, by the layers' names in the module."""
        told = self.changes.get(part, {})
        alone = {name: replace(self, changes={part: {name: one}}) for name, one in told.items()}
        return {_inside(module, name, aliases): one for name, one in alone.items()}


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
