"""`scumble adapter resize`: an adapter at another rank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from scumble.cli.convert import FamilyName, File, Numbers, family_keys
from scumble.cli.merge import layers_told
from scumble.errors import JobError

if TYPE_CHECKING:
    from scumble.checkpoint.resize import Asked

Method = Literal["sv_ratio", "sv_fro", "sv_cumulative"]


def adapter_resize(  # noqa: PLR0913  (each parameter is an option)
    file: File,
    out: Annotated[Path, Argument(metavar="OUT", help="The new .safetensors file.")],
    rank: Annotated[int, Option(help="Of every layer, at most.")],
    method: Annotated[
        Method | None, Option(help="Fewer, by singular values. Unset: `rank` everywhere.")
    ] = None,
    param: Annotated[float | None, Option(help="With --method: ratio or share.")] = None,
    dtype: Annotated[Numbers | None, Option(help="Unset: as FILE has it.")] = None,
    device: Annotated[str, Option(help="cpu, cuda, cuda:1.")] = "cpu",
    verbose: Annotated[bool, Option("--verbose", help="Tell of every layer.")] = False,
    family: FamilyName = "flux",
) -> None:
    """Bring an adapter to a smaller rank, as near to what it was as that allows."""
    from scumble.checkpoint.low_rank import Cut
    from scumble.checkpoint.resize import Asked

    if (method is None) != (param is None):
        remedy = "give both or neither, such as --method sv_fro --param 0.9"
        raise JobError("--method", "goes with --param", remedy)
    asked = Asked(cut=Cut(rank, method, param or 0.0), dtype=dtype, device=device)
    cut(file, out, asked, verbose=verbose, family=family)


def cut(file: Path, out: Path, asked: Asked, *, verbose: bool, family: str) -> None:
    """Write the file and tell what is left of it."""
    from scumble.checkpoint.resize import resized
    from scumble.cli import show

    made = resized(file, out, family_keys(family), asked)
    layers_told(made.layers, verbose=verbose)
    size = f"{out.stat().st_size / 1e6:.2f} of {file.stat().st_size / 1e6:.2f} MB"
    show.table([("written", f"{out} (rank {made.rank}, {made.dtype}, {size})")])
