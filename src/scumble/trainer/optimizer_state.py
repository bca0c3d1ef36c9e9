"""The state of any optimizer as named tensors and JSON values, and put back bit for bit.

torch's own way of loading gives every tensor the type of its parameter, and so would turn a
float32 moment of a bf16 weight into bf16; here type, shape and place stay as they were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from scumble.errors import FileError, JobError

JOBS = ("params", "lr")  # of a group: set anew by every start and every step
GROUPS = ""  # stands in keys where else a parameter's name does
BUILT = {
    "OptimState8bit": "torchao.optim.subclass_8bit",
    "OptimState4bit": "torchao.optim.subclass_4bit",
    "OptimStateFp8": "torchao.optim.subclass_fp8",
}
"""Tensors that are built of others, by their class, and where it is: torch's own protocol takes
them apart and builds them again."""

FILE = "optimizer.safetensors"


@dataclass(frozen=True)
class Packed:
    """Tensors by key; one that several places share is kept once."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    """By the identity of the tensor, which the optimizer keeps alive meanwhile."""

    def pack(self, content: Any, key: str, home: torch.device) -> Any:
        """As a JSON value that names its tensors; `home` is where the parameter lives."""
        match content:
            case Tensor() if type(content).__name__ in BUILT:
                return self._apart(content, key, home)
            case Tensor():
                away = content.device != home
                return {"tensor": self._key(content, key), "away": away, "strides": _order(content)}
            case None | bool() | int() | float() | str():
                return content
            case dict():
                items = [
                    [name, self.pack(one, f"{key}/{name}", home)] for name, one in content.items()
                ]
                return {"dict": items}
            case list() | tuple() | deque():
                items = [
                    self.pack(one, f"{key}/{place}", home) for place, one in enumerate(content)
                ]
                maximum = content.maxlen if isinstance(content, deque) else None
                return {_sequence(content): items, "maximum": maximum}
            case _:
                raise _cannot_keep(key, content)

    def _apart(self, content: Any, key: str, home: torch.device) -> Any:
        names, context = content.__tensor_flatten__()
        inner = {name: vars(content)[name] for name in names}
        return {
            "built": type(content).__name__,
            "inner": self.pack(inner, key, home),
            "context": self.pack([_plain(one) for one in context], key, home),
        }

    def _key(self, tensor: Tensor, key: str) -> str:
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided:
            raise _cannot_keep(key, tensor)
        known = self.keys.setdefault(id(tensor), key)
        if known == key:
            self.tensors[key] = _whole(tensor)
        return known


@dataclass(frozen=True)
class Unpacker:
    """Turns packed values back."""

    tensors: Mapping[str, Tensor]
    placed: dict[tuple[str, torch.device], Tensor] = field(default_factory=dict)

    def unpack(self, told: Any, home: torch.device) -> Any:
        """As it was; what lay beside its parameter lies there again, the rest on the CPU."""
        match told:
            case {"tensor": key, "away": away, "strides": strides}:
                return self._tensor(key, torch.device("cpu") if away else home, strides)
            case {"built": str(kind), "inner": inner, "context": context}:
                parts, facts = self.unpack(inner, home), self.unpack(context, home)
                return _built(kind, parts, facts)
            case {"dict": items}:
                return {name: self.unpack(one, home) for name, one in items}
            case {"list": items}:
                return [self.unpack(one, home) for one in items]
            case {"tuple": items}:
                return tuple(self.unpack(one, home) for one in items)
            case {"deque": items, "maximum": maximum}:
                return deque((self.unpack(one, home) for one in items), maxlen=maximum)
            case _:
                return told

    def _tensor(self, key: str, device: torch.device, strides: list[int] | None) -> Tensor:
        place, kept = (key, device), self.tensors[key]
        if place not in self.placed:
            fresh = torch.empty_strided(
                kept.shape, strides or kept.stride(), dtype=kept.dtype, device=device
            )
            self.placed[place] = fresh.copy_(kept)
        return self.placed[place]


def state_of(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's state: tensors by parameter name, and JSON that says where they belong.

    Of its groups only what has moved since it was made: options stay the job's. JobError when
    something in it can be kept by neither.
    """
    packed = Packed()
    entries = {
        name: packed.pack(optimizer.state[parameter], name, parameter.device)
        for name, parameter in parameters.items()
        if optimizer.state.get(parameter)  # by `[]` an absent one would be made
    }
    groups = [
        {
            entry: packed.pack(content, f"{GROUPS}/{number}/{entry}", _home(group))
            for entry, content in group.items()
            if entry not in JOBS and _moved(optimizer.defaults, entry, content)
        }
        for number, group in enumerate(optimizer.param_groups)
    ]
    loose = {
        word: packed.pack(content, f"{GROUPS}/{word}", torch.device("cpu"))
        for word, content in optimizer.state.items()
        if isinstance(word, str)
    }
    return packed.tensors, {"parameters": entries, "groups": groups, "loose": loose}


def restore(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    others: Mapping[str, Any],
) -> None:
    """Put back what `state_of` took; FileError when it belongs to other parameters."""
    match others:
        case {"parameters": dict(entries), "groups": list(groups), "loose": dict(loose)}:
            _fits(entries, parameters, groups, optimizer)
        case _:
            problem = "its optimizer's state was written by another release"
            raise FileError(FILE, problem, "start under another name")
    unpacker = Unpacker(tensors)
    optimizer.state.clear()
    for name, content in entries.items():
        home = parameters[name].device
        optimizer.state[parameters[name]] = unpacker.unpack(content, home)
    for word, told in loose.items():
        optimizer.state[word] = unpacker.unpack(told, torch.device("cpu"))
    for group, content in zip(optimizer.param_groups, groups, strict=True):
        group.update({e: unpacker.unpack(told, _home(group)) for e, told in content.items()})


def _fits(
    entries: Mapping[str, Any],
    parameters: Mapping[str, nn.Parameter],
    groups: list[Any],
    optimizer: torch.optim.Optimizer,
) -> None:
    remedy = "start under another name, or put the old settings back"
    strangers = sorted(entries.keys() - parameters.keys())
    if strangers:
        raise FileError(FILE, f"'{strangers[0]}' is not trained now", remedy)
    if len(groups) != len(optimizer.param_groups):
        counts = f"{len(groups)} groups there and {len(optimizer.param_groups)} here"
        raise FileError(FILE, f"the weights are grouped in another way: {counts}", remedy)


def _moved(defaults: Mapping[str, Any], entry: str, content: Any) -> bool:
    """Whether an entry of a group is no longer what it was made with."""
    if entry not in defaults:
        return True
    before = defaults[entry]
    if isinstance(content, Tensor) or isinstance(before, Tensor):
        return content is not before
    return content != before


def _home(group: Mapping[str, Any]) -> torch.device:
    return group["params"][0].device


def _whole(tensor: Tensor) -> Tensor:
    """On the CPU, in a storage of its own: a file cannot hold views of one another."""
    kept = tensor.detach().cpu().contiguous()
    return kept if kept.untyped_storage().nbytes() == kept.nbytes else kept.clone()


def _order(tensor: Tensor) -> list[int] | None:
    """The strides of a transposed tensor: products of one are rounded in another order."""
    reach = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    dense = tensor.numel() == reach and 0 not in tensor.stride()
    return list(tensor.stride()) if dense and not tensor.is_contiguous() else None


def _sequence(content: Any) -> str:
    return next(kind.__name__ for kind in (list, tuple, deque) if isinstance(content, kind))


def _plain(fact: Any) -> Any:
    """A fact about a tensor as JSON can have it."""
    match fact:
        case torch.dtype():
            return {"dtype": str(fact).removeprefix("torch.")}
        case torch.Size():
            return tuple(fact)
        case _:
            return fact


def _built(kind: str, parts: Mapping[str, Tensor], facts: Sequence[Any]) -> Tensor:
    """A tensor of such a class, as it was taken apart."""
    known = [getattr(torch, one["dtype"]) if isinstance(one, dict) else one for one in facts]
    made = vars(import_module(BUILT[kind]))[kind]
    return made.__tensor_unflatten__(parts, known, None, None)


def _cannot_keep(key: str, content: Any) -> JobError:
    problem = (
        f"its state holds a {type(content).__name__} ('{key}'), which a checkpoint cannot keep"
    )
    return JobError("training.optimizer.name", problem, "choose another optimizer")
