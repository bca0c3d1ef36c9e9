"""config.json, config.toml or config.env as values by key, with all that is wrong told at once."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import table, values
from scumble.errors import gather
from scumble.spec.document import Document, as_entries, as_section, parse, read_json, read_toml

TITLE = "this configuration cannot be read"
VARIABLE = re.compile(r"\{env:([^{}]+)\}")
ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)(\+?=)(.*)", re.DOTALL)
EXTRA = "TRAINER_EXTRA_ARGS"

RENAMED = {
    "MODEL_NAME": "pretrained_model_name_or_path",
    "MAX_NUM_STEPS": "max_train_steps",
    "NUM_EPOCHS": "num_train_epochs",
    "CHECKPOINTING_LIMIT": "checkpoints_total_limit",
    "HUB_MODEL_NAME": "hub_model_id",
    "RESUME_CHECKPOINT": "resume_from_checkpoint",
    "DATALOADER_CONFIG": "data_backend_config",
    "TRACKER_PROJECT_NAME": "tracker_project_name",
    "TRAINING_NUM_PROCESSES": "num_processes",
    "TRAINING_NUM_MACHINES": "num_machines",
    "TRAINING_DYNAMO_BACKEND": "dynamo_backend",
    "ACCELERATE_CONFIG_PATH": "accelerate_config",
}
"""Variables of config.env that are not their key in capitals."""


@dataclass(frozen=True)
class Configuration:
    """What was asked for, key by key."""

    told: dict[str, Any] = field(default_factory=dict[str, Any])
    """Values of the right kind, under the newest name of each key."""

    places: dict[str, str] = field(default_factory=dict[str, str])
    """What messages call a key: `config.json:12: lora_rank`."""


def read(text: str, name: str) -> dict[str, Any]:
    """The keys of a configuration with their values, as they are written; an ExceptionGroup of all
    that is wrong. What `name` ends in says the language: .toml, .env, else JSON with comments."""
    document = opened(text, name)
    gather(TITLE, document.problems)
    return as_section(document.tree)


def opened(text: str, name: str) -> Document:
    """The same with the lines of all keys; problems are noted in it."""
    document = Document(name=name)
    if name.endswith(".env"):
        document.tree = dict(variables(text, document))
        return document
    parse(text, document, read_toml if name.endswith(".toml") else read_json)
    match document.tree:
        case dict():
            document.tree = dict(_flat(as_section(document.tree)))
        case None if document.problems:
            pass
        case _:
            remedy = 'write {"model_type": "lora", ...}'
            document.complain((), "is no list of keys with values", remedy)
            document.tree = None
    return document


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys that lie in a table of TOML that is no key itself are as if they lay beside it."""
    for key, value in tree.items():
        plain = key.removeprefix("--")
        strange = plain not in table.OPTIONS and not values.is_known(plain)
        match value:
            case dict() if strange and any(one in table.OPTIONS for one in as_section(value)):
                yield from as_section(value).items()
            case _:
                yield key, value


def variables(text: str, document: Document) -> Iterator[tuple[str, Any]]:
    """The keys of a config.env: its variables, and the options of TRAINER_EXTRA_ARGS."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = ASSIGNED.fullmatch(line.strip())
        if match is None:
            if line.strip() and not line.lstrip().startswith("#"):
                document.lines["line",] = number
                document.complain(("line",), "is no NAME=value", "write it so, or begin with #")
            continue
        name, how, rest = match.groups()
        value = _unquoted(rest, document, number)
        found[name] = (found.get(name, "") + value) if how == "+=" else value
        document.lines[keyed(name),] = number
    extra = found.pop(EXTRA, "")
    yield from ((keyed(name), value) for name, value in found.items())
    yield from ((key, value) for key, value in options(shlex.split(extra)))


def _unquoted(text: str, document: Document, number: int) -> str:
    """A value as a shell would have it: without quotes, and without a comment behind it."""
    try:
        return " ".join(shlex.split(text, comments=True))
    except ValueError:
        document.lines["line",] = number
        document.complain(("line",), "has a quote that is not closed", "close it")
        return text


def keyed(variable: str) -> str:
    """The key that a variable stands for; a stranger keeps its own name."""
    key = RENAMED.get(variable, variable.lower())
    return key if key in table.OPTIONS or key in table.ALIASES else variable


def options(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Keys and values of a command line: `--key=value`, `--key value`, `--key`, `key=value`."""
    waiting: str | None = None
    for word in words:
        if waiting is not None and not word.startswith("--"):
            yield waiting, word
            waiting = None
            continue
        if waiting is not None:
            yield waiting, True
        key, equals, value = word.partition("=")
        waiting = None if equals else key
        if equals:
            yield key, value
    if waiting is not None:
        yield waiting, True


def configuration(
    document: Document, environment: Mapping[str, str], draft: Draft, words: Sequence[str] = ()
) -> Configuration:
    """The values of a document under the newest names of their keys, with those of a command line
    (`key=value`) over them; what is wrong, and what nobody reads, goes into the draft."""
    found = Configuration()
    for written, value in as_section(document.tree).items():
        _take(found, written, value, document.where((written,)), environment, draft)
    typed = Configuration()
    for written, value in options(words):
        _take(typed, written, value, _word(written, value), environment, draft)
    return Configuration({**found.told, **typed.told}, {**found.places, **typed.places})


def _word(written: str, value: Any) -> str:
    return written if value is True else f"{written}={value}"


def _take(
    found: Configuration,
    written: str,
    value: Any,
    where: str,
    environment: Mapping[str, str],
    draft: Draft,
) -> None:
    key = values.key(written, where, draft)
    if key is None or value is None:
        return
    inverse = key in table.INVERSE
    key = table.INVERSE.get(key, key)
    called = f"{where.removesuffix(written)}{key}" if where.endswith(written) else where
    filled = _filled(value, called, environment, draft)
    read = values.value(table.OPTIONS[key], filled, called, draft)
    if read is None:
        return
    read = not read if inverse else read
    if key in found.told and found.told[key] != read:
        problem = f"says {read} and {found.places[key]} says {found.told[key]}"
        draft.complain(called, problem, "keep one of them")
    found.told[key] = read
    found.places[key] = called


def _filled(value: Any, where: str, environment: Mapping[str, str], draft: Draft) -> Any:
    """The value with `{env:NAME}` replaced wherever it stands."""

    def one(match: re.Match[str]) -> str:
        if match[1] not in environment:
            problem = f"there is no variable {match[1]} in the environment"
            draft.complain(where, problem, f"export {match[1]}=... before you start")
        return environment.get(match[1], "")

    match value:
        case str():
            return VARIABLE.sub(one, value)
        case list():
            return [_filled(inner, where, environment, draft) for inner in as_entries(value)]
        case dict():
            inside = as_section(value).items()
            return {key: _filled(inner, where, environment, draft) for key, inner in inside}
        case _:
            return value
