"""`--config_file`: options in a TOML file, under those of the command line."""

import json
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.settings import Settings, check_choice, share
from scumble.dialects.kohya.table import OPTIONS, nearest
from scumble.dialects.option import LISTS, Option
from scumble.errors import FileError, JobError, ScumbleError
from scumble.spec.document import Document, as_section, parse, read_toml, said

TYPO = 0.88
"""How much a key must be like an option to be taken for a slip of the pen."""

NOT_WRITTEN = ("config_file", "output_config", "wandb_api_key", "huggingface_token")


def place(settings: Settings) -> Path:
    """The file that `--config_file` names; `.toml` is added where it is missing."""
    text = str(settings["config_file"])
    return settings.path(text if text.endswith(".toml") else f"{text}.toml")


def text_of(file: Path, where: str) -> str:
    """What stands in a file; FileError where that cannot be read."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} of {file} is not UTF-8"
        raise FileError(where, problem, "save it as UTF-8") from None
    except OSError as error:
        problem = f"{file} cannot be read ({error.strerror})"
        raise FileError(where, problem, "name a file that is there") from None


def under(settings: Settings, problems: list[ScumbleError]) -> tuple[Settings, list[str]]:
    """The settings with those of the file below them, and keys of it that are no options."""
    if settings["config_file"] is None:
        return settings, []
    file = place(settings)
    document = Document(name=str(file))
    try:
        parse(text_of(file, "--config_file"), document, read_toml)
    except FileError as problem:
        problems.append(problem)
        return settings, []
    problems.extend(document.problems)
    found: dict[str, Any] = {}
    strangers: list[str] = []
    for key, value in _flat(as_section(document.tree)).items():
        if key in OPTIONS:
            found[key] = _checked(OPTIONS[key], value, str(file), problems)
        elif near := nearest(key, cutoff=TYPO):
            where = f"{file}: {key}"
            problems.append(JobError(where, "there is no such option", f"did you mean {near}?"))
        else:
            strangers.append(key)
    found = {name: value for name, value in found.items() if _said(OPTIONS[name], value)}
    return Settings({**found, **settings.told}, settings.base, settings.processes), strangers


def _said(option: Option, value: Any) -> bool:
    """A switch that is off says nothing."""
    return option.kind != "flag" or value is True


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    """Tables are opened, one level deep; the later of two wins."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        match value:
            case dict():
                found |= as_section(value)
            case _:
                found[key] = value
    return found


def _checked(option: Option, value: Any, file: str, problems: list[ScumbleError]) -> Any:
    """The value as the command line would have given it; a wrong type is noted."""
    where = f"{file}: {option.name}"
    if option.kind in LISTS:
        entries = value if isinstance(value, list) else [value]
        return [_one(option, entry, where, problems) for entry in entries]
    return _one(option, value, where, problems)


def _one(option: Option, value: Any, where: str, problems: list[ScumbleError]) -> Any:
    wanted = WANTED[option.kind]
    match option.kind, value:
        case "flag", bool():
            return value
        case (("whole" | "number" | "numbers" | "share"), bool()):
            pass
        case ("whole", int()) | ("number" | "numbers", int() | float()):
            check_choice(option, value, where, problems)
            return value
        case "share", int() | float() | str():
            try:
                return share(str(value))
            except ValueError:
                pass
        case (("text" | "texts"), str()):
            check_choice(option, value, where, problems)
            return value
        case _:
            pass
    remedy = f'write {option.name} = "..."' if wanted == "a text" else f"write {EXAMPLE[wanted]}"
    problems.append(JobError(where, f"must be {wanted}, not {said(value)}", remedy))
    return option.default


WANTED = {
    "flag": "true or false",
    "whole": "a whole number",
    "number": "a number",
    "numbers": "a number",
    "share": "a number of steps, a share or a percentage",
    "text": "a text",
    "texts": "a text",
}
EXAMPLE = {
    "true or false": "true, without quotes",
    "a whole number": "it without quotes or a point",
    "a number": "it without quotes",
    "a number of steps, a share or a percentage": '100, 0.1 or "10%"',
}


def written(settings: Settings) -> str:
    """What `--output_config` writes: all options that differ from their defaults, as TOML."""
    lines = [
        f"{name} = {_toml(value)}"
        for name, value in settings.told.items()
        if name not in NOT_WRITTEN and value != OPTIONS[name].default
    ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(_toml(entry) for entry in value)}]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return repr(value)
