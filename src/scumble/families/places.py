"""What the text of a setting means as a place on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from scumble.errors import FileError

WINDOWS = re.compile(r"[A-Za-z]:[\\/]|.*\\")
ADDRESS = re.compile(
    r"https?://[^/]+/(?P<repo>[^/?#]+/[^/?#]+)(/(?:blob|resolve|tree)/[^/]+(?P<file>/[^?#]+)?)?"
)
"""A page of the hub, or of one of its files."""

LONG = 200  # characters of a text that are shown
MEND = "mend the path, or give a model's hub id (owner/name)"


def meant(text: str, base: Path) -> Path:
    """The absolute path of what may not be there.

    A link keeps its own name: those of the hub's cache lead to files whose names say nothing,
    and it is by name that the files of a set are found.
    """
    place = base / Path(text).expanduser()
    return place.parent.resolve() / place.name if place.name != ".." else place.resolve()


def here(where: str, text: str, base: Path) -> Path | None:
    """What is there, if it is; FileError for a text that can be no path."""
    if not text.strip():
        raise FileError(where, "it is empty", "name a folder, a file or a hub id, or leave it out")
    try:
        place = meant(text, base)
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RuntimeError) as error:  # links in a ring, no such user, a NUL
        told = type(error).__name__ if len(text) > LONG else error
        raise FileError(where, f"{text[:LONG]!r} cannot be looked at ({told})", MEND) from None
    return place


def nowhere(where: str, text: str, base: Path) -> FileError:
    """What to say of a path that leads to nothing."""
    place = meant(text, base)
    if found := ADDRESS.match(text):
        known = found["repo"] + (found["file"] or "")
        return FileError(where, f"'{text}' is an address, not a path", f"write '{known}'")
    if WINDOWS.match(text) and not place.drive:
        problem = f"'{text}' is a path of Windows, and this machine has others"
        return FileError(where, problem, "write it as it is here, such as /mnt/c/models/NAME")
    leads = f", to which {place} leads" if place.is_symlink() else ""
    return FileError(where, f"there is no folder or file {place.resolve()}{leads}", MEND)
