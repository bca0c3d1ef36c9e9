"""LoRA (Hu et al. 2021): a low-rank change beside a frozen layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from scumble import dice
from scumble.spec.adapter import LoraSpec

# Constants of the splitmix64 generator (Steele, Lea and Flood 2014), as signed 64-bit numbers.
STEP, MIX_1, MIX_2 = (
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass(frozen=True)
class LoraTensors:
    """One layer's change, (alpha / rank) up @ down, as files hold it."""

    down: Float[Tensor, "rank inputs"]
    up: Float[Tensor, "outputs rank"]
    alpha: float


class LoraBranch(nn.Module):
    """(alpha / rank) B A x; B starts at zero. Weights in float32, or in bf16 where the optimizer
    makes up for their rounding; computed in the type of x, or in autocast's.

    Dropout sets values of the bottleneck to zero. Its mask is a hash of (seed of the example,
    layer, position), so it is the same when a block is computed again, and any batch split.
    """

    def __init__(self, name: str, down: Tensor, up: Tensor, *, scale: float, dropout: float):
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.scale = scale
        self.dropout = dropout
        self.salt = dice.word("dropout", name)

    @classmethod
    def fresh(
        cls,
        name: str,
        base: nn.Linear,
        spec: LoraSpec,
        *,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> LoraBranch:
        """Down drawn from the seed and the layer's name, up zero."""
        outputs, inputs = base.weight.shape
        shape, device = (spec.rank, inputs), base.weight.device
        draws = torch.rand(shape, generator=dice.generator(seed, "start", name))
        down = ((2 * draws - 1) / inputs**0.5).to(device, dtype)
        up = torch.zeros(outputs, spec.rank, device=device, dtype=dtype)
        scale = (spec.alpha or spec.rank) / spec.rank
        return cls(name, down, up, scale=scale, dropout=spec.dropout)

    @classmethod
    def of(cls, name: str, base: nn.Linear, told: LoraTensors, strength: float) -> LoraBranch:
        """As a file says, times a strength."""
        device = base.weight.device
        down, up = told.down.float().to(device), told.up.float().to(device)
        scale = strength * told.alpha / len(down)
        return cls(name, down, up, scale=scale, dropout=0.0).requires_grad_(False)

    def forward(self, x: Tensor, seeds: Int[Tensor, " batch"] | None = None) -> Tensor:
        narrow = functional.linear(x, fitting(self.down, x))
        if seeds is not None and self.dropout > 0:
            narrow = narrow * kept(seeds + self.salt, narrow.shape, self.dropout)
        return functional.linear(narrow * self.scale, fitting(self.up, narrow))

    def change(self) -> Float[Tensor, "outputs inputs"]:
        """What is added to the layer's weight."""
        return self.scale * (self.up.float() @ self.down.float())

    def tensors(self) -> LoraTensors:
        """As files hold it."""
        return LoraTensors(self.down.detach(), self.up.detach(), self.scale * len(self.down))


def fitting(weight: Tensor, x: Tensor) -> Tensor:
    """A weight in the type of x; autocast, where it is on, sees to both itself."""
    return weight if torch.is_autocast_enabled(x.device.type) else weight.to(x.dtype)


def kept(seeds: Int[Tensor, " batch"], shape: torch.Size, rate: float) -> Tensor:
    """Zero for a share `rate` of the places, 1 / (1 - rate) for the others."""
    places = torch.arange(shape[1:].numel(), device=seeds.device)
    word = seeds[:, None] * STEP + places * MIX_2
    for shift, factor in ((30, MIX_1), (27, MIX_2), (31, 1)):
        word = (word ^ (word >> shift & (1 << 64 - shift) - 1)) * factor
    uniform = (word >> 40 & (1 << 24) - 1).float() / 2**24
    return ((uniform >= rate).float() / (1 - rate)).reshape(shape)
