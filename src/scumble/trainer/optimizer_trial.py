"""An optimizer tried out on small matrices, before anything depends on it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from safetensors.torch import load, save
from torch import nn

from scumble import dice
from scumble.hardware.imports import quietly
from scumble.trainer.draws import reseed
from scumble.trainer.optimizer_state import restore, state_of

SHAPES = ((4, 24), (24, 4))  # a layer's down and up; some optimizers want them in this order
SIZES = ((4, 16), (20, 4), (8, 8), (24, 8), (12, 16), (20, 12))  # likewise; enough for `_terms`
STEPS = 4  # before and after; past the first ones, which some treat in their own way
RATE = 1e-3
SURE = 0.9  # of what is left over, below which one term more is believed
NOTHING = 1e-3  # of the rate, a step: those that seek the rate themselves have not begun yet


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is tried."""

    make: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]
    dtype: torch.dtype
    """Of the weights."""

    scale: int = 1
    """How much longer the sides of its matrices are, where small ones are treated otherwise."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it."""

    resumes: bool
    """Whether saved and put back in the middle it took the steps of an unbroken run."""

    up: float | None
    """How far the matrix that started at zero went, as a share of the other's way; None where
    neither went far enough to tell."""


def tried(subject: Subject) -> Trial:
    """Take some steps, unbroken and with a break; raises whatever the optimizer raises."""
    with quietly():
        unbroken = _fresh(subject)
        _walk(subject.make(list(unbroken.values())), unbroken, range(2 * STEPS))
        resumed = _resumed(subject, subject)
    same = all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    return Trial(resumes=same, up=_share(unbroken, _fresh(subject)))


def goes_on(before: Subject, after: Subject) -> None:
    """Go on from the state that another one has left; raises whatever the optimizer raises."""
    with quietly():
        _resumed(before, after)


def state_bytes(
    subject: Subject, shapes: Iterable[tuple[int, int]], most: float = math.inf
) -> float:
    """About what the state takes for matrices of these (rows, columns); of sides longer than `most`
    it keeps no squares.

    Told from a few small ones: a sum of a constant, the sides, their product and their squares,
    since a state holds moments, their factors, or the products of all pairs of columns. What is
    capped at some size (a projection's rank) is told too large.
    """
    sizes = [(subject.scale * rows, subject.scale * columns) for rows, columns in SIZES]
    values = [_drawn(size, number) for number, size in enumerate(sizes)]
    parameters = {str(n): nn.Parameter(one.to(subject.dtype)) for n, one in enumerate(values)}
    with quietly():
        optimizer = subject.make(list(parameters.values()))
        _walk(optimizer, parameters, range(2))
    each = [state_of(optimizer, {name: one})[0].values() for name, one in parameters.items()]
    taken = [[float(sum(one.nbytes for one in state))] for state in each]
    share = _shares(_terms(sizes, most), torch.tensor(taken, dtype=torch.float64))
    return float((_terms(shapes, most) @ share).sum())


def _resumed(before: Subject, after: Subject) -> dict[str, nn.Parameter]:
    """The weights after a break in the middle, saved and put back as a checkpoint does."""
    first = _fresh(before)
    optimizer = before.make(list(first.values()))
    _walk(optimizer, first, range(STEPS))
    tensors, others = state_of(optimizer, first)
    second = {name: nn.Parameter(one.detach().clone()) for name, one in first.items()}
    again = after.make(list(second.values()))
    restore(again, second, load(save(tensors)), json.loads(json.dumps(others)))
    _walk(again, second, range(STEPS, 2 * STEPS))
    return second


def _terms(shapes: Iterable[tuple[int, int]], most: float) -> torch.Tensor:
    sides = [sorted(shape) for shape in shapes]
    squares = [[side**2 if side <= most else 0 for side in pair] for pair in sides]
    rows = [(1, *pair, pair[0] * pair[1], *two) for pair, two in zip(sides, squares, strict=True)]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)


def _shares(terms: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
    """The least squares solution with nothing below zero, by trying every choice of terms."""
    best, least = torch.zeros(terms.shape[1], 1, dtype=terms.dtype), float("inf")
    choices = (c for n in range(1, 7) for c in combinations(range(terms.shape[1]), n))
    for choice in map(list, choices):
        share = torch.linalg.lstsq(terms[:, choice], taken).solution
        left = float((terms[:, choice] @ share - taken).square().sum())
        if bool((share > 0).all()) and left < SURE * least:
            best, least = torch.zeros_like(best), left
            best[choice] = share
    return best


def _fresh(subject: Subject) -> dict[str, nn.Parameter]:
    """As LoRA starts: `up` is zero."""
    down, up = ([subject.scale * side for side in shape] for shape in SHAPES)
    values = {"down": _drawn(down, 0), "up": torch.zeros(up)}
    return {name: nn.Parameter(value.to(subject.dtype)) for name, value in values.items()}


def _drawn(shape: Sequence[int], number: int) -> torch.Tensor:
    return torch.randn(shape, generator=dice.generator(0, "trial", number))


def _share(after: Mapping[str, nn.Parameter], before: Mapping[str, nn.Parameter]) -> float | None:
    moved = {name: (one - before[name]).detach().float() for name, one in after.items()}
    down, up = (one.square().mean().sqrt().item() for one in moved.values())
    if max(down, up) < NOTHING * RATE * 2 * STEPS:
        return None
    return up / down if down else float("inf")


def _walk(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], steps: range
) -> None:
    """Steps as the loop takes them, down a parabola whose lowest point is not at zero."""
    goals = {name: _drawn(one.shape, -1).to(one.dtype) for name, one in parameters.items()}
    for step in steps:
        for name, parameter in parameters.items():
            parameter.grad = parameter.detach() - goals[name]
        for group in optimizer.param_groups:
            group["lr"] = RATE
        reseed(0, "trial", step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
