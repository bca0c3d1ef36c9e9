"""Files that appear whole or not at all, who writes them, and what a disk can refuse, in words."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from scumble.errors import DiskError

STALE_SECONDS = 3600.0
HOST = blake2b(platform.node().encode(), digest_size=4).hexdigest()
PROCESS = secrets.token_hex(4)
SIGNED = re.compile(r"\d+-[0-9a-f]{24}")


@contextmanager
def told(where: Path) -> Iterator[None]:
    """Turn what the disk refuses into a DiskError that names the place and the way out."""
    try:
        yield
    except OSError as error:
        raise disk_error(where, error) from error


def made(*folders: Path) -> None:
    """Make folders that are not there yet, or raise a DiskError."""
    for folder in folders:
        with told(folder):
            make_folder(folder)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Have a folder to oneself; DiskError while another living process has it."""
    file = folder / ".running"
    with told(folder):
        signed = file.read_text() if file.exists() else ""
        if SIGNED.fullmatch(signed) and not orphaned(signed):
            raise _taken(folder, f"process {signed.split('-')[0]}", file)
        file.unlink(missing_ok=True)  # of a dead process, or torn when it died
        try:
            with file.open("x") as stream:
                stream.write(signature())
        except FileExistsError:
            raise _taken(folder, "another process", file) from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _taken(folder: Path, who: str, file: Path) -> DiskError:
    remedy = f"wait for it or stop it; if there is none, delete {file}"
    return DiskError(folder, f"{who} is at work on this run", remedy)


@contextmanager
def beside(file: Path) -> Iterator[Path]:
    """A hidden name next to a file; renamed to it at the end, gone where that is not reached."""
    partial = file.with_name(f".{file.name}.{signature()}")
    with told(file):
        make_folder(file.parent)
        try:
            yield partial
            partial.replace(file)
            sync(file.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_whole(file: Path, content: bytes) -> None:
    """Write beside, then rename: the old file stays until the new one is whole."""
    with beside(file) as partial, partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def signature() -> str:
    """Who writes a hidden file: process, machine and start, and a word of its own."""
    return f"{os.getpid()}-{HOST}{PROCESS}{secrets.token_hex(4)}"


def orphaned(signed: str) -> bool:
    """Whether the writer is known to be gone; of other machines nothing is known.

    A container gives its process the same number at every start: the start is compared as well.
    """
    pid, mark = signed.split("-")
    if mark[:8] != HOST:
        return False
    if int(pid) == os.getpid():
        return mark[8:16] != PROCESS
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def stale(path: Path) -> bool:
    """Whether nothing has been written to it for an hour."""
    return time.time() - path.stat().st_mtime > STALE_SECONDS


def make_folder(folder: Path) -> None:
    """Create it with its parents, each of them safe on disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder last; a no-op where the system has no such thing."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems
            raise
    finally:
        os.close(handle)


def disk_error(folder: Path, error: OSError) -> DiskError:
    """What a failed write means to the user, and the way out."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskError(folder, "the disk is full", "free some space there or name another folder")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        problem = "may not be written to"
        return DiskError(folder, problem, "ask for the right to write there or name another folder")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        problem = "is not a folder"
        return DiskError(folder, problem, "move the file of that name away or name another folder")
    return DiskError(folder, f"cannot be written to ({error})", "mend it or name another folder")
