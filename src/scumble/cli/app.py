"""The command line: words in, words out. Rooms are imported by the command that needs them."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from scumble import __version__
from scumble.cli import adapter, cache, data, foreign, kohya, sample
from scumble.errors import ScumbleError
from scumble.launch import speaks

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune diffusion models on your own pictures.",
)
examples_app = typer.Typer(no_args_is_help=True, help="Jobs that come with the program.")
app.add_typer(examples_app, name="examples")
app.add_typer(adapter.adapter, name="adapter")
app.add_typer(data.data, name="data")
app.add_typer(cache.cache, name="cache")
app.add_typer(kohya.kohya, name="kohya")

Job = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB]",
        help="A job file, a config.json of SimpleTuner, example=NAME, or env=NAME. Without: a "
        "config.json here or in config/.",
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A config.json of SimpleTuner.")
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Its data file (multidatabackend.json)."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as training.steps=20."),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what is our bug keeps its traceback."""
    code = 0
    _say_whatever_is_asked()
    try:
        code = _exit_code(arguments)
    except* ScumbleError as group:
        from scumble.cli import show

        if speaks():
            show.errors(group)
        code = 2
    return code


def _say_whatever_is_asked() -> None:
    """Letters that the terminal does not know, and bytes in names that are no text, are spelt."""
    for stream in (sys.stdout, sys.stderr):
        match stream:
            case TextIOWrapper():
                stream.reconfigure(errors="backslashreplace")
            case _:
                pass  # replaced by whoever called us


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        app(arguments, prog_name="scumble")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"scumble {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Fine-tune diffusion models on your own pictures."""


@app.command()
def train(
    job: Job = None, overrides: Overrides = None, config: Config = None, data: Data = None
) -> None:
    """Train; in a folder that holds the same run, go on where it stopped."""
    from scumble.cli import show
    from scumble.cli.jobs import Asked, opened

    one = opened(Asked(job, overrides or (), config, data))
    one.tell()
    wanted = one.settled()
    from scumble.run import train as run

    outcome = run(wanted, base=one.base)
    for file in outcome.files:
        show.line(str(file))
    raise typer.Exit(outcome.code)


@app.command()
def check(
    job: Job = None,
    overrides: Overrides = None,
    config: Config = None,
    data: Data = None,
    full: Annotated[bool, typer.Option("--full", help="Show defaults, too.")] = False,
) -> None:
    """Tell all that can be known before a weight is loaded, and all that is wrong."""
    from scumble.cli import show
    from scumble.cli.jobs import Asked, opened
    from scumble.spec.load import resolved

    one = opened(Asked(job, overrides or (), config, data))
    one.tell()
    wanted = one.settled()
    from scumble.preflight.survey import survey

    show.survey(survey(wanted, base=one.base), resolved(wanted, full=full))


@app.command()
def explain(
    setting: Annotated[
        str, typer.Argument(metavar="[SETTING]", help="A path or the beginning of one.")
    ] = "",
) -> None:
    """Explain a setting, a section, or all of them."""
    from scumble.cli import show
    from scumble.spec.explain import find, rows

    show.settings(find(setting) if setting else rows())


@app.command()
def doctor() -> None:
    """Look at the machine: torch, cards, packages, room."""
    from scumble.cli import doctor as look
    from scumble.cli import show

    found = list(look.findings())
    show.findings(found)
    raise typer.Exit(2 if any(one.state == "bad" for one in found) else 0)


app.command()(sample.sample)
app.command()(foreign.convert)


@examples_app.command("list")
def list_examples() -> None:
    """Name the examples and what each shows."""
    from scumble.cli import examples, show

    show.table([(name, examples.about(examples.find(name))) for name in examples.names()])


@examples_app.command("copy")
def copy_example(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    to: Annotated[Path | None, typer.Argument(metavar="[TO]", help="A new folder.")] = None,
) -> None:
    """Copy an example to a new folder."""
    from scumble.cli import examples, show

    target = examples.copy(name, to)
    show.line(f"Copied to {target}; run it with: {examples.command(target)}")
