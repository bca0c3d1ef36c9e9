"""Pictures for comparison, as they are trained on but at their own size."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow
from PIL.Image import Resampling

from scumble.data import images
from scumble.data.example import Image
from scumble.data.sizes.frame import Frame
from scumble.data.view import View

Pixels = UInt8[np.ndarray, "_ _ 3"]


def upright(image: Image) -> Pillow.Image:
    """The whole picture; FileError if it cannot be decoded."""
    size = (image.height, image.width)
    return Pillow.fromarray(images.pixels(image.file, View(Frame(size, size, (0, 0), size))))


def reduced(picture: Pillow.Image, size: tuple[int, int]) -> Pixels:
    """Resized to width and height, not necessarily in proportion."""
    if picture.size != size:
        picture = picture.resize(size, Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(picture)


def within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height in proportion, so that neither is more than `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
