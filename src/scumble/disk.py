"""Files that appear whole or not at all, and what a disk can refuse, said in words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scumble.errors import DiskError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@contextmanager
def told(where: Path) -> Iterator[None]:
    """Turn what the disk refuses into a DiskError that names the place and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskError(where, "the disk is full", "make room and start again") from None
        if error.errno in IN_THE_WAY:
            place = error.filename or where
            remedy = "choose another folder, or move the file away"
            raise DiskError(where, f"{place} is a file where a folder should be", remedy) from None
        remedy = "choose a folder that can be written to"
        raise DiskError(where, f"cannot be written ({error.strerror or error})", remedy) from None


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last; where folders cannot be opened, the system does it."""
    with suppress(PermissionError, IsADirectoryError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_whole(file: Path, content: bytes) -> None:
    """Write beside, then rename: the old file stays until the new one is whole."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
            sync_folder(file.parent)
        finally:
            partial.unlink(missing_ok=True)
