"""Layers that wear a change in one of LyCORIS' forms, and the value that owns them all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Union

import torch
from jaxtyping import Int
from torch import Tensor, nn

from scumble import dice
from scumble.adapters.attach import Adapted, Switch
from scumble.adapters.lora import MIX_1, MIX_2, STEP, kept, over
from scumble.adapters.lycoris.forms import SCALAR, SCALED_BY, Form
from scumble.adapters.lycoris.formulas import Seen, beside, bias, change
from scumble.adapters.lycoris.slots import Slot
from scumble.adapters.names import Names


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What is left out while training, each as a share; drawn anew for every example."""

    values: float = 0.0
    """Of what the change adds; the others are scaled up."""

    rows: float = 0.0
    """Of the change's rows: features of the answer."""

    whole: float = 0.0
    """How often an example goes without the change."""

    even: bool = False
    """Whether the rows that stay are scaled up."""

    block: int = 0
    """Of DyLoRA: by how much the rank grows from one of its widths to the next; 0 for others."""

    @classmethod
    def of(cls, slot: Slot) -> Losses:
        """As the job says."""
        told = slot.options
        return cls(
            values=told.get("dropout", 0.0),
            rows=told.get("rank_dropout", 0.0),
            whole=told.get("module_dropout", 0.0),
            even=told.get("rank_dropout_scale", False),
            block=told.get("block_size", 4) if slot.algo == "dylora" else 0,
        )


Wearing = Union[nn.Linear, Adapted, "Worn"]
"""What can wear a change: a layer, or one that wears another change already."""


class Worn(nn.Module):
    """y = base(x) + what its change adds. Shows `weight` and `bias` as the layer it wraps.

    Weights in float32, computed in the type of x or in autocast's. What is left out while training
    is a hash of (seed of the example, name, position), so that it is the same when a block is
    computed again.
    """

    def __init__(
        self, name: str, base: Wearing, form: Form, losses: Losses, switch: Switch
    ) -> None:
        super().__init__()
        self.base = base
        self.form = form
        for ending, one in form.tensors.items():
            assert isinstance(one, nn.Parameter)
            self.register_parameter("trained_" + ending.replace(".", "_"), one)
        self.switch = switch
        self.losses = losses
        self.salts = [
            dice.word(f"lycoris {what}", name) for what in ("values", "rows", "whole", "width")
        ]

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
        if not self.switch.on:
            return answer
        seeds, form = self.switch.seeds, scaled(self.form)
        if seeds is not None and self.losses.block:
            form = self._narrowed(form, seeds)
        added = beside(form, Seen(self.base, self.bias, self._weigh, x, answer))
        if seeds is not None:
            added = self._thinned(added, seeds)
        return answer + added.to(answer.dtype)

    def _weigh(self) -> Tensor:
        return self.base.weight

    def _thinned(self, added: Tensor, seeds: Int[Tensor, " batch"]) -> Tensor:
        told, (values, rows, whole, _) = self.losses, self.salts
        if told.values > 0:
            added = added * kept(seeds + values, added.shape, told.values).to(added.dtype)
        if told.rows > 0:
            shape = torch.Size((len(added), added.shape[-1]))
            mask = kept(seeds + rows, shape, told.rows)
            added = added * over(mask if told.even else mask.ne(0).float(), added).to(added.dtype)
        if told.whole > 0:
            mask = kept(seeds + whole, torch.Size((len(added), 1)), told.whole)
            added = added * over(mask.ne(0).float(), added).to(added.dtype)
        return added

    def _narrowed(self, form: Form, seeds: Int[Tensor, " batch"]) -> Form:
        """DyLoRA (Valipour et al. 2022): one of its widths, of which only the last block learns.

        The scale stays alpha over the width, so the others are left as if they were not there.
        """
        down, up = form["lora_down.weight"], form["lora_up.weight"]
        ranks = torch.arange(len(down), device=down.device) // self.losses.block
        last = drawn(seeds[0] + self.salts[3], len(down) // self.losses.block)
        there = (ranks <= last).to(down.dtype) * (len(down) / ((last + 1) * self.losses.block))
        learns = ranks == last
        down = torch.where(learns[:, None], down, down.detach()) * there[:, None]
        up = torch.where(learns, up, up.detach())
        tensors = {"lora_down.weight": down, "lora_up.weight": up}
        return replace(form, tensors=tensors)


@dataclass(frozen=True)
class Lycoris:
    """Everything that was put into one model."""

    model: nn.Module
    layers: Mapping[str, Worn]
    switch: Switch
    names: Names
    slots: Mapping[str, Slot]
    """What its layers were told to be; none where they are not trained."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, as LAYER.END: transformer_blocks.0.attn.to_q.lokr_w1."""
        return {
            f"{self.names.whole(self.names.table(layer))}.{ending}": one
            for layer, worn in self.layers.items()
            for ending, one in worn.form.tensors.items()
            if isinstance(one, nn.Parameter)  # all of them
        }

    def forms(self) -> dict[str, Form]:
        """What is delivered, by the layer's name in the tables."""
        return {
            self.names.table(layer): _still(scaled(worn.form))
            for layer, worn in self.layers.items()
        }

    def told(self) -> dict[str, Slot]:
        """What its layers were told to be, by their names in the tables."""
        return {self.names.table(layer): one for layer, one in self.slots.items()}

    def off(self) -> AbstractContextManager[None]:
        """The base model alone, bit for bit; may be nested."""
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
        for layer in self.layers.values():
            assert isinstance(layer.base, nn.Linear)
            worked_into(scaled(layer.form), layer.base)


def attached(
    model: nn.Module,
    forms: Mapping[str, Form],
    slots: Mapping[str, Slot] | None = None,
    names: Names | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Lycoris:
    """Put changes on the layers of these names; with slots they are trained as those say, in
    `dtype`."""
    switch, worn = Switch(), {}
    for name, form in forms.items():
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear | Adapted | Worn)
        trained = slots is not None
        losses = Losses.of(slots[name]) if slots is not None else Losses()
        worn[name] = Worn(
            name, base, _kept(form, base.weight.device, dtype, trained), losses, switch
        )
    for name, layer in worn.items():
        model.set_submodule(name, layer)
    return Lycoris(model, worn, switch, names or Names(), slots or {})


@torch.no_grad()
def worked_into(form: Form, base: nn.Linear) -> None:
    """Change a layer's weights for good, in float32, and give them their type back."""
    weight, moved = base.get_parameter("weight"), bias(form)  # quantised layers have none
    weight.copy_((weight.float() + change(form, weight)).to(weight.dtype))
    if moved is not None and base.bias is not None:
        base.bias.copy_((base.bias.float() + moved).to(base.bias.dtype))


def scaled(form: Form) -> Form:
    """The same with its trained scalar, if it has one, in the tensors that take it along."""
    if SCALAR not in form.tensors:
        return form
    factor, takes = form[SCALAR], SCALED_BY[form.algo]
    tensors = {
        ending: one * factor if ending in takes else one
        for ending, one in form.tensors.items()
        if ending != SCALAR
    }
    return replace(form, tensors=tensors)


def drawn(seed: Int[Tensor, ""], count: int) -> Int[Tensor, ""]:
    """A whole number below `count`, of a seed on its device, by the mixing of splitmix64."""
    word = seed * STEP + MIX_2
    for shift, factor in ((30, MIX_1), (27, MIX_2), (31, 1)):
        word = (word ^ (word >> shift & (1 << 64 - shift) - 1)) * factor
    return (word >> 33 & (1 << 31) - 1) % count


def _kept(form: Form, device: torch.device, dtype: torch.dtype, trained: bool) -> Form:
    """The same as parameters on a device, which learn where they are trained."""
    tensors = {
        ending: nn.Parameter(one.detach().to(device, dtype, copy=True), requires_grad=trained)
        for ending, one in form.tensors.items()
    }
    return replace(form, tensors=tensors)


def _still(form: Form) -> Form:
    tensors = {ending: one.detach() for ending, one in form.tensors.items()}
    return replace(form, tensors=tensors)
