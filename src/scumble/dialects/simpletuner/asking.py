"""A configuration that was found, with all that stands around it, as a job is made of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import reading
from scumble.dialects.simpletuner.backends import secrets
from scumble.dialects.simpletuner.finding import Found
from scumble.dialects.simpletuner.job import Around, Converted, from_document, settings
from scumble.dialects.simpletuner.table import ALIASES, OPTIONS
from scumble.spec.document import Document, as_section

BUNDLED = "config/examples/"
"""How SimpleTuner's own examples name each other."""

DATA = "data_backend_config"


def asked(found: Found, around: Around, home: Path) -> tuple[Document, Around]:
    """The keys of a configuration, and what stands around it: the variables below it, where its
    paths start. `home` is where examples that come with the program are."""
    document = reading.opened(found.text, found.name)
    tree = {key: _bundled(value, home) for key, value in as_section(document.tree).items()}
    document.tree = tree
    said = {**{key.removeprefix("--"): value for key, value in tree.items()}, **_words(around)}
    base = _start(around.base, found.path, said.get(DATA))
    told = {"under": _under(found), "base": base, "environment": found.environment}
    return document, replace(around, **told)


def converted(document: Document, around: Around) -> tuple[Converted, dict[str, str]]:
    """The job, and the keys to buckets that its data file holds, by the variables that a run
    takes them from; an ExceptionGroup of all that is wrong."""
    made = from_document(document, around)
    return made, secrets(settings(document, around, Draft())[0])


def _words(around: Around) -> Mapping[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in around.words}


def _under(found: Found) -> Document | None:
    """The keys that files of variables set; all else in them is for other programs."""
    known = OPTIONS.keys() | ALIASES.keys()
    under: Document | None = None
    for name, text in found.below:
        document = reading.opened(text, name)
        tree = {key: one for key, one in as_section(document.tree).items() if key in known}
        under = Document(name, {**as_section(under.tree if under else None), **tree})
    return under if under is not None and under.tree else None


def _bundled(value: Any, home: Path) -> Any:
    """What begins like `config/examples/` leads to what comes with the program."""
    inside = isinstance(value, str) and value.startswith(BUNDLED)
    path = home / value.removeprefix(BUNDLED) if inside else None
    return str(path) if path is not None and path.exists() else value


def _start(here: Path, file: Path | None, data: object) -> Path:
    """Where paths start: here, or beside the configuration if its data file is there alone."""
    if file is None or not isinstance(data, str) or (here / Path(data).expanduser()).exists():
        return here
    return file.parent if (file.parent / data).exists() else here
