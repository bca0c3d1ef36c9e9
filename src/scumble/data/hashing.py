"""The bytes of pictures as short hashes, each file read once and remembered in the ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from scumble.data import ledger
from scumble.data.example import Image
from scumble.data.ledger import Ledger, Row
from scumble.data.overlapped import overlapped
from scumble.data.sources.record import opened
from scumble.errors import FileError

LARGE_BYTES = 1 << 18
LARGE_THREADS = 8
BLOCK_BYTES = 1 << 20
SAVED_SECONDS = 30.0
"""Hashes are written that often, so that who stops a long reading loses little."""


def hashed(file: Path | None, images: Sequence[Image], *, read: bool) -> dict[str, str | None]:
    """The hash of every picture of one collection by its id; `file` is the collection's ledger.

    Those that neither the source nor the ledger knows are read and remembered, unless `read` is
    off: then they are None. FileError when a file has changed since it was looked at, DiskError
    when the ledger cannot be written.
    """
    known = {image.id: image.source for image in images}
    missing = [image for image in images if image.source is None]
    if not missing:
        return known
    book = ledger.read(file) if file else Ledger()
    if read:
        book = _completed(book, missing, file)
    rows = book.pictures
    known |= {image.id: _row(rows, image).source for image in missing}
    return known


def hashes(book: Ledger, images: Sequence[Image]) -> Ledger:
    """The ledger with the hash of each of these pictures in it; only unknown files are read.

    FileError if a file is no longer the one that was looked at: its hash would stand for another
    picture.
    """
    return _completed(book, images, None)


def _completed(book: Ledger, images: Sequence[Image], file: Path | None) -> Ledger:
    """As `hashes`, written to the file on the way, also when it is broken off."""
    rows = {**book.pictures, **{image.id: _row(book.pictures, image) for image in images}}
    missing = [image for image in images if rows[image.id].source is None]
    whole = Ledger(rows, book.texts)
    last = time.monotonic()
    try:
        with closing(overlapped(_some, missing, least=_threads(missing))) as made:
            for some in made:
                for image, source in some:
                    rows[image.id] = rows[image.id]._replace(source=source)
                if file and time.monotonic() - last > SAVED_SECONDS:
                    ledger.write(file, whole)
                    last = time.monotonic()
    finally:
        if file and missing:
            ledger.write(file, whole)
    return whole


def _threads(images: Sequence[Image]) -> int:
    """Large files keep every core busy, for hashing does not need the interpreter."""
    mean = sum(image.size_bytes for image in images) / max(1, len(images))
    return LARGE_THREADS if mean > LARGE_BYTES else 1


def _some(images: Sequence[Image]) -> list[tuple[Image, str]]:
    return [(image, _hash(image)) for image in images]


def _row(rows: Mapping[str, Row], image: Image) -> Row:
    """What is remembered of a picture, or what little it says itself."""
    row = rows.get(image.id)
    if row is not None and (row.size_bytes, row.mtime_ns) == (image.size_bytes, image.mtime_ns):
        return row if image.source is None else row._replace(source=image.source)
    return Row(image.size_bytes, image.mtime_ns, image.width, image.height, source=image.source)


def _hash(image: Image) -> str:
    """The hash of the picture's bytes, made sure to be those that were looked at."""
    try:
        with opened(image.file) as stream:
            digest = _digest(stream)
            status = os.fstat(stream.fileno()) if isinstance(image.file, Path) else None
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise FileError(image.file, problem, "put it back, or start again without it") from error
    seen = (image.size_bytes, image.mtime_ns)
    if status is not None and (status.st_size, status.st_mtime_ns) != seen:
        raise FileError(image.file, "has changed since it was looked at", "start again")
    return digest


def _digest(stream: BinaryIO) -> str:
    digest = blake2b(digest_size=16)
    while block := stream.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
