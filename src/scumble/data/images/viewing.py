"""Files as they are trained on: decoded, resized, cut and changed as a view says."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.Image import Resampling, Transpose

from scumble.data.augment import coloured
from scumble.data.images.decoding import Kind, decoded
from scumble.data.sizes.frame import Frame
from scumble.data.sources.record import File, opened
from scumble.data.view import Degraded, View
from scumble.errors import FileError


class Unreached(FileError):
    """A picture of which nothing is known to be wrong: it changed, or disk or memory failed it."""


METHODS = {
    "lanczos": Resampling.LANCZOS,
    "bicubic": Resampling.BICUBIC,
    "bilinear": Resampling.BILINEAR,
    "nearest": Resampling.NEAREST,
    "area": Resampling.BOX,
}
"""All but `nearest` look at every pixel when they make a picture smaller."""


def pixels(file: File, view: View) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in its view. FileError if it cannot be decoded or is not the one framed.

    A picture that has its size already is not resampled. Transparent parts become white; of an
    animation the first frame is taken; numbers of 16 bits are scaled, not clipped.
    """
    made = view.degraded
    full = view.interpolation == "nearest" or (made is not None and made.at == "original")
    picture = _decoded(file, view.frame, "colour", None if full else view.frame.resized)
    if made is not None and made.at == "original":
        picture = _degraded(picture, made)
    picture = _framed(picture, view, _method(view.interpolation, picture, view.frame))
    if view.colours is not None:
        picture = coloured(picture, view.colours)
    if made is not None and made.at == "trained":
        picture = _degraded(picture, made)
    if view.shown is not None and view.shown != view.frame.size:
        height, width = view.shown
        picture = picture.resize((width, height), _method(view.interpolation, picture, view.frame))
    return np.array(picture)


def grey(file: File, view: View) -> UInt8[np.ndarray, "height width"]:
    """A mask in its view: any picture as shades of grey, on black where it is transparent.

    Resized so that edges become no harder and nothing rings: the average of what falls together,
    or a slope between neighbours. Colours and degradation are not for masks.
    """
    return _flat(file, view, "grey")


def alpha(file: File, view: View) -> UInt8[np.ndarray, "height width"]:
    """How solid a picture is, in its view, as a mask; 255 throughout if nothing is transparent."""
    return _flat(file, view, "alpha")


def lit(file: File, view: View) -> UInt8[np.ndarray, "height width"]:
    """A map in its view: white wherever it has any colour at all."""
    return _flat(file, view, "lit")


def _flat(file: File, view: View, kind: Kind) -> np.ndarray:
    """A mask in its view; only `nearest` is kept of how pictures are resized."""
    picture = _decoded(file, view.frame, kind, None)
    method = Resampling.NEAREST
    if view.interpolation != "nearest":
        smaller = _shrinks(picture, view.frame)
        method = Resampling.BOX if smaller else Resampling.BILINEAR
    return np.array(_framed(picture, view, method))


def _decoded(file: File, frame: Frame, kind: Kind, needed: tuple[int, int] | None) -> Image.Image:
    """The upright picture, or FileError."""
    try:
        stream = opened(file)
    except OSError as error:
        problem = f"cannot be opened ({error})"
        raise Unreached(file, problem, "check permissions, and where it lies") from error
    try:
        with stream:
            picture = decoded(stream, frame.original, kind, needed)
    except Exception as error:
        raise _blamed(file, error) from error
    if picture is None:
        raise Unreached(file, "has changed since it was looked at", "start again")
    return picture


def _blamed(file: File, error: Exception) -> FileError:
    """Whether the picture is broken, or it could not be looked at: Pillow's own errors have no
    number."""
    if isinstance(error, MemoryError):
        return Unreached(file, "does not fit into memory", "scale it down, or stop other programs")
    if isinstance(error, OSError) and error.errno is not None:
        return Unreached(file, f"cannot be read ({error})", "look at the disk, then start again")
    return FileError(file, f"cannot be decoded ({error})", "save it again or remove it")


def _framed(picture: Image.Image, view: View, method: Resampling) -> Image.Image:
    """Resized, cut and mirrored."""
    (height, width), (top, left) = view.frame.resized, view.frame.corner
    if picture.size != (width, height):
        picture = picture.resize((width, height), method)
    rows, columns = view.frame.size
    if picture.size != (columns, rows):
        picture = picture.crop((left, top, left + columns, top + rows))
    return picture.transpose(Transpose.FLIP_LEFT_RIGHT) if view.flipped else picture


def _method(interpolation: str, picture: Image.Image, frame: Frame) -> Resampling:
    """What `auto` stands for depends on the way a picture goes."""
    if interpolation == "auto":
        interpolation = "area" if _shrinks(picture, frame) else "lanczos"
    return METHODS[interpolation]


def _shrinks(picture: Image.Image, frame: Frame) -> bool:
    """Whether neither side grows."""
    height, width = frame.resized
    return width <= picture.width and height <= picture.height


def _degraded(picture: Image.Image, made: Degraded) -> Image.Image:
    """After what the specification does to it; equal keys do the same."""
    from scumble.data.degradations import degraded

    random = np.random.Generator(np.random.Philox(key=made.key))
    return degraded(picture, made.spec, random)
