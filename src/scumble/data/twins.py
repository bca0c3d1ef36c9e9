"""Folders of pictures that are made from pictures, and pair with them by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from scumble.data.pairs.names import stem
from scumble.errors import FileError, JobError, ScumbleError, gather


def apart(pictures: Path, target: Path) -> None:
    """JobError if what is made would lie among the pictures it is made from, or these in it."""
    inside, outside = target.resolve(), pictures.resolve()
    if inside == outside or outside in inside.parents:
        problem = f"lies in the folder {pictures} and would be taken for one of its pictures"
        raise JobError(target, problem, "name a folder beside it")
    if inside in outside.parents:
        problem = f"holds the pictures, {pictures}, which would be taken for what is made of them"
        raise JobError(target, problem, "name a folder beside these")


def alone(ids: Iterable[str]) -> None:
    """FileErrors for pictures that differ in nothing but their endings: one file for both."""
    stems = Counter(stem(id) for id in ids)
    twins: list[ScumbleError] = [
        FileError(name, f"{count} pictures have this name", "rename all but one")
        for name, count in stems.items()
        if count > 1
    ]
    gather("pictures that would become one file", twins)
