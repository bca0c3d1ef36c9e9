"""What every layer of a LyCORIS adapter is to be: targets and rules resolved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from scumble.adapters import attach
from scumble.adapters.names import Names
from scumble.adapters.shapes import covers
from scumble.errors import JobError
from scumble.spec.lycoris import LycorisRule, LycorisSpec
from scumble.spec.lycoris_options import OPTIONS, expression

LEFT_OUT = "none"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What one layer gets."""

    algo: str
    rank: int
    alpha: float
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


def chosen(
    model: nn.Module, spec: LycorisSpec, presets: Mapping[str, tuple[str, ...]]
) -> dict[str, nn.Linear]:
    """The linear layers that the targets mean; JobError for a pattern that finds none."""
    if isinstance(spec.targets, str):
        return attach.chosen(model, spec.targets, presets)
    searched = [one for one in spec.targets if expression(one) is not None]
    named = [one for one in spec.targets if expression(one) is None]
    linears = {n: one for n, one in model.named_modules() if isinstance(one, nn.Linear)}
    found = set(attach.chosen(model, named, presets)) if named or not searched else set[str]()
    for pattern in searched:
        mine = {name for name in linears if re.search(expression(pattern) or "", name)}
        if not mine:
            examples = ", ".join(list(linears)[:3])
            problem = f"no layer's name is found by {pattern}"
            raise JobError("adapter.targets", problem, f"layers are called {examples}, ...")
        found |= mine
    return {name: one for name, one in linears.items() if name in found}


def resolved(layers: Iterable[str], spec: LycorisSpec, names: Names) -> dict[str, Slot]:
    """What each of these layers gets, without those that a rule leaves out."""
    made: dict[str, Slot] = {}
    for layer in layers:
        rule = next((one for one in spec.rules if meant(one, layer, names)), None)
        if rule is None or rule.algo != LEFT_OUT:
            made[layer] = _slot(spec, rule)
    return made


def meant(rule: LycorisRule, layer: str, names: Names) -> bool:
    """Whether a rule speaks of a layer."""
    searched, name = expression(rule.layers), names.table(layer)
    if searched is not None:
        return re.search(searched, name) is not None
    return covers(rule.layers.split("."), name.split("."))


def idle(rules: Sequence[LycorisRule], layers: Sequence[str], names: Names) -> str:
    """One sentence that names the rules which speak of none of these layers; empty when all do."""
    still = [one.layers for one in rules if not any(meant(one, layer, names) for layer in layers)]
    told = ", ".join(f"`{pattern}`" for pattern in still)
    return (
        f"None of `adapter.targets` is called as these `adapter.rules` say: {told}." if told else ""
    )


def _slot(spec: LycorisSpec, rule: LycorisRule | None) -> Slot:
    """A rule's own words first; of the adapter's options those that the algorithm has."""
    algo = spec.algo if rule is None or rule.algo is None else rule.algo
    rank, alpha = spec.rank, spec.alpha
    if rule is not None:
        rank, alpha = rule.rank or rank, rule.alpha or alpha
    shared = {name: one for name, one in spec.options.items() if name in OPTIONS[algo]}
    options = shared | ({} if rule is None else rule.options)
    if algo == "dora":
        algo, options = "locon", {**options, "dora_wd": True}
    return Slot(algo=algo, rank=rank, alpha=alpha or float(rank), options=options)
