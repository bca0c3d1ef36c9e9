"""What training made of a model, as a LoRA: the difference of two checkpoints, layer by layer.

Of both only one layer's difference is ever held. What a LoRA cannot hold (norms, biases) is
counted, not left out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scumble import dice
from scumble.adapters.attach import matches
from scumble.adapters.keys import Network
from scumble.adapters.layouts import LAYOUTS, Changes
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import low_rank, on_disk
from scumble.checkpoint.combine import Layer, refuse_place
from scumble.checkpoint.on_disk import OnDisk
from scumble.errors import FileError, JobError, ScumbleError, gather
from scumble.families.family import Family
from scumble.families.readings import PIECE, Reading

FLOAT_BYTES = 4
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a difference is to be taken apart."""

    rank: int
    """Of every layer, at most."""

    energy: float | None = None
    """Fewer where these keep this share of the squares of the change."""

    clamp: float | None = None
    """See `low_rank.clamped`."""

    layers: tuple[str, ...] = ()
    """Patterns of `attach.matches` over our names; empty: all."""

    layout: str = "diffusers"
    """Of the file that is made of it: where the authors' layers hold several, so does a layer
    here."""

    exact: bool = False
    unchanged: bool = False
    """Whether layers that did not change get a change of zero, and are not left out."""

    device: str = "cpu"


@dataclass(frozen=True)
class Extracted:
    """All of it."""

    changes: Changes
    layers: tuple[Layer, ...]
    """`before` is the rank that the layer could have."""

    unchanged: int
    """Layers that are the same in both."""

    others: tuple[str, ...]
    """Tensors that differ and that a LoRA cannot hold."""


@dataclass(frozen=True)
class _Group:
    """Layers of ours that are taken apart as one."""

    name: str
    ours: tuple[tuple[str, Reading, Reading], ...]
    """Our name, and where its weight lies before and after."""

    @property
    def rows(self) -> list[int]:
        return [one.shape[0] for _, one, _ in self.ours]


def opened(family: Family, base: Path, tuned: Path, out: Path, asked: Asked) -> list[_Pairing]:
    """Both checkpoints, looked at; an ExceptionGroup tells all that stands in the way."""
    problems = [*refuse_place(out, [base, tuned]), *_impossible(asked)]
    found: list[list[OnDisk]] = []
    for place in (base, tuned):
        try:
            found.append(on_disk.within(family, on_disk.told(place)))
        except FileError as error:
            problems.append(error)
    pairings = _paired(*found) if len(found) == 2 else []
    if len(found) == 2 and not pairings:
        names = [" and ".join(one.part for one in each) for each in found]
        problem = f"it holds the {names[1]}, and {base} the {names[0]}"
        problems.append(FileError(tuned, problem, "name two checkpoints of one network"))
    for one in pairings:
        problems += _unlike(one, tuned)
    if pairings and not problems and not any(_groups(one, asked) for one in pairings):
        known = next(name for one in pairings for name, _ in one.base.layers())
        problem = f"no layer's name ends in '{', '.join(asked.layers)}'"
        problems.append(JobError("layers", problem, f"layers are called {known}, ..."))
    gather("nothing can be extracted", problems)
    return pairings


@dataclass(frozen=True)
class _Pairing:
    """One network before and after."""

    base: OnDisk
    tuned: OnDisk


def _paired(base: Sequence[OnDisk], tuned: Sequence[OnDisk]) -> list[_Pairing]:
    after = {one.part: one for one in tuned}
    return [_Pairing(one, after[one.part]) for one in base if one.part in after]


def _impossible(asked: Asked) -> Iterator[ScumbleError]:
    if asked.rank < 1:
        yield JobError("rank", "no layer can have fewer columns than one", "give 1 or more")
    if asked.energy is not None and not 0 < asked.energy <= 1:
        problem = f"{asked.energy:g} is no share to keep"
        yield JobError("energy", problem, "give a number above 0 and up to 1, such as 0.95")
    if asked.clamp is not None and not 0.5 <= asked.clamp <= 1:
        problem = f"{asked.clamp:g} is no quantile to clamp at"
        yield JobError("clamp", problem, "give a number from 0.5 to 1, such as 0.99")


def _unlike(pairing: _Pairing, tuned: Path) -> Iterator[FileError]:
    """One sentence when the two are no versions of one network."""
    before, after = (dict(one.layers()) for one in (pairing.base, pairing.tuned))
    other = [n for n in before if n in after and before[n].shape != after[n].shape]
    if lost := sorted(before.keys() ^ after.keys()):
        where = "not in it" if lost[0] in before else "in it alone"
        problem = f"{len(lost)} layers stand in one of the two, first '{lost[0]}', {where}"
        yield FileError(tuned, problem, "name two checkpoints of one model")
    elif other:
        sizes = f"{after[other[0]].shape} there and {before[other[0]].shape} in the base"
        problem = f"'{other[0]}' is {sizes}"
        yield FileError(tuned, problem, "name two checkpoints of one model")


def extracted(pairings: Sequence[_Pairing], asked: Asked) -> Iterator[Layer | Extracted]:
    """Every layer as it is done, and at the end everything."""
    changes: dict[str, dict[str, LoraTensors]] = {}
    layers, same, others = [], 0, list[str]()
    for pairing in pairings:
        part = pairing.base.part
        for group in _groups(pairing, asked):
            found = _taken(part, group, asked)
            if found is None:
                same += 1
                continue
            told, layer = found
            changes.setdefault(part, {}).update(_split(told, group))
            layers.append(layer)
            yield layer
        others += [*_others(pairing)]
    yield Extracted(changes, tuple(layers), same, tuple(others))


def _groups(pairing: _Pairing, asked: Asked) -> list[_Group]:
    """Our layers, or the authors' where the layout has those, in the order of the base's files."""
    network, after = pairing.base.network, dict(pairing.tuned.layers())
    made: dict[str, list[tuple[int, str, Reading, Reading]]] = {}
    for name, reading in pairing.base.layers():
        if not asked.layers or any(matches(pattern, name) for pattern in asked.layers):
            found = _place(network, name) if LAYOUTS[asked.layout].authors else (name, 0)
            made.setdefault(found[0], []).append((found[1], name, reading, after[name]))
    return [
        _Group(theirs, tuple(one[1:] for one in sorted(each, key=lambda one: one[0])))
        for theirs, each in made.items()
    ]


def _place(network: Network, name: str) -> tuple[str, int]:
    """The authors' layer, and which of its parts this is; one whose halves they turn stays alone,
    for that is done when it is written."""
    found = network.by_ours(name)
    return (name, 0) if found is None else (found[0].theirs, found[1])


def _taken(part: str, group: _Group, asked: Asked) -> tuple[LoraTensors, Layer] | None:
    """The change of a group of layers; None where there is none to tell of."""
    delta = _difference(group, torch.device(asked.device))
    sides = min(delta.shape)
    rank = min(asked.rank, sides)
    squares = float(torch.linalg.vector_norm(delta)) ** 2  # no copy, and not finite if one is not
    if squares == 0 and not asked.unchanged:
        return None
    if not math.isfinite(squares):
        where, problem = group.ours[0][2].spot.file, f"'{group.name}' is not finite in it"
        raise FileError(where, problem, "it was spoilt in training; take an earlier one")
    draws = dice.generator(0, "extract", part, group.name)
    singular = low_rank.of_matrix(delta, rank, draws, exact=asked.exact)
    told = singular.first(_few(singular.values, squares, asked.energy))
    if asked.clamp is not None:
        told = low_rank.clamped(told, asked.clamp)
    kept = low_rank.kept(delta, told, squares)
    mine = LoraTensors(told.down.to(CPU), told.up.to(CPU), told.alpha)
    return mine, Layer(f"{part} {group.name}", len(mine.down), sides, kept)


def _few(values: Tensor, squares: float, energy: float | None) -> int:
    """How many values are needed for that share of the squares; all where they do not suffice."""
    if energy is None or squares == 0:
        return len(values)
    enough = values.double().square().cumsum(0) >= energy * squares
    return int(enough.int().argmax()) + 1 if bool(enough.any()) else len(values)


def _difference(group: _Group, device: torch.device) -> Tensor:
    """After minus before, in float32; the two are read some rows at a time."""
    inputs = group.ours[0][1].shape[1]
    delta = torch.empty(sum(group.rows), inputs, device=device)
    done = 0
    for _, before, after in group.ours:
        mine = delta[done : done + after.shape[0]]
        at = 0
        for rows in map(_rows, _windows(after)):
            mine[at : (at := at + len(rows))] = rows.to(device)
        at = 0
        for rows in map(_rows, _windows(before)):  # whose rows may lie in another order
            mine[at : (at := at + len(rows))] -= rows.to(device)
        done += len(mine)
    return delta


def _windows(reading: Reading) -> Iterator[Reading]:
    """The same weight, cut into runs of rows that take PIECE bytes in float32."""
    rows = max(1, PIECE // (FLOAT_BYTES * reading.shape[1]))
    for first, end in reading.spans:
        for start in range(first, end, rows):
            yield replace(reading, spans=((start, min(start + rows, end)),))


def _rows(reading: Reading) -> Tensor:
    with reading.spot.file.open("rb", buffering=0) as stream:
        return reading.read(stream, dtype=torch.float32, device=CPU)


def _split(told: LoraTensors, group: _Group) -> Mapping[str, LoraTensors]:
    """Our layers, which share the group's `down`."""
    ups = told.up.split(group.rows)
    names = [name for name, _, _ in group.ours]
    return {n: LoraTensors(told.down, up, told.alpha) for n, up in zip(names, ups, strict=True)}


def _others(pairing: _Pairing) -> Iterator[str]:
    """Names of tensors that are no layers' weights and differ."""
    weights = {reading.key for _, reading in pairing.base.layers()}
    for name, before in pairing.base.readings.items():
        after = pairing.tuned.readings.get(name)
        if before.key in weights:
            continue
        if after is None or after.shape != before.shape or not _alike(before, after):
            yield name


def _alike(before: Reading, after: Reading) -> bool:
    if len(before.shape) != 2 or len(before.spans) != len(after.spans):
        return _rows(before).equal(_rows(after))
    return all(
        _rows(one).equal(_rows(other))
        for one, other in zip(_windows(before), _windows(after), strict=True)
    )
