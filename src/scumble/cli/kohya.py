"""`scumble kohya`: commands of sd-scripts, their options unchanged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scumble.errors import FileError, JobError, gather
from scumble.launch import launched

if TYPE_CHECKING:
    from scumble.dialects.kohya.settings import Settings

kohya = typer.Typer(no_args_is_help=True, help="Commands of kohya's sd-scripts, unchanged.")
AS_THEY_ARE = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@kohya.callback()
def options() -> None:
    """Commands of kohya's sd-scripts, unchanged."""


@kohya.command("flux_train_network", context_settings=AS_THEY_ARE, add_help_option=False)
def flux_train_network(context: typer.Context) -> None:
    """Train a LoRA for FLUX.1 with the options of flux_train_network.py; --help lists them."""
    words = list(context.args)
    if not words or {"-h", "--help"} & set(words):
        _help()
        raise typer.Exit(0 if words else 2)
    from scumble.cli import show
    from scumble.dialects.kohya.job import from_settings, settings
    from scumble.dialects.notes import block

    base = Path.cwd()
    mine = launched()
    asked, draft = settings(words, base, processes=mine.world)
    if asked["output_config"]:
        gather("this command cannot run", draft.problems)
        if mine.rank == 0:
            show.line(f"Wrote {_written(asked)}")
        return
    made = from_settings(asked, draft)
    if mine.rank == 0:
        show.table(block(made.notes))
        write(made.files)
    if asked["wandb_api_key"]:
        os.environ["WANDB_API_KEY"] = asked["wandb_api_key"]
    from scumble.run import train

    outcome = train(made.job, base=base)
    for file in outcome.files:
        show.line(str(file))
    raise typer.Exit(outcome.code)


def write(files: dict[str, str]) -> None:
    """The tables that a job reads and that its configuration had in another form."""
    from scumble.disk import write_whole

    for place, text in files.items():
        write_whole(Path(place), text.encode())


def _help() -> None:
    from scumble.cli import show
    from scumble.dialects.kohya.table import GROUPS
    from scumble.dialects.page import default, meaning

    show.line("usage: scumble kohya flux_train_network --OPTION VALUE ...")
    show.line("`scumble convert` shows the job that a command comes to, and trains nothing.")
    for group, rows in GROUPS.items():
        show.line()
        show.line(group)
        lines = [(f"  {one.flag}", default(one), meaning(one)) for one in rows]
        show.table(lines)


def _written(asked: Settings) -> Path:
    from scumble.dialects.kohya import config_file
    from scumble.disk import write_whole

    if asked["config_file"] is None:
        remedy = "add --config_file=FILE.toml"
        raise JobError("--output_config", "needs a file to write to", remedy)
    file = config_file.place(asked)
    if file.exists():
        raise FileError(file, "is there already", "name another with --config_file")
    write_whole(file, config_file.written(asked).encode())
    return file
