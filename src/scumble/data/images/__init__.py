"""Pictures as they are meant to be seen: upright, on white, in red, green and blue.

`header` looks at a file without decoding it; `pixels`, `grey`, `lit` and `alpha` decode it for
training, as a picture, a mask, a map of colours, or a picture that is its own mask. The same file
and view give the same bytes every time.
"""

from scumble.data.images.decoding import FORMATS, MODES
from scumble.data.images.endings import JPEG_END, PNG
from scumble.data.images.headers import (
    ANIMATED,
    CLOSED,
    CUT_SHORT,
    DAMAGED,
    EMPTY,
    FOREIGN,
    MANY_PAGES,
    MAX_PIXELS,
    ODD,
    REMEDIES,
    TOO_LARGE,
    TRANSPARENT,
    Header,
    header,
)
from scumble.data.images.viewing import Unreached, alpha, grey, lit, pixels

__all__ = [
    "ANIMATED",
    "CLOSED",
    "CUT_SHORT",
    "DAMAGED",
    "EMPTY",
    "FOREIGN",
    "FORMATS",
    "JPEG_END",
    "MANY_PAGES",
    "MAX_PIXELS",
    "MODES",
    "ODD",
    "PNG",
    "REMEDIES",
    "TOO_LARGE",
    "TRANSPARENT",
    "Header",
    "Unreached",
    "alpha",
    "grey",
    "header",
    "lit",
    "pixels",
]
