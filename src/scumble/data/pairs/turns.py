"""How a camera was held: the same picture may stand upright in one file and lie on its side in
another, with a tag that says so.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scumble.data.images.decoding import FORMATS
from scumble.data.images.endings import png_walk
from scumble.data.images.orientation import orientation
from scumble.data.sources.record import File

UPRIGHT = 1
ON_ITS_SIDE = frozenset({5, 6, 7, 8})
"""Orientations that exchange width and height."""


def tagged(file: File) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read.

    Only of files on a disk: of others, each would take a request.
    """
    match file:
        case Path():
            try:
                with file.open("rb") as stream:
                    exif = png_walk(stream)[1]
                    stream.seek(0)
                    with Image.open(stream, formats=FORMATS) as image:
                        return orientation(image, exif)
            except Exception:
                return UPRIGHT  # `collected` or the pixel pass tells what is wrong with it
        case _:
            return UPRIGHT
