"""YAML as people expect it: version 1.2's numbers and booleans, no key twice, lines remembered.

In YAML 1.1, which PyYAML reads, `1e-4` is a text, `no` is false, `16:9` is 969 and 2024-01-01 a
date. Here the first is a number and the others are texts.
"""

import re
from typing import Any

import yaml

from scumble.errors import JobError
from scumble.spec.document import Document, Path, note_key, said

TAG = "tag:yaml.org,2002:"
PLAIN = (
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,39})", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
"""What an unquoted word is taken for: the kind, the pattern, its first characters."""

MOST_NODES = 20_000
"""More than any job has; aliases of aliases can name far more in a few lines."""

COMMON = (
    ("mapping values are not allowed", "there is a `: ` where a value stands", "put it in quotes"),
    ("while scanning a quoted scalar", "a quote is opened and not closed", "close it"),
    ("while parsing a flow", "a bracket or brace is not closed, or a comma is missing", "add it"),
    ("could not find expected ':'", "a line has no `: ` after its name", "write `name: value`"),
    ("undefined alias", "a `*` names something that no `&` defines", "quote it if it is a text"),
    ("expected a single document", "a second document begins here", "keep one job in a file"),
    ("cannot start any token", "a value begins with a character YAML reserves", "put it in quotes"),
    ("expected <block end>", "the indentation does not fit the lines above", "align it with them"),
)
"""Part of PyYAML's message, and what to say instead."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """The table as PyYAML wants it: by first character."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, pattern, first in PLAIN:
        for character in first:
            row = (TAG + kind, re.compile(rf"(?:{pattern})\Z"))
            found.setdefault(character, []).append(row)
    return found


class Loader(yaml.SafeLoader):
    """Reads the words of `PLAIN`."""

    yaml_implicit_resolvers = _resolvers()


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads, so it quotes whatever that would take for something else."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: object) -> bool:
        return True


def read_yaml(text: str, document: Document) -> None:
    """Fill a document from YAML."""
    try:
        node = Loader(text).get_single_node()
    except yaml.YAMLError as error:
        document.problems.append(_syntax(error, text, document.name))
        return
    if node is not None:
        document.tree = Builder(document).value(node, ())


def word(text: str) -> Any:
    """What an unquoted text on the command line is taken for."""
    text = text.strip()
    for kind, pattern, _ in PLAIN[1:]:
        if re.fullmatch(pattern, text):
            return _scalar(kind, text)
    return text


def write_yaml(value: Any) -> str:
    """YAML that reads back as the same value."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=90)


class Builder:
    """Turns YAML's nodes into values, noting lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0
        self.open: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The value of a node that stands at a path."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise ValueError("this text names more values than a job can have")
        if id(node) in self.open:
            self.document.complain(path, "holds itself, by an alias", "write it out")
            return None
        self.open.add(id(node))
        found = self._inside(node, path)
        self.open.remove(id(node))
        return found

    def _inside(self, node: yaml.Node, path: Path) -> Any:
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                for index, item in enumerate(node.value):
                    self.document.lines[*path, index] = item.start_mark.line + 1
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            case _:
                return self._leaf(node, path)

    def _leaf(self, node: yaml.Node, path: Path) -> Any:
        kind = node.tag.removeprefix(TAG)
        try:
            return _scalar(kind, node.value)
        except (KeyError, ValueError):
            problem = f"{said(node.value)} cannot be read as {node.tag.replace(TAG, '!!')}"
            self.document.complain(path, problem, "write it without that mark")
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        inherited: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                inherited = self._merged(value, path) | inherited
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                continue
            if key.tag != f"{TAG}str":
                problem = f"{said(key.value)} on line {key.start_mark.line + 1} names no setting"
                self.document.complain(path, problem, "names are words; quote it if it is one")
                continue
            note_key(
                self.document,
                (*path, key.value),
                key.start_mark.line + 1,
                twice=key.value in own,
            )
            own[key.value] = self.value(value, (*path, key.value))
        return inherited | own

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        match node:
            case yaml.MappingNode():
                return self.value(node, path)
            case yaml.SequenceNode():
                found: dict[str, Any] = {}
                for source in node.value:
                    found = self._merged(source, path) | found
                return found
            case _:
                self.document.complain(path, "`<<` takes sections only", "name one by `*`")
                return {}


def _scalar(kind: str, text: str) -> Any:
    return {
        "null": lambda: None,
        "bool": lambda: text.lower() == "true",
        "int": lambda: int(text),
        "float": lambda: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
        "str": lambda: text,
        "merge": lambda: text,
    }[kind]()


def _syntax(error: yaml.YAMLError, text: str, name: str) -> JobError:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        problem = f"this text holds a character that YAML does not take ({_reason(error)})"
        return JobError(name, problem, "remove it")
    line = error.problem_mark.line
    where = f"{name}:{line + 1}"
    lines = text.splitlines()
    start = re.match(r"\s*", lines[line]) if line < len(lines) else None
    if start and "\t" in start.group():
        return JobError(where, "this line is indented with a tab", "YAML wants spaces")
    for part, problem, remedy in COMMON:
        if part in f"{error.context} {error.problem}":
            return JobError(where, problem, remedy)
    words = error.problem or error.context
    return JobError(where, f"this is not valid YAML ({words})", "look at the line above it, too")


def _reason(error: yaml.YAMLError) -> str:
    return str(error).splitlines()[0]
