"""Put adapters into a model, and take them out again without a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn

from scumble.adapters.lora import LoraBranch, LoraTensors
from scumble.errors import JobError
from scumble.spec.adapter import AdapterSpec


@dataclass
class Switch:
    """What all wrapped layers of one model look at while they compute."""

    on: bool = True
    seeds: Int[Tensor, " batch"] | None = None
    """One seed per example for this forward pass; None: no dropout."""


class Adapted(nn.Module):
    """y = base(x) + the sum of its branches. Shows `weight` and `bias` as the layer it wraps."""

    def __init__(self, base: nn.Linear, branch: LoraBranch, switch: Switch) -> None:
        super().__init__()
        self.base = base
        self.branches = nn.ModuleList([branch])
        self.switch = switch

    @property
    def weight(self) -> Tensor:
        """The frozen weight."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        answer = self.base(x)
        if self.switch.on:
            for branch in self.branches:
                answer = answer + branch(x, self.switch.seeds)
        return answer


@dataclass(frozen=True)
class Adapters:
    """Everything that was put into one model."""

    model: nn.Module
    layers: Mapping[str, Adapted]
    switch: Switch = field(default_factory=Switch)

    def branches(self) -> Iterator[tuple[str, LoraBranch]]:
        """Every branch with the name of its layer."""
        for name, layer in self.layers.items():
            for branch in layer.branches:
                assert isinstance(branch, LoraBranch)
                yield name, branch

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {
            f"{name}.{part}": parameter
            for name, branch in self.branches()
            for part, parameter in branch.named_parameters()
        }

    def tensors(self) -> dict[str, LoraTensors]:
        """What is delivered, by layer."""
        return {name: branch.tensors() for name, branch in self.branches()}

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base model alone; may be nested."""
        before, self.switch.on = self.switch.on, False
        try:
            yield
        finally:
            self.switch.on = before

    @contextmanager
    def dropping(self, seeds: Int[Tensor, " batch"] | None) -> Iterator[None]:
        """Dropout drawn from these seeds; outside there is none."""
        before, self.switch.seeds = self.switch.seeds, seeds
        try:
            yield
        finally:
            self.switch.seeds = before

    def detach(self) -> None:
        """Give the model its own layers back."""
        for name, layer in self.layers.items():
            self.model.set_submodule(name, layer.base)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the change to the layers' own weights, and go."""
        self.detach()
        for name, branch in self.branches():
            weight = self.layers[name].base.weight
            weight.copy_((weight.float() + branch.change()).to(weight.dtype))


def matches(pattern: str, name: str) -> bool:
    """Whether a layer's name ends in the pattern's whole dotted parts; `*` is any one part."""
    wanted, parts = pattern.split("."), name.split(".")
    if len(wanted) > len(parts):
        return False
    ending = parts[-len(wanted) :]
    return all(want in ("*", part) for want, part in zip(wanted, ending, strict=True))


def chosen(
    model: nn.Module, targets: str | Iterable[str], presets: Mapping[str, tuple[str, ...]]
) -> dict[str, nn.Linear]:
    """The linear layers that a job's targets mean; JobError for a pattern that finds none."""
    where = "adapter.targets"
    if isinstance(targets, str) and targets not in presets:
        known = f"known: {', '.join(presets)}; or give a list of layer names"
        raise JobError(where, f"there is no preset '{targets}'", known)
    patterns = presets[targets] if isinstance(targets, str) else tuple(targets)
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    idle = [p for p in patterns if not any(matches(p, name) for name in linears)]
    if idle or not patterns:
        examples = ", ".join(list(linears)[:3])
        problem = f"no layer's name ends in '{idle[0]}'" if idle else "no layer is named"
        raise JobError(where, problem, f"layers are called {examples}, ...")
    return {
        name: layer
        for name, layer in linears.items()
        if any(matches(pattern, name) for pattern in patterns)
    }


def attach(
    model: nn.Module,
    layers: Mapping[str, nn.Linear],
    spec: AdapterSpec,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> Adapters:
    """Wrap layers with fresh adapters, which change nothing yet; `dtype` of their weights."""
    switch = Switch()
    wrapped = {
        name: Adapted(layer, LoraBranch.fresh(name, layer, spec, seed=seed, dtype=dtype), switch)
        for name, layer in layers.items()
    }
    return _placed(model, wrapped, switch)


def attach_tensors(
    model: nn.Module, tensors: Mapping[str, LoraTensors], *, strength: float = 1.0
) -> Adapters:
    """Wrap layers with adapters as a file holds them."""
    switch = Switch()
    wrapped = {}
    for name, told in tensors.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        wrapped[name] = Adapted(layer, LoraBranch.of(name, layer, told, strength), switch)
    return _placed(model, wrapped, switch)


def _placed(model: nn.Module, wrapped: Mapping[str, Adapted], switch: Switch) -> Adapters:
    for name, layer in wrapped.items():
        model.set_submodule(name, layer)
    return Adapters(model, wrapped, switch)
