"""What stands for the content of a model's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path

from scumble.disk import write_whole
from scumble.errors import DiskError
from scumble.families.builtin import home


def fingerprints(files: Sequence[Path], *, read: bool = True) -> dict[str, str] | None:
    """The hash of every file's bytes, by its path.

    A file is read once for each path, size and time of change; the machine remembers the rest.
    None when a file would have to be read and `read` is false.
    """
    memory = home() / "hashes.json"
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
    marks = {str(file): _mark(file) for file in files}
    new = [file for file in files if marks[str(file)] not in known]
    if new and not read:
        return None
    if new:
        with ThreadPoolExecutor() as threads:
            hashes = list(threads.map(_hash, new))
        known |= {marks[str(file)]: digest for file, digest in zip(new, hashes, strict=True)}
        with suppress(DiskError):  # a home that cannot be written to forgets, and that is all
            write_whole(memory, json.dumps(known, indent=1).encode())
    return {path: known[mark] for path, mark in marks.items()}


def _mark(file: Path) -> str:
    facts = file.stat()
    return f"{file.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, partial(blake2b, digest_size=16)).hexdigest()
