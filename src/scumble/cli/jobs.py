"""From the words of a command line to a job and the folder its paths start in."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from scumble.cli import examples
from scumble.errors import FileError
from scumble.spec.document import Format
from scumble.spec.job import JobSpec
from scumble.spec.load import read_job

FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
EXAMPLE = "example="


def open_job(argument: str, overrides: Sequence[str] = ()) -> tuple[JobSpec, Path]:
    """The job that an argument names, and its folder; problems are told as for `read_job`."""
    if argument.startswith(EXAMPLE):
        path = examples.find(argument.removeprefix(EXAMPLE)) / examples.JOB
    else:
        path = _named(argument)
    text = _text(path)
    name = path.name if argument.startswith(EXAMPLE) else str(path)
    job = read_job(text, name=name, format=FORMATS[path.suffix.lower()], overrides=overrides)
    return job, path.parent


def folder_named(option: str, path: Path) -> Path:
    """A folder that an option names; FileError if there is none, with one that may be meant."""
    path = path.expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise FileError(path, "is a file, not a folder", f"name a folder with {option}")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    near = get_close_matches(path.name, [one.name for one in beside if one.is_dir()], n=1)
    remedy = f"did you mean {path.parent / near[0]}?" if near else f"name another with {option}"
    raise FileError(path, "there is no such folder", remedy)


def _named(argument: str) -> Path:
    path = Path(argument).expanduser()
    if path.is_dir():
        inside = [name for name in ("job.yaml", "job.toml", "job.json") if (path / name).is_file()]
        remedy = f"did you mean {path / inside[0]}?" if inside else "name the job file in it"
        raise FileError(argument, "this is a folder, not a job file", remedy)
    if not path.exists():
        raise FileError(argument, *_missing(path, argument))
    if path.suffix.lower() not in FORMATS:
        problem = (
            f"a job file does not end in '{path.suffix}'" if path.suffix else "it has no ending"
        )
        raise FileError(argument, problem, f"known endings: {', '.join(FORMATS)}")
    return path


def _missing(path: Path, argument: str) -> tuple[str, str]:
    if "=" in argument:
        return "this is a setting where the job belongs", "name a job file first, then settings"
    if not path.parent.is_dir():
        return "there is no such file", f"there is no folder {path.parent} either"
    there = [one.name for one in path.parent.iterdir() if one.suffix.lower() in FORMATS]
    if near := get_close_matches(path.name, there, n=1):
        return "there is no such file", f"did you mean {path.parent / near[0]}?"
    if argument in examples.names():
        return "there is no such file", f"did you mean {EXAMPLE}{argument}?"
    return "there is no such file", "name a job file, or an example as example=NAME"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(path, f"byte {error.start} is not UTF-8", "save it as UTF-8") from None
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise FileError(path, problem, "make it a file that you may read") from None
