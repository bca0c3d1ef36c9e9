"""A frozen linear layer in fewer bits, in the place of a wide one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from scumble.hardware.quantisers.numbers import Kept, Size, Weight, kept, widened


class QuantisedLinear(nn.Linear):
    """y = W x + b, with W widened for each product and let go of again.

    What is kept are buffers. `weight` is W, made anew whenever it is read, so that what is written
    into it is lost: ask for `get_parameter("weight")`, which it has not, before you write. W itself
    is never trained; gradients pass to x.
    """

    def __init__(
        self, quantiser: str, size: Size, tensors: Kept, *, dtype: torch.dtype, bias: Tensor | None
    ) -> None:
        """`size` is (outputs, inputs), `dtype` what the weights were quantised in."""
        nn.Module.__init__(self)  # whose child would make a wide weight
        self.out_features, self.in_features = size
        self.quantiser, self.dtype = quantiser, dtype
        self.names = tuple(tensors)
        for name, one in tensors.items():
            self.register_buffer(name, one)
        frozen = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.register_parameter("bias", frozen)

    @classmethod
    def of(cls, layer: nn.Linear, quantiser: str) -> QuantisedLinear:
        """A layer's weights as they are, in fewer bits, on its device."""
        rows, columns = layer.weight.shape
        tensors = kept(quantiser, layer.weight)
        bias = None if layer.bias is None else layer.bias.detach()
        return cls(quantiser, (rows, columns), tensors, dtype=layer.weight.dtype, bias=bias)

    @property
    def size(self) -> Size:
        """(outputs, inputs), without widening anything."""
        return self.out_features, self.in_features

    @property
    def weight(self) -> Weight:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weights in the kind of number that they were quantised in."""
        return widened(self.quantiser, self.size, self.kept(), self.dtype)

    def kept(self) -> Kept:
        """What is kept of the weights, by name."""
        return {name: self.get_buffer(name) for name in self.names}

    def forward(self, input: Tensor) -> Tensor:
        """In the type of the input, or in autocast's."""
        device = input.device.type
        if torch.is_autocast_enabled(device):
            input = input.to(torch.get_autocast_dtype(device))
        return _Product.apply(input, self)

    def extra_repr(self) -> str:
        """Besides the sizes, the quantiser."""
        return f"{super().extra_repr()}, quantiser={self.quantiser}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantisedLinear:
        """Moves reach everything; the kinds of the numbers are the format's own and stay."""

        def moved(tensor: Tensor) -> Tensor:
            there = fn(tensor)
            return there if there.dtype == tensor.dtype else tensor.to(there.device)

        super()._apply(moved, recurse)
        return self


class _Product(torch.autograd.Function):
    """Widens the weights in both passes, so that no wide ones are held between them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x, layer.weight.to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        with torch.autocast(gradient.device.type, enabled=False):
            return gradient @ ctx.layer.weight.to(gradient.dtype), None
