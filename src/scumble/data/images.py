"""Pictures as they are meant to be seen: upright, on white, in red, green and blue.

`header` looks at a file without decoding it, `pixels` decodes it for training. The same file
and frame give the same bytes every time.
"""

import struct
from dataclasses import dataclass, replace
from io import SEEK_CUR, SEEK_END
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from scumble.data.buckets import Frame
from scumble.errors import FileError

MAX_PIXELS = 178_956_970
"""A larger picture is taken for a mistake or an attack: a few bytes of PNG can fill any memory."""

Image.MAX_IMAGE_PIXELS = None  # Pillow warns from half of our limit on; ours is asked instead

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What is opened at all, whatever the ending says: no other decoder of Pillow's is reached."""

MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""What Pillow turns into RGB as it should; of the rest, only 16-bit grey is read."""

TAIL_BYTES = 1 << 16
FILLER_BYTES = 512
"""So many zeros at the end were reserved by a copy that never came to an end."""

TIFF = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
PNG, JPEG, JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9"
EXIF_BYTES = 1 << 20  # that much of a block is read; a broken one may claim to be endless
ORIENTATION, LONG = 0x0112, 4  # EXIF 2.32: the tag, and a type it has in files by old programs

TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What puts a picture upright, by its EXIF orientation; from 5 on, sides change places."""

EMPTY = "has no bytes"
CLOSED = "cannot be opened"
FOREIGN = "cannot be read as a picture"
CUT_SHORT = "is cut short"
TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels"
ODD = "has colours of a kind that is not read (CIELAB, or 32 bits per channel)"

ANIMATED = "is animated, and only the first frame is used"
MANY_PAGES = "has several pages, of which only the first is used"

REMEDIES = {
    EMPTY: "copy or download again",
    CLOSED: "check permissions, and where links lead",
    FOREIGN: "save again as PNG",
    CUT_SHORT: "copy or download again",
    TOO_LARGE: "scale down",
    ODD: "save again as RGB with 8 or 16 bits",
}
"""The way out of each problem that `header` tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a file says of its picture; sizes are those of the upright picture, 0 if not known."""

    width: int = 0
    height: int = 0
    note: str | None = None
    """What a user should know of a picture that is used, as the rest of a sentence about it."""

    problem: str | None = None
    """Why it cannot be used, one of REMEDIES; worded alike for all files, to be counted."""


Verdict = Literal["whole", "doubtful", "cut short"]


def header(path: Path) -> Header:
    """Size and faults of a picture, from its first and last bytes.

    Pixels are decoded only when the end of the file looks wrong, to be sure. Never raises for
    what the file holds; damage in the middle is not seen before `pixels`.
    """
    try:
        with path.open("rb") as file:
            return _examined(file) if file.read(1) else Header(problem=EMPTY)
    except OSError:
        return Header(problem=CLOSED)


def pixels(path: Path, frame: Frame) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in its frame. FileError if it cannot be decoded or is not the one framed.

    A picture that has its size already is not resampled. Transparent parts become white; of an
    animation the first frame is taken; numbers of 16 bits are scaled, not clipped.
    """
    try:
        with path.open("rb") as file:
            picture = _opened(file, frame)
    except Exception as error:
        problem = f"cannot be decoded ({error})"
        raise FileError(path, problem, "save it again or remove it") from error
    if picture is None:
        raise FileError(path, "has changed since it was looked at", "start again")
    (height, width), (top, left) = frame.resized, frame.corner
    if picture.size != (width, height):
        picture = picture.resize((width, height), Resampling.LANCZOS)
    return np.array(picture.crop((left, top, left + frame.size[1], top + frame.size[0])))


def _examined(file: BinaryIO) -> Header:
    """The header of a file that has bytes; OSError only if the disk fails."""
    verdict, exif = _verdict(file), _png_walk(file)[1]
    file.seek(0)
    try:
        with Image.open(file, formats=FORMATS) as image:
            header = _told(image, exif)
            if header.problem is None and verdict == "doubtful" and not _strips_fit(image, file):
                image.load()
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return Header(problem=FOREIGN if verdict == "whole" else CUT_SHORT)
    return replace(header, problem=CUT_SHORT) if verdict == "cut short" else header


def _told(image: ImageFile, exif: bytes) -> Header:
    """What an opened but not decoded picture says of itself."""
    width, height = _turned(image.size, _orientation(image, exif))
    problem = None
    if width * height > MAX_PIXELS:
        problem = TOO_LARGE
    elif image.mode not in MODES and not image.mode.startswith("I;16"):
        problem = ODD
    return Header(width=width, height=height, note=_note(image), problem=problem)


def _opened(file: BinaryIO, frame: Frame) -> Image.Image | None:
    """The upright picture in RGB, None if its size is not what the frame was made for."""
    exif = _png_walk(file)[1]
    file.seek(0)
    with Image.open(file, formats=FORMATS) as image:
        orientation = _orientation(image, exif)
        width, height = _turned(image.size, orientation)
        if (height, width) != frame.original:
            return None
        if image.format == "JPEG":
            height, width = frame.resized
            _reduce(image, _turned((width, height), orientation))
        picture = _in_colour(image)
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def _reduce(image: ImageFile, needed: tuple[int, int]) -> None:
    """Let the JPEG decoder halve a picture while it stays twice as large as needed.

    Only by numbers that divide both sides: otherwise the decoder rounds them up, and the last
    column would stand for less than the others.
    """
    width, height = image.size
    for scale in (8, 4, 2):
        divides = width % scale == 0 and height % scale == 0
        if divides and width >= 2 * scale * needed[0] and height >= 2 * scale * needed[1]:
            image.draft(None, (width // scale, height // scale))
            return


def _in_colour(image: ImageFile) -> Image.Image:
    """In RGB, on white where there was nothing."""
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _from_16_bits(image: ImageFile) -> Image.Image:
    """Grey of 65,536 shades: 65,535 is white, where Pillow would have all above 255 white."""
    values = np.asarray(image).astype(np.uint32)
    shades = ((values * 255 + 32767) // 65535).astype(np.uint8)
    shades[values == image.info.get("transparency", -1)] = 255
    return Image.fromarray(shades).convert("RGB")


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of a picture once it is put upright, or the other way round."""
    first, second = size
    return (second, first) if orientation >= 5 else size


def _note(image: ImageFile) -> str | None:
    """What is left out of a file with more than one picture."""
    if image.format not in {"PNG", "WEBP", "GIF", "AVIF", "TIFF"}:
        return None
    if not getattr(image, "is_animated", False):
        return None
    return MANY_PAGES if image.format == "TIFF" else ANIMATED


def _orientation(image: ImageFile, exif: bytes) -> int:
    """How the camera was held, 1 to 8. Read by hand: Pillow decodes a PNG to find it."""
    block = exif or image.info.get("exif") or _exif_in_text(image)
    data = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, place)
            if tag == ORIENTATION:
                form = "I" if kind == LONG else "H"
                (value,) = struct.unpack_from(order + form, data, place + 8)
                return value if value in TURNS else 1
    except struct.error:
        return 1
    return 1


def _exif_in_text(image: ImageFile) -> bytes:
    """The EXIF block that ImageMagick writes in a text chunk: a title, a length, then hex."""
    lines = str(image.info.get("Raw profile type exif", "")).split("\n")
    try:
        return bytes.fromhex("".join(lines[3:]))
    except ValueError:
        return b""


def _verdict(file: BinaryIO) -> Verdict:
    """Whether a file has its end, as far as that shows without decoding it."""
    size_bytes = file.seek(0, SEEK_END)
    file.seek(max(0, size_bytes - TAIL_BYTES))
    tail = file.read()
    kept = tail.rstrip(b"\0")
    filled = len(tail) - len(kept) >= FILLER_BYTES
    file.seek(0)
    start = file.read(12)
    if start.startswith(JPEG):
        return _jpeg_verdict(file, kept, filled=filled)
    if start.startswith(PNG):
        ends = _png_walk(file)[0]
    elif start[4:8] == b"ftyp":
        ends = _boxes_fit(file, size_bytes)
    elif start.startswith(b"RIFF"):
        ends = int.from_bytes(start[4:8], "little") + 8 <= size_bytes
    elif start.startswith(b"BM"):
        ends = 0 < int.from_bytes(start[2:6], "little") <= size_bytes
    else:
        ends = kept.endswith(b";") if start.startswith(b"GIF8") else start[:4] not in TIFF
    return "whole" if ends and not filled else "doubtful"


def _jpeg_verdict(file: BinaryIO, kept: bytes, *, filled: bool) -> Verdict:
    """The end mark should stand last, but some cameras write more behind it.

    Pillow takes zeros for grey: with nothing but them behind the data, it would not complain.
    """
    if not kept:
        file.seek(0)
        kept = file.read().rstrip(b"\0")
    if kept.rstrip(b" \r\n\t").endswith(JPEG_END):
        return "whole"
    return "cut short" if filled and JPEG_END not in kept else "doubtful"


def _png_walk(file: BinaryIO) -> tuple[bool, bytes]:
    """Whether a PNG's chunks lead to its end, and its EXIF block, which may lie behind the pixels.

    Any other file has neither.
    """
    file.seek(0)
    exif = b""
    if file.read(8) != PNG:
        return False, exif
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND":
            return True, exif
        if kind == b"eXIf":
            exif = file.read(min(length, EXIF_BYTES))
            length -= len(exif)
        file.seek(length + 4, SEEK_CUR)
    return False, exif


def _boxes_fit(file: BinaryIO, size_bytes: int) -> bool:
    """Whether the boxes an AVIF is made of end where the file does."""
    place = 0
    while place < size_bytes:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 0:
            return True
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        place += max(length, 8)
    return place == size_bytes


def _strips_fit(image: ImageFile, file: BinaryIO) -> bool:
    """Whether a TIFF's pixels lie within the file; it says where they are, but has no end mark."""
    if not isinstance(image, TiffImageFile):
        return False
    starts, lengths = (
        image.tag_v2.get(strips, image.tag_v2.get(tiles, ()))
        for strips, tiles in ((273, 324), (279, 325))
    )
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    return bool(ends) and max(ends) <= file.seek(0, SEEK_END)
