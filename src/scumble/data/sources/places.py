"""Files that rows of a table name by their paths, with or without their endings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from scumble.data.sources.folder import ENDINGS, UNSUPPORTED
from scumble.data.sources.record import Beside


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A file that is there and is a picture by its name."""

    id: str
    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Absent:
    """A path that leads to no picture."""

    reason: str
    """The rest of a sentence about it."""

    ending: str = ""
    """Of a picture of a kind that is not read."""


@dataclass(frozen=True, slots=True)
class Names:
    """The pictures of one folder."""

    by_stem: dict[str, list[str]] = field(default_factory=dict)
    by_lower: dict[str, str] = field(default_factory=dict)
    """In small letters, to tell which one may be meant."""


Folders = dict[str, Names]
"""Folders that were listed, by their paths."""


def found(cell: str, root: str, folders: Folders) -> Place | Absent:
    """The file to which a path leads, relative to `root`, which is absolute.

    A path without an ending leads to the one picture of that name. `folders` holds what was
    listed for others before, and is added to.
    """
    path = os.path.normpath(os.path.join(root, cell))  # noqa: PTH118 (100,000 of them)
    measured = measure(path)
    if measured is None and "\\" in cell:  # written on Windows
        path = os.path.normpath(os.path.join(root, cell.replace("\\", "/")))  # noqa: PTH118
        measured = measure(path)
    if measured is None:
        meant = _meant(path, folders)
        if isinstance(meant, Absent):
            return meant
        path, measured = meant, measure(meant)
    if measured is None:
        return Absent("cannot be opened")
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if ending not in ENDINGS:
        return Absent("is no picture by its ending", ending if ending in UNSUPPORTED else "")
    return Place(id=_id(path, root), path=Path(path), size_bytes=measured[0], mtime_ns=measured[1])


def text_of(picture: Path, ending: str) -> Beside | None:
    """The text file of a picture, if there is one."""
    path = picture.with_suffix(ending)
    measured = measure(str(path))
    if measured is None:
        return None
    return Beside(file=path, size_bytes=measured[0], mtime_ns=measured[1])


def measure(path: str) -> tuple[int, int] | None:
    """Size and time of a file, None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # the latter for names that no file can have
        return None
    return (status.st_size, status.st_mtime_ns) if S_ISREG(status.st_mode) else None


def _meant(path: str, folders: Folders) -> str | Absent:
    """The one picture to which a path without ending leads, or why there is not just one."""
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = _names(folder)
    names = folders[folder]
    match names.by_stem.get(name, []):
        case [one]:
            return os.path.join(folder, one)  # noqa: PTH118
        case []:
            lower = name.lower()
            near = names.by_lower.get(lower) or names.by_lower.get(f"/{lower}")
            return Absent(f"is not there, but {near} is" if near else "is not there")
        case several:
            return Absent(f"could be any of {', '.join(several)}")


def _names(folder: str) -> Names:
    names = Names()
    try:
        files = sorted(os.listdir(folder))  # noqa: PTH208
    except (OSError, ValueError):
        return names
    for file in files:
        stem, ending = os.path.splitext(file)  # noqa: PTH122
        if ending.lower() in ENDINGS:
            names.by_stem.setdefault(stem, []).append(file)
            names.by_lower[file.lower()] = file
            names.by_lower[f"/{stem.lower()}"] = file
    return names


def _id(path: str, root: str) -> str:
    """The path from the root on; one that lies elsewhere loses only what makes it absolute."""
    top = os.path.join(root, "")  # noqa: PTH118
    inside = path[len(top) :] if path.startswith(top) else os.path.splitdrive(path)[1]
    return inside.replace(os.sep, "/").lstrip("/")
