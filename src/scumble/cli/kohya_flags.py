"""Command lines of sd-scripts' small tools, read with all that is wrong told at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from scumble.errors import JobError, ScumbleError, gather

Kind = Literal["flag", "text", "whole", "number", "texts", "numbers"]
Value = bool | str | int | float | list[str] | list[float] | None
MANY = ("texts", "numbers")
NUMBER = re.compile(r"-\d+$|-\d*\.\d+$")
"""What is a negative number and not a flag."""


@dataclass(frozen=True)
class Flag:
    """One flag of a tool."""

    name: str
    kind: Kind = "text"
    default: Value = None
    help: str = ""
    choices: tuple[str, ...] = ()
    needed: bool = False
    idle: str = ""
    """Why it does nothing here, to be read after its name; it is told when it is given."""


@dataclass(frozen=True)
class Line:
    """A command line that was read."""

    values: Mapping[str, Value]
    given: frozenset[str]
    """Flags that stand in it."""

    notes: tuple[str, ...]
    """What a user should know of flags without effect."""

    def text(self, name: str) -> str | None:
        """A text or None."""
        value = self.values[name]
        assert value is None or type(value) is str
        return value

    def texts(self, name: str) -> list[str]:
        """Texts, often none."""
        value = self.values[name]
        assert type(value) is list
        return [str(one) for one in value]

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.values[name] is True

    def number(self, name: str) -> float | None:
        """A number or None."""
        value = self.values[name]
        return None if value is None else float(str(value))

    def whole(self, name: str) -> int | None:
        """A whole number or None."""
        value = self.values[name]
        return None if value is None else int(str(value))


def read(tool: str, flags: Sequence[Flag], words: Sequence[str]) -> Line:
    """The values of all flags; an ExceptionGroup of everything that is wrong."""
    known = {f"--{one.name}": one for one in flags}
    problems: list[ScumbleError] = []
    values: dict[str, Value] = {}
    for name, following in _grouped(words):
        flag = _found(name, known)
        if flag is None:
            problems.append(_unknown(tool, name, known))
            continue
        try:
            values[flag.name] = _value(flag, following)
        except ValueError as error:
            problems.append(JobError(f"--{flag.name}", str(error), f"see {tool} --help"))
    missing = [one for one in flags if one.needed and one.name not in values]
    asked = {f"--{one.name}" for one in missing} - {problem.where for problem in problems}
    problems += [JobError(one, "is needed", f"see {tool} --help") for one in sorted(asked)]
    gather(f"{tool} cannot be run like this", problems)
    notes = [f"--{n}: {known[f'--{n}'].idle}" for n in values if known[f"--{n}"].idle]
    whole = {one.name: values.get(one.name, one.default) for one in flags}
    return Line(whole, frozenset(values), tuple(notes))


def _grouped(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Flags with the words that follow each; words before the first flag have none."""
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--") and not NUMBER.match(word):
            name, equals, value = word.partition("=")
            found.append((name, [value] if equals else []))
        elif found:
            found[-1][1].append(word)
        else:
            found.append((word, []))
    return found


def _found(name: str, known: Mapping[str, Flag]) -> Flag | None:
    """The flag, which may be cut short where that leaves one."""
    if name in known:
        return known[name]
    begun = [flag for spelt, flag in known.items() if spelt.startswith(name)]
    return begun[0] if len(begun) == 1 and len(name) > 2 else None


def _unknown(tool: str, name: str, known: Mapping[str, Flag]) -> JobError:
    near = get_close_matches(name, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"see {tool} --help"
    return JobError(name, f"{tool} has no such flag", remedy)


def _value(flag: Flag, words: Sequence[str]) -> Value:
    """ValueError says what is wrong with them."""
    if flag.kind == "flag":
        if words:
            raise ValueError(f"is a switch, and '{words[0]}' follows it")
        return True
    if flag.kind in MANY:
        return list(words) if flag.kind == "texts" else [_number(one) for one in words]
    if len(words) != 1:
        raise ValueError(f"takes one value, and {len(words)} are there")
    (word,) = words
    if flag.choices and word not in flag.choices:
        raise ValueError(f"'{word}' is none of {', '.join(flag.choices)}")
    match flag.kind:
        case "whole":
            return _whole(word)
        case "number":
            return _number(word)
        case _:
            return word


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"'{word}' is no whole number") from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"'{word}' is no number") from None


def usage(tool: str, flags: Sequence[Flag]) -> list[tuple[str, str]]:
    """What `--help` shows: every flag, its values, its default and what it does."""
    rows = [(tool, "")]
    for one in flags:
        kinds = "|".join(one.choices) or {"flag": ""}.get(one.kind, one.kind)
        words = one.idle or one.help
        default = "" if one.default in (None, False, []) else f" [{one.default}]"
        rows.append((f"--{one.name} {kinds}".rstrip(), words + default))
    return rows
