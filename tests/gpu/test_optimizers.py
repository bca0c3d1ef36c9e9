"""Optimizers whose steps are compiled or in fp8 on a CUDA card, and first values found there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from scumble import dice
from scumble.adapters.first import First, taken
from scumble.spec.training import OptimizerSpec
from scumble.trainer import optimizers
from scumble.trainer.optimizer_state import restore, state_of
from tests.toys import checkpoint, trained

LOW_BIT = ("torchao.AdamW8bit", "torchao.AdamW4bit", "torchao.AdamWFp8")
CARD = {"hardware__device": "cuda", "hardware__precision": "bf16"}


def walk(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for step in range(3):
        for name, one in parameters.items():
            drawn = torch.randn(one.shape, generator=dice.generator(0, name, step))
            one.grad = drawn.to(one.device)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        optimizer.step()


@pytest.mark.gpu
@pytest.mark.parametrize("name", LOW_BIT)
def test_compiled_on_a_card_low_bit_ones_resume_bit_for_bit(name: str) -> None:
    shapes = {"down": (32, 160), "up": (160, 32), "small": (4, 8)}
    whole = {n: nn.Parameter(torch.ones(shape, device="cuda")) for n, shape in shapes.items()}
    spec = OptimizerSpec(name=name)
    optimizer = optimizers.made(spec, whole.values(), 1e-2)
    walk(whole, optimizer)
    tensors, others = state_of(optimizer, whole)
    second = {n: nn.Parameter(one.detach().clone()) for n, one in whole.items()}
    again = optimizers.made(spec, second.values(), 1e-2)
    restore(again, second, load(save(tensors)), json.loads(json.dumps(others)))
    walk(whole, optimizer)
    walk(second, again)
    assert all(torch.equal(whole[n], second[n]) for n in whole)


@pytest.mark.gpu
@pytest.mark.parametrize("first", ["pissa", "olora"])
def test_directions_found_on_a_card_are_the_layers_own(first: First) -> None:
    weight = torch.randn(96, 64, generator=dice.generator(0, "weight"))
    here, there = (
        taken(one, (0, "a"), first=first, rank=8, scale=2.0) for one in (weight, weight.cuda())
    )
    torch.testing.assert_close(
        (there.up @ there.down).cpu(), here.up @ here.down, atol=1e-3, rtol=0
    )


@pytest.mark.gpu
def test_a_run_that_begins_with_pissa_goes_on_on_a_card(tmp_path: Path) -> None:
    settings = {"adapter": {"kind": "lora", "rank": 2, "first": "pissa"}, **CARD}
    trained(tmp_path, name="whole", training__steps=4, **settings)
    trained(tmp_path, name="parts", training__steps=2, **settings)
    trained(tmp_path, name="parts", training__steps=4, **settings)
    whole, parts = (checkpoint(tmp_path, 4, name) for name in ("whole", "parts"))
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], rtol=0.05, atol=1e-3)
