"""A configuration of SimpleTuner where a job is expected: found, read, and made a job of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scumble.errors import FileError

if TYPE_CHECKING:
    from scumble.dialects.notes import Note
    from scumble.dialects.simpletuner.finding import Found
    from scumble.spec.job import JobSpec

EXAMPLE, ENVIRONMENT = "example=", "env="
CONFIG = "config.json"


@dataclass(frozen=True)
class Opened:
    """A job, and what came with it."""

    job: JobSpec
    base: Path
    """Where its paths start."""

    notes: tuple[Note, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Texts that the job reads and that are still to be written, by path."""

    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    """Keys to buckets, by the variables that they are taken from."""

    def settled(self) -> JobSpec:
        """The job, once all that it needs besides is there; by one process of a run alone."""
        from scumble.disk import write_whole
        from scumble.launch import launched

        for name, value in self.secrets.items():
            os.environ.setdefault(name, value)
        if launched().rank == 0:
            for place, text in self.files.items():
                write_whole(Path(place), text.encode())
        return self.job

    def tell(self) -> None:
        """Show what becomes of keys that the job does not simply follow."""
        from scumble.cli import show
        from scumble.dialects.notes import block
        from scumble.launch import speaks

        if self.notes and speaks():
            show.table(block(self.notes))


def is_config(path: Path) -> bool:
    """Whether a file is a configuration of SimpleTuner."""
    from scumble.dialects.kohya.config_file import text_of
    from scumble.dialects.simpletuner.finding import is_configuration

    if path.suffix.lower() not in (".json", ".toml", ".env") or not path.is_file():
        return False
    return is_configuration(text_of(path, str(path)), path.name)


def at(path: Path, words: Sequence[str], base: Path, *, run: str | None = None) -> Opened:
    """The job of a configuration file, `key=value` words over it; `run` is its name where it says
    none. Paths start at `base`, or beside the file if its data file is there alone."""
    from scumble.dialects.simpletuner.finding import found

    return _made(found(path, base, os.environ, run), words, base, run)


def of_environment(name: str, words: Sequence[str]) -> Opened:
    """The job of `env=NAME`."""
    from scumble.dialects.simpletuner.finding import named

    here = Path.cwd()
    return at(named(name, here, os.environ), words, here, run=Path(name).name)


def discovered(words: Sequence[str]) -> Opened:
    """The job of what lies where SimpleTuner looks for a configuration; FileError without any."""
    from scumble.dialects.simpletuner import finding

    here = Path.cwd()
    if finding.is_all_on_the_command_line(os.environ):
        nothing = finding.Found("the command line", "{}", environment=os.environ)
        return _made(nothing, words, here, None)
    path, tried = finding.discovered(here, os.environ)
    if path is not None:
        return at(path, words, here)
    if words:
        remedy = "name a job file first, then settings"
        raise FileError(words[0], "this is a setting where the job belongs", remedy)
    looked = ", ".join(str(one.relative_to(here)) for one in tried if one.is_relative_to(here))
    raise FileError("JOB", "no job is named", f"name a job file; looked for {looked}, too")


def _made(one: Found, words: Sequence[str], base: Path, run: str | None) -> Opened:
    from scumble.cli import examples
    from scumble.dialects.simpletuner.asking import asked, converted
    from scumble.dialects.simpletuner.job import Around
    from scumble.launch import launched

    around = Around(base=base, words=words, processes=launched().world, run=run)
    document, around = asked(one, around, examples.home())
    made, secrets = converted(document, around)
    return Opened(made.job, around.base, made.notes, made.files, secrets)
