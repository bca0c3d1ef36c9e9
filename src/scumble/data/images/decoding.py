"""From the bytes of a file to an upright picture, whatever its colours are kept as."""

from typing import BinaryIO, Literal

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from scumble.data.images.endings import png_walk
from scumble.data.images.orientation import orientation, turned, upright

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What is opened at all, whatever the ending says: no other decoder of Pillow's is reached."""

MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""What Pillow turns into RGB as it should; of the rest, only 16-bit grey is read."""

Kind = Literal["colour", "grey", "alpha", "lit"]
"""Red, green and blue on white; shades of grey on black; how far a picture covers what is below;
white wherever it is not black."""


def decoded(
    file: BinaryIO, original: tuple[int, int], kind: Kind, needed: tuple[int, int] | None = None
) -> Image.Image | None:
    """The upright picture, None if its height and width are not those of `original`.

    With `needed`, the height and width that are wanted of it, a JPEG may come out smaller.
    Whatever Pillow raises for broken files is not caught.
    """
    exif = png_walk(file)[1]
    file.seek(0)
    with Image.open(file, formats=FORMATS) as image:
        held = orientation(image, exif)
        width, height = turned(image.size, held)
        if (height, width) != original:
            return None
        if needed is not None and image.format == "JPEG":
            _reduce(image, turned((needed[1], needed[0]), held))
        return upright(_CONVERTED[kind](image), held)


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
        return _from_16_bits(image, paper=255).convert("RGB")
    return _laid_on(image, "white").convert("RGB")


def _in_grey(image: ImageFile) -> Image.Image:
    """In shades of grey, on black where there was nothing: a mask ends where it is see-through."""
    if image.mode.startswith("I;16"):
        return _from_16_bits(image, paper=0)
    return _laid_on(image, "black").convert("RGB").convert("L")


def _lit(image: ImageFile) -> Image.Image:
    """255 where any colour is above 0, on black where there was nothing: dark blue is 0 in grey."""
    if image.mode.startswith("I;16"):
        values = np.asarray(_from_16_bits(image, paper=0))
    else:
        values = np.asarray(_laid_on(image, "black").convert("RGB")).max(2)
    return Image.fromarray((values > 0).astype(np.uint8) * 255)


def _coverage(image: ImageFile) -> Image.Image:
    """255 where the picture hides what is below."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        shown = values != image.info.get("transparency", -1)
        return Image.fromarray(shown.astype(np.uint8) * 255)
    if image.has_transparency_data:
        return image.convert("RGBA").getchannel("A")
    image.load()  # so that a file that is cut short is told here too
    return Image.new("L", image.size, 255)


def _laid_on(image: ImageFile, paper: str) -> Image.Image:
    """What shows when it lies on that colour."""
    if not image.has_transparency_data:
        return image
    picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture)


def _from_16_bits(image: ImageFile, paper: int) -> Image.Image:
    """Grey of 65,536 shades: 65,535 is white, where Pillow would have all above 255 white."""
    values = np.asarray(image).astype(np.uint32)
    shades = ((values * 255 + 32767) // 65535).astype(np.uint8)
    shades[values == image.info.get("transparency", -1)] = paper
    return Image.fromarray(shades)


_CONVERTED = {"colour": _in_colour, "grey": _in_grey, "alpha": _coverage, "lit": _lit}
