"""Adapters of a small model that lies in files, and what they make of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scumble.adapters.layouts import Changes
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export, on_disk
from scumble.checkpoint.combine import Summand, opened
from scumble.families.flux.keys import KEYS
from scumble.families.flux.model import FLUX_DEV

Deltas = dict[tuple[str, str], Tensor]


def changes(
    model: Path, *, seed: int, rank: int = 2, alpha: float = 3.0, only: tuple[str, ...] = ("",)
) -> Changes:
    """A random change of every layer whose name has one of these words in it, parts included."""
    make = torch.Generator().manual_seed(seed)
    made: dict[str, dict[str, LoraTensors]] = {}
    for network in on_disk.within(FLUX_DEV, model):
        for name, reading in network.layers():
            if not any(word in f"{network.part} {name}" for word in only):
                continue
            outputs, inputs = reading.shape
            down = torch.randn(rank, inputs, generator=make)
            up = torch.randn(outputs, rank, generator=make) * 0.1
            made.setdefault(network.part, {})[name] = LoraTensors(down, up, alpha)
    return made


def shared(told: Changes) -> Changes:
    """The same with one `down` for query, key and value, as sd-scripts trains them."""
    made = {}
    for part, layers in told.items():
        downs: dict[tuple[str, str, int], Tensor] = {}
        new = {}
        for name, one in layers.items():
            spot = KEYS[part].by_ours(name)
            key = (spot[0].theirs if spot else name, "", one.down.shape[1])
            new[name] = LoraTensors(downs.setdefault(key, one.down), one.up, one.alpha)
        made[part] = new
    return made


def written(file: Path, told: Changes, layout: str = "kohya", dtype: str = "float32") -> Path:
    """An adapter file."""
    export.write(file, told, KEYS, layout=layout, dtype=dtype, about={"modelspec.title": file.stem})
    return file


def deltas(told: Changes) -> Deltas:
    """Every layer's whole change, in float64."""
    return {
        (part, name): one.alpha / len(one.down) * one.up.double() @ one.down.double()
        for part, layers in told.items()
        for name, one in layers.items()
    }


def weights(model: Path) -> Deltas:
    """Every layer's weight of a model, in float64."""
    return {
        (network.part, name): _read(reading).double()
        for network in on_disk.within(FLUX_DEV, model)
        for name, reading in network.layers()
    }


def _read(reading: on_disk.Reading) -> Tensor:
    with reading.spot.file.open("rb", buffering=0) as stream:
        return reading.read(stream, dtype=torch.float32, device=torch.device("cpu"))


def summands(files: Mapping[Path, float]) -> list[Summand]:
    """Adapters with their strengths."""
    return opened(list(files.items()), KEYS)


def close(found: Deltas, wanted: Deltas, share: float) -> None:
    """Every layer is there, and off by no more than that share of its norm."""
    assert found.keys() == wanted.keys()
    for name, one in wanted.items():
        assert float((found[name] - one).norm()) <= share * float(one.norm()), name
