"""Optimizers by the name a job uses."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from scumble.errors import FileError, JobError
from scumble.spec.training import OptimizerSpec


@dataclass(frozen=True)
class Row:
    """Where an optimizer comes from, and the options it gets unless the job says otherwise."""

    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


OPTIMIZERS = {
    "adamw": Row("torch.optim.adamw:AdamW", {"weight_decay": 0.01, "fused": True}),
}
OURS = ("self", "params", "lr")  # set by the job's other settings


def checked(spec: OptimizerSpec) -> type[torch.optim.Optimizer]:
    """The class of that name; JobError for a name or an option that it does not know."""
    if spec.name not in OPTIMIZERS:
        near = get_close_matches(spec.name, OPTIMIZERS, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(OPTIMIZERS)}"
        raise JobError("training.optimizer.name", f"'{spec.name}' is not known", remedy)
    module, name = OPTIMIZERS[spec.name].source.split(":")
    made = getattr(import_module(module), name)
    known = [word for word in inspect.signature(made).parameters if word not in OURS]
    for option in spec.options:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            where = f"training.optimizer.options.{option}"
            raise JobError(where, f"{spec.name} has no such option", remedy)
    if spec.options:  # values may be refused, too; trying costs an import of 1.4 s
        _constructed(made, spec, [nn.Parameter(torch.zeros(1))], rate=1e-4)
    return made


def made(
    spec: OptimizerSpec, parameters: Iterable[nn.Parameter], rate: float
) -> torch.optim.Optimizer:
    """The optimizer over these parameters; JobError for options that it refuses."""
    return _constructed(checked(spec), spec, list(parameters), rate=rate)


def _constructed(
    kind: Any, spec: OptimizerSpec, parameters: list[nn.Parameter], *, rate: float
) -> torch.optim.Optimizer:
    options = {**OPTIMIZERS[spec.name].options, **spec.options}
    try:
        return kind(parameters, lr=rate, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        remedy = "see `scumble explain training.optimizer`"
        raise JobError("training.optimizer.options", str(error), remedy) from None


def state_of(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's state by parameter name: tensors, and all that is not a tensor."""
    tensors: dict[str, Tensor] = {}
    others: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for entry, content in optimizer.state[parameter].items():
            if isinstance(content, Tensor):
                tensors[f"{name}/{entry}"] = content.detach().cpu().contiguous()
            else:
                others[f"{name}/{entry}"] = content
    return tensors, others


def restore(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    others: Mapping[str, Any],
) -> None:
    """Put back what `state_of` took; FileError when it belongs to other parameters.

    The optimizer's own loading decides where each value lives: counters of a fused one sit on the
    card, others on the CPU.
    """
    numbers = {name: number for number, name in enumerate(parameters)}
    state: dict[int, dict[str, Any]] = {}
    for key, content in {**tensors, **others}.items():
        name, _, entry = key.rpartition("/")
        if name not in numbers:
            remedy = "start under another name, or put the old settings back"
            raise FileError("optimizer.safetensors", f"'{name}' is not trained now", remedy)
        state.setdefault(numbers[name], {})[entry] = content
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
