"""Pictures as their encoders are shown them, made sure to be those that their keys stand for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scumble.data.cache import Missing
from scumble.data.images import Unreached, pixels
from scumble.data.saying import Saying
from scumble.data.sources.memory import Memory
from scumble.data.sources.record import Lent, opened
from scumble.errors import FileError

Unreadable = tuple[Missing, FileError]
"""A picture that cannot be decoded, and why."""

Sights = tuple[np.ndarray, ...]
OPENERS = 2  # threads that decode the pictures of several texts


def seen(one: Missing) -> np.ndarray:
    """Its pixels; FileError if it cannot be decoded, Unreached if its bytes are others by now."""
    if not (isinstance(one.file, Path) and one.source):
        return pixels(one.file, one.view)
    return pixels(Lent(str(one.file), partial(_unchanged, one)), one.view)


@dataclass(frozen=True)
class Looked:
    """The pictures that one text is read with, decoded."""

    sights: Sights
    bad: Unreadable | None = None
    """The first that cannot be."""


def looked(sayings: Sequence[Saying]) -> list[Looked]:
    """The pictures of each text."""
    if not any(one.sights for one in sayings):
        return [Looked(()) for _ in sayings]
    with ThreadPoolExecutor(OPENERS) as pool:
        return list(pool.map(_looked, sayings))


def _looked(saying: Saying) -> Looked:
    found: list[np.ndarray] = []
    for one in saying.sights:
        try:
            found.append(seen(one))
        except FileError as error:
            return Looked((), (one, error))
    return Looked(tuple(found))


def _unchanged(one: Missing) -> BinaryIO:
    """The bytes of its file, or Unreached if they are others by now: under their key they would
    stand for the old ones for good."""
    with opened(one.file) as stream:
        content = stream.read()
    if blake2b(content, digest_size=16).hexdigest() != one.source:
        remedy = "start again, or save it once more if that does not help"
        raise Unreached(one.file, "has changed since it was looked at", remedy)
    return Memory(str(one.file), content)
