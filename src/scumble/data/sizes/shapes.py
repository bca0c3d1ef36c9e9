"""Our own law: cut to the nearest of a few shapes, all of about the area of the square."""

import math
from functools import lru_cache

from scumble.data.sizes.frame import Size
from scumble.spec.sizing import ASPECTS, ShapesSizing, ratio


@lru_cache
def sizes(resolution: int, step: int, aspects: tuple[str, ...]) -> tuple[Size, ...]:
    """The trained size of each aspect, in their order, with sides that are multiples of `step`.

    Each side is rounded by itself to the nearest multiple. With a and b the logs of how far the
    sides are off, the aspect is off by |a - b| and the area by |a + b|; their sum, 2 max(|a|,
    |b|), is least when each side is as near as it can be. 1024, step 16, "16:9" is (768, 1360).
    """
    return tuple(_size(resolution, step, ratio(aspect)) for aspect in aspects)


def fit(
    sizing: ShapesSizing, resolution: int, step: int, width: int, height: int
) -> tuple[Size, Size]:
    """What a picture is resized to, and the size that is cut out of it.

    With `crop: none` nothing is cut, and rounding may stretch a side by half a step. Otherwise
    the size is the one whose shape is nearest by ratio, and at most one direction is cut.
    """
    if sizing.crop == "none":
        size = _size(resolution, step, width / height)
        return size, size
    known = sizes(resolution, step, sizing.aspects or ASPECTS)
    size = _nearest(width / height, known)
    return _covering((height, width), size), size


def _size(resolution: int, step: int, ratio: float) -> Size:
    """The size of that width over height whose area is about that of the square."""
    height, width = resolution / math.sqrt(ratio), resolution * math.sqrt(ratio)
    return _rounded(height, step), _rounded(width, step)


def _rounded(side: float, step: int) -> int:
    """The nearest multiple of `step`, but never nothing."""
    return max(1, int(side / step + 0.5)) * step


def _nearest(ratio: float, sizes: tuple[Size, ...]) -> Size:
    """The size least unlike that width over height; of two alike, the one named first."""
    return min(sizes, key=lambda size: abs(math.log(size[1] / size[0] / ratio)))


def _covering(original: Size, size: Size) -> Size:
    """The smallest size of the original's shape that covers `size`: one side equals it."""
    (height, width), (rows, columns) = original, size
    if width * rows >= columns * height:
        return rows, max(columns, (2 * width * rows + height) // (2 * height))
    return max(rows, (2 * height * columns + width) // (2 * width)), columns
