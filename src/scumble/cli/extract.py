"""`scumble adapter extract`: what training made of a model, as an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from scumble.cli.convert import FamilyName, Layout, Numbers
from scumble.cli.merge import family_of, layer_row, place
from scumble.errors import FileError

if TYPE_CHECKING:
    from scumble.checkpoint.extract import Asked, Extracted

NAMED = 5  # tensors that a LoRA cannot hold and that are named one by one


@dataclass(frozen=True)
class Taking:
    """Two checkpoints and the file that is made of their difference."""

    base: Path
    tuned: Path
    out: Path
    asked: Asked
    dtype: str
    family: str = "flux"
    about: Mapping[str, str] | None = None
    """Entries of the metadata beside our own."""


def adapter_extract(  # noqa: PLR0913  (each parameter is an option)
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="A model's file or folder.")],
    base: Annotated[str, Option("--from", help="The model that it was made from.")],
    out: Annotated[Path, Option("-o", "--out", help="The new .safetensors file.")],
    rank: Annotated[int, Option(help="Of every layer, at most.")] = 16,
    energy: Annotated[
        float | None, Option(help="Fewer columns where they keep this share of the change.")
    ] = None,
    clamp: Annotated[
        float | None, Option(help="Clamp both matrices at this quantile. Unset: not at all.")
    ] = None,
    layers: Annotated[
        list[str] | None, Option(help="Only layers whose names end so; `*` is any one part.")
    ] = None,
    exact: Annotated[bool, Option("--exact", help="No sketches; some 20 times as slow.")] = False,
    device: Annotated[str, Option(help="cpu, cuda, cuda:1.")] = "cpu",
    layout: Annotated[Layout, Option(help="Of the new file.")] = "diffusers",
    dtype: Annotated[Numbers, Option(help="Of the new file.")] = "float32",
    family: FamilyName = "flux",
) -> None:
    """Make an adapter of the difference between two checkpoints of a model."""
    from scumble.checkpoint.extract import Asked

    asked = Asked(
        rank=rank,
        energy=energy,
        clamp=clamp,
        layers=tuple(layers or ()),
        layout=layout,
        exact=exact,
        device=device,
    )
    take(Taking(place(base), place(tuned), out, asked, dtype, family))


def take(wanted: Taking) -> None:
    """Write the adapter and tell of every layer; FileError where nothing changed."""
    from scumble.checkpoint import combine, extract
    from scumble.cli import show

    family = family_of(wanted.family)
    pairings = extract.opened(family, wanted.base, wanted.tuned, wanted.out, wanted.asked)
    for one in extract.extracted(pairings, wanted.asked):
        match one:
            case combine.Layer():
                show.line("  ".join(layer_row(one)))
            case extract.Extracted():
                _write(wanted, one)


def _write(wanted: Taking, found: Extracted) -> None:
    from scumble.checkpoint import combine, export
    from scumble.cli import show

    if found.others:
        names = ", ".join(found.others[:NAMED]) + (", ..." if len(found.others) > NAMED else "")
        show.line(f"NOT IN IT: {len(found.others)} tensors that a LoRA cannot hold: {names}")
    if not found.layers:
        problem = f"its layers are those of {wanted.base}"
        raise FileError(wanted.tuned, problem, "there is nothing to extract")
    told = {combine.MERGED_FROM: f"{wanted.tuned.name} - {wanted.base.name}"}
    if wanted.about is not None:
        keys = family_of(wanted.family).keys
        sizes = dict.fromkeys(export.SIZES, "Dynamic")
        told = sizes | export.stamps(found.changes, keys) | dict(wanted.about)
    count = combine.write(
        wanted.out,
        found.changes,
        family_of(wanted.family).keys,
        layout=wanted.asked.layout,
        dtype=wanted.dtype,
        told=told,
    )
    same = f"{found.unchanged} layers are the same in both" if found.unchanged else ""
    rows = [("the same", same)] if same else []
    show.table([*rows, ("written", f"{wanted.out} ({count} tensors, {wanted.dtype})")])
