"""LoRA (Hu et al. 2021): a low-rank change beside a frozen layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from scumble import dice
from scumble.adapters.memory import Memory
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


@dataclass(frozen=True, kw_only=True)
class Drops:
    """What is left out while training, each as a share."""

    values: float = 0.0
    columns: float = 0.0
    """Of the bottleneck, for each example; the others are scaled up."""

    whole: float = 0.0
    """How often an example goes without the change; the others are not scaled up."""

    @classmethod
    def of(cls, spec: LoraSpec) -> Drops:
        """As the job says."""
        return cls(values=spec.dropout, columns=spec.rank_dropout, whole=spec.module_dropout)


class Bottleneck(nn.Module):
    """A x with what dropout leaves of it; one or several layers have it.

    Weights in float32, or in bf16 where the optimizer makes up for their rounding; computed in the
    type of x, or in autocast's. Masks are hashes of (seed of the example, name, position), so they
    are the same when a block is computed again, for any batch split, and for all that share it.
    """

    def __init__(
        self,
        name: str,
        down: Tensor,
        drops: Drops,
        members: int = 1,
        first: Tensor | None = None,
    ) -> None:
        """`first` is where A begins, if that is not `down`: then `down` is how far it is from
        there."""
        super().__init__()
        self.down = nn.Parameter(down)
        self.register_buffer("first", first)
        self.first: Tensor | None
        self.drops = drops
        self.salt = dice.word("dropout", name)
        self.column_salt = dice.word("rank dropout", name)
        self.whole_salt = dice.word("module dropout", name)
        self.memory = Memory(members)

    def forward(self, x: Tensor, seeds: Int[Tensor, " batch"] | None) -> Tensor:
        return self.memory.recalled(x, seeds, self.narrowed)

    def rows(self) -> Float[Tensor, "_ inputs"]:
        """A; with first values, A over A - A0."""
        return self.down if self.first is None else torch.cat([self.first + self.down, self.down])

    def narrowed(self, x: Tensor, seeds: Int[Tensor, " batch"] | None) -> Tensor:
        """Without asking the memory."""
        narrow = functional.linear(x, fitting(self.rows(), x))
        if seeds is None:
            return narrow
        if self.drops.values > 0:
            shape = torch.Size((*narrow.shape[:-1], len(self.down)))
            narrow = narrow * self._alike(kept(seeds + self.salt, shape, self.drops.values))
        if self.drops.columns > 0:
            shape = torch.Size((len(narrow), len(self.down)))
            mask = kept(seeds + self.column_salt, shape, self.drops.columns)
            narrow = narrow * over(self._alike(mask), narrow)
        return self.thinned(narrow, seeds)

    def _alike(self, mask: Tensor) -> Tensor:
        """A mask of A's rows for those of A - A0, too, so that what is left begins at zero."""
        return mask if self.first is None else torch.cat([mask, mask], dim=-1)

    def thinned(self, x: Tensor, seeds: Int[Tensor, " batch"]) -> Tensor:
        """With zeros for the examples that go without the change."""
        if self.drops.whole == 0:
            return x
        mask = kept(seeds + self.whole_salt, torch.Size((len(x), 1)), self.drops.whole)
        return x * over(mask.ne(0).to(x.dtype), x)


class LoraBranch(nn.Module):
    """(alpha / rank) B A x, where B starts at zero; with first values, see `adapters.first`."""

    def __init__(
        self, bottleneck: Bottleneck, up: Tensor, *, scale: float, first: Tensor | None = None
    ) -> None:
        """`first` is where B begins, if that is not `up`: then `up` is how far it is from there."""
        super().__init__()
        self.bottleneck = bottleneck
        self.up = nn.Parameter(up)
        self.register_buffer("first", first)
        self.first: Tensor | None
        self.scale = scale
        self.noise: Callable[[Tensor], Tensor | None] | None = None
        """What is added while training, from the layer's input."""

    @classmethod
    def of(cls, name: str, base: nn.Linear, told: LoraTensors, strength: float) -> LoraBranch:
        """As a file says, times a strength."""
        device = base.weight.device
        down, up = told.down.float().to(device), told.up.float().to(device)
        scale = strength * told.alpha / len(down)
        branch = cls(Bottleneck(name, down, Drops()), up, scale=scale)
        return branch.requires_grad_(False)

    @property
    def down(self) -> nn.Parameter:
        """A, which other layers may have too."""
        return self.bottleneck.down

    def columns(self) -> Float[Tensor, "outputs _"]:
        """B; with first values, B - B0 beside B0."""
        return self.up if self.first is None else torch.cat([self.up, self.first], dim=1)

    def forward(self, x: Tensor, seeds: Int[Tensor, " batch"] | None = None) -> Tensor:
        narrow = self.bottleneck(x, seeds)
        change = functional.linear(narrow * self.scale, fitting(self.columns(), narrow))
        noise = None if seeds is None or self.noise is None else self.noise(x)
        if seeds is None or noise is None:
            return change
        return change + self.bottleneck.thinned(noise, seeds)

    def change(self) -> Float[Tensor, "outputs inputs"]:
        """What is added to the layer's weight."""
        return self.scale * (self.columns().float() @ self.bottleneck.rows().float())


def fitting(weight: Tensor, x: Tensor) -> Tensor:
    """A weight in the type of x; autocast, where it is on, sees to both itself."""
    return weight if torch.is_autocast_enabled(x.device.type) else weight.to(x.dtype)


def over(mask: Float[Tensor, "batch _"], x: Tensor) -> Tensor:
    """A mask of examples and features, put over all that lies between these two axes."""
    return mask.reshape(len(x), *(1 for _ in x.shape[1:-1]), mask.shape[1])


def kept(seeds: Int[Tensor, " batch"], shape: torch.Size, rate: float) -> Tensor:
    """Zero for a share `rate` of the places, 1 / (1 - rate) for the others."""
    places = torch.arange(shape[1:].numel(), device=seeds.device)
    word = seeds[:, None] * STEP + places * MIX_2
    for shift, factor in ((30, MIX_1), (27, MIX_2), (31, 1)):
        word = (word ^ (word >> shift & (1 << 64 - shift) - 1)) * factor
    uniform = (word >> 40 & (1 << 24) - 1).float() / 2**24
    return ((uniform >= rate).float() / (1 - rate)).reshape(shape)
