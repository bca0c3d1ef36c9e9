"""LoRA-GGPO (Chang et al. 2025): noise on the layers while training, larger where weights and
gradients are, so that flat minima are found.

Row i of a layer's weight is moved by N(0, 1) (sigma c_i + beta g_i^2) / sqrt(outputs), where c_i is
the norm of its weights, base and change, and g_i that of the change's last gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scumble import dice
from scumble.adapters.attach import Adapters
from scumble.adapters.lora import LoraBranch, fitting
from scumble.spec.adapter import GgpoSpec

KEPT = "ggpo/"
"""What the names of its tensors in a checkpoint begin with."""


@dataclass
class Noise:
    """The noise of one layer in one step: drawn anew for each use, and so never kept."""

    rows: Float[Tensor, " outputs"] | None = None
    """How far each row is moved; None before the first gradient."""

    word: int = 0
    """Stands for seed, step and layer."""

    def __call__(self, x: Tensor) -> Tensor | None:
        """What the noise on the weights makes of the layer's input; None: there is none yet."""
        return None if self.rows is None else _Moved.apply(x, self.rows, self.word)


class _Moved(torch.autograd.Function):
    """x P^T, with P drawn again in the backward pass: it is as large as the layer's weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, word: int) -> Tensor:
        ctx.word, ctx.kind = word, x.dtype
        ctx.save_for_backward(rows)
        ctx.inputs = x.shape[-1]
        return functional.linear(x, fitting(_drawn(rows, x.shape[-1], word), x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (rows,) = ctx.saved_tensors
        (gradient,) = gradients
        noise = _drawn(rows, ctx.inputs, ctx.word).to(gradient.dtype)
        return (gradient @ noise).to(ctx.kind), None, None


def _drawn(rows: Tensor, inputs: int, word: int) -> Float[Tensor, "outputs inputs"]:
    """On the device itself: so many numbers cannot come from the host in time."""
    source = torch.Generator(rows.device).manual_seed(word)
    draws = torch.randn(len(rows), inputs, generator=source, device=rows.device)
    return draws * rows[:, None]


@dataclass(frozen=True)
class Ggpo:
    """The noise of all layers of an adapter."""

    spec: GgpoSpec
    adapters: Adapters
    seed: int
    means: dict[str, Tensor] = field(default_factory=dict)
    """Mean norm of the base's rows, by layer; over all layers that share a `down`."""

    def begin(self, step: int) -> None:
        """Another noise for this step."""
        for layer, branch in self.adapters.branches():
            _noise(branch).word = dice.word(self.seed, "ggpo", step, self._called(layer))

    @torch.no_grad()
    def measure(self) -> None:
        """Take the sizes for the next step from weights and gradients as they stand."""
        for group in self.adapters.groups():
            outputs = sum(len(branch.up) for _, branch in group)
            mean = self._mean(group)
            for _, branch in group:
                if branch.up.grad is None and branch.down.grad is None:
                    continue
                weights, gradients = _row_norms(branch, mean)
                moved = self.spec.sigma * weights + self.spec.beta * gradients
                _noise(branch).rows = moved / outputs**0.5

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint must hold for the next step to be the same."""
        found = {name: _noise(one).rows for name, one in self.adapters.branches()}
        return {
            f"{KEPT}{self._called(name)}": rows.cpu()
            for name, rows in found.items()
            if rows is not None
        }

    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `kept` gave; layers that have nothing there begin without noise."""
        for name, branch in self.adapters.branches():
            rows = tensors.get(f"{KEPT}{self._called(name)}")
            if rows is not None:
                _noise(branch).rows = rows.to(branch.up.device)

    def _called(self, layer: str) -> str:
        names = self.adapters.names
        return names.whole(names.table(layer))

    def _mean(self, group: list[tuple[str, LoraBranch]]) -> Tensor:
        layers = [self.adapters.layers[name] for name, _ in group]
        first = group[0][0]
        if first not in self.means:
            norms = [_norms(layer.weight) for layer in layers]
            self.means[first] = torch.cat(norms).mean()
        return self.means[first]


def noisy(adapters: Adapters, spec: GgpoSpec, seed: int) -> Ggpo:
    """Put the noise in. It begins with the second step, for the first has no gradient behind it."""
    for _, branch in adapters.branches():
        branch.noise = Noise()
    return Ggpo(spec, adapters, seed)


def _noise(branch: LoraBranch) -> Noise:
    assert isinstance(branch.noise, Noise)
    return branch.noise


def _norms(weight: Tensor) -> Float[Tensor, " rows"]:
    return torch.linalg.vector_norm(weight.detach().float(), dim=1)


def _row_norms(branch: LoraBranch, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Of the weights; squared, of the gradient that the layer's change has by both matrices.

    A row of L R has the squared norm l (R R^T) l^T, so no matrix of the layer's size is made.
    """
    down, up, scale = branch.down.float(), branch.up.float(), branch.scale
    weights = (mean**2 + scale**2 * _squares(up, down)).sqrt()
    left = torch.cat([up, _gradient(branch.up)], dim=1)
    right = torch.cat([_gradient(branch.down), down])
    return weights, scale**2 * _squares(left, right)


def _squares(left: Tensor, right: Tensor) -> Float[Tensor, " rows"]:
    return ((left @ (right @ right.T)) * left).sum(1).clamp(min=0)


def _gradient(parameter: nn.Parameter) -> Tensor:
    found = parameter.grad
    return torch.zeros_like(parameter).float() if found is None else found.float()
