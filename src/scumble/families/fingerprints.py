"""What stands for the content of a model's files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path

from scumble.disk import write_whole
from scumble.errors import DiskError
from scumble.families.builtin import home

SHA256 = re.compile(r"[0-9a-f]{64}")
LINKS = 8  # a file of the hub's cache is a link to a blob, and that may be one to another cache


def fingerprints(files: Sequence[Path], *, read: bool = True) -> dict[str, str] | None:
    """The SHA-256 of every file's bytes, by its path.

    The hub's cache names a large file by its hash already, and it is believed: a model is the same
    there and copied elsewhere. Any other file is read once for each path, size and time of change;
    the machine remembers the rest. None when a file would have to be read and `read` is false.
    """
    named = {str(file): name for file in files if (name := _named(file))}
    known = _known()
    marks = {str(file): _mark(file) for file in files if str(file) not in named}
    new = [path for path, mark in marks.items() if mark not in known]
    if new and not read:
        return None
    if new:
        with ThreadPoolExecutor() as threads:
            hashes = list(threads.map(_hash, new))
        known |= {marks[path]: digest for path, digest in zip(new, hashes, strict=True)}
        with suppress(DiskError):  # a home that cannot be written to forgets, and that is all
            write_whole(_memory(), json.dumps(known, indent=1).encode())
    return {path: named.get(path) or known[marks[path]] for path in map(str, files)}


def _memory() -> Path:
    return home() / "hashes.json"


def _known() -> dict[str, str]:
    """What was read before, by its mark."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(_memory().read_text(encoding="utf-8")).items()
        return {mark: digest for mark, digest in found if SHA256.fullmatch(str(digest))}
    return {}


def _named(file: Path) -> str | None:
    """The hash in the name of the blob that a file of the hub's cache is a link to."""
    for target in _targets(file):
        if target.parent.name == "blobs" and SHA256.fullmatch(target.name):
            return target.name
    return None


def _targets(file: Path) -> Iterator[Path]:
    """Where a link leads, one step after the other."""
    for _ in range(LINKS):
        if not file.is_symlink():
            return
        file = Path(os.path.normpath(file.parent / file.readlink()))
        yield file


def _mark(file: Path) -> str:
    facts = file.stat()
    return f"{file.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"


def _hash(file: str) -> str:
    with Path(file).open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
