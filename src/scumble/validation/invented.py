"""Pictures that stand for references where nobody has shown any."""

from __future__ import annotations

from functools import partial
from io import BytesIO

import torch
from PIL import Image

from scumble import dice
from scumble.data.cache import Missing
from scumble.data.saying import Glance
from scumble.data.sizes.frame import Frame, Size
from scumble.data.sources.memory import Memory
from scumble.data.sources.record import Lent
from scumble.data.view import View

CELLS = 6  # patches of colour a side, blurred into one another


def picture(number: int, size: Size) -> Image.Image:
    """The same at every turn, of that height and width; another for each number."""
    draw, cells = dice.generator("proof", "invented", number), (CELLS, CELLS, 3)
    colours = torch.randint(256, cells, generator=draw, dtype=torch.uint8).numpy()
    return Image.fromarray(colours).resize((size[1], size[0]), Image.Resampling.BICUBIC)


def missing(shown: Image.Image) -> Missing:
    """A picture as encoders take it: as large as it is, from memory."""
    size = (shown.height, shown.width)
    frame = Frame(original=size, resized=size, corner=(0, 0), size=size)
    content = BytesIO()
    shown.save(content, "PNG")
    name = "an invented picture"
    return Missing(b"", Lent(name, partial(Memory, name, content.getvalue())), View(frame))


def glanced(shown: Image.Image, glance: Glance) -> Missing:
    """The same at the size at which texts are read with it."""
    height, width = glance(shown.height, shown.width)
    return missing(shown.resize((width, height), Image.Resampling.LANCZOS))
