"""How a picture becomes what is trained on: the outcome of every law of sizes."""

import math
from dataclasses import dataclass, replace

Size = tuple[int, int]
"""Height and width, in pixels."""

ROUNDING = 1.05
"""Sides that grow by less than this are not called enlarged: it is the rounding to the step."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Resized to cover a size, then cut to it; all in (rows, columns) of the upright picture."""

    original: tuple[int, int]
    """Height and width of the upright picture."""

    resized: tuple[int, int]
    corner: tuple[int, int]
    """Rows cut off at the top and columns cut off at the left, after resizing."""

    size: tuple[int, int]

    def row(self) -> tuple[int, int, int, int, int, int, int, int]:
        """The eight numbers that families condition on, in the order of the fields."""
        return (*self.original, *self.resized, *self.corner, *self.size)


def strict(frame: Frame, width: int, height: int) -> Frame:
    """The frame of a reference or mask of that size which shows what the framed target shows.

    Equal shares of both pictures come to lie on the same pixel, whatever their sizes are. Where
    the shapes differ by more than rounding, the reference is stretched.
    """
    return replace(frame, original=(height, width))


def at_size(frame: Frame, size: Size) -> Frame:
    """The frame that shows the same part of the picture at another size.

    Where the shapes differ by rounding, it is stretched by that.
    """
    if size == frame.size:
        return frame
    grown = [new / old for new, old in zip(size, frame.size, strict=True)]
    rows, columns = (
        max(new, round(whole * by))
        for new, whole, by in zip(size, frame.resized, grown, strict=True)
    )
    top, left = (
        min(whole - new, round(at * by))
        for new, whole, at, by in zip(size, (rows, columns), frame.corner, grown, strict=True)
    )
    return Frame(frame.original, (rows, columns), (top, left), size)


def of_area(size: Size, side: int, step: int) -> Size:
    """The size of the same shape and about the area of a square of that side, in whole steps."""
    grown = side / math.sqrt(math.prod(size))
    rows, columns = (max(1, round(one * grown / step)) * step for one in size)
    return rows, columns


def lost(frame: Frame) -> float:
    """Share of the picture's area that is cut off, from 0 (all is kept) to below 1."""
    return 1 - math.prod(frame.size) / math.prod(frame.resized)


def enlarged(frame: Frame) -> bool:
    """Whether detail is made up: the sides grow by more than rounding to the step explains."""
    return math.prod(frame.resized) > ROUNDING**2 * math.prod(frame.original)
