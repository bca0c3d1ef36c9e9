"""`scumble adapter`: small things to do with adapter files."""

from __future__ import annotations

import typer

from scumble.cli.convert import adapter_convert, adapter_info
from scumble.cli.verify import verify

adapter = typer.Typer(
    no_args_is_help=True, help="Look into adapter files, prove them, rewrite them."
)


@adapter.callback()
def options() -> None:
    """Look into adapter files, prove them, rewrite them."""


adapter.command("info")(adapter_info)
adapter.command("convert")(adapter_convert)
adapter.command("verify")(verify)
