"""`scumble convert`: a configuration of another tool as a job of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.errors import FileError, gather

if TYPE_CHECKING:
    from scumble.dialects.kohya.job import Converted
    from scumble.dialects.notes import Note
    from scumble.spec.job import JobSpec

DATASET = frozenset({"general", "datasets", "validation"})

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="A file that holds a command for flux_train_network.py, its --config_file, or a "
        "dataset file of sd-scripts; a config.json, config.toml, config.env or "
        "multidatabackend.json of SimpleTuner.",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="JOB.yaml", help="The new file.")]


@dataclass(frozen=True)
class Text:
    """A configuration in our words."""

    yaml: str
    what: str
    notes: Sequence[Note]
    files: Mapping[str, str]


def convert(source: Source, out: Out) -> None:
    """Write a configuration of another tool as a job, and name all that has no effect."""
    from scumble.cli import show
    from scumble.cli.kohya import write
    from scumble.dialects.notes import block
    from scumble.disk import write_whole

    if out.exists():
        raise FileError(out, "is there already", "name another file, or delete it")
    made = _of_simpletuner(source, out) or _of_sd_scripts(source, out)
    head = f"# Made by `scumble convert` from {source.name}\n"
    write(dict(made.files))
    write_whole(out, (head + made.yaml).encode())
    show.table(block(made.notes))
    show.line(f"Wrote {out}: {made.what}")


def _of_simpletuner(source: Path, out: Path) -> Text | None:
    from scumble.cli import simpletuner
    from scumble.dialects.simpletuner.backends import alone
    from scumble.dialects.simpletuner.finding import is_data

    if source.is_file() and is_data(_text(source), source.name):
        sets, draft = alone(source, Path.cwd())
        return _sets(sets, draft.notes, draft.files)
    if not simpletuner.is_config(source):
        return None
    one = simpletuner.at(source, (), Path.cwd())
    return _job(one.job, one.notes, one.files, out, one.base)


def _of_sd_scripts(source: Path, out: Path) -> Text:
    from scumble.dialects.kohya.job import data_alone

    here = Path.cwd()
    if _is_dataset(source):
        sets, draft = data_alone(source, here)
        return _sets(sets, draft.notes, draft.files)
    made = _command(source, here)
    return _job(made.job, made.notes, made.files, out, here)


def _sets(sets: list[dict[str, Any]], notes: Sequence[Note], files: Mapping[str, str]) -> Text:
    from scumble.spec.yaml_text import write_yaml

    return Text(write_yaml({"data": sets}), "the data of a job, without the rest", notes, files)


def _job(
    job: JobSpec, notes: Sequence[Note], files: Mapping[str, str], out: Path, base: Path
) -> Text:
    """Paths of a job start where its file lies."""
    from scumble.preflight.located import located
    from scumble.spec.load import resolved

    placed = job if out.absolute().parent == base.absolute() else located(job, base)
    return Text(resolved(placed, full=False), "a job", notes, files)


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
