"""`scumble convert`: a configuration of another tool as a job of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.errors import FileError, gather

if TYPE_CHECKING:
    from scumble.dialects.kohya.job import Converted
    from scumble.spec.job import JobSpec

DATASET = frozenset({"general", "datasets", "validation"})

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="A file that holds a command for flux_train_network.py, its --config_file, or a "
        "dataset file of sd-scripts.",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="JOB.yaml", help="The new file.")]


def convert(source: Source, out: Out) -> None:
    """Write a configuration of sd-scripts as a job, and name all that has no effect."""
    from scumble.cli import show
    from scumble.cli.kohya import write
    from scumble.dialects.kohya.job import data_alone
    from scumble.dialects.kohya.notes import block
    from scumble.disk import write_whole
    from scumble.spec.load import resolved
    from scumble.spec.yaml_text import write_yaml

    if out.exists():
        raise FileError(out, "is there already", "name another file, or delete it")
    here = Path.cwd()
    if _is_dataset(source):
        sets, draft = data_alone(source, here)
        notes, files, what = draft.notes, draft.files, "the data of a job, without the rest"
        text = write_yaml({"data": sets})
    else:
        made = _command(source, here)
        notes, files, what = made.notes, made.files, "a job"
        text = resolved(_placed(made, out, here), full=False)
    head = f"# Made by `scumble convert` from {source.name}\n"
    write(files)
    write_whole(out, (head + text).encode())
    show.table(block(notes))
    show.line(f"Wrote {out}: {what}")


def _placed(made: Converted, out: Path, here: Path) -> JobSpec:
    """Paths of a job start where the file lies."""
    from scumble.preflight.located import located

    return made.job if out.absolute().parent == here else located(made.job, here)


def _is_dataset(source: Path) -> bool:
    from scumble.spec.document import Document, as_section, parse, read_json, read_toml

    readers = {".toml": read_toml, ".json": read_json}
    if source.suffix.lower() not in readers:
        return False
    document = Document(name=str(source))
    parse(_text(source), document, readers[source.suffix.lower()])
    gather("this file cannot be read", document.problems)
    return bool(DATASET & as_section(document.tree).keys())


def _text(source: Path) -> str:
    from scumble.dialects.kohya.config_file import text_of

    if not source.is_file():
        raise FileError(source, "there is no such file", "name a file that holds a command")
    return text_of(source, str(source))


def _command(source: Path, here: Path) -> Converted:
    from scumble.dialects.kohya import shell
    from scumble.dialects.kohya.job import converted

    text = _text(source)
    if source.suffix.lower() == ".toml":
        return converted(["--config_file", str(source)], here)
    return converted(shell.words(text, str(source)), here)
