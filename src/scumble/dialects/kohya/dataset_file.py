"""A dataset file as read: its tables, checked, with all that is wrong told by file and line."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.kohya.dataset_keys import BY_NAME, KEYS, TABLES, WORDS, Holds
from scumble.errors import FileError
from scumble.spec.document import (
    Document,
    as_entries,
    as_section,
    parse,
    read_json,
    read_toml,
    said,
)
from scumble.spec.document import Path as Keys

READERS = {".toml": read_toml, ".json": read_json}
HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\s\"']+?)\s*\]\]?\s*(#.*)?$")
ASSIGNED = re.compile(r"\s*([\w-]+)\s*=")
TOP = ("general", "datasets", "validation")


def read_dataset(file: Path) -> Document:
    """The file's tables; what is wrong with them stands in the document's `problems`."""
    document = Document(name=str(file))
    where = "--dataset_config"
    try:
        if file.suffix.lower() not in READERS:
            remedy = "name a .toml or .json file"
            raise FileError(where, f"{file} is no dataset file by its ending", remedy)
        text = text_of(file, where)
    except FileError as problem:
        document.problems.append(problem)
        return document
    parse(text, document, READERS[file.suffix.lower()])
    if document.problems:
        return document
    if file.suffix.lower() == ".toml":
        document.lines |= dict(_lines(text))
    check(document)
    return document


def _lines(text: str) -> Iterator[tuple[Keys, int]]:
    """Where each key of a TOML file stands, as far as that is plain to see."""
    counts: dict[str, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            brackets, name = header[1], header[2]
            parts = [part.strip(" \"'") for part in name.split(".")]
            if brackets == "[[":
                name = ".".join(parts)
                counts[name] = counts.get(name, -1) + 1
                for deeper in [one for one in counts if one.startswith(f"{name}.")]:
                    del counts[deeper]
            table = _numbered(parts, counts)
            yield table, number
        elif assigned := ASSIGNED.match(line):
            yield (*table, assigned[1]), number


def _numbered(parts: list[str], counts: dict[str, int]) -> Keys:
    path: Keys = ()
    for length, part in enumerate(parts, 1):
        path = (*path, part)
        name = ".".join(parts[:length])
        path = (*path, counts[name]) if name in counts else path
    return path


def check(document: Document) -> None:
    """Note what is wrong with the tables: names, types, what is missing."""
    tree = as_section(document.tree)
    for key in tree.keys() - set(TOP):
        problem, remedy = "there is no such table in a dataset file", _nearest(key, TOP)
        if key in BY_NAME:
            remedy = "put it under [general]"
        document.complain((key,), problem, remedy)
    _table(document, ("general",), as_section(tree.get("general")), "g")
    if not as_entries(tree.get("datasets")):
        remedy = "begin with [[datasets]] and [[datasets.subsets]]"
        document.complain(("datasets",), "there is no dataset in this file", remedy)
    for number, dataset in enumerate(as_entries(tree.get("datasets"))):
        _dataset(document, ("datasets", number), as_section(dataset))
    if "validation" in tree:
        _dataset(document, ("validation",), as_section(tree["validation"]))


def _dataset(document: Document, path: Keys, dataset: dict[str, Any]) -> None:
    subsets = as_entries(dataset.get("subsets"))
    plain = {key: value for key, value in dataset.items() if key != "subsets"}
    _table(document, path, plain, "d")
    if not subsets:
        name = ".".join(str(part) for part in path if isinstance(part, str))
        document.complain(path, "has no subsets", f"add [[{name}.subsets]] with image_dir")
    for number, subset in enumerate(subsets):
        where = (*path, "subsets", number)
        _table(document, where, as_section(subset), "s")
        if not {"image_dir", "metadata_file"} & as_section(subset).keys():
            remedy = 'add image_dir = "FOLDER"'
            document.complain(where, "says no pictures to learn from", remedy)


def _table(document: Document, path: Keys, table: dict[str, Any], place: str) -> None:
    for name, value in table.items():
        here = (*path, name)
        key = BY_NAME.get(name)
        if key is None:
            near = [one.name for one in KEYS if place in one.places]
            document.complain(here, "there is no such key", _nearest(name, near))
        elif place not in key.places:
            tables = " or ".join(TABLES[one] for one in key.places)
            document.complain(here, f"does not belong in {TABLES[place]}", f"move it to {tables}")
        elif not fits(key.holds, value):
            wanted, example = WORDS[key.holds]
            problem = f"must be {wanted}, not {said(value)}"
            document.complain(here, problem, f"write it {example}")


def fits(holds: Holds, value: Any) -> bool:
    """Whether a value is of the kind that a key holds; a whole number is a number, too."""
    match holds, value:
        case "switch", bool():
            return True
        case _, bool():
            return False
        case ("whole", int()) | ("number", int() | float()) | ("text", str()) | ("size", int()):
            return True
        case "table", dict():
            return True
        case (("size" | "range"), list()):
            one = "whole" if holds == "size" else "number"
            entries = as_entries(value)
            return len(entries) == 2 and all(fits(one, entry) for entry in entries)
        case _:
            return False


def _nearest(name: str, known: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    listed = list(known)
    near = get_close_matches(name, listed, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(listed)}"
