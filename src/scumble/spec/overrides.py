"""Settings said on the command line: `training.steps=20`, `data.cat.repeats=2`."""

from typing import Any, cast

from scumble.errors import JobError, ScumbleError
from scumble.spec.document import Document, Path, as_entries, as_section, dotted, parse
from scumble.spec.schema import Place, job_shape
from scumble.spec.wording import suggestion
from scumble.spec.yaml_text import read_yaml, word

FLOW = ("[", "{", '"', "'")
"""How a value begins that is more than a word."""


def override(document: Document, text: str) -> None:
    """Put one `key=value` into a document, or note what is wrong with it."""
    key, equals, value = text.partition("=")
    try:
        if not equals or not key.strip():
            raise JobError(text, "is not of the form key=value", "such as training.steps=20")
        path = _path(document.tree, key.strip(), text)
        _put(document, path, _value(value, text), text)
    except ScumbleError as problem:
        document.problems.append(problem)


def _value(value: str, text: str) -> Any:
    if not value.strip().startswith(FLOW):
        return word(value)
    inner = Document(name=text)
    parse(value.strip(), inner, read_yaml)
    for problem in inner.problems:
        raise JobError(text, problem.problem, "quote the whole for the shell, too")
    return inner.tree


def _path(tree: Any, key: str, text: str) -> Path:
    place: Place | None = job_shape()
    path: Path = ()
    rest = key.split(".")
    while rest:
        if place is None:
            return (*path, *rest)
        if place.items is not None:
            entry, used = _entry(tree, rest, dotted(path), text)
            path, rest, place = (*path, entry), rest[used:], place.items
        elif rest[0] in place.every_field:
            place = place.every_field[rest[0]]
            path, rest = (*path, rest[0]), rest[1:]
        elif place.every_field:
            inside = f"there is no setting `{dotted((*path, rest[0]))}`"
            raise JobError(text, inside, suggestion(rest[0], place))
        elif "object" in place.accepts:
            place = None
        else:
            raise JobError(text, f"`{dotted(path)}` is one value", f"write {dotted(path)}=VALUE")
        tree = _inside(tree, path[-1]) if path else tree
    return path


def _entry(tree: Any, rest: list[str], list_name: str, text: str) -> tuple[int, int]:
    """Which entry of a list is meant, by its number or its id, and how many parts named it."""
    entries = as_entries(tree)
    ids = [str(as_section(entry).get("id")) for entry in entries]
    for used in range(len(rest), 0, -1):
        name = ".".join(rest[:used])
        if name in ids:
            return ids.index(name), used
    if rest[0].isdecimal() and int(rest[0]) < len(entries):
        return int(rest[0]), 1
    named = [name for name in ids if name != "None"]
    known = f"known: {', '.join(named)}" if named else f"it has {len(entries)}, counted from 0"
    raise JobError(text, f"`{list_name}` has no entry '{rest[0]}'", known)


def _inside(tree: Any, part: str | int) -> Any:
    return as_entries(tree)[part] if isinstance(part, int) else as_section(tree).get(part)


def _put(document: Document, path: Path, value: Any, text: str) -> None:
    holder: Any = document.tree
    for number, part in enumerate(path):
        kind = cast("type[object]", type(holder))
        if kind is not (list if isinstance(part, int) else dict):
            problem = f"`{dotted(path[:number])}` is no section in {document.name}"
            raise JobError(text, problem, "correct that first")
        if number == len(path) - 1:
            holder[part] = value
        elif _inside(holder, part) is None:
            holder[part] = {}
        holder = _inside(holder, part)
    for places in (document.lines, document.overrides):
        for stale in [place for place in places if place[: len(path)] == path]:
            del places[stale]
    document.overrides[path] = text
