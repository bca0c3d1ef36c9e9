"""How the layers of one part are called: in its module, in tables of keys, by sd-scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn

from scumble.adapters.keys import Network, Spot

DENOISER = "denoiser"

Aliases = tuple[tuple[str, str], ...]
"""Beginnings of names as files spell them, and as the module does."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of one part's layers. A layer is told by its name in the module."""

    part: str = DENOISER
    network: Network = field(default_factory=lambda: Network(rows=()))
    aliases: Aliases = ()

    def table(self, layer: str) -> str:
        """Its name in the tables and in files: a module may drop the beginning of it."""
        spelt = [
            theirs + layer.removeprefix(ours)
            for theirs, ours in self.aliases
            if layer.startswith(ours)
        ]
        return next((one for one in [layer, *spelt] if self.network.by_ours(one)), layer)

    def whole(self, name: str) -> str:
        """A name that no other part has: the denoiser's layers have theirs alone."""
        return name if self.part == DENOISER else f"{self.part}.{name}"

    def spot(self, layer: str) -> Spot | None:
        """The authors' layer that it is, or is a part of; None for one that no table knows."""
        found = self.network.by_ours(self.table(layer))
        return found and found[0]

    def kohya(self, layer: str) -> str:
        """What sd-scripts calls it; all layers that the authors hold as one are called alike."""
        spot = self.spot(layer)
        name = spot.theirs if spot else self.table(layer)
        return self.network.prefixes.get("kohya", "") + name.replace(".", "_")


def together(layers: Iterable[str], names: Names) -> Mapping[str, tuple[str, ...]]:
    """The layers that the authors hold as one, by the authors' name: two of them at least."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        spot = names.spot(layer)
        if spot is not None and len(spot.ours) > 1:
            found.setdefault(spot.theirs, []).append(layer)
    return {theirs: tuple(ours) for theirs, ours in found.items() if len(ours) > 1}


def known(model: nn.Module, names: Names) -> dict[str, nn.Linear]:
    """The linear layers that the table has: of a text encoder, attention and MLP."""
    return {
        layer: module
        for layer, module in model.named_modules()
        if isinstance(module, nn.Linear) and names.spot(layer) is not None
    }
