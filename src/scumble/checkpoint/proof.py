"""What a file says of the adapter that was trained, so that anybody can tell whether it holds it.

For each layer its change dW = (alpha / rank) up @ down leaves a few numbers in the metadata: its
norm, and u dW v / norm for a few pairs of vectors of signs u, v that layer's name decides. Rounding
to 16 bits moves them by about 0.002; another strength, another layer's weights or zeros move them
by much more. They do not depend on layout, number type or on how a change is cut into up and down.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scumble import dice
from scumble.adapters.layouts import Changes
from scumble.adapters.lora import LoraTensors

ENTRY = "scumble.marks"
PAIRS = 4
STRENGTH_TOLERANCE = 0.02
"""How far a norm may be off, as a share of it; 16-bit rounding: 1e-4 in FLUX's layers."""

PATTERN_TOLERANCE = 0.04
"""How far u dW v / norm may be off; 16-bit rounding: at most 0.008 in 418 layers [measured]."""

MOST_BYTES = 2**24
"""More than any adapter's marks unpack to; what claims more is not unpacked."""

MOST_TRACED = 8
"""Of so many layers with foreign changes it is asked whose they are; of all it takes minutes."""


Name = tuple[str, str]
"""Part and layer."""


@dataclass(frozen=True)
class Mark:
    """What stands for one layer's change."""

    norm: float
    pattern: Float[Tensor, " pairs"]
    """u dW v / norm, zeros for a change that is zero."""

    def agrees(self, other: Mark) -> bool:
        """Whether both point the same way, however strong they are."""
        off = (self.pattern - other.pattern).abs().max()
        return (self.norm > 0) == (other.norm > 0) and bool(off <= PATTERN_TOLERANCE)

    def same(self, other: Mark) -> bool:
        """Whether both are of one change, but for rounding."""
        close = math.isclose(self.norm, other.norm, rel_tol=STRENGTH_TOLERANCE)
        return close and self.agrees(other)


@dataclass(frozen=True)
class Difference:
    """A layer in which an adapter is not what was trained."""

    part: str
    layer: str
    kind: str
    """`missing`, `added`, `zero`, `strength`, `swapped` or `other`."""

    text: str


def taken(changes: Changes) -> dict[Name, Mark]:
    """What stands for each layer, by part and layer; about a millisecond for each on one core."""
    return {
        (part, layer): mark(part, layer, one)
        for part, layers in changes.items()
        for layer, one in layers.items()
    }


def marks(changes: Changes) -> dict[str, str]:
    """The metadata entry that stands for what was trained; about 30 bytes for each layer."""
    return written(taken(changes))


def written(told: Mapping[Name, Mark]) -> dict[str, str]:
    """Marks as a metadata entry."""
    names = json.dumps([list(name) for name in told], separators=(",", ":"))
    numbers = [number for one in told.values() for number in (one.norm, *one.pattern.tolist())]
    values = np.asarray(numbers, "<f4").tobytes()
    packed = zlib.compress(names.encode() + b"\0" + values, 9)
    return {ENTRY: f"1:{base64.b64encode(packed).decode()}"}


def compared(
    changes: Changes, metadata: Mapping[str, str], here: Mapping[Name, Mark] | None = None
) -> list[Difference] | None:
    """Where an adapter differs from what its metadata says was trained; None if it says nothing.

    `here` are the adapter's own marks, where they are known. A layer that changes nothing may be
    there or not: fused layouts cannot say which. ValueError when there are marks that cannot be
    read.
    """
    if ENTRY not in metadata:
        return None
    wanted, found = unpacked(metadata[ENTRY]), taken(changes) if here is None else here
    differing = [n for n, one in found.items() if n in wanted and not one.same(wanted[n])]
    lost = [n for n in differing if found[n].norm and not found[n].agrees(wanted[n])]
    differences = [
        Difference(*name, kind, text)
        for kind, text, one, other in (
            ("missing", "is missing", wanted, found),
            ("added", "was not trained", found, wanted),
        )
        for name in one.keys() - other.keys()
        if one[name].norm != 0
    ]
    origins = _origins(changes, lost, wanted)
    differences += [_difference(name, found[name], wanted[name], origins) for name in differing]
    order = {name: number for number, name in enumerate([*wanted, *found])}
    return sorted(differences, key=lambda one: order[one.part, one.layer])


def mark(part: str, layer: str, told: LoraTensors) -> Mark:
    """What stands for a change under that name."""
    down, up = told.down.detach().float(), told.up.detach().float()
    scale = told.alpha / len(down)
    norm = scale_free_norm(down, up) * abs(scale)
    if norm == 0 or not math.isfinite(norm):
        return Mark(norm, torch.zeros(PAIRS))
    rows, columns = signs(len(up), part, layer, "u"), signs(down.shape[1], part, layer, "v")
    left, right = rows.to(up.device) @ up, down @ columns.to(down.device).T
    return Mark(norm, (left * right.T).sum(1).cpu() * (scale / norm))


def scale_free_norm(down: Float[Tensor, "rank inputs"], up: Float[Tensor, "outputs rank"]) -> float:
    """Frobenius norm of up @ down, from its two rank x rank products; NaN where one is not finite.

    These are multiplied in float64, on the CPU, for their products leave the range of float32.
    """
    squared = ((up.T @ up).cpu().double() * (down @ down.T).cpu().double()).sum()
    return math.sqrt(max(0.0, float(squared))) if bool(squared.isfinite()) else math.nan


def signs(count: int, *key: str) -> Float[Tensor, "pairs count"]:
    """Rows of +1 and -1 that the key decides; raw Philox words are the same everywhere."""
    words = np.random.Philox(key=dice.word("proof", *key, bits=64)).random_raw(
        -(-count * PAIRS // 64)
    )
    bits = np.unpackbits(np.asarray(words, "<u8").reshape(-1).view(np.uint8))[: count * PAIRS]
    return torch.from_numpy(bits.astype(np.float32)).mul_(2).sub_(1).reshape(PAIRS, count)


def _difference(name: Name, here: Mark, trained: Mark, origins: Mapping[Name, Name]) -> Difference:
    """What became of a layer that is there, but not as it was trained."""
    if here.norm == 0:
        return Difference(*name, "zero", "is zero, and was not when it was trained")
    if trained.norm > 0 and here.agrees(trained):
        text = f"is {here.norm / trained.norm:.3g} times as strong as it was trained"
        return Difference(*name, "strength", text)
    if name in origins:
        return Difference(*name, "swapped", f"holds what was trained for '{origins[name][1]}'")
    return Difference(*name, "other", "holds other weights than those that were trained")


def _origins(
    changes: Changes, lost: Sequence[Name], wanted: Mapping[Name, Mark]
) -> dict[Name, Name]:
    """For whom the changes were trained that the first of these layers hold, where it is known."""
    told = {name: changes[name[0]][name[1]] for name in lost}
    return {
        name: other
        for name in lost[:MOST_TRACED]
        for other in lost
        if other != name and _alike(told[name], told[other])
        if mark(*other, told[name]).agrees(wanted[other])
    }


def _alike(one: LoraTensors, other: LoraTensors) -> bool:
    """Whether both are for layers of one size."""
    return len(one.up) == len(other.up) and one.down.shape[1] == other.down.shape[1]


def unpacked(text: str) -> dict[Name, Mark]:
    """The marks of a metadata entry; ValueError where they cannot be read."""
    version, _, packed = text.partition(":")
    if version != "1":
        raise ValueError(f"marks of version '{version[:8]}' are not known")
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(packed), MOST_BYTES)
        names, _, values = content.partition(b"\0")
        numbers = torch.from_numpy(np.frombuffer(values, "<f4").copy()).reshape(-1, PAIRS + 1)
        listed = [(str(part), str(layer)) for part, layer in json.loads(names)]
        rows = zip(listed, numbers, strict=True)
        return {name: Mark(float(row[0]), row[1:]) for name, row in rows}
    except (binascii.Error, zlib.error, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"its marks cannot be read ({error})") from None
