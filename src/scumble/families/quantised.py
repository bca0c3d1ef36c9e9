"""Linear layers of a part, brought to fewer bits one after another while their weights are read.

Host memory never holds more wide weights than those of one layer. What comes of it is kept on disk,
so that the next start reads it and quantises nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from scumble.adapters.worn import Merged
from scumble.data.quantised import FOLDER
from scumble.errors import DiskError, FileError
from scumble.families import packed_files
from scumble.families.family import Part
from scumble.hardware.quantisers.layer import QuantisedLinear
from scumble.hardware.quantisers.numbers import Kept, Size, fits, kept, stored_bytes
from scumble.hardware.quantisers.table import made_by
from scumble.launch import launched

__all__ = ["FOLDER", "Pack", "Press", "Quantising", "Split", "split"]

VERSION = 1
"""Of what a file holds and of how it is made."""


@dataclass(frozen=True)
class Quantising:
    """What a job says of it."""

    parts: Mapping[str, str]
    """The quantiser of each part that has one."""

    on: Literal["device", "cpu"] = "device"
    folder: Path | None = None
    """Where the result is kept; None: nowhere."""


@dataclass(frozen=True)
class Split:
    """The linear layers of a part, by what becomes of them."""

    narrow: Mapping[str, Size]
    """(outputs, inputs) of those that are quantised."""

    wide: tuple[str, ...]
    """Those that stay as they are."""

    def bytes(self, quantiser: str, width: int) -> int:
        """What the narrow ones take; `width` is the bytes of a number as it is read."""
        return sum(stored_bytes(quantiser, size, width) for size in self.narrow.values())

    @property
    def numbers(self) -> int:
        """Weights of the narrow ones."""
        return sum(rows * columns for rows, columns in self.narrow.values())


def split(part: Part, module: nn.Module, quantiser: str) -> Split:
    """Which layers are quantised: plain linear ones that are large enough, whose sides the format
    takes, and that the family does not leave alone."""
    ties = {name for same in part.ties for name in same}
    narrow: dict[str, Size] = {}
    wide: list[str] = []
    for name, layer in module.named_modules():
        if type(layer) is not nn.Linear:
            continue
        size = (layer.out_features, layer.in_features)
        left = f"{name}.weight" in ties or any(
            fnmatchcase(quantiser, by) and fnmatchcase(name, one) for by, one in part.wide
        )
        if left or not fits(quantiser, size):
            wide.append(name)
        else:
            narrow[name] = size
    return Split(narrow, tuple(wide))


@dataclass(frozen=True, kw_only=True)
class Press:
    """One part while it is loaded: puts quantised layers in the place of those of a skeleton."""

    module: nn.Module
    """Without weights; each layer is replaced as its weights come."""

    name: str
    part: Part
    quantiser: str
    merged: Sequence[Merged]
    dtype: torch.dtype
    device: torch.device
    """Where the layers compute."""

    @cached_property
    def split(self) -> Split:
        """Which layers are pressed."""
        return split(self.part, self.module, self.quantiser)

    @cached_property
    def weights(self) -> dict[str, str]:
        """The layers by the names of their weights."""
        return {f"{layer}.weight": layer for layer in self.split.narrow}

    @cached_property
    def _merges(self) -> list[dict[str, Merged]]:
        """What is added to which layer, in order."""
        aliases = self.part.aliases
        return [one.by_layer(self.module, self.name, aliases) for one in self.merged]

    def take(self, weight_name: str, weight: Tensor) -> None:
        """Quantise a layer where its weights are, with what is merged into them."""
        layer = self.weights[weight_name]
        base = self.module.get_submodule(layer)
        assert isinstance(base, nn.Linear)
        base.weight = nn.Parameter(weight, requires_grad=False)
        self._merge(layer)
        tensors = kept(self.quantiser, base.weight)
        self.put(layer, {name: one.to(self.device) for name, one in tensors.items()})

    def put(self, layer: str, tensors: Kept) -> None:
        """A layer that is quantised already; its bias is still to come."""
        base = self.module.get_submodule(layer)
        assert isinstance(base, nn.Linear)
        made = QuantisedLinear(
            self.quantiser,
            self.split.narrow[layer],
            tensors,
            dtype=self.dtype,
            bias=base.bias,
        )
        self.module.set_submodule(layer, made)

    def finish(self) -> None:
        """Merge what goes to layers that stayed wide, once their weights are there."""
        layers = {layer for each in self._merges for layer in each}
        for layer in sorted(layers - self.split.narrow.keys()):
            self._merge(layer)

    def _merge(self, layer: str) -> None:
        for each in self._merges:
            if layer in each:
                each[layer].into(self.module, self.name, self.part.aliases)


@dataclass(frozen=True)
class Pack:
    """Where the quantised layers of a part lie, and what they were made from."""

    file: Path
    about: str

    @classmethod
    def of(cls, folder: Path, press: Press, made_from: Sequence[str]) -> Pack:
        """`made_from` stands for the weights that are read, and what is merged into them."""
        about = {
            "version": VERSION,
            "part": press.name,
            "quantiser": press.quantiser,
            "made by": made_by(press.quantiser),
            "read in": str(press.dtype).removeprefix("torch."),
            "made from": list(made_from),
            "layers": {name: list(size) for name, size in press.split.narrow.items()},
        }
        key = blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8).hexdigest()
        told = {**about, "layers": len(press.split.narrow)}
        return cls(folder / f"{press.name}-{key}.safetensors", json.dumps(told))

    def layers(self, press: Press) -> Collection[str]:
        """Put every layer into its place; the names of those that were there. None are where the
        file is not there, or not whole."""
        if not self.file.is_file():
            return ()
        try:
            found = dict(self._checked(press))
        except FileError:
            return ()
        for layer, tensors in found.items():
            press.put(layer, tensors)
        with suppress(OSError):  # a cache that is only read remembers no use
            os.utime(self.file)
        return found.keys()

    def _checked(self, press: Press) -> Iterator[tuple[str, Kept]]:
        found = dict(packed_files.layers(self.file, press.device))
        if found.keys() != press.split.narrow.keys():
            raise FileError(self.file, "it holds other layers", "delete it")
        yield from found.items()

    def keep(self, press: Press) -> None:
        """Write what was pressed, by the first process; a disk without room keeps nothing, and
        the next start quantises again."""
        if launched().rank != 0:
            return
        layers = {name: press.module.get_submodule(name) for name in press.split.narrow}
        tensors = {n: one.kept() for n, one in layers.items() if isinstance(one, QuantisedLinear)}
        with suppress(DiskError):
            packed_files.write(self.file, tensors, self.about)
