"""Pictures from files that a user names for a preview, as the network is shown them.

They lie in no set, so nothing is drawn for them: each keeps its own shape, upright, is brought to
about a given area with sides that are multiples of the family's step, and nothing is cut off;
rounding may stretch a side by half a step, as it does in training with `sizing.crop: none`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scumble.data.example import Image
from scumble.data.images import REMEDIES, header
from scumble.data.looks import Look
from scumble.data.sizes.frame import Frame, of_area
from scumble.data.view import View
from scumble.errors import FileError, ScumbleError

PLACE = "(previews)"
"""Names their collection; no set can be called so."""

FOLDER, KIND = "shown", "reference"
"""Where a cache keeps their entries."""


def found(files: Sequence[str]) -> tuple[list[Image], list[ScumbleError]]:
    """Pictures that can be decoded as far as their headers tell, and what is wrong with others."""
    images: list[Image] = []
    problems: list[ScumbleError] = []
    for file in files:
        path = Path(file).expanduser()
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "there is no such file"
            problems.append(FileError(path, problem, "name a picture"))
            continue
        told, facts = header(path), path.stat()
        if told.problem is not None:
            problems.append(FileError(path, told.problem, REMEDIES[told.problem]))
            continue
        images.append(
            Image(
                id=str(path),
                file=path,
                size_bytes=facts.st_size,
                mtime_ns=facts.st_mtime_ns,
                width=told.width,
                height=told.height,
            )
        )
    return images, problems


def seen(image: Image, side: int, step: int) -> Look:
    """A picture brought to about the area of that square; its sides are multiples of `step`."""
    original = (image.height, image.width)
    size = of_area(original, side, step)
    return Look(PLACE, image, View(Frame(original, size, (0, 0), size)))
