"""What made each entry, picture by picture, so that it can be said why one is made anew.

A JSON file of columns for each set, written when its entries are complete. It decides nothing: keys
do. It may be deleted at any time; then `scumble cache explain` cannot name reasons.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from scumble import disk
from scumble.data.view import View

FORMAT = "scumble origins 1"
BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError)
"""What reading a file that is not there, torn or of another release can raise."""

LONG = 80  # letters of a text that are kept; of a longer one the beginning and a hash

Parts = tuple[str, ...]
"""What made a version of a picture, besides the recipe; named by PARTS."""

PARTS = ("bytes", "size and crop", "interpolation", "mirroring", "colours", "degradation")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs from when an entry was made."""

    what: str
    was: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Origins:
    """What made the entries of one set."""

    picture_recipe: Mapping[str, str]
    """Named parts of what all pictures have in common: encoder, precision, ..."""

    text_recipe: Mapping[str, str]
    pictures: Mapping[str, tuple[Parts, ...]]
    """Versions of each picture by its id, in order."""

    texts: Mapping[str, tuple[str, ...]]
    """What is said of each picture, as `brief` has it."""


def at(cache: Path, dataset: str, root: str) -> Path:
    """Where it is kept for a set (or a reference) of that id and folder, bucket or table."""
    place = blake2b(os.fsencode(root), digest_size=8).hexdigest()
    return cache / "made" / f"{dataset}-{place}.json"


def parts(source: str, view: View) -> Parts:
    """Everything of a picture's key besides its recipe; equal parts make equal keys."""
    frame = view.frame
    size, resized = (f"{width}x{height}" for height, width in (frame.size, frame.resized))
    original = f"{frame.original[1]}x{frame.original[0]}"
    cut = f"{size} of {resized} at ({frame.corner[1]}, {frame.corner[0]}) from {original}"
    colours = "none"
    if view.colours is not None:
        colours = f"gamma {view.colours.gamma}, hue {view.colours.hue}"
    made = "none"
    if view.degraded is not None:
        one = view.degraded
        made = f"{one.spec.model_dump_json()} {one.at}, draw {one.key}"
    mirrored = "mirrored" if view.flipped else "as it is"
    return (source, cut, view.interpolation, mirrored, colours, made)


def brief(text: str) -> str:
    """A text, or the beginning of a long one with a hash of the whole."""
    if len(text) <= LONG:
        return text
    return f"{text[: LONG - 20]}... ({blake2b(text.encode(), digest_size=6).hexdigest()})"


def why_picture(
    before: Origins | None, id: str, version: int, now: Parts, recipe: Mapping[str, str]
) -> tuple[Change, ...] | None:
    """What differs from when that version of a picture was last made; None if it never was."""
    known = before.pictures.get(id) if before else None
    if before is None or known is None or version >= len(known):
        return None
    own = [
        Change(what, was, is_)
        for what, was, is_ in zip(PARTS, known[version], now, strict=True)
        if was != is_
    ]
    return (*own, *_recipe_changes(before.picture_recipe, recipe))


def why_text(
    before: Origins | None, id: str, said: str, recipe: Mapping[str, str]
) -> tuple[Change, ...] | None:
    """What differs from when a picture's text was last made; None if it never had one.

    `said` is the text as it is recorded; see `asked.brief`.
    """
    known = before.texts.get(id) if before else None
    if before is None or not known:
        return None
    changed = [] if said in known else [Change("caption", " | ".join(known), said)]
    return (*changed, *_recipe_changes(before.text_recipe, recipe))


def _recipe_changes(was: Mapping[str, str], now: Mapping[str, str]) -> list[Change]:
    return [
        Change(name, was.get(name, "none"), now.get(name, "none"))
        for name in dict.fromkeys((*now, *was))
        if was.get(name) != now.get(name)
    ]


def read(file: Path) -> Origins | None:
    """What was written there; None if there is nothing or it is not one of ours."""
    try:
        told = json.loads(file.read_bytes())
        if told["format"] != FORMAT:
            return None
        table = [tuple(map(str, row)) for row in told["views"]]
        versions = zip(told["sources"], told["rows"], strict=True)
        pictures = {
            str(id): tuple((str(source), *table[row]) for source, row in islice(versions, count))
            for id, count in zip(told["ids"], told["counts"], strict=True)
            if count
        }
        said = zip(told["ids"], told["texts"], strict=True)
        texts = {str(id): tuple(map(str, text)) for id, text in said if text is not None}
        recipes = [dict(told[name]) for name in ("picture_recipe", "text_recipe")]
    except BROKEN:
        return None
    return Origins(
        picture_recipe=recipes[0], text_recipe=recipes[1], pictures=pictures, texts=texts
    )


def write(file: Path, origins: Origins) -> None:
    """Put it there whole or not at all; DiskError if the disk will not have it."""
    ids = list(dict.fromkeys((*origins.pictures, *origins.texts)))
    places: dict[Parts, int] = {}
    flat = [one for id in ids for one in origins.pictures.get(id, ())]
    rows = [places.setdefault(one[1:], len(places)) for one in flat]
    told = {
        "format": FORMAT,
        "picture_recipe": dict(origins.picture_recipe),
        "text_recipe": dict(origins.text_recipe),
        "views": list(places),
        "ids": ids,
        "counts": [len(origins.pictures.get(id, ())) for id in ids],
        "sources": [one[0] for one in flat],
        "rows": rows,
        "texts": [origins.texts.get(id) for id in ids],
    }
    disk.write_whole(file, json.dumps(told, separators=(",", ":")).encode("ascii"))
