"""What is taken out of captions before anything else: literal texts and regular expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scumble.spec.captions import CaptionEdits

REPLACEMENT = re.compile(r"s/((?:[^/\\]|\\.)+)/((?:[^/\\]|\\.)*)/", re.DOTALL)
"""`s/OLD/NEW/`, in which a backslash may stand before any character, a slash among them."""


@dataclass(frozen=True, slots=True)
class _Filter:
    old: str
    new: str = ""
    literal: bool = True


def filtered(text: str, edits: CaptionEdits) -> str:
    """The text after all filters in their order; gaps that a removed text leaves are closed."""
    for one in map(_read, edits.filters):
        if not one.literal:
            text = re.sub(one.old, one.new, text)
        elif one.old in text:
            text = re.sub(" {2,}", " ", text.replace(one.old, ""))
    return text.strip()


def check(edits: CaptionEdits) -> list[tuple[str, str, str]]:
    """Setting (within the edits), problem and remedy of every filter that cannot be meant."""
    return [
        (f"filters.{number}", *wrong)
        for number, text in enumerate(edits.filters)
        if (wrong := _wrong(text))
    ]


def _read(text: str) -> _Filter:
    found = REPLACEMENT.fullmatch(text)
    if found is None:
        return _Filter(text)
    old, new = found.groups()
    return _Filter(old, new.replace("\\/", "/"), literal=False)


def _wrong(text: str) -> tuple[str, str] | None:
    one = _read(text)
    if not text:
        return "an empty text takes nothing out", "leave it out"
    if one.literal:
        begun = text.startswith("s/") and text.count("/") > 1
        problem = f"'{text}' looks like a replacement, but is none"
        remedy = "write s/OLD/NEW/ with its last slash; \\/ for a slash in OLD or NEW"
        return (problem, remedy) if begun else None
    try:
        re.sub(one.old, one.new, "")
    except (re.error, IndexError) as error:
        remedy = "mend the expression; \\ before a sign such as ( or + takes it as it is"
        return f"'{text}' is not a regular expression and its replacement ({error})", remedy
    return None
