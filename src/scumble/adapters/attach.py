"""Put adapters into a model, and take them out again without a trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from scumble.adapters.first import TAKEN, drawn, taken
from scumble.adapters.lora import Bottleneck, Drops, LoraBranch, LoraTensors
from scumble.adapters.names import Names
from scumble.adapters.shapes import Shape, Slot, resolved
from scumble.errors import JobError
from scumble.spec.adapter import LoraSpec


@dataclass
class Switch:
    """What all wrapped layers of one model look at while they compute."""

    on: bool = True
    seeds: Int[Tensor, " batch"] | None = None
    """One seed per example for this forward pass; None: no dropout."""

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base model alone; may be nested."""
        before, self.on = self.on, False
        try:
            yield
        finally:
            self.on = before

    @contextmanager
    def dropping(self, seeds: Int[Tensor, " batch"] | None) -> Iterator[None]:
        """Dropout drawn from these seeds; outside there is none."""
        before, self.seeds = self.seeds, seeds
        try:
            yield
        finally:
            self.seeds = before


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
class Role:
    """What a trained matrix is, as far as its learning rate goes."""

    part: str
    up: bool
    rate: float | None
    """That of the rule for its layer."""


@dataclass(frozen=True)
class Adapters:
    """Everything that was put into one model."""

    model: nn.Module
    layers: Mapping[str, Adapted]
    switch: Switch
    shape: Shape

    @property
    def names(self) -> Names:
        """How its layers are called."""
        return self.shape.names

    def branches(self) -> Iterator[tuple[str, LoraBranch]]:
        """Every branch with the name of its layer."""
        for name, layer in self.layers.items():
            for branch in layer.branches:
                assert isinstance(branch, LoraBranch)
                yield name, branch

    def matrices(self) -> Iterator[tuple[str, nn.Parameter, Role]]:
        """What is trained with its name, once each: a `down` with the first layer that has it."""
        seen: set[int] = set()
        for layer, branch in self.branches():
            rate, part = self.shape.slots[layer].rate, self.names.part
            if id(branch.down) not in seen:
                yield self.shape.down_name(layer), branch.down, Role(part, up=False, rate=rate)
            seen.add(id(branch.down))
            yield self.shape.up_name(layer), branch.up, Role(part, up=True, rate=rate)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: parameter for name, parameter, _ in self.matrices()}

    def tensors(self) -> dict[str, LoraTensors]:
        """What is delivered, by the layer's name in the tables; a shared `down` is one object."""
        downs = {id(one.down): one.bottleneck.rows().detach() for _, one in self.branches()}
        return {
            self.names.table(layer): LoraTensors(
                down := downs[id(one.down)], one.columns().detach(), one.scale * len(down)
            )
            for layer, one in self.branches()
        }

    def first(self) -> dict[str, Tensor]:
        """Where training began, by what is trained; empty where that is nothing but draws."""
        found: dict[str, Tensor] = {}
        for layer, one in self.branches():
            if one.first is not None and one.bottleneck.first is not None:
                found[self.shape.down_name(layer)] = one.bottleneck.first
                found[self.shape.up_name(layer)] = one.first
        return found

    def groups(self) -> list[list[tuple[str, LoraBranch]]]:
        """The branches with their layers, those that share a `down` together."""
        found: dict[int, list[tuple[str, LoraBranch]]] = {}
        for layer, branch in self.branches():
            found.setdefault(id(branch.down), []).append((layer, branch))
        return list(found.values())

    def off(self) -> AbstractContextManager[None]:
        """The base model alone; may be nested."""
        return self.switch.off()

    def dropping(self, seeds: Int[Tensor, " batch"] | None) -> AbstractContextManager[None]:
        """Dropout drawn from these seeds; outside there is none."""
        return self.switch.dropping(seeds)

    def detach(self) -> None:
        """Give the model its own layers back."""
        for name, layer in self.layers.items():
            self.model.set_submodule(name, layer.base)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the change to the layers' own weights, and go."""
        self.detach()
        for name, branch in self.branches():
            weight = self.layers[name].base.get_parameter("weight")  # quantised layers have none
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


def linear(model: nn.Module, name: str) -> nn.Linear:
    """The linear layer of that name."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def attach(
    model: nn.Module,
    layers: Mapping[str, nn.Linear],
    spec: LoraSpec,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    shape: Shape | None = None,
) -> Adapters:
    """Wrap layers with fresh adapters, which change nothing yet; `dtype` of their weights.

    `shape` says what each of them gets, and of which part they are; without it the job alone does,
    and they are the denoiser's.
    """
    switch, shape = Switch(), shape or resolved(layers, spec, Names())
    members = Counter(shape.down(layer) for layer in layers)
    downs: dict[str, Bottleneck] = {}
    wrapped = {}
    for layer, base in layers.items():
        slot, name = shape.slots[layer], shape.down(layer)
        if spec.first in TAKEN:
            branch = _taken(base, slot, spec, (seed, name), dtype)
            wrapped[layer] = Adapted(base, branch, switch)
            continue
        outputs, inputs = base.out_features, base.in_features
        device = base.weight.device
        if name not in downs:
            down = drawn((seed, name), (slot.rank, inputs), spec.first, dtype).to(device)
            downs[name] = Bottleneck(name, down, Drops.of(spec), members[name])
        assert downs[name].down.shape == (slot.rank, inputs)
        up = torch.zeros(outputs, slot.rank, device=device, dtype=dtype)
        branch = LoraBranch(downs[name], up, scale=slot.alpha / slot.rank)
        wrapped[layer] = Adapted(base, branch, switch)
    return _placed(Adapters(model, wrapped, switch, shape))


def _taken(
    base: nn.Linear, slot: Slot, spec: LoraSpec, key: tuple[int, str], dtype: torch.dtype
) -> LoraBranch:
    """A branch that begins at directions of the layer, which are its own weights widened where
    they are quantised."""
    scale = slot.alpha / slot.rank
    pair = taken(base.weight, key, first=spec.first, rank=slot.rank, scale=scale)
    down, up = pair.down.to(dtype), pair.up.to(dtype)
    bottleneck = Bottleneck(key[1], torch.zeros_like(down), Drops.of(spec), first=down)
    return LoraBranch(bottleneck, torch.zeros_like(up), scale=scale, first=up)


def attach_tensors(
    model: nn.Module, tensors: Mapping[str, LoraTensors], *, strength: float = 1.0
) -> Adapters:
    """Wrap layers with adapters as a file holds them."""
    switch = Switch()
    wrapped = {}
    for name, told in tensors.items():
        layer = linear(model, name)
        wrapped[name] = Adapted(layer, LoraBranch.of(name, layer, told, strength), switch)
    slots = {name: Slot(rank=len(one.down), alpha=one.alpha) for name, one in tensors.items()}
    return _placed(Adapters(model, wrapped, switch, Shape(slots)))


def _placed(adapters: Adapters) -> Adapters:
    for name, layer in adapters.layers.items():
        adapters.model.set_submodule(name, layer)
    return adapters
