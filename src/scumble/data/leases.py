"""Who is at work with which shards: a file for each run, so that nobody clears them away.

A lease counts as long as its process lives; what processes of other machines do is not known, so
theirs count until they are deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scumble.disk import SIGNED, orphaned, signature, write_whole

LEASES = "leases"


@contextmanager
def leased(cache: Path, shelves: Iterable[str]) -> Iterator[None]:
    """Keep the shards of some shelves, such as `pictures/cat`, while the body runs.

    To be taken before it is asked what is missing. DiskError if the cache cannot be written to.
    """
    file = cache / LEASES / signature()
    write_whole(file, "\n".join(shelves).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def in_use(cache: Path) -> dict[str, Path]:
    """Shelves that a process is at work with, and the file that says so; dead ones are removed."""
    found: dict[str, Path] = {}
    for file in sorted((cache / LEASES).glob("*-*")):
        if not SIGNED.fullmatch(file.name):
            continue
        with suppress(OSError):  # it ended just now
            if orphaned(file.name):
                file.unlink()
            else:
                found |= dict.fromkeys(file.read_text(encoding="utf-8").split("\n"), file)
    return found
