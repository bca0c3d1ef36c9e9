"""How the camera was held, and the picture put upright."""

import struct

from PIL import Image
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile

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


def orientation(image: ImageFile, exif: bytes) -> int:
    """How the camera was held, 1 to 8; `exif` is a PNG's own block, from `endings.png_walk`.

    Read by hand: Pillow decodes a PNG to find it.
    """
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


def turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of a picture once it is put upright, or the other way round."""
    first, second = size
    return (second, first) if orientation >= 5 else size


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture turned as it was held."""
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def _exif_in_text(image: ImageFile) -> bytes:
    """The EXIF block that ImageMagick writes in a text chunk: a title, a length, then hex."""
    lines = str(image.info.get("Raw profile type exif", "")).split("\n")
    try:
        return bytes.fromhex("".join(lines[3:]))
    except ValueError:
        return b""
