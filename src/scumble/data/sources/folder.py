"""Which pictures a folder holds: names, sizes and times only, no file is opened.

The order is that of the ids, so it does not depend on the file system.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from PIL import features

from scumble.errors import FileError

ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | ({".avif"} if features.check("avif") else set())
)
UNSUPPORTED = frozenset(
    {".heic", ".heif", ".jxl", ".jfif", ".jp2", ".avif", ".psd", ".svg", ".tga", ".exr", ".hdr"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".mp4", ".mov", ".webm", ".zip", ".tar"}
)
"""Endings a user may take for pictures of the set; they are counted, so as not to vanish."""

SKIPPED = frozenset({"__MACOSX", "@eaDir"})
"""Folders in which archives of macOS and Synology drives keep pictures that nobody made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A file that is a picture by its name."""

    id: str
    """Path relative to the folder, with forward slashes."""

    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All that one walk through a folder sees."""

    pictures: tuple[Found, ...]
    unsupported: dict[str, int]
    """How many files have each ending that is a picture's, but not one we read."""


def found(folder: Path) -> list[Found]:
    """The pictures of a folder and its subfolders, sorted by id."""
    return list(listing(folder).pictures)


def listing(folder: Path) -> Listing:
    """As `found`, and what else lies there; FileError if the folder cannot be walked."""
    pictures: list[Found] = []
    unsupported: Counter[str] = Counter()
    for prefix, entry in _entries(folder, "", frozenset()):
        ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (a third of the time)
        if ending in ENDINGS:
            pictures.append(_found(prefix, entry))
        elif ending in UNSUPPORTED:
            unsupported[ending] += 1
    pictures.sort(key=lambda picture: picture.id)
    return Listing(pictures=tuple(pictures), unsupported=dict(sorted(unsupported.items())))


def namesakes(pictures: Iterable[Found]) -> list[tuple[str, ...]]:
    """Ids that differ only in their ending, like cat.jpg and cat.png: they share a caption."""
    groups: dict[str, list[str]] = {}
    for picture in pictures:
        groups.setdefault(str(PurePosixPath(picture.id).with_suffix("")), []).append(picture.id)
    return [tuple(ids) for ids in groups.values() if len(ids) > 1]


def _entries(
    folder: Path, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every visible file with the path that leads to it; links are followed, but not in circles."""
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unwalkable(folder, error) from error
    above = above | {(status.st_dev, status.st_ino)}
    for entry in ordered:
        if entry.name.startswith(".") or entry.name in SKIPPED:
            continue
        if not entry.is_dir():
            yield prefix, entry
        elif not entry.is_symlink() or _identity(entry) not in above:
            yield from _entries(Path(entry.path), f"{prefix}{entry.name}/", above)


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    """What tells a folder from all others, whatever path led to it."""
    status = entry.stat()
    return status.st_dev, status.st_ino


def _found(prefix: str, entry: os.DirEntry[str]) -> Found:
    """A link that leads nowhere is found too, so that reading it can say so."""
    try:
        status = entry.stat()
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    except OSError:
        size_bytes, mtime_ns = 0, 0
    return Found(
        id=prefix + entry.name, path=Path(entry.path), size_bytes=size_bytes, mtime_ns=mtime_ns
    )


def _unwalkable(folder: Path, error: OSError) -> FileError:
    """Why a folder cannot be listed, and the likeliest way out."""
    if isinstance(error, FileNotFoundError):
        return FileError(folder, "there is no such folder", _meant(folder))
    if isinstance(error, NotADirectoryError):
        return FileError(folder, "is a file, not a folder", f"did you mean '{folder.parent}'?")
    problem = f"the folder cannot be read ({error.strerror})"
    return FileError(folder, problem, "check its permissions, or that its drive is attached")


def _meant(folder: Path) -> str:
    """A folder beside the missing one with a name much like it, if there is one."""
    try:
        beside = [entry.name for entry in os.scandir(folder.parent) if entry.is_dir()]
    except OSError:
        beside = []
    near = get_close_matches(folder.name, beside, n=1)
    if near:
        return f"did you mean '{folder.parent / near[0]}'?"
    return "check `folder`, which is relative to the job file"
