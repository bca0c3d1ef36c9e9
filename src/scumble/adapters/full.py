"""The network's own weights, trained in the place of adapters beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn

from scumble.adapters.attach import matches
from scumble.errors import JobError

EVERYTHING = "everything"
WHERE = "adapter.targets"

Base = Callable[[], Mapping[str, Tensor]]
"""Reads the base model's weights again, by name and on the CPU; asked for once at most."""


@dataclass
class Aside:
    """The base's values while the network holds the trained ones, and the other way round."""

    values: dict[str, Tensor] = field(default_factory=dict)
    """On the CPU; empty until somebody wants the base."""

    off: bool = False


@dataclass(frozen=True)
class FullWeights:
    """The chosen weights of one model, trained in place.

    What they were before is kept nowhere: the first time that the base is wanted, `base` reads it
    from where the model came from, and from then on one copy lies on the CPU.
    """

    model: nn.Module
    trained: Mapping[str, nn.Parameter]
    base: Base
    aside: Aside = field(default_factory=Aside)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by its name in the network."""
        return dict(self.trained)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base's own values, bit for bit; may be nested."""
        if self.aside.off:
            yield
            return
        self._keep_base()
        self._swap()
        self.aside.off = True
        try:
            yield
        finally:
            self._swap()
            self.aside.off = False

    @contextmanager
    def dropping(self, seeds: Int[Tensor, " batch"] | None) -> Iterator[None]:
        """Nothing is dropped: the network has no dropout of its own."""
        yield

    def detach(self) -> None:
        """Give the model the base's values back, and freeze them."""
        self._keep_base()
        if not self.aside.off:
            self._swap()
        for parameter in self.trained.values():
            parameter.requires_grad_(False)

    def base_values(self) -> Mapping[str, Tensor]:
        """The base's values of what is trained, on the CPU; not to be asked for within `off`."""
        assert not self.aside.off
        self._keep_base()
        return self.aside.values

    def _keep_base(self) -> None:
        if self.aside.values:
            return
        found = self.base()
        for name, parameter in self.trained.items():
            # a copy: what was read may be a view of a file, or of another tensor
            value = found[name].detach().to("cpu", parameter.dtype, copy=True)
            assert value.shape == parameter.shape
            self.aside.values[name] = value

    @torch.no_grad()
    def _swap(self) -> None:
        """One tensor after another, so that only one is held twice."""
        for name, parameter in self.trained.items():
            kept = self.aside.values[name]
            shown = parameter.detach().to("cpu", copy=True)
            parameter.copy_(kept)
            kept.copy_(shown)


def chosen(
    model: nn.Module, targets: str | Iterable[str], presets: Mapping[str, tuple[str, ...]]
) -> dict[str, nn.Parameter]:
    """The weights that a job's targets mean; JobError for a pattern that finds none.

    A pattern names layers, whatever their kind; where no layer is called so, it names blocks, and
    then all that is in them.
    """
    there = dict(model.named_parameters())
    if targets == EVERYTHING:
        return there
    if isinstance(targets, str) and targets not in presets:
        known = f"known: {EVERYTHING}, {', '.join(presets)}; or give a list of layer names"
        raise JobError(WHERE, f"there is no preset '{targets}'", known)
    patterns = presets[targets] if isinstance(targets, str) else tuple(targets)
    layers = {name.rpartition(".")[0] for name in there}
    blocks = {name for name, _ in model.named_modules() if name} - layers
    found: set[str] = set()
    for pattern in patterns or ("",):
        meant = _meant(pattern, layers) or _meant(pattern, blocks)
        if not meant:
            problem = f"no layer's name ends in '{pattern}'" if pattern else "no layer is named"
            examples = ", ".join(sorted(layers)[:3])
            raise JobError(WHERE, problem, f"layers are called {examples}, ...")
        found |= meant
    return {name: one for name, one in there.items() if _within(name, found)}


def _meant(pattern: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if matches(pattern, name)}


def _within(name: str, modules: set[str]) -> bool:
    """Whether a weight belongs to one of these modules, or to something in one."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in modules for count in range(1, len(parts)))


def opened(
    model: nn.Module, names: Iterable[str], base: Base, *, dtype: torch.dtype = torch.float32
) -> FullWeights:
    """Make weights of a frozen model trainable, kept in `dtype` whatever the rest is kept in.

    Autocast brings them down to what the network computes in, at each forward pass.
    """
    trained: dict[str, nn.Parameter] = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        module = model.get_submodule(layer)
        fresh = nn.Parameter(module.get_parameter(kind).detach().to(dtype))
        module.register_parameter(kind, fresh)
        trained[name] = fresh
    return FullWeights(model, trained, base)
