"""What each optimizer costs: milliseconds per step and bytes of state, over an adapter's matrices.

About a million parameters, cut as LoRA cuts them (rank 16 in layers of 3,072), on the CPU with one
thread; the median of the faster half, after a few steps that set the state up. On a card the order
differs, the bytes do not. `python bench/optimizers.py [NAME ...]`
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch import nn

from scumble import dice
from scumble.spec.training import OptimizerSpec
from scumble.trainer import optimizers
from scumble.trainer.optimizer_state import state_of
from scumble.trainer.optimizer_table import OPTIMIZERS

LAYERS, RANK, WIDTH, WARM, STEPS = 10, 16, 3072, 8, 30


def adapter(dtype: torch.dtype) -> dict[str, nn.Parameter]:
    """Downs and ups of some layers."""
    shapes = {"down": (RANK, WIDTH), "up": (WIDTH, RANK)}
    return {
        f"{layer}.{part}": nn.Parameter(
            torch.randn(shape, generator=dice.generator(0, "bench", layer, part)).to(dtype)
        )
        for layer in range(LAYERS)
        for part, shape in shapes.items()
    }


def measured(name: str) -> tuple[float, float, float]:
    """Milliseconds per step; bytes of state and of weights per parameter."""
    spec = OptimizerSpec(name=name)
    parameters = adapter(optimizers.weights_dtype(spec))
    optimizer = optimizers.made(spec, parameters.values(), 1e-4)
    gradients = {name: torch.randn_like(one) for name, one in parameters.items()}
    taken = []
    for _ in range(WARM + STEPS):
        for key, parameter in parameters.items():
            parameter.grad = gradients[key].clone()
        start = time.perf_counter()
        optimizer.step()
        taken.append(1e3 * (time.perf_counter() - start))
    count = sum(one.numel() for one in parameters.values())
    state = sum(tensor.nbytes for tensor in state_of(optimizer, parameters)[0].values())
    weights = sum(one.nbytes for one in parameters.values())
    return statistics.median(sorted(taken[WARM:])[: STEPS // 2]), state / count, weights / count


def main() -> None:
    """A table; the first row is what the others are compared with."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {name: measured(name) for name in ("adamw", *(sys.argv[1:] or list(OPTIMIZERS)[1:]))}
    base = rows["adamw"][0]
    print("| optimizer | ms a step | to adamw | state, bytes a parameter | weights |")
    print("| --- | --- | --- | --- | --- |")
    for name, (milliseconds, state, weights) in rows.items():
        ratio = milliseconds / base
        print(f"| {name} | {milliseconds:.2f} | {ratio:.1f} | {state:.2f} | {weights:.0f} |")


if __name__ == "__main__":
    main()
