"""What a file says of its picture before it is decoded, and what is wrong with it."""

from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile

from scumble.data.images.decoding import FORMATS, MODES
from scumble.data.images.endings import png_walk, strips_fit, verdict
from scumble.data.images.orientation import orientation, turned
from scumble.data.sources.record import File, opened

MAX_PIXELS = 178_956_970
"""A larger picture is taken for a mistake or an attack: a few bytes of PNG can fill any memory."""

Image.MAX_IMAGE_PIXELS = None  # Pillow warns from half of our limit on; ours is asked instead

EMPTY = "has no bytes"
CLOSED = "cannot be opened"
FOREIGN = "cannot be read as a picture"
CUT_SHORT = "is cut short"
DAMAGED = "is damaged inside and cannot be decoded"
TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels"
ODD = "has colours of a kind that is not read (CIELAB, or 32 bits per channel)"

ANIMATED = "is animated, and only the first frame is used"
TRANSPARENT = "has an alpha channel, and what is transparent becomes white"
MANY_PAGES = "has several pages, of which only the first is used"

REMEDIES = {
    EMPTY: "copy or download again",
    CLOSED: "check permissions, and where links lead",
    FOREIGN: "save again as PNG",
    CUT_SHORT: "copy or download again",
    DAMAGED: "copy or download again",
    TOO_LARGE: "scale down",
    ODD: "save again as RGB with 8 or 16 bits",
}
"""The way out of each problem that `header` tells, and of the one that only decoding shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a file says of its picture; sizes are those of the upright picture, 0 if not known."""

    width: int = 0
    height: int = 0
    note: str | None = None
    """What a user should know of a picture that is used, as the rest of a sentence about it."""

    problem: str | None = None
    """Why it cannot be used, one of REMEDIES; worded alike for all files, to be counted."""


def header(file: File) -> Header:
    """Size and faults of a picture, from its first and last bytes.

    Pixels are decoded only when the end of the file looks wrong, to be sure. Never raises for
    what the file holds; damage in the middle is not seen before `pixels`.
    """
    try:
        with opened(file) as stream:
            return _examined(stream) if stream.read(1) else Header(problem=EMPTY)
    except OSError:
        return Header(problem=CLOSED)


def _examined(file: BinaryIO) -> Header:
    """The header of a file that has bytes; OSError only if the disk fails."""
    ends, exif = verdict(file), png_walk(file)[1]
    file.seek(0)
    try:
        with Image.open(file, formats=FORMATS) as image:
            header = _told(image, exif)
            if header.problem is None and ends == "doubtful" and not strips_fit(image, file):
                image.load()
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return Header(problem=FOREIGN if ends == "whole" else CUT_SHORT)
    return replace(header, problem=CUT_SHORT) if ends == "cut short" else header


def _told(image: ImageFile, exif: bytes) -> Header:
    """What an opened but not decoded picture says of itself."""
    width, height = turned(image.size, orientation(image, exif))
    problem = None
    if width * height > MAX_PIXELS:
        problem = TOO_LARGE
    elif image.mode not in MODES and not image.mode.startswith("I;16"):
        problem = ODD
    return Header(width=width, height=height, note=_note(image), problem=problem)


def _note(image: ImageFile) -> str | None:
    """What is left out of a file with more than one picture, or with transparency."""
    if image.format not in {"PNG", "WEBP", "GIF", "AVIF", "TIFF"}:
        return None
    if getattr(image, "is_animated", False):
        return MANY_PAGES if image.format == "TIFF" else ANIMATED
    return TRANSPARENT if image.has_transparency_data else None
