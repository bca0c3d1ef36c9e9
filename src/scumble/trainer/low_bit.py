"""torchao's optimizers, whose state is 4 or 8 bits a number: their wishes, and the machine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from scumble.errors import JobError

FP8 = (8, 9)
"""The capability from which on a card turns numbers into fp8 by itself: Ada, Hopper and later."""


def as_wished(kind: Any) -> Any:
    """The class with its rate as the tensor that it insists on, compiled on CUDA cards alone.

    Compiled, each shape of weights costs some seconds once; elsewhere it would want a compiler of
    C++ besides, and steps of an adapter are short there without.
    """

    class LowBit(kind):
        __doc__ = kind.__doc__

        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            """One step, at the rate that the groups say."""
            for group in self.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32)
            if all(group["params"][0].is_cuda for group in self.param_groups):
                return super().step(closure)
            with torch.compiler.set_stance("force_eager"):
                return super().step(closure)

    LowBit.__name__ = kind.__name__
    return LowBit


def refuse_fp8(name: str, where: str) -> None:
    """JobError where there is a CUDA card, and it is too old for numbers in fp8."""
    if not torch.cuda.is_available():
        return
    found = torch.cuda.get_device_capability()
    if found < FP8:
        told, wanted = (f"{major}.{minor}" for major, minor in (found, FP8))
        problem = f"{name} keeps its state in fp8, which this card cannot (capability {told})"
        raise JobError(where, problem, f"it needs {wanted}; take torchao.AdamW8bit")
