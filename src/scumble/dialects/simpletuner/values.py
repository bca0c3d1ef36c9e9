"""One key and its value: which key is meant, and whether the value is of its kind."""

import json
from collections.abc import Callable
from difflib import get_close_matches
from json import JSONDecodeError
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.option import Option
from scumble.dialects.simpletuner import table
from scumble.spec.document import as_entries, said

ON = ("1", "true", "yes", "y", "on")
OFF = ("0", "false", "no", "n", "off")
SPELT = {"lr_scheduler": {"cosine_with_warmup": "cosine"}}
"""Older names of values."""

LEFT = "is not a setting of a run"
CAPITALS = "is no key in capitals; other programs may read it"


def is_known(key: str) -> bool:
    """Whether a key that is in no table is one of SimpleTuner's all the same."""
    ignored = key == "repeats" or key.startswith(table.IGNORED)
    return ignored or key in table.ALIASES or key in table.INVERSE or bool(table.known(key))


def key(written: str, where: str, draft: Draft) -> str | None:
    """The newest name of the key that is meant; None for one that is left out, which is told."""
    name = written.removeprefix("--")
    if name in table.OPTIONS or name in table.INVERSE:
        return name
    if name in table.ALIASES:
        return table.ALIASES[name]
    if words := _without_effect(name):
        draft.note("nothing", name, words)
        return None
    longer = [one for one in table.OPTIONS if one.startswith(name)]
    if len(longer) == 1:
        draft.note("hint", name, f"is taken for {longer[0]}, the one key that begins so")
        return longer[0]
    near = longer[0] if longer else table.nearest(name)
    remedy = f"did you mean {near}?" if near else "leave it out"
    problem = "more than one key begins so" if longer else "there is no such key"
    draft.complain(where, problem, remedy)
    return None


def _without_effect(name: str) -> str | None:
    if name == "repeats" or name.startswith(table.IGNORED):
        return LEFT
    if name.isupper():
        return CAPITALS
    return table.known(name)


def value(option: Option, given: Any, where: str, draft: Draft) -> Any:
    """The value as the key's kind has it; None where nothing is said, or what is said is wrong,
    which is told."""
    if given == "" and option.default is None:
        return None
    read, wanted, example = READERS[option.kind]
    try:
        found = read(given)
    except ValueError:
        draft.complain(where, f"must be {wanted}, not {said(given)}", f"write {example}")
        return None
    found = SPELT.get(option.name, {}).get(found, found) if isinstance(found, str) else found
    if option.choices and found not in option.choices:
        known = [str(choice) for choice in option.choices]
        near = get_close_matches(str(found), known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        draft.complain(where, f"'{found}' is not one of its values", remedy)
        return None
    return found


def _flag(given: Any) -> bool:
    word = str(given).lower()
    if word in ON or word in OFF:
        return word in ON
    raise ValueError


def _number(given: Any) -> int | float:
    match given:
        case bool():
            raise ValueError
        case int() | float():
            return given
        case str():
            number = float(given)
            if number != number or number in (float("inf"), float("-inf")):
                raise ValueError
            return int(given) if given.strip().lstrip("+-").isdecimal() else number
        case _:
            raise ValueError


def _whole(given: Any) -> int:
    number = _number(given)
    if number != int(number):
        raise ValueError
    return int(number)


def _text(given: Any) -> str:
    match given:
        case bool() | dict():
            raise ValueError
        case list():
            return ",".join(_text(entry) for entry in as_entries(given))
        case _:
            return str(given)


def _json(given: Any) -> Any:
    """A list or an object as it is, or in a text; any other text is a file's name."""
    if isinstance(given, str) and given.strip()[:1] in ("[", "{"):
        try:
            return json.loads(given)
        except JSONDecodeError:
            raise ValueError from None
    if isinstance(given, bool | int | float):
        raise ValueError
    return given


READERS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "flag": (_flag, "true or false", "it without quotes"),
    "whole": (_whole, "a whole number", "it without quotes or a point"),
    "number": (_number, "a number", "it without quotes, such as 0.5"),
    "text": (_text, "a text", "it in double quotes"),
    "json": (_json, "an object or a list of JSON, or a file that holds one", '{"name": "value"}'),
}
