"""Adapters as tools spell them: our layers as the keys of a file, and such keys read back.

What is known of names stands in a family's tables (`adapters.keys`); here is how layouts differ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scumble.adapters import foreign
from scumble.adapters.fused import fits, fused, parted, times
from scumble.adapters.keys import Keys, Network, Spot
from scumble.adapters.lora import LoraTensors

Changes = Mapping[str, Mapping[str, LoraTensors]]
"""An adapter: part of the family, our name of the layer, its change."""

ALPHA = ".alpha"
A, B = ".lora_A.weight", ".lora_B.weight"
KOHYA_DOWN, KOHYA_UP = ".lora_down.weight", ".lora_up.weight"
ENDINGS = {
    A: "down",
    B: "up",
    KOHYA_DOWN: "down",
    KOHYA_UP: "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ALPHA: "alpha",
}
"""Every ending that is read."""

PLAIN = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Layout:
    """How one layout spells a layer."""

    prefix: str
    """Its entry in `Network.prefixes`."""

    down: str
    up: str
    joint: str = "."
    authors: bool = True
    """Whether layers have the authors' names, several of ours in one, and an alpha; else ours,
    and the scale is in the numbers."""


LAYOUTS = {
    "diffusers": Layout("diffusers", A, B, authors=False),
    "kohya": Layout("kohya", KOHYA_DOWN, KOHYA_UP, joint="_"),
    "comfy": Layout("comfy", A, B),
    "ai-toolkit": Layout("diffusers", A, B, authors=False),
}


@dataclass(frozen=True)
class Parsed:
    """What the keys of a file say."""

    layout: str
    """Who spells keys like these; empty when no key is known."""

    changes: Changes
    strangers: tuple[str, ...]
    """Keys that no table knows, and all keys of layers that are no plain LoRA."""

    faults: tuple[str, ...]
    """What is wrong with the others, in sentences; their layers are not among the changes."""


def spelt(changes: Changes, layout: str, keys: Keys) -> dict[str, Tensor]:
    """Every key of a file in that layout. A layer that no table knows keeps our name.

    Diffusers and AI-toolkit take alpha = rank, so there the scale goes into both matrices; the
    others get alpha as a float32 number. Values are not copied where nothing changes them.
    """
    style, made = LAYOUTS[layout], {}
    for part, layers in changes.items():
        named = authored(keys[part], layers) if style.authors else layers.items()
        for name, told in named:
            stem = keys[part].prefixes[style.prefix] + name.replace(".", style.joint)
            down, up = (told.down, told.up) if style.authors else balanced(told)
            made |= {f"{stem}{style.down}": down, f"{stem}{style.up}": up}
            if style.authors:
                made[stem + ALPHA] = torch.tensor(told.alpha, dtype=torch.float32)
    return made


def balanced(told: LoraTensors) -> tuple[Tensor, Tensor]:
    """Down and up with the scale in them, on both sides about evenly.

    By powers of two, which lose nothing: 1/16 is 1/4 and 1/4, 1/2 is 1/2 and 1, as AI-toolkit's
    files have it.
    """
    scale = told.alpha / len(told.down)
    low, high = abs(scale), 1.0
    while 0 < 2 * low < high:
        low, high = 2 * low, high / 2
    return times(told.down, math.copysign(low, scale)), times(told.up, high)


def authored(
    network: Network, layers: Mapping[str, LoraTensors]
) -> Iterator[tuple[str, LoraTensors]]:
    """The authors' layers with their changes; see `fused`.

    Those outside the blocks have alpha = rank and their scale in the numbers: diffusers (0.42)
    reads the last two without their alphas.
    """
    spots: dict[Spot, dict[int, LoraTensors]] = {}
    for name, told in layers.items():
        found = network.by_ours(name)
        if found is None:
            yield name, told
        else:
            spots.setdefault(found[0], {})[found[1]] = told
    for spot, parts in spots.items():
        whole = fused(parts, spot.row)
        ones = LoraTensors(*balanced(whole), float(len(whole.down)))
        yield spot.theirs, whole if spot.numbers else ones


@dataclass(frozen=True)
class Home:
    """What the beginning of a key means."""

    part: str
    layout: str
    spot: Spot
    place: int | None
    """Which of the spot's layers; None: the authors' layer, which is all of them."""


@dataclass
class Found:
    """What is known so far."""

    changes: dict[str, dict[str, LoraTensors]]
    layouts: Counter[str] = field(default_factory=Counter)
    strangers: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    twice: set[tuple[str, str]] = field(default_factory=set)
    """Layers that stand in the file in two spellings."""

    def put(self, home: Home, told: Mapping[int, LoraTensors]) -> None:
        """Take layers in."""
        layers = self.changes[home.part]
        for place, one in told.items():
            name = home.spot.ours[place]
            if name in layers:
                self.twice.add((home.part, name))
            layers[name] = one

    def take_out_twice(self) -> None:
        """Nobody knows which of two spellings is meant, so neither is read."""
        for part, name in sorted(self.twice):
            del self.changes[part][name]
            self.faults.append(f"'{name}' is there twice, in two spellings")


def parsed(found: Mapping[str, Tensor], keys: Keys) -> Parsed:
    """The changes that keys of any known spelling tell, and all that could not be read."""
    known = Found({part: {} for part in keys})
    stems = _by_stem(found, known)
    for stem, held in stems.items():
        home = _home(stem, keys)
        if home is None:
            known.strangers.update(held.values())
            continue
        tensors = {role: found[key] for role, key in held.items()}
        if fault := _fault(stem, tensors):
            known.faults.append(fault)
        elif (told := _placed(_tensors(tensors), home)) is None:
            rows = len(tensors["up"])
            known.faults.append(f"the {rows} rows of '{stem}' cannot be those of its layers")
        else:
            known.put(home, told)
            known.layouts[home.layout] += 1
    known.take_out_twice()
    known.faults += _unfit(known, keys)
    return Parsed(
        " and ".join(name for name, _ in known.layouts.most_common()),
        {part: layers for part, layers in known.changes.items() if layers},
        tuple(sorted(known.strangers)),
        tuple(known.faults),
    )


def _by_stem(found: Iterable[str], known: Found) -> dict[str, dict[str, str]]:
    """Keys by the layer's spelling and what they are of it; the others are put down as strangers.

    A layer with one key of another kind of adapter is no plain LoRA, and all its keys go.
    """
    kinds = {layer: name for key in found if (told := foreign.kind(key)) for layer, name in [told]}
    stems: dict[str, dict[str, str]] = {}
    doubled = set()
    for key in found:
        ending = next((one for one in ENDINGS if key.endswith(one)), "")
        stem = key.removesuffix(ending)
        if not ending or stem in kinds:
            known.strangers.add(key)
        elif ENDINGS[ending] in (held := stems.setdefault(stem, {})):
            known.faults.append(f"'{stem}' has two tensors for {ENDINGS[ending]}")
            doubled.add(stem)
        else:
            held[ENDINGS[ending]] = key
    known.faults += _of_other_kinds(kinds)
    return {stem: held for stem, held in stems.items() if stem not in doubled}


def _of_other_kinds(kinds: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each kind of adapter that is not read, from the layers that are of it."""
    for name, count in Counter(kinds.values()).most_common():
        first = next(layer for layer, other in kinds.items() if other == name)
        layers = "layer is" if count == 1 else "layers are"
        yield f"{count} {layers} {name}, first '{first}' (only plain LoRA is read)"


def _home(stem: str, keys: Keys) -> Home | None:
    for prefix, part, layout in _beginnings(keys):
        if stem.startswith(prefix):
            joint = "_" if prefix.endswith("_") else "."
            rest, network = stem.removeprefix(prefix), keys[part]
            if found := network.by_ours(rest, joint=joint):
                spot, place = found
                odd = spot.theirs != spot.ours[place] and layout in ("kohya", "comfy")
                return Home(part, layout + (" with diffusers' names" if odd else ""), spot, place)
            if spot := network.by_theirs(rest, joint=joint):
                odd = layout == "diffusers"
                return Home(part, layout + (" with the authors' names" if odd else ""), spot, None)
    return None


def _beginnings(keys: Keys) -> list[tuple[str, str, str]]:
    """Every prefix with its part and layout, the longest first."""
    listed = [
        (prefix, part, layout)
        for part, network in keys.items()
        for layout, prefix in [
            *network.prefixes.items(),
            *((who, prefix) for prefix, who in network.also.items()),
        ]
    ]
    return sorted(listed, key=lambda one: -len(one[0]))


def _fault(stem: str, held: Mapping[str, Tensor]) -> str:
    """Why tensors cannot be those of a layer; empty when they can."""
    for role in ("down", "up"):
        if role not in held:
            return f"'{stem}' has no {role} matrix"
    down, up, alpha = held["down"], held["up"], held.get("alpha")
    if any(one.is_complex() for one in held.values()):
        return f"'{stem}' holds complex numbers"
    if not (down.is_floating_point() and up.is_floating_point()):
        return f"'{stem}' holds whole numbers, and nothing says how they are scaled"
    if down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1] or not len(down):
        shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
        return f"the shapes of '{stem}', {shapes}, do not fit each other"
    if alpha is not None and (alpha.numel() != 1 or not math.isfinite(float(alpha))):
        return f"the alpha of '{stem}' is not one finite number"
    return ""


def _tensors(held: Mapping[str, Tensor]) -> LoraTensors:
    """Missing alpha is the rank."""
    down, alpha = held["down"], held.get("alpha")
    scale = float(len(down)) if alpha is None else float(alpha)
    return LoraTensors(_plain(down), _plain(held["up"]), scale)


def _plain(tensor: Tensor) -> Tensor:
    """In a dtype that can be computed with."""
    return tensor if tensor.dtype in PLAIN else tensor.float()


def _placed(told: LoraTensors, home: Home) -> dict[int, LoraTensors] | None:
    return parted(told, home.spot.row) if home.place is None else {home.place: told}


def _unfit(known: Found, keys: Keys) -> Iterator[str]:
    """Layers of one authors' layer that cannot be parts of one; they are taken out."""
    for part, layers in known.changes.items():
        spots: dict[Spot, dict[int, LoraTensors]] = {}
        for name, told in layers.items():
            spot, place = keys[part].by_ours(name) or (None, 0)
            assert spot is not None
            spots.setdefault(spot, {})[place] = told
        for spot, parts in spots.items():
            if not fits(parts, spot.row):
                names = [spot.ours[place] for place in parts]
                for name in names:
                    del layers[name]
                yield f"the shapes of {', '.join(names)} do not fit one another"
