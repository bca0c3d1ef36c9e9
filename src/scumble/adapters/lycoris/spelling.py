"""LyCORIS' own keys: lycoris_transformer_blocks_0_attn_to_q.lokr_w1 and the like.

Dots of a layer's name are underscores there, as its own underscores are; the model's table of
names says which is which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.adapters.keys import Network
from scumble.adapters.lycoris.forms import ALPHA, ENDINGS, ON_INPUT, Form, recognised

PREFIX = "lycoris_"
KNOWN = frozenset(ending for endings in ENDINGS.values() for ending in endings)
LORAS = ("lora_up.weight", "lora_down.weight", ALPHA)
"""Endings of plain LoRA, whose files are read as such whatever their prefix is."""


@dataclass(frozen=True)
class Parsed:
    """What the keys of a file say."""

    forms: Mapping[str, Form]
    """By our names of the layers."""

    strangers: tuple[str, ...]
    """Keys of no layer or no algorithm."""

    faults: tuple[str, ...]
    """What is wrong with the others, in sentences; their layers are not among the forms."""


def are_lycoris(keys: Iterable[str]) -> bool:
    """Whether a file of such keys is an adapter in one of these forms, and no plain LoRA."""
    split = [key.partition(".") for key in keys if key.startswith(PREFIX)]
    return any(ending in KNOWN and ending not in LORAS for _, _, ending in split)


def stem(layer: str) -> str:
    """What the keys of a layer begin with."""
    return PREFIX + layer.replace(".", "_")


def spelt(forms: Mapping[str, Form]) -> dict[str, Tensor]:
    """Every key of a file; mere numbers are tensors without dimensions, as the library has them."""
    made: dict[str, Tensor] = {}
    for layer, form in forms.items():
        made |= {f"{stem(layer)}.{ending}": one for ending, one in form.tensors.items()}
        if form.alpha is not None:
            made[f"{stem(layer)}.{ALPHA}"] = torch.tensor(form.alpha, dtype=torch.float32)
        if form.algo == "ia3":
            made[f"{stem(layer)}.{ON_INPUT}"] = torch.tensor(int(form.on_input))
    return made


def parsed(found: Mapping[str, Tensor], network: Network) -> Parsed:
    """The layers of a file, and what in it could not be read."""
    layers: dict[str, dict[str, Tensor]] = {}
    strangers: list[str] = []
    for key, tensor in found.items():
        start, _, ending = key.partition(".")
        layer = _layer(start, network)
        if layer is None or ending not in KNOWN:
            strangers.append(key)
        else:
            layers.setdefault(layer, {})[ending] = tensor
    read = {layer: recognised(told) for layer, told in layers.items()}
    return Parsed(
        forms={layer: one for layer, one in read.items() if isinstance(one, Form)},
        strangers=tuple(strangers),
        faults=tuple(f"'{name}' {one}" for name, one in read.items() if isinstance(one, str)),
    )


def _layer(start: str, network: Network) -> str | None:
    """Our name of the layer that keys of such a beginning are of."""
    if not start.startswith(PREFIX):
        return None
    spot = network.by_ours(start.removeprefix(PREFIX), joint="_")
    return None if spot is None else spot[0].ours[spot[1]]
