"""Several adapters as one: dW = the sum of strength_i dW_i, whatever their layouts and ranks.

The sum is exact: columns of `up` and rows of `down` stand beside each other, so ranks add. On
request it is brought to a smaller rank, as near as that rank allows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from scumble.adapters.fused import parted
from scumble.adapters.keys import Keys, Network
from scumble.adapters.layouts import LAYOUTS, Changes, authored
from scumble.adapters.lora import LoraTensors
from scumble.adapters.lycoris.forms import Form
from scumble.checkpoint import export, low_rank, lycoris, modelspec, proof
from scumble.checkpoint.lycoris import Forms
from scumble.errors import FileError, JobError, ScumbleError, gather

MERGED_FROM = "modelspec.merged_from"
RECIPE = "scumble.merged"
"""Files and strengths, as JSON."""

SAME = (modelspec.FAMILY, modelspec.FLAVOUR)
"""Entries that are true of the sum where they are true of every summand."""


@dataclass(frozen=True)
class Summand:
    """An adapter and how much of it there is to be."""

    file: Path
    strength: float
    told: export.Read
    forms: Forms = field(default_factory=dict[str, Form])
    """Of an adapter in LyCORIS' forms; then `told` has its metadata alone."""

    @property
    def name(self) -> str:
        """Its title, else the file's name."""
        return self.told.metadata.get("modelspec.title") or self.file.stem


@dataclass(frozen=True)
class Layer:
    """What became of one layer of a file, as that spells it."""

    name: str
    rank: int
    before: int
    kept: float
    """Share of the squares of its change; 1 is all of it."""


def opened(
    wanted: Sequence[tuple[Path, float]], keys: Keys, *, formed: bool = False
) -> list[Summand]:
    """The files read; an ExceptionGroup of all that is wrong with them.

    With `formed`, those in LyCORIS' forms too, which can be added to weights and not to adapters.
    """
    problems: list[ScumbleError] = []
    summands: list[Summand] = []
    for file, strength in wanted:
        if not math.isfinite(strength):
            problem = f"{strength} is no strength to scale by"
            problems.append(JobError(file, problem, "give a number such as 0.7"))
            continue
        try:
            summands.append(_summand(file, strength, keys, formed=formed))
        except FileError as error:
            problems.append(error)
    problems += _apart(summands)
    gather("these adapters cannot be merged", problems)
    return summands


def _summand(file: Path, strength: float, keys: Keys, *, formed: bool) -> Summand:
    if not (formed and lycoris.is_one(file)):
        export.layers(file, keys)
        return Summand(file, strength, export.read(file, keys))
    forms, told = lycoris.forms(file, keys), lycoris.read(file, keys)
    read = export.Read(
        layout=lycoris.LAYOUT,
        changes={},
        metadata=told.metadata,
        strangers=(),
        faults=(),
        stored=told.stored,
        tensors=len(told.keys),
    )
    return Summand(file, strength, read, forms)


def _apart(summands: Sequence[Summand]) -> Iterator[FileError]:
    """One sentence for each file that is for layers of other sizes than a file before it."""
    sides: dict[tuple[str, str], tuple[tuple[int, int], Path]] = {}
    for one in summands:
        for name, told in _flat(one.told.changes).items():
            here = (len(told.up), told.down.shape[1])
            there, first = sides.setdefault(name, (here, one.file))
            if here != there:
                sizes = f"{here[0]} x {here[1]} here and {there[0]} x {there[1]} in {first}"
                problem = f"'{name[1]}' is {sizes}"
                yield FileError(one.file, problem, "these adapters are for different models")
                break


def _flat(changes: Changes) -> dict[tuple[str, str], LoraTensors]:
    return {(part, n): one for part, layers in changes.items() for n, one in layers.items()}


def summed(summands: Sequence[Summand], keys: Keys, *, authors: bool) -> Changes:
    """The sum, layer by layer; exact, in float32 at least.

    With `authors`, layers that the authors' files hold as one are summed as one: those that share
    their `down` go on sharing it.
    """
    pairs = [(one.told.changes, one.strength) for one in summands]
    if not authors:
        return added(pairs)
    theirs = [
        ({part: dict(authored(keys[part], layers)) for part, layers in told.items()}, much)
        for told, much in pairs
    ]
    return {part: split(sums, keys[part]) for part, sums in added(theirs).items()}


def added(pairs: Sequence[tuple[Changes, float]]) -> Changes:
    """Changes, each times its strength, under the names that they have."""
    made: dict[str, dict[str, list[tuple[Tensor, Tensor]]]] = {}
    for changes, strength in pairs:
        for part, layers in changes.items():
            terms = made.setdefault(part, {})
            for name, told in layers.items():
                terms.setdefault(name, []).append(low_rank.scaled(told, strength))
    return {
        part: {name: _beside(each) for name, each in terms.items()} for part, terms in made.items()
    }


def _beside(terms: Sequence[tuple[Tensor, Tensor]]) -> LoraTensors:
    """Products next to each other; no rank beyond what the sides of the layer can have."""
    down = torch.cat([down for down, _ in terms])
    up = torch.cat([up for _, up in terms], dim=1)
    told = LoraTensors(down, up, float(len(down)))
    sides = min(len(up), down.shape[1])
    return told if len(down) <= sides else low_rank.refitted(told, sides)


def split(sums: Mapping[str, LoraTensors], network: Network) -> dict[str, LoraTensors]:
    """Layers by the authors' names as ours; a name that no table has is ours already."""
    made: dict[str, LoraTensors] = {}
    for name, told in sums.items():
        if (spot := network.by_theirs(name)) is None:
            made[name] = told
            continue
        places = parted(told, spot.row)
        assert places is not None, name
        made |= {spot.ours[place]: one for place, one in places.items()}
    return made


def lowered(
    changes: Changes, keys: Keys, rank: int, *, authors: bool
) -> tuple[Changes, list[Layer]]:
    """Every layer at no more than that rank, and what of each is left."""
    made, report = {}, list[Layer]()
    for part, layers in changes.items():
        named = dict(authored(keys[part], layers)) if authors else layers
        fewer = {}
        for name, told in named.items():
            down, up = low_rank.scaled(told)
            singular = low_rank.of_product(up, down)
            fewer[name] = told if len(down) <= rank else singular.first(rank)
            squares = singular.values.square()
            kept = float(squares[:rank].sum() / squares.sum()) if bool(squares.any()) else 1.0
            report.append(Layer(f"{part} {name}", len(fewer[name].down), len(down), kept))
        made[part] = split(fewer, keys[part]) if authors else fewer
    return made, report


def layout_of(summands: Sequence[Summand]) -> str:
    """The first file's own layout, or that of diffusers where it is of no one tool."""
    told = summands[0].told.layout
    return told if told in LAYOUTS else "diffusers"


def about(summands: Sequence[Summand], title: str) -> dict[str, str]:
    """What a merged file says of where it is from."""
    recipe = [{"file": one.file.name, "strength": one.strength} for one in summands]
    alike = {
        name: summands[0].told.metadata[name]
        for name in SAME
        if len({one.told.metadata.get(name) for one in summands}) == 1
        and name in summands[0].told.metadata
    }
    return {
        **alike,
        modelspec.TITLE: title,
        MERGED_FROM: ", ".join(one.name for one in summands),
        RECIPE: json.dumps(recipe, ensure_ascii=False),
    }


def write(
    out: Path, changes: Changes, keys: Keys, *, layout: str, dtype: str, told: Mapping[str, str]
) -> int:
    """Write the sum with marks of its own; return how many tensors it holds."""
    metadata = {**proof.marks(changes), **told}
    return export.write(out, changes, keys, layout=layout, dtype=dtype, about=metadata)


def refuse_place(out: Path, read: Sequence[Path]) -> list[ScumbleError]:
    """What is wrong with the name of a new adapter file."""
    problems: list[ScumbleError] = []
    if out.suffix != export.SUFFIX:
        problems.append(FileError(out, "is no .safetensors file", "give it that ending"))
    if any(out.exists() and one.exists() and out.samefile(one) for one in read):
        problems.append(FileError(out, "is a file that is read", "give it another name"))
    return problems
