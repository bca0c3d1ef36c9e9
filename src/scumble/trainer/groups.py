"""Which weights move at which rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from scumble.adapters.attach import Role
from scumble.spec.adapter import LoraSpec
from scumble.spec.training import TrainingSpec


@dataclass(frozen=True)
class Group:
    """Weights that move at one rate."""

    parameters: tuple[nn.Parameter, ...]
    rate: float
    """Before the schedule."""


def grouped(
    matrices: Iterable[tuple[str, nn.Parameter, Role]], adapter: LoraSpec, training: TrainingSpec
) -> list[Group]:
    """The matrices by their rate, in the order in which rates come first.

    Those with a rate of 0 are in no group and get no gradient: they are saved as they start.
    """
    found: dict[float, list[nn.Parameter]] = {}
    for _, parameter, role in matrices:
        speed = rate(role, adapter, training)
        if speed > 0:
            found.setdefault(speed, []).append(parameter)
        else:
            parameter.requires_grad_(False)
    return [Group(tuple(parameters), speed) for speed, parameters in found.items()]


def rate(role: Role, adapter: LoraSpec, training: TrainingSpec) -> float:
    """That of the rule for its layer, else of its part, else the job's; times `up_rate` for `up`.

    LoRA+ (Hayou et al. 2024): `up` starts at zero and may learn faster.
    """
    part = training.rates.get(role.part, training.learning_rate)
    base = part if role.rate is None else role.rate
    return base * _up_rate(adapter.up_rate, role.part) if role.up else base


def factors(groups: Sequence[Group], training: TrainingSpec) -> tuple[float, ...]:
    """What the job's rate at a step is multiplied by for each group."""
    return tuple(group.rate / training.learning_rate for group in groups)


def _up_rate(told: float | Mapping[str, float], part: str) -> float:
    match told:
        case float() | int():
            return told
        case _:
            return told.get(part, 1.0)
