"""What every layer of an adapter is to be: its rank, its scale, its rate, whose `down` it has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from scumble.adapters.first import TAKEN
from scumble.adapters.lora import LoraTensors
from scumble.adapters.names import Names, together
from scumble.errors import JobError
from scumble.spec.adapter import LayerRule, LoraSpec

WHERE = "adapter.rules"
ANY_PART, ANY_PARTS = "*", "**"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What one layer gets."""

    rank: int
    alpha: float
    rate: float | None = None
    """Its learning rate, where a rule gives one."""

    shared: str | None = None
    """The authors' layer whose parts share one `down`; None: it has its own."""


@dataclass(frozen=True)
class Shape:
    """What every layer of one part gets, by its name in the module."""

    slots: Mapping[str, Slot]
    names: Names = field(default_factory=Names)
    others: tuple[str, ...] = ()
    """The linear layers that get nothing."""

    taken: bool = False
    """Whether first values are taken out of the layers: a file is twice as wide then."""

    def down(self, layer: str) -> str:
        """What its `down` stands under, of which the first draw is a function."""
        shared = self.slots[layer].shared
        return self.names.whole(shared or self.names.table(layer))

    def down_name(self, layer: str) -> str:
        """LAYER.down, or what tells that several have it: double_blocks.0.img_attn.qkv.shared_down.

        Parts other than the denoiser stand before the layer.
        """
        return f"{self.down(layer)}.{'shared_down' if self.slots[layer].shared else 'down'}"

    def up_name(self, layer: str) -> str:
        """LAYER.up."""
        return f"{self.names.whole(self.names.table(layer))}.up"

    def sizes(self, layers: Mapping[str, nn.Linear]) -> dict[str, tuple[int, ...]]:
        """(rows, columns) of every matrix that is trained, by its name; JobError where a layer has
        fewer directions than are to be taken out of it."""
        made: dict[str, tuple[int, ...]] = {}
        for layer, slot in self.slots.items():
            outputs, inputs = layers[layer].weight.shape
            if self.taken and slot.rank > min(outputs, inputs):
                problem = f"{layer} is {outputs} x {inputs}, and has no {slot.rank} directions"
                remedy = "lower the rank, for this layer with a rule, or leave `first` out"
                raise JobError("adapter.first", problem, remedy)
            made.setdefault(self.down_name(layer), (slot.rank, inputs))
            made[self.up_name(layer)] = (outputs, slot.rank)
        return made

    def numbers(self, layers: Mapping[str, nn.Linear], *, authors: bool) -> int:
        """Of a file: with the authors' layers, or with ours, each with a `down`.

        Where an authors' layer holds one of ours beside others, it is as wide as these together.
        """
        total, downs = 0, set[str]()
        for layer, slot in self.slots.items():
            outputs, inputs = layers[layer].weight.shape
            spot = self.names.spot(layer)
            once = authors and slot.shared is not None
            rank = 2 * slot.rank if self.taken else slot.rank
            if not (once and self.down(layer) in downs):
                total += rank * inputs
            downs.add(self.down(layer))
            if authors and spot is not None and not slot.shared:
                row, place = spot.row, spot.ours.index(self.names.table(layer))
                outputs = outputs // row.shares[place] * sum(row.shares)
            total += rank * outputs
        return total


def ranks(shapes: Iterable[Shape]) -> dict[int, int]:
    """How many layers have which rank, the highest first."""
    found = Counter(one.rank for shape in shapes for one in shape.slots.values())
    return dict(sorted(found.items(), reverse=True))


def meant(rule: LayerRule, layer: str, names: Names) -> bool:
    """Whether a rule speaks of a layer."""
    pattern = rule.layers
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        return re.search(pattern[1:-1], names.kohya(layer)) is not None
    return covers(pattern.split("."), names.table(layer).split("."))


def covers(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a pattern is all of a name: `*` is any one part of it, `**` any number."""
    if not pattern:
        return not parts
    if pattern[0] == ANY_PARTS:
        return any(covers(pattern[1:], parts[count:]) for count in range(len(parts) + 1))
    fits = bool(parts) and pattern[0] in (ANY_PART, parts[0])
    return fits and covers(pattern[1:], parts[1:])


def chosen_by_rules(
    linears: Iterable[str], targeted: Collection[str], spec: LoraSpec, names: Names
) -> list[str]:
    """The layers that are trained: a rule's rank decides, and where none does the targets."""
    ranks = {layer: _rank(layer, spec, names) for layer in linears}
    return [n for n, rank in ranks.items() if (n in targeted if rank is None else rank > 0)]


def idle(rules: Sequence[LayerRule], shapes: Collection[Shape]) -> str:
    """One sentence that names the rules which speak of no layer; empty when all do.

    A rate is for layers that are trained; a rank of 0 may speak of what is not trained anyway.
    """
    still = [rule.layers for rule in rules if not any(_speaks(rule, one) for one in shapes)]
    told = ", ".join(f"`{pattern}`" for pattern in still)
    return f"No trained layer is called as these `adapter.rules` say: {told}." if still else ""


def _speaks(rule: LayerRule, shape: Shape) -> bool:
    layers = (*shape.slots, *(shape.others if rule.rank == 0 else ()))
    return any(meant(rule, layer, shape.names) for layer in layers)


def resolved(layers: Iterable[str], spec: LoraSpec, names: Names) -> Shape:
    """Ranks, scales and rates as the job says. JobError where layers that are to share one `down`
    would differ."""
    assert names.network.rows or not spec.fused, "the authors' layers are not known"
    slots: dict[str, Slot] = {}
    for layer in layers:
        found = _rank(layer, spec, names)
        rank = spec.rank if found is None else found
        assert rank > 0, "a layer that the rules leave out"
        slots[layer] = Slot(
            rank=rank, alpha=spec.alpha or float(rank), rate=_rate(layer, spec, names)
        )
    slots = _sharing(slots, names) if spec.fused else slots
    return Shape(slots, names, taken=spec.first in TAKEN)


def as_filed(
    told: Mapping[str, LoraTensors], layers: Iterable[str], spec: LoraSpec, names: Names
) -> Shape:
    """Layers, ranks and scales of a file; of its layers those that the module has.

    With `fused`, parts of one authors' layer share their `down` where it is the same in the file.
    """
    slots: dict[str, Slot] = {}
    for layer in layers:
        one = told.get(names.table(layer))
        if one is not None:
            rate = _rate(layer, spec, names)
            slots[layer] = Slot(rank=len(one.down), alpha=one.alpha, rate=rate)
    if not spec.fused:
        return Shape(slots, names)
    apart = {
        layer
        for ours in together(slots, names).values()
        if not alike([told[names.table(layer)] for layer in ours])
        for layer in ours
    }
    shared = _sharing({n: one for n, one in slots.items() if n not in apart}, names)
    return Shape({layer: shared.get(layer, slots[layer]) for layer in slots}, names)


def alike(several: Sequence[LoraTensors]) -> bool:
    """Whether changes have one `down` and one scale."""
    first = several[0]
    return all(
        one.alpha == first.alpha
        and one.down.shape == first.down.shape
        and (one.down is first.down or torch.equal(one.down, first.down))
        for one in several[1:]
    )


def _sharing(slots: Mapping[str, Slot], names: Names) -> dict[str, Slot]:
    made = dict(slots)
    for theirs, ours in together(slots, names).items():
        for layer in ours[1:]:
            _refuse_unlike(ours[0], slots[ours[0]], layer, slots[layer])
        for layer in ours:
            one = slots[layer]
            made[layer] = Slot(rank=one.rank, alpha=one.alpha, rate=one.rate, shared=theirs)
    return made


def _refuse_unlike(name: str, first: Slot, other_name: str, other: Slot) -> None:
    for what, mine, theirs in (
        ("rank", first.rank, other.rank),
        ("learning rate", first.rate, other.rate),
    ):
        if mine != theirs:
            told = [_said(one) for one in (mine, theirs)]
            problem = (
                f"{name} and {other_name} share one `down` (`adapter.fused`), and get"
                f" the {what} {told[0]} and {told[1]}"
            )
            raise JobError(WHERE, problem, "write the rule for both, or leave `fused` out")


def _said(value: int | float | None) -> str:
    return "of the job" if value is None else f"{value:g}"


def _rank(layer: str, spec: LoraSpec, names: Names) -> int | None:
    rules = (one for one in spec.rules if one.rank is not None and meant(one, layer, names))
    return next((one.rank for one in rules), None)


def _rate(layer: str, spec: LoraSpec, names: Names) -> float | None:
    rules = (one for one in spec.rules if one.rate is not None and meant(one, layer, names))
    return next((one.rate for one in rules), None)
