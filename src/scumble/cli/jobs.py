"""From the words of a command line to a job and the folder its paths start in."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from scumble.cli import examples, simpletuner
from scumble.cli.simpletuner import Opened
from scumble.errors import FileError
from scumble.spec.document import Format
from scumble.spec.job import JobSpec
from scumble.spec.load import read_job

FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
EXAMPLE = simpletuner.EXAMPLE


@dataclass(frozen=True)
class Asked:
    """What a command line says of the job: the words behind the command, and these options."""

    job: str | None = None
    overrides: Sequence[str] = ()
    config: Path | None = None
    """A configuration of SimpleTuner."""

    data: Path | None = None
    """A data file of SimpleTuner, in the place of the one that the configuration names."""


def open_job(argument: str, overrides: Sequence[str] = ()) -> tuple[JobSpec, Path]:
    """The job that an argument names, and its folder; problems are told as for `read_job`."""
    one = opened(Asked(argument, overrides))
    return one.settled(), one.base


def opened(asked: Asked) -> Opened:
    """The job of a command line, in our own words or SimpleTuner's."""
    job, words = asked.job, list(asked.overrides)
    if job is not None and _is_setting(job, named=asked.config is not None):
        job, words = None, [job, *words]
    if asked.data is not None:
        example = job is not None and job.startswith(EXAMPLE)
        words.append(f"data_backend_config={asked.data.absolute() if example else asked.data}")
    if asked.config is not None:
        if job is not None:
            problem = f"names a configuration, and {job} another job"
            raise FileError(f"--config {asked.config}", problem, "leave one out")
        return simpletuner.at(_there(str(asked.config)), words, Path.cwd())
    if job is None:
        return simpletuner.discovered(words)
    return _opened(job, words, asked.data)


def _opened(job: str, words: list[str], data: Path | None) -> Opened:
    if job.startswith(simpletuner.ENVIRONMENT):
        return simpletuner.of_environment(job.removeprefix(simpletuner.ENVIRONMENT), words)
    example = job.startswith(EXAMPLE)
    path = examples.job_in(examples.find(job.removeprefix(EXAMPLE))) if example else _named(job)
    if simpletuner.is_config(path):
        run = path.parent.name if example else None
        return simpletuner.at(path, words, path.parent if example else Path.cwd(), run=run)
    if data is not None:
        remedy = "say it in the job: `scumble convert` makes `data` of such a file"
        raise FileError(f"--data {data}", f"goes with a config.json, and {path} is none", remedy)
    name = path.name if example else str(path)
    read = read_job(_text(path), name=name, format=FORMATS[path.suffix.lower()], overrides=words)
    return Opened(read, path.parent)


def _is_setting(word: str, *, named: bool) -> bool:
    """Whether a word is no job but a setting of one that is named elsewhere."""
    plain = not word.startswith((EXAMPLE, simpletuner.ENVIRONMENT)) and not Path(word).exists()
    return "=" in word and (plain or named)


def _there(argument: str) -> Path:
    path = Path(argument).expanduser()
    path = path / simpletuner.CONFIG if path.is_dir() else path
    if not path.is_file():
        raise FileError(argument, *_missing(path, argument))
    return path


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
        names = ("job.yaml", "job.toml", "job.json", simpletuner.CONFIG)
        inside = [name for name in names if (path / name).is_file()]
        remedy = f"did you mean {path / inside[0]}?" if inside else "name the job file in it"
        raise FileError(argument, "this is a folder, not a job file", remedy)
    if not path.exists():
        raise FileError(argument, *_missing(path, argument))
    if path.suffix.lower() == ".env":
        return path
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
