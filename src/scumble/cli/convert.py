"""`scumble adapter convert` and `info`: adapter files of any tool, told and spelt anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from scumble.adapters.keys import Keys
    from scumble.checkpoint.convert import Converted


Layout = Literal["diffusers", "kohya", "comfy", "ai-toolkit"]
Numbers = Literal["float32", "bfloat16", "float16"]
NAMED = 20  # keys left out that are named one by one

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors file of any tool.")]
FamilyName = Annotated[str, typer.Option("--family", help="Kind of model it belongs to.")]


def adapter_info(file: File, family: FamilyName = "flux") -> None:
    """Tell what is in an adapter file."""
    from scumble.checkpoint.info import info
    from scumble.cli import show

    show.table(list(info(file, family_keys(family)).items()))


def adapter_convert(
    file: File,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new .safetensors file.")],
    to: Annotated[Layout, typer.Option("--to", help="Layout of the new file.")],
    dtype: Annotated[Numbers | None, typer.Option(help="Unset: as FILE has it.")] = None,
    family: FamilyName = "flux",
    drop: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out what cannot be read.")
    ] = False,
) -> None:
    """Spell an adapter file for another tool; its effect stays the same."""
    from scumble.checkpoint.convert import converted
    from scumble.cli import show

    keys = family_keys(family)
    made = converted(file, out, keys, layout=to, dtype=dtype, drop=drop)
    show.table(_rows(file, out, to, made))


def family_keys(name: str) -> Keys:
    """The layer names of a family, which all its flavours share."""
    from scumble import families

    flavour = next((kind for known, kind in families.FAMILIES if known == name), "")
    return families.find(name, flavour).keys


def _rows(file: Path, out: Path, to: str, made: Converted) -> list[tuple[str, str]]:
    from scumble.checkpoint.info import PARTS, spread

    rows = [("read", f"{file} ({made.told.layout}, {made.before / 1e6:.2f} MB)")]
    for part, layers in made.told.changes.items():
        ranks = spread(len(one.down) for one in layers.values())
        rows.append((PARTS.get(part, part), f"{len(layers)} layers, rank {ranks}"))
    if left := made.told.unread():
        rows.append(("LEFT OUT", left))
        strangers = made.told.strangers
        rows += [("", key) for key in strangers[:NAMED]]
        rows += [("", f"and {len(strangers) - NAMED} more")] if len(strangers) > NAMED else []
    rows += [
        ("left out", f"metadata '{name}': it is not true of the new file") for name in made.metadata
    ]
    size = f"{made.tensors} tensors, {made.dtype}, {made.after / 1e6:.2f} MB"
    return [*rows, ("written", f"{out} ({to}, {size})")]
