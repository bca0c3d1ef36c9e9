"""`scumble adapter`: small things to do with adapter files."""

from __future__ import annotations

import typer

from scumble.cli.convert import adapter_convert, adapter_info
from scumble.cli.extract import adapter_extract
from scumble.cli.merge import adapter_merge
from scumble.cli.resize import adapter_resize
from scumble.cli.verify import verify

adapter = typer.Typer(
    no_args_is_help=True,
    help="Look into adapter files, prove them, rewrite, merge, extract and resize them.",
)


@adapter.callback()
def options() -> None:
    """Look into adapter files, prove them, rewrite, merge, extract and resize them."""


adapter.command("info")(adapter_info)
adapter.command("convert")(adapter_convert)
adapter.command("merge")(adapter_merge)
adapter.command("extract")(adapter_extract)
adapter.command("resize")(adapter_resize)
adapter.command("verify")(verify)
