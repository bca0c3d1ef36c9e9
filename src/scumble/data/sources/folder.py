"""Which pictures a folder holds: names, sizes and times only, no file is opened.

The order is that of the ids, so it does not depend on the file system.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from PIL import features

from scumble.data.sources.record import Beside, Found, Listing
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

Entry = os.DirEntry[str]


def found(folder: Path) -> list[Found]:
    """The pictures of a folder and its subfolders, sorted by id."""
    return list(listing(folder).pictures)


def listing(folder: Path, *, subfolders: bool = True, text_ending: str | None = None) -> Listing:
    """As `found`, and what else lies there; FileError if the folder cannot be walked.

    With a `text_ending`, each picture's text file of the same name is told too; an ending in
    other letters, as .TXT, does as well.
    """
    pictures: list[Found] = []
    unsupported: Counter[str] = Counter()
    for prefix, here, files in _walked(folder, "", subfolders, frozenset()):
        texts = {} if text_ending is None else _texts(files, text_ending)
        for entry in files:
            stem, dot, ending = entry.name.rpartition(".")
            ending = (dot + ending).lower()
            if ending in ENDINGS:
                pictures.append(_found(prefix, here, entry, texts.get(stem)))
            elif ending in UNSUPPORTED:
                unsupported[ending] += 1
    pictures.sort(key=lambda picture: picture.id)
    return Listing(
        root=str(folder), pictures=tuple(pictures), unsupported=dict(sorted(unsupported.items()))
    )


def visible(id: str) -> bool:
    """Whether none of a path's parts is hidden or what archives and drives leave behind."""
    return not any(part.startswith(".") or part in SKIPPED for part in PurePosixPath(id).parts)


def _walked(
    folder: Path, prefix: str, subfolders: bool, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Path, list[Entry]]]:
    """Each folder's visible files and the paths to them; links are followed, not in circles."""
    with walkable(folder):
        status = folder.stat()
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    above = above | {(status.st_dev, status.st_ino)}
    files, folders = [], []
    for entry in ordered:
        if not (entry.name.startswith(".") or entry.name in SKIPPED):
            (folders if is_folder(entry) else files).append(entry)
    yield prefix, folder, files
    for entry in folders if subfolders else ():
        if not entry.is_symlink() or _identity(entry) not in above:
            yield from _walked(folder / entry.name, f"{prefix}{entry.name}/", subfolders, above)


@contextmanager
def walkable(folder: Path) -> Iterator[None]:
    """Turn what keeps a folder from being listed into a FileError."""
    try:
        yield
    except OSError as error:
        raise _unwalkable(folder, error) from error


def is_folder(entry: Entry) -> bool:
    """Whether it is a folder, or a link to one; a link to itself is a file that cannot be opened.

    FileError for what may be a folder, but lies where nobody may look.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP or "." in entry.name:
            return False
        raise _unwalkable(Path(entry.path), error) from error


def _texts(files: Sequence[Entry], ending: str) -> dict[str, Entry]:
    """The text files by their names without ending; of two, the one spelt as asked for."""
    lowered = ending.lower()
    texts = {e.name[: -len(ending)]: e for e in files if e.name.lower().endswith(lowered)}
    return texts | {e.name[: -len(ending)]: e for e in files if e.name.endswith(ending)}


def _identity(entry: Entry) -> tuple[int, int]:
    """What tells a folder from all others, whatever path led to it."""
    status = entry.stat()
    return status.st_dev, status.st_ino


def _found(prefix: str, folder: Path, entry: Entry, text: Entry | None) -> Found:
    size_bytes, mtime_ns = _measured(entry)
    return Found(
        id=prefix + entry.name,
        file=folder / entry.name,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        beside=None if text is None else _beside(folder, text),
    )


def _beside(folder: Path, entry: Entry) -> Beside:
    size_bytes, mtime_ns = _measured(entry)
    return Beside(file=folder / entry.name, size_bytes=size_bytes, mtime_ns=mtime_ns)


def _measured(entry: Entry) -> tuple[int, int]:
    """Size and time; a link that leads nowhere is found too, so that reading it can say so."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


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
        beside = [entry.name for entry in os.scandir(folder.parent) if is_folder(entry)]
    except (OSError, FileError):
        beside = []
    near = get_close_matches(folder.name, beside, n=1)
    if near:
        return f"did you mean '{folder.parent / near[0]}'?"
    return "check `folder`, which is relative to the job file"
