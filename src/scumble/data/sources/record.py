"""What every source yields, whatever it is: records of pictures, and how their bytes are opened."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from scumble.spec.sources import SourceSpec


@dataclass(frozen=True, slots=True)
class Lent:
    """Bytes that are no file of their own: an object of a bucket, a cell of a table."""

    name: str
    """As a user would look for it, for messages."""

    open: Callable[[], BinaryIO] = field(compare=False)
    """From the first byte; can seek. OSError when it cannot be reached."""

    def __str__(self) -> str:
        return self.name


File = Path | Lent


def opened(file: File) -> BinaryIO:
    """The bytes, from the first; to be closed. OSError for what is no file, such as a pipe, for
    which one would wait for ever."""
    if not isinstance(file, Path):
        return file.open()
    if not S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "is no file")
    return file.open("rb")


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """The text file of a picture, known by name only."""

    file: File
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A record: a picture by its name, not looked at yet."""

    id: str
    """Relative path with forward slashes, or the row; unique within its listing."""

    file: File
    size_bytes: int
    mtime_ns: int
    """With the size, tells whether it is still the same; for objects a number made from their
    version."""

    texts: tuple[str, ...] | None = None
    """What the row says of it; None where the source has no columns for that."""

    beside: Beside | None = None
    """Its text file, where the source has such and one lies there."""

    source: str | None = None
    """Hash of its bytes in hex (32 digits), where the source vouches for them."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All that a source tells without opening a picture."""

    root: str
    """The folder, the bucket, the table: for messages."""

    pictures: tuple[Found, ...]
    """Sorted by id."""

    unsupported: dict[str, int]
    """How many files have each ending that is a picture's, but not one we read."""

    absent: tuple[tuple[str, str], ...] = ()
    """Records that lead to no picture: the id and why, as the rest of a sentence about it."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which records are asked for: exactly one of `folder` and `source` is set."""

    id: str
    """Of the set, or of its reference or mask: `cat`, `cat.before`."""

    folder: str | None = None
    source: SourceSpec | None = None
    subfolders: bool = True
    text_ending: str | None = None
    """Ending of text files beside the pictures; None: nobody will ask for them."""

    by_row: bool = False
    """Whether the records of a table are named by their rows, so that its columns pair."""
