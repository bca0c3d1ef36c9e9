"""`scumble adapter merge`: adapters with one another, or into a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from scumble.cli.convert import FamilyName, Layout, family_keys
from scumble.errors import JobError, gather

if TYPE_CHECKING:
    from scumble.checkpoint.combine import Layer
    from scumble.families.family import Family

Wide = Literal["float32", "bfloat16", "float16", "fp8_e4m3fn", "fp8_e5m2"]
STRENGTH = re.compile(r"(?P<file>.+)=(?P<strength>[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)")
PLACES = "builtin:"
SPECIFIED = ("modelspec.", "scumble.flavour")
"""Beginnings of the entries that say which model it is for, and that of which they are made."""

Files = Annotated[
    list[str],
    Argument(metavar="FILE[=STRENGTH]...", help="Adapters and how much of each; 1 is all of it."),
]
Models = Annotated[
    list[str] | None,
    Option("--into", help="A model's file or diffusers folder; one for each --out."),
]


@dataclass(frozen=True)
class Adding:
    """Adapters that become one."""

    files: Sequence[tuple[Path, float]]
    out: Path
    layout: str | None = None
    rank: int | None = None
    dtype: str = "float32"
    family: str = "flux"
    about: Mapping[str, str] | None = None
    """Entries of the metadata beside our own."""

    bare: bool = False
    """Whether no `modelspec` entry is written."""


@dataclass(frozen=True)
class Working:
    """Adapters that become part of models."""

    files: Sequence[tuple[Path, float]]
    places: Sequence[tuple[Path, Path]]
    dtype: str | None = None
    device: str = "cpu"
    family: str = "flux"
    forgiving: bool = False
    """Whether parts of the adapters that no model here has are told and left out."""


def adapter_merge(  # noqa: PLR0913  (each parameter is an option)
    files: Files,
    out: Annotated[list[Path], Option("-o", "--out", help="The new file or folder.")],
    into: Models = None,
    rank: Annotated[int | None, Option(help="Fit the sum to this rank. Unset: exact.")] = None,
    layout: Annotated[Layout | None, Option(help="Unset: that of the first FILE.")] = None,
    dtype: Annotated[Wide | None, Option(help="Unset: float32, or as the model has it.")] = None,
    device: Annotated[str, Option(help="Where a model's change is computed.")] = "cpu",
    family: FamilyName = "flux",
) -> None:
    """Add adapters up, each with its strength: to one adapter, or into a model's weights."""
    wanted = [strong(one) for one in files]
    if into is None:
        _refuse_for_one(out, dtype)
        adding = Adding(wanted, out[0], layout, rank, dtype or "float32", family)
        return add(adding, verbose=rank is not None)
    problems = []
    if len(into) != len(out):
        told = f"{len(into)} models and {len(out)} places for them"
        problems.append(JobError("--out", told, "give one --out after each --into"))
    if rank is not None or layout is not None:
        told = "--rank and --layout are for adapters"
        problems.append(JobError("--into", told, "leave them out; a model keeps its own"))
    gather("this cannot be merged", problems)
    places = [(place(one), new) for one, new in zip(into, out, strict=True)]
    return work(Working(wanted, places, dtype, device, family))


def _refuse_for_one(out: Sequence[Path], dtype: str | None) -> None:
    problems = []
    if len(out) != 1:
        problems.append(JobError("--out", f"{len(out)} places for one adapter", "give one"))
    if dtype is not None and dtype.startswith("fp8"):
        remedy = "give float32, bfloat16 or float16"
        problems.append(JobError("--dtype", f"{dtype} is too coarse for an adapter", remedy))
    gather("this cannot be merged", problems)


def strong(text: str, otherwise: float = 1.0) -> tuple[Path, float]:
    """FILE=0.7 as a path and a number; a file's name may have `=` in it."""
    found = STRENGTH.fullmatch(text)
    if found is None or Path(text).exists():
        return Path(text), otherwise
    return Path(found["file"]), float(found["strength"])


def place(text: str) -> Path:
    """A path, or where a builtin model lies."""
    if not text.startswith(PLACES):
        return Path(text)
    from scumble.families.finding import located

    return located(text, Path())


def family_of(name: str) -> Family:
    """The family in one of its flavours: layers are called alike in all."""
    from scumble import families

    flavour = next((kind for known, kind in families.FAMILIES if known == name), "")
    return families.find(name, flavour)


def add(asked: Adding, *, verbose: bool) -> None:
    """Write one adapter; tell of its layers if `verbose`."""
    from scumble.adapters.layouts import LAYOUTS
    from scumble.checkpoint import combine, export
    from scumble.cli import show

    keys = family_keys(asked.family)
    problems = combine.refuse_place(asked.out, [file for file, _ in asked.files])
    if asked.rank is not None and asked.rank < 1:
        problems.append(JobError("--rank", f"{asked.rank} is no rank", "give 1 or more"))
    gather("this cannot be merged", problems)
    summands = combine.opened(asked.files, keys)
    layout = asked.layout or combine.layout_of(summands)
    authors = LAYOUTS[layout].authors
    total = combine.summed(summands, keys, authors=authors)
    if asked.rank is not None:
        total, report = combine.lowered(total, keys, asked.rank, authors=authors)
        layers_told(report, verbose=verbose)
    about = combine.about(summands, asked.out.stem)
    if asked.about is not None:
        about |= dict.fromkeys(export.SIZES, "Dynamic") | export.stamps(total, keys)
        about |= asked.about
    if asked.bare:
        about = {n: one for n, one in about.items() if not n.startswith(SPECIFIED)}
    count = combine.write(asked.out, total, keys, layout=layout, dtype=asked.dtype, told=about)
    show.table(
        [
            *((f"{one.strength:g} x", f"{one.file} ({one.told.layout})") for one in summands),
            ("written", f"{asked.out} ({layout}, {count} tensors, {asked.dtype})"),
        ]
    )


def work(asked: Working) -> None:
    """Write every model with the adapters in it."""
    from scumble.checkpoint import combine, on_disk
    from scumble.checkpoint.merge import Into, merged
    from scumble.cli import show

    keys, family = family_keys(asked.family), family_of(asked.family)
    summands = combine.opened(asked.files, keys, formed=True)
    total = combine.summed(summands, keys, authors=False)
    if asked.forgiving:
        models = [model for model, _ in asked.places if model.exists()]
        there = {one.part for model in models for one in on_disk.within(family, model)}
        for part in total.keys() - there:
            show.line(f"LEFT OUT: {len(total[part])} layers for the {part}, which is not given")
        total = {part: layers for part, layers in total.items() if part in there}
    places = [Into(model, out) for model, out in asked.places]
    for done in merged(family, places, summands, total, dtype=asked.dtype, device=asked.device):
        layers = [f"{count} layers of the {part}" for part, count in done.layers.items()]
        wide = "; its fp8 numbers are wider now" if done.widened and asked.dtype else ""
        told = " and ".join(layers) or "no layer"
        show.line(f"{done.out}: {told} changed, {done.size_bytes / 1e9:.2f} GB{wide}")


def layers_told(layers: Sequence[Layer], *, verbose: bool) -> None:
    """What is left of every layer, and of that of which least is."""
    from scumble.cli import show

    if verbose:
        show.table([layer_row(one) for one in layers])
    if layers:
        least = min(layers, key=lambda one: one.kept)
        show.line(f"least is kept of {least.name}: {100 * least.kept:.2f} % of its squares")


def layer_row(layer: Layer) -> tuple[str, str, str]:
    """A layer in three columns."""
    kept = f"keeps {100 * layer.kept:.2f} %"
    return layer.name, f"rank {layer.before} -> {layer.rank}", kept
