"""multidatabackend.json as read: its entries, checked, with all that is wrong told by file and
line."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry import Entry
from scumble.dialects.simpletuner.entry_keys import (
    BY_NAME,
    CACHES,
    ELSEWHERE,
    OF_CACHES,
    WORDS,
    Field,
    Holds,
)
from scumble.dialects.simpletuner.settings import Settings
from scumble.errors import FileError
from scumble.spec.document import Document, as_entries, as_section, parse, read_json, said

NAME = "data_backend_config"
PLACEHOLDER = re.compile(r"\{(model_family|output_dir|id|env:[^{}]+)\}")
SWITCHES = {"true": True, "false": False}
"""Words in quotes that people write for switches."""


def read(settings: Settings, draft: Draft) -> list[Entry]:
    """The entries that are not disabled; [] where the file cannot be read, which is told."""
    document = _document(settings, draft)
    if document is None:
        return []
    if not isinstance(document.tree, list):
        remedy = "write [{...}, {...}], one object for each set"
        draft.complain(document.name, "is no list of data sets", remedy)
        return []
    found = [
        Entry(number, _filled(as_section(one), settings, draft, document), document, settings)
        for number, one in enumerate(as_entries(document.tree))
    ]
    for one in found:
        _check(one, draft)
    _ids(found, draft)
    return [one for one in map(_sound, found) if not one.disabled]


def _document(settings: Settings, draft: Draft) -> Document | None:
    told = settings[NAME]
    if told is None:
        draft.complain(NAME, "nothing says which pictures to learn from", "name a JSON file")
        return None
    if isinstance(told, list):
        return Document(name=NAME, tree=told)
    file = settings.path(str(told))
    document = Document(name=str(told))
    try:
        parse(text_of(file, NAME), document, read_json)
    except FileError as problem:
        draft.problems.append(problem)
        return None
    draft.problems.extend(document.problems)
    return None if document.tree is None else document


def _filled(
    fields: Mapping[str, Any], settings: Settings, draft: Draft, document: Document
) -> dict[str, Any]:
    """The fields with what `{id}` and its like stand for, without those that are comments."""
    told = {
        "model_family": str(settings["model_family"] or ""),
        "output_dir": str(settings["output_dir"] or ""),
        "id": str(fields.get("id") or ""),
    }
    told |= {f"env:{name}": value for name, value in settings.environment.items()}

    def one(match: re.Match[str]) -> str:
        if match[1] not in told:
            remedy = "set it before you start"
            draft.complain(document.name, f"{match[0]}: there is no such variable", remedy)
        return told.get(match[1], "")

    def inside(value: Any) -> Any:
        match value:
            case str():
                return PLACEHOLDER.sub(one, value)
            case dict():
                return {key: inside(inner) for key, inner in as_section(value).items()}
            case list():
                return [inside(inner) for inner in as_entries(value)]
            case _:
                return value

    kept = {key: value for key, value in fields.items() if not key.startswith(("_", "//", "#"))}
    return {key: _switch(key, inside(value)) for key, value in kept.items()}


def _switch(key: str, value: Any) -> Any:
    field = BY_NAME.get(key)
    plain = field is not None and field.holds == "switch" and isinstance(value, str)
    return SWITCHES.get(value.lower(), value) if plain else value


def _check(one: Entry, draft: Draft) -> None:
    """Note what is wrong with the fields of an entry by themselves."""
    if not one.fields:
        draft.complain(one.where(), "is no object with fields", 'write {"id": "...", ...}')
    for name, value in one.fields.items():
        field = BY_NAME.get(name)
        if field is None:
            draft.complain(one.where(name), "there is no such field", _nearest(name))
        elif value is not None:
            _field(one, field, value, draft)
    if one.kind in ELSEWHERE:
        problem = f"sets of {one.kind} go with families that are not here"
        draft.complain(one.where("dataset_type"), problem, "leave the set out")
    if one["type"] == "memory" and not one.is_cache:
        remedy = "write local, aws, csv or huggingface"
        draft.complain(one.where("type"), "pictures do not lie in `memory`", remedy)


def _field(one: Entry, field: Field, value: Any, draft: Draft) -> None:
    where = one.where(field.name)
    if not fits(field.holds, value):
        wanted, example = WORDS[field.holds]
        draft.complain(where, f"must be {wanted}, not {said(value)}", f"write it {example}")
    elif field.choices and value not in field.choices:
        near = get_close_matches(str(value), field.choices, n=1)
        known = f"known: {', '.join(field.choices)}"
        remedy = f"did you mean {near[0]}? {known}" if near else known
        draft.complain(where, f"'{value}' is not one of its values", remedy)
    elif field.name == "caption_filter_list" and one.kind != "text_embeds":
        remedy = 'move it to the entry with "dataset_type": "text_embeds"'
        draft.complain(where, "goes with text_embeds alone", remedy)
    elif one.kind in CACHES and field.name not in OF_CACHES:
        draft.note("nothing", where, f"means nothing in an entry of {one.kind}")
    elif field.fate == "refused":
        draft.complain(where, field.words, "leave it out")
    elif field.fate != "acts" and value != field.default:
        one.noted(draft, field.name)


def _sound(one: Entry) -> Entry:
    """The entry without fields that are wrong, which has been told."""
    kept = {
        name: value
        for name, value in one.fields.items()
        if (field := BY_NAME.get(name)) and (value is None or _right(field, value))
    }
    return replace(one, fields=kept)


def _right(field: Field, value: Any) -> bool:
    return fits(field.holds, value) and (not field.choices or value in field.choices)


def fits(holds: Holds, value: Any) -> bool:
    """Whether a value is of the kind that a field holds; a whole number is a number, too."""
    match holds, value:
        case "switch", bool():
            return True
        case _, bool():
            return False
        case ("whole" | "number", int()) | ("number", float()):
            return True
        case ("text" | "texts" | "list/text", str()) | ("table" | "tables", dict()):
            return True
        case "list", list():
            return True
        case (("texts" | "list/text"), list()):
            entries = as_entries(value)
            return bool(entries) and all(isinstance(inner, str) for inner in entries)
        case "tables", list():
            return all(isinstance(inner, dict) for inner in as_entries(value))
        case _:
            return False


def _nearest(name: str) -> str:
    near = get_close_matches(name, BY_NAME, n=1)
    return f"did you mean {near[0]}?" if near else "leave it out"


def _ids(found: list[Entry], draft: Draft) -> None:
    """Note entries without an id, and two of the same."""
    first: dict[str, Entry] = {}
    for one in found:
        if not one.said("id") or not str(one["id"]).strip():
            draft.complain(one.where(), "has no id", 'add "id": "a-name-of-its-own"')
        elif other := first.get(one.name):
            where, line = one.where("id"), other.where("id").removesuffix(".id")
            draft.complain(where, f"is the id of another set, too ({line})", "choose another")
        first.setdefault(one.name, one)
    _defaults([one for one in found if not one.disabled], draft)


def _defaults(found: list[Entry], draft: Draft) -> None:
    marked = [one for one in found if one.kind == "text_embeds" and one["default"]]
    for one in marked[1:]:
        problem = f"is a second default among text_embeds, beside {marked[0].id}"
        draft.complain(one.where("default"), problem, "keep one of them")


def images(found: list[Entry]) -> Iterator[Entry]:
    """Those that hold pictures to learn from or to measure."""
    yield from (one for one in found if one.kind in ("image", "eval"))
