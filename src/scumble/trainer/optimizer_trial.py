"""An optimizer tried out on two small matrices, before anything depends on it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO

import torch
from safetensors.torch import load, save
from torch import nn

from scumble import dice
from scumble.trainer.draws import reseed
from scumble.trainer.optimizer_state import restore, state_of

SHAPES = ((4, 24), (24, 4))  # a layer's down and up
STEPS = 4  # before and after; past the first ones, which some treat in their own way
RATE = 1e-3

Make = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


def resumes(make: Make, dtype: torch.dtype) -> bool:
    """Whether saved and put back in the middle it takes the steps of an unbroken run.

    Raises whatever the optimizer raises when it cannot take a step by itself.
    """
    with quiet():
        unbroken = _fresh(dtype)
        _walk(make(list(unbroken.values())), unbroken, range(2 * STEPS))
        first = _fresh(dtype)
        optimizer = make(list(first.values()))
        _walk(optimizer, first, range(STEPS))
        tensors, others = state_of(optimizer, first)
        second = {name: nn.Parameter(one.detach().clone()) for name, one in first.items()}
        again = make(list(second.values()))
        restore(again, second, load(save(tensors)), json.loads(json.dumps(others)))
        _walk(again, second, range(STEPS, 2 * STEPS))
    return all(torch.equal(unbroken[name], second[name]) for name in unbroken)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what foreign code prints and warns of while it is made and tried from the terminal."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _fresh(dtype: torch.dtype) -> dict[str, nn.Parameter]:
    return {
        str(number): nn.Parameter(
            torch.randn(shape, generator=dice.generator(0, "trial", number)).to(dtype)
        )
        for number, shape in enumerate(SHAPES)
    }


def _walk(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], steps: range
) -> None:
    """Steps as the loop takes them, down a parabola."""
    for step in steps:
        for parameter in parameters.values():
            parameter.grad = parameter.detach().clone()
        for group in optimizer.param_groups:
            group["lr"] = RATE
        reseed(0, "trial", step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
