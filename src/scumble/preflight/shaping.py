"""What a LoRA's layers are to be: targets, rules and the file that it goes on from, together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from scumble.adapters import start
from scumble.adapters.attach import Role, chosen, linear
from scumble.adapters.layouts import Changes
from scumble.adapters.names import DENOISER, Names, known
from scumble.adapters.shapes import Shape, as_filed, chosen_by_rules, idle, resolved
from scumble.checkpoint import export
from scumble.errors import FileError, JobError
from scumble.families.family import Family
from scumble.spec.adapter import FullSpec, LoraSpec
from scumble.spec.job import JobSpec
from scumble.spec.lycoris import LycorisSpec
from scumble.trainer import groups, optimizers
from scumble.trainer.optimizer_table import find

PARTS = "adapter.parts"
RATES = "training.rates"


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """The layers that are trained, and how; by part."""

    shapes: Mapping[str, Shape]
    layers: Mapping[str, Mapping[str, nn.Linear]]
    remarks: tuple[str, ...]
    """What a user would want to know, in sentences."""


def names_of(family: Family, part: str = DENOISER) -> Names:
    """How the layers of a part are called."""
    return Names(part=part, network=family.keys[part], aliases=family.parts[part].aliases)


def shaped(
    family: Family, networks: Mapping[str, nn.Module], job: JobSpec, *, fresh: bool
) -> Shaped:
    """Targets and rules resolved for each of the networks that the job trains, which have passed
    `checked`; JobError or FileError where that cannot be.

    `fresh` is whether the run starts; one that goes on has its values from a checkpoint.
    """
    spec = job.adapter
    assert isinstance(spec, LoraSpec)
    begun = spec.start is not None and (fresh or spec.start.shape == "file")
    told, unread = _started(family, spec) if begun else ({}, [])
    shapes, layers = {}, {}
    for part, network in networks.items():
        shape = _shape(family, part, network, spec, told)
        shapes[part] = shape
        layers[part] = {name: linear(network, name) for name in shape.slots}
    remarks = [idle(spec.rules, list(shapes.values())), *unread, *_averaged(job)]
    if begun:
        remarks += _fitting(shapes, layers, told, spec)
    _moving(shapes, job)
    said = tuple(remark for remark in remarks if remark)
    return Shaped(shapes=shapes, layers=layers, remarks=said)


def _shape(family: Family, part: str, network: nn.Module, spec: LoraSpec, told: Changes) -> Shape:
    """Of a text encoder, all layers that the tables know are trained unless a rule says no."""
    names = names_of(family, part)
    linears = {n: one for n, one in network.named_modules() if isinstance(one, nn.Linear)}
    if spec.start is not None and spec.start.shape == "file":
        shape = as_filed(told.get(part, {}), linears, spec, names)
    elif part == DENOISER:
        targeted = heard(family, network, chosen(network, spec.targets, family.targets))
        shape = resolved(chosen_by_rules(linears, targeted, spec, names), spec, names)
    else:
        linears = known(network, names)
        shape = resolved(chosen_by_rules(linears, linears, spec, names), spec, names)
    return replace(shape, others=tuple(n for n in linears if n not in shape.slots))


def heard(
    family: Family, denoiser: nn.Module, targeted: Mapping[str, nn.Linear]
) -> dict[str, nn.Linear]:
    """Those of the layers that can learn; JobError if none of them can."""
    mute = family.mute(denoiser) if family.mute is not None else ()
    left = {name: one for name, one in targeted.items() if name not in mute}
    if not left:
        problem = f"what {next(iter(targeted))} answers reaches no picture, so that it cannot learn"
        raise JobError("adapter.targets", problem, "name others, or a preset")
    return left


def checked(family: Family, job: JobSpec) -> None:
    """JobError for parts that the family has not, and rates of parts that are not trained."""
    match job.adapter:
        case FullSpec():
            if job.training.rates:
                remedy = "set `training.learning_rate`"
                raise JobError(RATES, "with `adapter.kind: full` there is one rate", remedy)
        case LycorisSpec():
            if job.training.rates:
                remedy = "set `training.learning_rate`"
                raise JobError(RATES, "with `adapter.kind: lycoris` there is one rate", remedy)
        case LoraSpec(parts=parts, up_rate=up_rate):
            _known(family, parts)
            _of_parts(RATES, job.training.rates, parts)
            _of_parts("adapter.up_rate", up_rate if isinstance(up_rate, dict) else {}, parts)


def _known(family: Family, parts: Sequence[str]) -> None:
    known = f"known: {', '.join(family.keys)}"
    if not parts:
        raise JobError(PARTS, "no part is trained", known)
    for part in parts:
        if part not in family.keys:
            raise JobError(PARTS, f"{family.name} has no part '{part}'", known)


def _of_parts(where: str, rates: Mapping[str, float], parts: Sequence[str]) -> None:
    for part in rates:
        if part not in parts:
            remedy = "name it in `adapter.parts`, or take it out"
            raise JobError(where, f"'{part}' is not trained", remedy)


def started(family: Family, spec: LoraSpec) -> Changes:
    """The layers in the file that the adapter goes on from, of the parts that are trained; none
    without one."""
    return _started(family, spec)[0] if spec.start is not None else {}


def _started(family: Family, spec: LoraSpec) -> tuple[Changes, list[str]]:
    """Of the file, and what in it cannot be read or is of another part, in sentences."""
    assert spec.start is not None
    file = Path(spec.start.file)
    found = export.read(file, family.keys)
    told = {part: one for part, one in found.changes.items() if part in spec.parts and one}
    if not told:
        problem = found.unread() or f"it changes {' and '.join(found.changes)} alone"
        raise FileError(file, problem, "`adapter.start` wants a LoRA of this model")
    spoilt = [
        name
        for layers in told.values()
        for name, one in layers.items()
        if not (export.finite(one.down) and export.finite(one.up))
    ]
    if spoilt:
        problem = (
            f"{len(spoilt)} layers hold values that are no finite numbers, first '{spoilt[0]}'"
        )
        raise FileError(file, problem, "it was spoilt in training; take an earlier one")
    said = [f"`adapter.start`: of the file, {unread}."] if (unread := found.unread()) else []
    if beside := sorted(found.changes.keys() - set(spec.parts)):
        said.append(f"`adapter.start` leaves out what the file makes of {' and '.join(beside)}.")
    return told, said


def _fitting(
    shapes: Mapping[str, Shape],
    layers: Mapping[str, Mapping[str, nn.Linear]],
    told: Changes,
    spec: LoraSpec,
) -> list[str]:
    """What does not fit, in sentences; FileError when nothing does."""
    assert spec.start is not None
    fits = [start.fitted(one, layers[part], told.get(part, {})) for part, one in shapes.items()]
    if any(fit.taken for fit in fits):
        return [said for fit in fits for said in start.sentences(fit)]
    left = [one for fit in fits for one in fit.left]
    problem = f"nothing of it fits: {left[0]}" if left else "nothing of it fits"
    remedy = "set `adapter.start.shape: file`, or the job's rank and targets as they were"
    raise FileError(spec.start.file, problem, remedy)


def _moving(shapes: Mapping[str, Shape], job: JobSpec) -> None:
    """JobError where no weight would move, or the optimizer knows one rate only."""
    adapter, training = job.adapter, job.training
    assert isinstance(adapter, LoraSpec)
    roles = [
        Role(part, up=up, rate=one.rate)
        for part, shape in shapes.items()
        for one in shape.slots.values()
        for up in (False, True)
    ]
    speeds = dict.fromkeys(shapes, 0.0)
    for role in roles:
        speeds[role.part] = max(speeds[role.part], groups.rate(role, adapter, training))
    rates = {groups.rate(role, adapter, training) for role in roles} - {0.0}
    still = [part for part, speed in speeds.items() if not speed]
    if rates and still:
        problem = f"no layer of {still[0]} has a learning rate above 0"
        raise JobError(PARTS, problem, f"leave {still[0]} out, and nothing of it is changed")
    if not rates:
        what = "layer is left" if not roles else "layer has a learning rate above 0"
        remedy = "look at `adapter.targets`, `adapter.rules` and `training.rates`"
        raise JobError("adapter", f"no {what}, so nothing would be trained", remedy)
    optimizers.checked_rates(training.optimizer, rates)


def _averaged(job: JobSpec) -> list[str]:
    """Where the bound is on other weights than those that are delivered."""
    adapter, name = job.adapter, job.training.optimizer.name
    assert isinstance(adapter, LoraSpec)
    if adapter.max_norm is None or not find(name).averages:
        return []
    return [
        f"`adapter.max_norm` bounds the weights that {name} trains; their average, which it"
        " delivers, may be a little above it."
    ]
