"""A job file as read: plain values, where each stood, and what was wrong with the text."""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from json import JSONDecodeError
from typing import Any, Literal, cast

from scumble.errors import JobError, ScumbleError

Path = tuple[str | int, ...]
Format = Literal["yaml", "toml", "json"]

GAP = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)


@dataclass
class Document:
    """Filled while a text is read; overrides change it before it is checked."""

    name: str
    tree: Any = None
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    """Where a setting stands in the text, as far as that is known."""

    overrides: dict[Path, str] = field(default_factory=dict[Path, str])
    """What was said on the command line, as it was typed."""

    problems: list[ScumbleError] = field(default_factory=list[ScumbleError])

    def where(self, path: Path) -> str:
        """The place of a setting, for a message: "job.yaml:12: adapter.rank"."""
        for length in range(len(path), -1, -1):
            known = path[:length]
            if known in self.overrides:
                inside = f": {dotted(path)}" if length < len(path) else ""
                return self.overrides[known] + inside
            if known in self.lines and known:
                return f"{self.name}:{self.lines[known]}: {dotted(path)}"
        return f"{self.name}: {dotted(path)}" if path else self.name

    def complain(self, path: Path, problem: str, remedy: str) -> None:
        """Note what is wrong with a setting."""
        self.problems.append(JobError(self.where(path), problem, remedy))


def dotted(path: Path) -> str:
    """The path as it is written: "data.0.repeats"."""
    return ".".join(str(part) for part in path)


def as_section(value: Any) -> dict[str, Any]:
    """The value itself where it is a section, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_entries(value: Any) -> list[Any]:
    """The value itself where it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def said(value: object) -> str:
    """A value as a message repeats it, cut when long."""
    match value:
        case None:
            return "empty (null)"
        case bool():
            return str(value).lower()
        case str():
            return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}...'"
        case list():
            shown = json.dumps(value, ensure_ascii=False, default=str)
            return f"the list {shown}" if len(shown) <= 60 else "this list"
        case dict():
            return "a section"
        case _:
            return str(value)


class Json:
    """JSON with // and /* */ comments and trailing commas, which remembers lines."""

    def __init__(self, text: str, document: Document) -> None:
        self.text, self.document = text, document
        self.decoder = json.JSONDecoder(parse_constant=self._no_constant)
        self.at = 0

    def read(self) -> None:
        """Fill the document; JSONDecodeError says where the text is not JSON."""
        if self._next() == "":
            return
        self.document.tree = self._value(())
        if self._next():
            raise JSONDecodeError("Something follows the end", self.text, self.at)

    def _no_constant(self, name: str) -> float:
        raise JSONDecodeError(f"the word {name} stands for no number", self.text, self.at)

    def _next(self) -> str:
        gap = GAP.match(self.text, self.at)
        self.at = gap.end() if gap else self.at
        return self.text[self.at : self.at + 1]

    def _value(self, path: Path) -> Any:
        match self._next():
            case "{":
                return self._object(path)
            case "[":
                return self._array(path)
            case _:
                value, self.at = self.decoder.raw_decode(self.text, self.at)
                return value

    def _object(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while self._next() != "}":
            line = self._line()
            if self.text[self.at : self.at + 1] != '"':
                raise JSONDecodeError("Expecting a name in double quotes", self.text, self.at)
            key, self.at = self.decoder.raw_decode(self.text, self.at)
            note_key(self.document, (*path, key), line, twice=key in found)
            self._expect(":")
            found[key] = self._value((*path, key))
            self._comma("}")
        self.at += 1
        return found

    def _array(self, path: Path) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while self._next() != "]":
            self.document.lines[*path, len(found)] = self._line()
            found.append(self._value((*path, len(found))))
            self._comma("]")
        self.at += 1
        return found

    def _comma(self, end: str) -> None:
        if self._next() != end:
            self._expect(",")

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise JSONDecodeError(f"Expecting '{character}'", self.text, self.at)
        self.at += 1

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1


def note_key(document: Document, path: Path, line: int, *, twice: bool) -> None:
    """Remember where a key stands; a second one of the same name is an error."""
    first = document.lines.get(path)
    document.lines[path] = line
    if twice:
        document.complain(path, f"is given twice, first on line {first}", "keep one of them")


def read_json(text: str, document: Document) -> None:
    """Fill a document from JSON with comments."""
    try:
        Json(text, document).read()
    except JSONDecodeError as error:
        where = f"{document.name}:{error.lineno}"
        document.tree = None
        problem = f"this is not valid JSON ({_lower(error.msg)})"
        remedy = f"look at column {error.colno} and what stands before it"
        document.problems.append(JobError(where, problem, remedy))


def read_toml(text: str, document: Document) -> None:
    """Fill a document from TOML, whose reader remembers no lines."""
    try:
        document.tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(?s)(.*?)(?: \(at line (\d+), column (\d+)\)| \(.*\))?", str(error))
        words, line, _ = found.groups() if found else (str(error), None, None)
        where = f"{document.name}:{line}" if line else document.name
        remedy = "look at this line; texts need quotes in TOML"
        problem = f"this is not valid TOML ({_lower(words)})"
        if "overwrite" in words or "Cannot declare" in words:
            problem, remedy = f"a name is given twice ({_lower(words)})", "keep one of them"
        document.problems.append(JobError(where, problem, remedy))
    _no_dates(document.tree, (), document)


def _no_dates(value: Any, path: Path, document: Document) -> None:
    if isinstance(value, date | datetime | time):
        document.complain(path, "is a date or a time, which nothing takes", "put it in quotes")
    for key, inner in as_section(value).items():
        _no_dates(inner, (*path, key), document)
    for index, inner in enumerate(as_entries(value)):
        _no_dates(inner, (*path, index), document)


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def parse(text: str, document: Document, read: Callable[[str, Document], None]) -> None:
    """Read a text, whatever it holds: what no reader can bear is a problem of the text."""
    try:
        read(text.removeprefix("\ufeff"), document)
    except RecursionError:
        problem, remedy = "lists and sections are nested too deeply", "write them flat"
        document.problems.append(JobError(document.name, problem, remedy))
    except ValueError as error:
        document.problems.append(JobError(document.name, str(error), "correct this value"))
