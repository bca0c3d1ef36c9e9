"""The optimizer of a job: its options checked, made, and shown as what it delivers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from scumble.errors import JobError
from scumble.hardware.imports import quietly
from scumble.spec.training import OptimizerSpec, TrainingSpec
from scumble.trainer.draws import reseed
from scumble.trainer.groups import Group
from scumble.trainer.low_bit import as_wished, refuse_fp8
from scumble.trainer.optimizer_stop import STOP, stopped
from scumble.trainer.optimizer_table import CAP, WHERE, Row, find
from scumble.trainer.optimizer_trial import (
    SHAPES,
    Subject,
    Trial,
    goes_on,
    state_bytes,
    tried,
)

OPTIONS = "training.optimizer.options"
REMEDY = "see `scumble explain training.optimizer`"
FAR = 100  # times a class's own rate, from which on one may doubt that it was meant
UNLIKE = 20  # times: how far apart the ways of an adapter's two matrices may be
ADAMW = 8  # bytes of state that AdamW keeps for each number
HEAVY = 3  # times AdamW's state, from which on it is worth a word
GB = 1e9
WRAPPED = frozenset({"base_optimizer", "optimizer_class"})
"""How constructors call another optimizer that they want."""

PAGED = "Paged"
"""What the names of bitsandbytes' classes begin with that move their state to the host."""

NOT_OPTIONS = {
    "self": "has no such option",
    "params": "has no such option",
    "lr": "has no such option: it is `training.learning_rate`",
    "args": "has no such option",
    "maximize": "would raise the loss",
    "differentiable": "does not take part in gradients itself",
    "capturable": "takes its steps in no CUDA graph",
    "gradient_release": "moves the weights once a step, not while gradients are computed",
    "is_paged": "keeps its state on the card: it is small for an adapter",
    "bf16_stochastic_round": "moves weights in float32, where nothing is to be rounded",
    "fsdp_in_use": "runs on one card",
}
"""What constructors take and a job cannot set, and why."""


def checked(spec: OptimizerSpec) -> None:
    """JobError for a name, an option or a value that cannot be, or a package that is not there.

    Everything but the plain default is tried on two small matrices; that costs an import.
    """
    if not _is_plain(spec):
        _trial(spec)


def checked_again(then: Mapping[str, Any], spec: OptimizerSpec) -> None:
    """JobError where the state that it kept with other options is of no use with these."""
    before = spec.model_copy(update={"options": dict(then)})
    try:
        goes_on(_subject(before), _subject(spec))
    except Exception as error:  # foreign code on a state that it did not make
        problem = f"what {spec.name} has kept does not fit these options ({_said(error)})"
        remedy = "put them back, or choose another `name` for the run"
        raise JobError(OPTIONS, problem, remedy) from None


def made(
    spec: OptimizerSpec, parameters: Iterable[nn.Parameter], rate: float
) -> torch.optim.Optimizer:
    """The optimizer over these parameters, ready to step; JobError for options it refuses."""
    row = find(spec.name)
    with quietly():
        return _alone(_class(row, spec), row, spec, list(parameters), rate=rate)


def made_of(spec: OptimizerSpec, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """The optimizer over groups of weights with rates of their own, in their order."""
    if len(groups) == 1:
        return made(spec, groups[0].parameters, groups[0].rate)
    row = find(spec.name)
    weights = [{"params": list(one.parameters), "lr": one.rate, **row.group} for one in groups]
    with quietly():
        return _constructed(_class(row, spec), row, spec, weights, rate=groups[0].rate)


def checked_rates(spec: OptimizerSpec, rates: Iterable[float]) -> None:
    """JobError where it cannot move weights at several rates, as those that find it themselves."""
    several = sorted(set(rates))
    if len(several) < 2 or _is_plain(spec):
        return
    shape = [SHAPES[0][0] * find(spec.name).scale, SHAPES[0][1] * find(spec.name).scale]
    dtype = weights_dtype(spec)
    groups = [Group((nn.Parameter(torch.ones(shape, dtype=dtype)),), rate) for rate in several]
    try:
        with quietly():
            optimizer = made_of(spec, groups)
            for group in groups:
                group.parameters[0].grad = torch.ones_like(group.parameters[0])
            reseed(0, "trial", 0)
            optimizer.step()
    except JobError:
        raise
    except Exception as error:  # foreign code with a user's values: it may raise anything
        told = ", ".join(f"{rate:g}" for rate in several)
        problem = f"{spec.name} cannot move weights at several rates ({told}): {_said(error)}"
        remedy = "leave `training.rates`, `adapter.up_rate` and the rules' rates out"
        raise JobError(WHERE, problem, f"{remedy}, or choose another optimizer") from None


def kept_bytes(spec: OptimizerSpec, shapes: Sequence[tuple[int, int]]) -> float:
    """About what its state takes, in memory and in a checkpoint, for matrices of these shapes."""
    as_adamw = float(ADAMW * sum(rows * columns for rows, columns in shapes))
    if _is_plain(spec):
        return as_adamw
    try:
        return state_bytes(_subject(spec), shapes, _cap(spec))
    except Exception:  # foreign code on matrices that are no pair; how much it keeps is a guess
        return as_adamw


def _cap(spec: OptimizerSpec) -> float:
    """The longest side of a matrix of which it keeps a square."""
    row = find(spec.name)
    arguments = _arguments(_class(row, spec))
    own = arguments[CAP].default if CAP in arguments else math.inf
    return float({CAP: own, **row.options, **spec.options}[CAP])


def weights_dtype(spec: OptimizerSpec) -> torch.dtype:
    """What the trained weights are kept in."""
    return torch.bfloat16 if find(spec.name).bf16 else torch.float32


@contextmanager
def shown(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> Iterator[None]:
    """While it is open, the parameters hold what previews and deliverables show.

    These are the averaged weights where an optimizer keeps an average (schedule-free), else the
    weights as they are. What trains is put back bit for bit: its own way back would round.
    """
    average = getattr(optimizer, "eval", None)
    if average is None or not optimizer.state:
        yield
        return
    weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    groups = [dict(group) for group in optimizer.param_groups]
    state = {one: copy(entries) for one, entries in optimizer.state.items()}
    try:
        average()
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            group.clear()
            group.update(before)
        optimizer.state.clear()
        optimizer.state.update(state)


def advice(training: TrainingSpec) -> list[str]:
    """What is allowed and hardly meant, in sentences for `scumble check`."""
    spec, rate, kind = training.optimizer, training.learning_rate, training.schedule.kind
    name, row = spec.name, find(spec.name)
    said = _far(name, rate, row) if row.rates else _far_from_its_own(training, row)
    if row.averages and kind != "constant":
        said.append(
            f"{name} averages its weights over the steps in the place of a falling rate; under"
            f" `schedule.kind: {kind}` both happen. Use `constant`."
        )
    if not _is_plain(spec):
        said += _seen(name, _trial(spec))
    return said


def weight(spec: OptimizerSpec, kept: float, numbers: int) -> list[str]:
    """A word on a state of `kept` bytes for so many trained numbers, where it is a burden."""
    times = kept / (ADAMW * numbers)
    if times < HEAVY or kept < GB:
        return []
    said = f"The state of {spec.name} takes about {kept / GB:.0f} GB on the device"
    return [f"{said}, {times:.0f} times that of adamw."]


def _seen(name: str, trial: Trial) -> list[str]:
    said = []
    if not trial.resumes:
        said.append(
            f"{name} does not resume exactly: after an interruption its steps are others than"
            " those of an unbroken run."
        )
    if trial.up is not None and not 1 / UNLIKE < trial.up < UNLIKE:
        times, how = (1 / trial.up if trial.up else 0, "slower")
        if trial.up > 1:
            times, how = trial.up, "faster"
        told = f"{times:.0f} times {how}" if 0 < times < 1e6 else f"very much {how}"
        said.append(
            f"{name} moves weights that start at zero, as half of an adapter's do, {told} than the"
            " others: one half would hardly learn."
        )
    return said


def _is_plain(spec: OptimizerSpec) -> bool:
    return not spec.options and find(spec.name) == find("adamw")


def _far(name: str, rate: float, row: Row) -> list[str]:
    assert row.rates
    low, high = row.rates
    if low <= rate <= high:
        return []
    side = "below" if rate < low else "above"
    wanted = f"({low:g} to {high:g}): {row.because}"
    return [f"`training.learning_rate` {rate:g} is {side} what {name} expects {wanted}."]


def _far_from_its_own(training: TrainingSpec, row: Row) -> list[str]:
    kind, rate = _class(row, training.optimizer), training.learning_rate
    own = _arguments(kind)["lr"].default if "lr" in _arguments(kind) else None
    if not isinstance(own, float) or own / FAR < rate < own * FAR:
        return []
    name = training.optimizer.name
    return [f"`training.learning_rate` {rate:g} is far from the {own:g} that {name} has itself."]


def _class(row: Row, spec: OptimizerSpec) -> Any:
    """The class, its options checked against its signature."""
    module, name = row.source.split(":")
    there = _module(module, spec, row.extra)
    kind = there.get(name)
    if not _usable(kind):
        raise _unusable(module, name, there)
    _known(kind, spec, row)
    if row.low_bit and "Fp8" in name:
        refuse_fp8(spec.name, WHERE)
    return as_wished(kind) if row.low_bit else kind


def _module(module: str, spec: OptimizerSpec, extra: str) -> Mapping[str, Any]:
    package = module.partition(".")[0]
    if find_spec(package) is None:
        problem = f"{spec.name} comes from {package}, which is not installed"
        raise JobError(WHERE, problem, f'run `pip install "scumble[{extra}]"`')
    try:
        with quietly():
            return vars(import_module(module))
    except (ImportError, OSError, RuntimeError) as error:
        problem = f"{spec.name} comes from {module}, which does not work here ({error})"
        raise JobError(WHERE, problem, "install it anew, or choose another optimizer") from None


def _unusable(module: str, name: str, there: Mapping[str, Any]) -> JobError:
    instead = "take pytorch_optimizer.AdEMAMix, say"
    if name in there and name.startswith(PAGED):
        problem = f"{module}.{name} pages its state, which is small for an adapter, to the host"
        return JobError(WHERE, problem, f"take bitsandbytes.{name.removeprefix(PAGED)}")
    if name in there:
        problem = f"{module}.{name} works only around or within something else"
        return JobError(WHERE, problem, instead)
    kinds = {word.lower(): word for word, one in there.items() if _usable(one)}
    near = get_close_matches(name.lower(), kinds, n=1)
    remedy = f"did you mean '{module}.{kinds[near[0]]}'?" if near else instead
    return JobError(WHERE, f"{module} has no optimizer '{name}'", remedy)


def _usable(kind: Any) -> bool:
    """Whether it is an optimizer of weights, not a wrapper around another optimizer."""
    optimizer = isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    if not optimizer or kind is torch.optim.Optimizer or kind.__name__.startswith(PAGED):
        return False
    wanted = list(inspect.signature(kind).parameters)
    return wanted[:1] == ["params"] and not WRAPPED.intersection(wanted)


def _arguments(kind: Any) -> Mapping[str, inspect.Parameter]:
    """What its constructor takes by name; what a `**kwargs` swallows would have no effect."""
    told = inspect.signature(kind).parameters
    catching = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name: one for name, one in told.items() if one.kind not in catching}


def _known(kind: Any, spec: OptimizerSpec, row: Row) -> None:
    """JobError for an option that it does not have, and for one that it must have."""
    arguments = _arguments(kind)
    known = {word.lower(): word for word in arguments if word not in NOT_OPTIONS}
    known |= {STOP: STOP} if row.stops else {}
    for option in spec.options:
        if option not in known.values():
            near = get_close_matches(option.lower(), known, n=1)
            listed = f"known: {', '.join(known.values())}"
            remedy = f"did you mean '{known[near[0]]}'?" if near else listed
            problem = f"{spec.name} {NOT_OPTIONS.get(option, 'has no such option')}"
            raise JobError(f"{OPTIONS}.{option}", problem, remedy)
    for word in known.values():
        if (
            word in arguments
            and arguments[word].default is inspect.Parameter.empty
            and word not in spec.options
        ):
            raise JobError(f"{OPTIONS}.{word}", f"{spec.name} needs it", "give it a value")


def _subject(spec: OptimizerSpec) -> Subject:
    row = find(spec.name)
    make = partial(_alone, _class(row, spec), row, spec, rate=1e-3)
    return Subject(make=make, dtype=weights_dtype(spec), scale=row.scale)


def _trial(spec: OptimizerSpec) -> Trial:
    """What a trial shows; JobError when it cannot be made or take a step."""
    subject = _subject(spec)
    try:
        return tried(subject)
    except JobError:
        raise
    except Exception as error:  # foreign code with a user's values: it may raise anything
        where = OPTIONS if spec.options else WHERE
        problem = f"{spec.name} cannot take a step in this loop ({_said(error)})"
        raise JobError(where, problem, f"choose another, or {REMEDY}") from None


def _alone(
    kind: Any, row: Row, spec: OptimizerSpec, parameters: Sequence[nn.Parameter], *, rate: float
) -> torch.optim.Optimizer:
    """With one group."""
    weights = [{"params": list(parameters), **row.group}] if row.group else list(parameters)
    return _constructed(kind, row, spec, weights, rate=rate)


def _constructed(
    kind: Any, row: Row, spec: OptimizerSpec, weights: Sequence[Any], *, rate: float
) -> torch.optim.Optimizer:
    """`weights` as torch's optimizers take them: parameters, or groups of them."""
    options = {**row.options, **spec.options}
    stop = options.pop(STOP, None) if row.stops else None
    try:
        optimizer = kind(weights, lr=rate, **options)
    except Exception as error:  # foreign code with a user's values: it may raise anything
        where = OPTIONS if spec.options else WHERE
        raise JobError(where, f"{spec.name} refuses: {_said(error)}", REMEDY) from None
    if stop is not None:
        stopped(optimizer, stop)
    train = getattr(optimizer, "train", None)  # schedule-free ones refuse to step without
    if train is not None:
        train()
    return optimizer


def _said(error: Exception) -> str:
    """An error of a library in words; two of them say nothing to somebody who trains."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "closure" in text:
        return "it wants the loss computed several times a step"
    if "does not require grad" in text:
        return "it wants a second backward pass"
    return text
