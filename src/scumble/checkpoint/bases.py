"""The models that adapter files are held against: one that is there, or the family as published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from scumble.adapters import layouts
from scumble.adapters.keys import Network
from scumble.checkpoint.verdicts import Base
from scumble.families import weights
from scumble.families.family import Family

DENOISER = "denoiser"
Layers = dict[str, tuple[int, int]]

ENCODERS: Mapping[str, tuple[int, Mapping[str, tuple[int, int]]]] = {
    "clip": (
        12,
        {
            **{
                f"text_model.encoder.layers.{{}}.self_attn.{name}": (768, 768)
                for name in ("q_proj", "k_proj", "v_proj", "out_proj")
            },
            "text_model.encoder.layers.{}.mlp.fc1": (3072, 768),
            "text_model.encoder.layers.{}.mlp.fc2": (768, 3072),
        },
    ),
    "t5": (
        24,
        {
            **{f"encoder.block.{{}}.layer.0.SelfAttention.{name}": (4096, 4096) for name in "qkvo"},
            "encoder.block.{}.layer.1.DenseReluDense.wi_0": (10240, 4096),
            "encoder.block.{}.layer.1.DenseReluDense.wi_1": (10240, 4096),
            "encoder.block.{}.layer.1.DenseReluDense.wo": (4096, 10240),
        },
    ),
}
"""CLIP-L and T5-XXL as published with FLUX.1: how many blocks, and the layers of each."""


def published(family: Family) -> Base:
    """The family in the size that it was published in; of FLUX, what its config defaults to."""
    network = family.skeleton(DENOISER, {"guidance_embeds": family.guidance_embedded})
    shapes: dict[str, Layers] = {DENOISER: linears(network)}
    for part in family.keys.keys() & ENCODERS.keys():
        count, layers = ENCODERS[part]
        shapes[part] = {
            layer.format(number): shape
            for number in range(count)
            for layer, shape in layers.items()
        }
    told = f"{family.name} {family.flavour} as published"
    return Base(keys=family.keys, shapes=shapes, told=told)


def of_layers(family: Family, layers: Mapping[str, Mapping[str, nn.Linear]], told: str) -> Base:
    """Layers that are at hand, by part and by the names that the key table has."""
    shapes = {part: _shapes(each) for part, each in layers.items()}
    return Base(keys=family.keys, shapes=shapes, told=told)


def of_model(model: weights.Model, told: str, files: Iterable[Path]) -> Base:
    """A model on disk; its text encoders only where one of the files speaks of them."""
    family = model.family
    parts = [part for part in family.keys if part == DENOISER or spoken_of(family, part, files)]
    return Base(keys=family.keys, shapes=of_parts(model, parts), told=told)


def of_parts(model: weights.Model, parts: Iterable[str]) -> dict[str, Layers]:
    """The layers of a model on disk, by part and by the names that the key table has."""
    return {part: _spelt_as_keys(model, part) for part in parts}


def linears(module: nn.Module) -> Layers:
    """(outputs, inputs) of every linear layer."""
    return _shapes({n: one for n, one in module.named_modules() if isinstance(one, nn.Linear)})


def _shapes(layers: Mapping[str, nn.Linear]) -> Layers:
    return {name: (one.out_features, one.in_features) for name, one in layers.items()}


def _spelt_as_keys(model: weights.Model, part: str) -> Layers:
    """Layers by the names that the key table has; a module may drop the beginning of them."""
    network, found = model.family.keys[part], linears(weights.skeleton(model, part))
    spelt: Layers = {}
    for layer, shape in found.items():
        names = [layer, *(a + layer for a, b in model.family.parts[part].aliases if not b)]
        spelt[next((name for name in names if network.by_ours(name)), layer)] = shape
    return spelt


def spoken_of(family: Family, part: str, files: Iterable[Path]) -> bool:
    """Whether a file has keys of a part's layers."""
    network = family.keys[part]
    for file in files:
        try:
            with safe_open(file, "pt") as tensors:
                if any(_names_a_layer(network, key) for key in tensors.keys()):  # noqa: SIM118
                    return True
        except (SafetensorError, OSError):
            continue  # whoever reads it says so
    return False


def _names_a_layer(network: Network, key: str) -> bool:
    ending = next((one for one in layouts.ENDINGS if key.endswith(one)), "")
    named = key.removesuffix(ending)
    starts = [one for one in (*network.prefixes.values(), *network.also) if named.startswith(one)]
    return any(
        network.by_ours(named.removeprefix(start), joint=joint)
        or network.by_theirs(named.removeprefix(start), joint=joint)
        for start in starts
        for joint in "._"
    )
