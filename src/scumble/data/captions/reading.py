"""Which texts a picture has: from beside it, from its name, from its row, or the same for all.

Nothing is guessed: a text that cannot be decoded is a problem, an empty one is no caption.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from scumble.data.captions.filters import filtered
from scumble.data.sources.record import Found
from scumble.spec.captions import CaptionEdits
from scumble.spec.dataset import DatasetSpec
from scumble.spec.references import CaptionKind, ReferenceSpec
from scumble.spec.sources import HubSource, TableSource

COUNTER = re.compile(r"(?:\s*\(\d+\)|[_-](?:\d{1,3}|0\d+))+[_\s]*$")
"""Endings that tell copies apart: " (2)", "-3", "_004", "_00012_"; "-2019" may be a year."""

ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""How a text is encoded whose first two bytes say so, as Windows editors have them."""

ALTERNATIVES = CaptionEdits(lines="choose")
"""What becomes of the texts of a reference, which has no edits of its own."""


def decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 that says so, without its mark; UnicodeDecodeError for all else.

    Zero bytes are those of another encoding: UTF-16 without a mark would pass for UTF-8.
    """
    text = data.decode(ENCODINGS.get(data[:2], "utf-8-sig"))
    if "\0" in text:
        at = data.index(b"\0")
        raise UnicodeDecodeError("utf-8", data, at, at + 1, "a zero byte is no text")
    return text


def kind(spec: DatasetSpec) -> CaptionKind:
    """Where the texts of a set come from, also when its settings leave that open."""
    match spec.source:
        case HubSource() | TableSource():
            return spec.captions or "column"
        case _:
            return spec.captions or "textfile"


def alternatives(
    spec: DatasetSpec | ReferenceSpec, found: Found, text: str | None
) -> tuple[str, ...]:
    """All texts of which one is told each time, before what is random about them; () for none.

    `text` is the content of the text file, None if there is none or the set has none. A set's
    `prompt` stands in for pictures without a text, also for those whose text is filtered away.
    """
    match spec:
        case ReferenceSpec():
            raw = _raw(spec.captions, spec.prompt, found, text)
            return _split(raw, ALTERNATIVES)
        case DatasetSpec():
            raw = _raw(kind(spec), spec.prompt, found, text)
            mended = _split(raw, spec.caption_edits)
            return mended or _split(_several(spec.prompt), spec.caption_edits)


def named(id: str) -> str:
    """What a file's name says: no folders, no underscores, no counter; "" for mere numbers, and
    for names whose encoding is not known."""
    stem = PurePosixPath(id).stem
    if any("\ud800" <= letter <= "\udfff" for letter in stem):  # as Python reads such bytes
        return ""
    words = " ".join(COUNTER.sub("", stem).replace("_", " ").split())
    return words if any(letter.isalpha() for letter in words) else ""


def _raw(
    captions: CaptionKind | None,
    prompt: str | tuple[str, ...] | None,
    found: Found,
    text: str | None,
) -> Sequence[str]:
    match captions:
        case "textfile":
            return _several(text)
        case "filename":
            return (named(found.id),)
        case "column":
            return found.texts or ()
        case "prompt":
            return _several(prompt)
        case None:
            return ()


def _several(texts: str | tuple[str, ...] | None) -> tuple[str, ...]:
    match texts:
        case None:
            return ()
        case str():
            return (texts,)
        case _:
            return texts


def _split(texts: Sequence[str], edits: CaptionEdits) -> tuple[str, ...]:
    """Their lines joined, chosen from or left out, and filtered; without empty ones."""
    mended = []
    for text in texts:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        match edits.lines:
            case "join":
                lines = [" ".join(lines)]
            case "first":
                lines = lines[:1]
            case "choose":
                pass
        mended += [filtered(line, edits) for line in lines] if edits.filters else lines
    return tuple(line for line in mended if line)
