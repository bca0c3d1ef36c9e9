"""Which size a picture is trained at, and what is cut off for it: arithmetic on whole numbers.

Sizes are (height, width), as arrays have them; only arguments named so come as width, height.
"""

import math
from dataclasses import dataclass

from scumble import dice
from scumble.spec.dataset import ASPECTS, FolderSpec, ratio

ROUNDING = 1.05
"""Sides that grow by less than this are not called enlarged: it is the rounding to the step."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a picture becomes what is trained on: resized to cover a size, then cut to it."""

    original: tuple[int, int]
    """Height and width of the upright picture."""

    resized: tuple[int, int]
    corner: tuple[int, int]
    """Rows cut off at the top and columns cut off at the left, after resizing."""

    size: tuple[int, int]

    def row(self) -> tuple[int, int, int, int, int, int, int, int]:
        """The eight numbers that families condition on, in the order of the fields."""
        return (*self.original, *self.resized, *self.corner, *self.size)


def sizes(resolution: int, step: int, aspects: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """The trained size of each aspect, in their order, with sides that are multiples of `step`.

    Each side is rounded by itself to the nearest multiple. With a and b the logs of how far the
    sides are off, the aspect is off by |a - b| and the area by |a + b|; their sum, 2 max(|a|,
    |b|), is least when each side is as near as it can be. 1024, step 16, "16:9" is (768, 1360).
    """
    return tuple(_size(resolution, step, ratio(aspect)) for aspect in aspects)


def frame(
    width: int,
    height: int,
    spec: FolderSpec,
    step: int,
    *,
    place: tuple[float, float] = (0.5, 0.5),
) -> Frame:
    """How a picture is fitted; `place` is the share of the free room left at the top and left.

    With `crop: none` nothing is cut, and rounding may stretch a side by half a step. Otherwise
    the size is the one whose shape is nearest by ratio, and at most one direction is cut.
    """
    original = (height, width)
    if spec.crop == "none":
        size = _size(spec.resolution, step, width / height)
        return Frame(original, size, (0, 0), size)
    size = _nearest(width / height, sizes(spec.resolution, step, spec.aspects or ASPECTS))
    resized = _covering(original, size)
    top, left = (
        min(free, int(share * (free + 1)))
        for share, free in zip(place, (resized[0] - size[0], resized[1] - size[1]), strict=True)
    )
    return Frame(original, resized, (top, left), size)


def place(seed: int, dataset: str, id: str, variant: int) -> tuple[float, float]:
    """Where the `variant`th random cut of a picture lies; the same in every run of that seed."""
    top = dice.uniform(seed, "crop", dataset, id, variant, "top")
    left = dice.uniform(seed, "crop", dataset, id, variant, "left")
    return top, left


def lost(frame: Frame) -> float:
    """Share of the picture's area that is cut off, from 0 (all is kept) to below 1."""
    return 1 - math.prod(frame.size) / math.prod(frame.resized)


def enlarged(frame: Frame) -> bool:
    """Whether detail is made up: the sides grow by more than rounding to the step explains."""
    return math.prod(frame.resized) > ROUNDING**2 * math.prod(frame.original)


def _size(resolution: int, step: int, ratio: float) -> tuple[int, int]:
    """The size of that width over height whose area is about that of the square."""
    height, width = resolution / math.sqrt(ratio), resolution * math.sqrt(ratio)
    return _rounded(height, step), _rounded(width, step)


def _rounded(side: float, step: int) -> int:
    """The nearest multiple of `step`, but never nothing."""
    return max(1, int(side / step + 0.5)) * step


def _nearest(ratio: float, sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The size least unlike that width over height; of two alike, the one named first."""
    return min(sizes, key=lambda size: abs(math.log(size[1] / size[0] / ratio)))


def _covering(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the original's shape that covers `size`: one side equals it."""
    (height, width), (rows, columns) = original, size
    if width * rows >= columns * height:
        return rows, max(columns, (2 * width * rows + height) // (2 * height))
    return max(rows, (2 * height * columns + width) // (2 * width)), columns
