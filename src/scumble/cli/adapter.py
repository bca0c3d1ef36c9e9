"""`scumble adapter`: small things to do with adapter files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

adapter = typer.Typer(
    no_args_is_help=True, help="Look into adapter files, prove them, rewrite them."
)


@adapter.callback()
def options() -> None:
    """Look into adapter files, prove them, rewrite them."""


@adapter.command("info")
def adapter_info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors file.")],
) -> None:
    """Tell what is in an adapter file."""
    from scumble.checkpoint.export import info
    from scumble.cli import show

    show.table(list(info(file).items()))
