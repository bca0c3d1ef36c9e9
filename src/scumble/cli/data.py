"""`scumble data`: look at what a run would see before a card is busy, and make what is missing."""

import typer

from scumble.cli import degrade, masks, pairs, preview, rare_tokens, scan

data = typer.Typer(no_args_is_help=True, help="Look at data, and make what is missing.")
data.command()(scan.scan)
data.command()(pairs.pairs)
data.command()(masks.masks)
data.command()(degrade.degrade)
data.command()(preview.preview)
data.command("rare-tokens")(rare_tokens.rare_tokens)


@data.callback()
def options() -> None:
    """Look at data, and make what is missing."""
