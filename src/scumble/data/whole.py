"""Pictures at their full size, upright: for what is made beside them, such as masks."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from scumble.data import images
from scumble.data.sizes.frame import Frame
from scumble.data.sources.record import File
from scumble.data.view import View
from scumble.errors import FileError


def upright(file: File) -> Image.Image:
    """In RGB, on white where there is nothing; FileError if it cannot be read."""
    return Image.fromarray(images.pixels(file, _view(file)))


def opacity(file: File) -> UInt8[np.ndarray, "height width"]:
    """255 where the picture is opaque or has no transparency at all; FileError as above."""
    return images.alpha(file, _view(file))


def _view(file: File) -> View:
    """All of it, as large as it is."""
    told = images.header(file)
    if told.problem is not None:
        raise FileError(file, told.problem, images.REMEDIES[told.problem])
    size = (told.height, told.width)
    return View(Frame(original=size, resized=size, corner=(0, 0), size=size))
