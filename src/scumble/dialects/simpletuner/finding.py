"""Which configuration is meant: a file, an environment by name, or whatever lies where SimpleTuner
looks for one."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.simpletuner.table import ALIASES, OPTIONS
from scumble.errors import FileError
from scumble.spec.document import Document, as_entries, as_section, parse, read_json, read_toml

NAMES = ("config.json", "config.toml", "config.env")
"""In this order, first here and then in `config/`."""

BACKENDS = {"json": "config.json", "toml": "config.toml", "env": "config.env"}
ENDINGS = (".json", ".toml", ".env")
ENVIRONMENTS = ("SIMPLETUNER_ENVIRONMENT", "SIMPLETUNER_ENV", "ENV")
BACKEND = ("SIMPLETUNER_CONFIG_BACKEND", "CONFIG_BACKEND", "CONFIG_TYPE")
COMMAND = "cmd"
"""The backend that takes all keys from the command line."""

ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)(\+?=)(.*)")
ENOUGH = 3
"""So many of its keys make a file one of SimpleTuner's, if none is that no other tool has."""

OWN = frozenset({"model_family", "data_backend_config", "model_flavour", "lora_type"})
ENTRIES = frozenset({"instance_data_dir", "dataset_type", "caption_strategy", "dataset_name"})


@dataclass(frozen=True)
class Found:
    """A configuration as it lies there."""

    name: str
    """What messages call it; its ending says the language."""

    text: str
    path: Path | None = None
    """None: everything is said on the command line."""

    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What `{env:NAME}` stands for."""

    below: tuple[tuple[str, str], ...] = ()
    """Files of variables, by name, whose keys hold where the configuration says nothing."""


def found(file: Path, base: Path, variables: Mapping[str, str], env: str | None = None) -> Found:
    """A configuration with the files of variables around it; FileError where one cannot be read."""
    told, below = dict(variables), list[tuple[str, str]]()
    for place in _variable_files(base, env or environment(variables)):
        if place.is_file():
            text = text_of(place, str(place))
            told |= dict(_variables(text, told))
            if place.resolve() != file.resolve():
                below.append((str(place), text))
    shown = str(file.relative_to(base)) if file.is_relative_to(base) else str(file)
    return Found(shown, text_of(file, shown), file, told, tuple(below))


def environment(variables: Mapping[str, str]) -> str | None:
    """The name of the environment that variables choose."""
    return next((name for key in ENVIRONMENTS if (name := variables.get(key))), None)


def _variable_files(base: Path, env: str | None) -> Iterator[Path]:
    yield base / "config.env"
    yield base / "config/config.env"
    if env:
        yield base / "config" / env / "config.env"


def _variables(text: str, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a file of variables sets; lines that set nothing are told when it is read as keys."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := ASSIGNED.fullmatch(line.strip()):
            name, how, rest = match.groups()
            try:
                value = " ".join(shlex.split(rest, comments=True))
            except ValueError:
                value = rest
            before = found.get(name, known.get(name, "")) if how == "+=" else ""
            found[name] = before + value
    yield from found.items()


def named(env: str, base: Path, variables: Mapping[str, str]) -> Path:
    """The configuration of an environment; FileError that names every place looked at."""
    places = list(_places(env, base, variables))
    for place in places:
        for one in _inside(place, variables):
            if one.is_file():
                return one
    here = base / "config"
    there = sorted(one.name for one in here.iterdir() if one.is_dir()) if here.is_dir() else []
    near = get_close_matches(env, there, n=1)
    tried = ", ".join(str(place) for place in places)
    remedy = f"did you mean env={near[0]}?" if near else f"make one of them: {tried}"
    raise FileError(f"env={env}", "there is no such configuration", remedy)


def _places(env: str, base: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    yield base / Path(env).expanduser()
    yield base / "config" / env
    yield Path("~/config").expanduser() / env
    if folder := variables.get("SIMPLETUNER_CONFIG_DIR"):
        yield Path(folder).expanduser() / env


def _inside(place: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """The files that a place stands for: itself, or those in it that the backend allows."""
    if place.suffix in ENDINGS:
        yield place
    else:
        yield place.with_name(f"{place.name}.json")
    for name in _names(variables):
        yield place / name


def _names(variables: Mapping[str, str]) -> tuple[str, ...]:
    backend = _backend(variables)
    return (BACKENDS[backend],) if backend in BACKENDS else NAMES


def _backend(variables: Mapping[str, str]) -> str:
    return next((name.lower() for key in BACKEND if (name := variables.get(key))), "")


def discovered(base: Path, variables: Mapping[str, str]) -> tuple[Path | None, list[Path]]:
    """What is there where nothing is named, if anything; and all places that were looked at.
    FileError where variables name an environment that is not there."""
    tried: list[Path] = []
    for place in _asked(base, variables):
        tried.append(place)
        if place.is_file():
            return place, tried
    return None, tried


def _asked(base: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    if path := variables.get("CONFIG_PATH"):
        yield from _inside(base / Path(path).expanduser(), variables)
    env = environment(variables)
    if env and env != "default" and not _is_a_shells(env, base, variables):
        yield named(env, base, variables)
    for folder in (base, base / "config"):
        yield from (folder / name for name in _names(variables))


def _is_a_shells(env: str, base: Path, variables: Mapping[str, str]) -> bool:
    """Whether `ENV` is the file that a shell reads when it starts, and no environment of ours."""
    ours = any(variables.get(key) for key in ENVIRONMENTS[:-1])
    return not ours and "/" in env and not (base / env).is_dir()


def is_all_on_the_command_line(variables: Mapping[str, str]) -> bool:
    """Whether the variables say that there is no file."""
    return _backend(variables) == COMMAND


def is_configuration(text: str, name: str) -> bool:
    """Whether a text is a config.json, config.toml or config.env of SimpleTuner."""
    if name.endswith(".env"):
        return True
    tree = _tree(text, name)
    keys = {key.removeprefix("--") for key in as_section(tree)}
    for inner in as_section(tree).values() if name.endswith(".toml") else ():
        keys |= as_section(inner).keys()
    known = keys & (OPTIONS.keys() | ALIASES.keys())
    dashed = any(key.startswith("--") for key in as_section(tree))
    ours = {"model", "data", "adapter", "training"} & as_section(tree).keys()
    many = len(known) >= ENOUGH and name.endswith(".json")  # sd-scripts writes TOML alone
    return bool(not ours and (dashed or OWN & keys or many))


def is_data(text: str, name: str) -> bool:
    """Whether a text is a multidatabackend.json."""
    entries = as_entries(_tree(text, name))
    return any(ENTRIES & as_section(entry).keys() for entry in entries)


def _tree(text: str, name: str) -> object:
    document = Document(name=name)
    if name.endswith((".json", ".toml")):
        parse(text, document, read_toml if name.endswith(".toml") else read_json)
    return document.tree
