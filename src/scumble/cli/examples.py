"""The jobs that come with the program, to run as they are or to copy."""

import shutil
from difflib import get_close_matches
from pathlib import Path

import scumble
from scumble.disk import told
from scumble.errors import FileError

JOB = "job.yaml"
CONFIG = "config.json"
"""Of an example in SimpleTuner's own words."""


def home() -> Path:
    """Where the examples are: in the package, or beside its sources in an editable install."""
    package = Path(scumble.__file__).parent
    inside = package / "examples"
    return inside if inside.is_dir() else package.parents[1] / "examples"


def names() -> list[str]:
    """All examples, by name."""
    return sorted({one.parent.name for name in (JOB, CONFIG) for one in home().glob(f"*/{name}")})


def job_in(folder: Path) -> Path:
    """The job of an example: its job.yaml, or its config.json."""
    job = folder / JOB
    return job if job.is_file() else folder / CONFIG


def find(name: str) -> Path:
    """The folder of an example; FileError when there is none of that name."""
    known = names()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        listed = f"known: {', '.join(known)}" if known else f"there are none in {home()}"
        remedy = f"did you mean example={near[0]}?" if near else listed
        raise FileError(f"example={name}", "there is no such example", remedy)
    return home() / name


def command(folder: Path) -> str:
    """How an example that was copied there is run; one of SimpleTuner's as it would be there."""
    if (folder / JOB).is_file():
        return f"scumble train {folder / JOB}"
    return f"scumble train --config {folder / CONFIG}"


def about(folder: Path) -> str:
    """What an example shows: the comment on the first lines of its job."""
    words: list[str] = []
    for line in job_in(folder).read_text(encoding="utf-8").splitlines():
        if not line.startswith(("#", "//")) or not line.strip("#/ "):
            break
        words.append(line.strip("#/ "))
    return " ".join(words)


def copy(name: str, to: Path | None) -> Path:
    """Copy an example to a new folder, its own name if none is given; never over anything."""
    source, target = find(name), to or Path(name)
    if target.exists() or target.is_symlink():
        raise FileError(target, "this is there already", "name another folder to copy to")
    with told(target):
        shutil.copytree(source, target)
    return target
