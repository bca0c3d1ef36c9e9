"""SimpleTuner's law: each picture's own shape, rounded, or a listed one.

Rounding goes to the nearest multiple of the step, and from the middle to the even one, as there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scumble.data.sizes.frame import Size
from scumble.spec.sizing import AspectSizing

Draw = Callable[[str], float]
"""A uniform number in [0, 1) for a purpose, `top`, `left` or `aspect`; always the same one."""

Remembered = dict[tuple[float, float], Size]
"""The first size of each shape, by megapixels and width over height: later pictures of the shape
take it, so that all of them can stand in one batch."""

DECIMALS = 2
"""Shapes are told apart by so many digits."""

SQUARES = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}
"""Sides that megapixels as people write them stand for."""

NEAR = 0.05


@dataclass(frozen=True, slots=True)
class Scale:
    """How large pictures are trained."""

    area: bool
    amount: float
    """Megapixels if `area`, else pixels of the shorter side."""

    step: int


def scale(sizing: AspectSizing, amount: int | float, step: int) -> Scale:
    """The scale that a number of the settings means. A `pixel_area` of 1024 is 1.048576 MP."""
    match sizing.resolution_type:
        case "pixel_area":
            return Scale(area=True, amount=amount**2 / 1e6, step=step)
        case kind:
            return Scale(area=kind == "area", amount=float(amount), step=step)


def rounded(side: int | float, step: int) -> int:
    """The nearest multiple of `step`, but never nothing."""
    return max(step, round(side / step) * step)


def plain(aspect: float, scale: Scale, remembered: Remembered) -> Size:
    """The size of a shape without the rule for squares; `remembered` is read and added to."""
    if not scale.area:
        edge = int(scale.amount)
        wide, high = (edge, int(edge / aspect)) if aspect < 1 else (int(edge * aspect), edge)
        return rounded(high, scale.step), rounded(wide, scale.step)
    edge = rounded(int(math.sqrt(scale.amount * 1e6)), scale.step)
    width = rounded(edge * math.sqrt(aspect), scale.step)
    height = rounded(edge / math.sqrt(aspect), scale.step)
    key = scale.amount, round(width / height, DECIMALS)
    return remembered.setdefault(key, (height, width))


def square(scale: Scale) -> Size:
    """What every size whose shape comes out as 1.0 is replaced by."""
    side = scale.amount
    if scale.area:
        near = (SQUARES[known] for known in SQUARES if abs(scale.amount - known) <= NEAR)
        side = next(near, int(math.sqrt(scale.amount * 1e6)))
    side = rounded(side, scale.step)
    return side, side


def target(aspect: float, scale: Scale, remembered: Remembered) -> Size:
    """The size a shape is trained at."""
    height, width = plain(aspect, scale, remembered)
    return square(scale) if round(width / height, DECIMALS) == 1.0 else (height, width)


def covering(width: int, height: int, size: Size, scale: Scale) -> Size:
    """The size to resize to before `size` is cut out: just as large as it must be.

    Fractions are dropped where upstream drops them, so a side may be a pixel or two off the
    picture's own shape when the other side is the one that has to be reached.
    """
    rows, columns = size
    if not scale.area:
        if columns * height >= rows * width:
            return height * columns // width, columns
        return rows, width * rows // height
    aspect = width / height
    if columns < rows:
        high = int(columns / aspect)
        return (high, columns) if high >= rows else (rows, int(columns + (rows - high) * aspect))
    wide = int(rows * aspect)
    return (rows, wide) if wide >= columns else (int(rows + (columns - wide) / aspect), columns)


@dataclass(frozen=True, slots=True)
class Law:
    """The settings, in the units they are reckoned with."""

    sizing: AspectSizing
    scale: Scale
    smaller: Scale | None
    """What pictures are resized to before the cut, if that is not as small as possible."""


def law(sizing: AspectSizing, resolution: int | float, step: int) -> Law:
    """The law of one set; `step` is the family's, which the settings may raise."""
    step, smaller = sizing.step or step, None
    limited = sizing.crop and sizing.maximum_image_size is not None
    if limited and sizing.target_downsample_size is not None:
        smaller = scale(sizing, sizing.target_downsample_size, step)
    return Law(sizing, scale(sizing, resolution, step), smaller)


def fit(law: Law, width: int, height: int, draw: Draw, remembered: Remembered) -> tuple[Size, Size]:
    """What a picture is resized to, and the size that is cut out of it.

    As upstream, `target_downsample_size` is what *every* picture is resized to whose area is not
    the trained one, also those below `maximum_image_size`: a larger one means a closer cut. If
    it is too small to cut from, it is not used.
    """
    aspect = max(0.01, round(width / height, DECIMALS))
    size = _shaped(law, width, height, draw, remembered)
    if law.smaller is not None and width * height != math.prod(size):
        own = plain(aspect, law.smaller, remembered)
        resized = covering(width, height, own, law.smaller)
        if resized[0] >= size[0] and resized[1] >= size[1]:
            return resized, size
    return covering(width, height, size, law.scale), size


def _shaped(law: Law, width: int, height: int, draw: Draw, remembered: Remembered) -> Size:
    """The trained size of a picture: of its own shape, the square, or a listed shape."""
    own = max(0.01, round(width / height, DECIMALS))
    shape = law.sizing.crop_aspect if law.sizing.crop else "preserve"
    if shape == "preserve":
        return target(own, law.scale, remembered)
    if shape == "square":
        return square(law.scale)
    listed = {n: target(a, law.scale, remembered) for n, a in _listed(law.sizing)}
    most = law.sizing.max_upscale_threshold
    fitting = [n for n in listed if most is None or _growth(width, height, listed[n]) <= most]
    if not fitting:
        return square(law.scale)
    if shape == "closest":
        aspects = law.sizing.crop_aspect_buckets
        return listed[min(fitting, key=lambda n: abs(aspects[n] - own))]
    return listed[_drawn(fitting, law.sizing.crop_aspect_weights, draw("aspect"))]


def _listed(sizing: AspectSizing) -> list[tuple[int, float]]:
    return list(enumerate(sizing.crop_aspect_buckets))


def _growth(width: int, height: int, size: Size) -> float:
    """By which share a picture has to be enlarged to cover a size; below 0 if it shrinks."""
    return max(size[0] / height, size[1] / width) - 1


def _drawn(fitting: list[int], weights: tuple[float, ...], number: float) -> int:
    """The one that a number in [0, 1) falls on, when each is as long as its weight."""
    lengths = [weights[n] if weights else 1.0 for n in fitting]
    left = number * math.fsum(lengths)
    for n, length in zip(fitting, lengths, strict=True):
        if left < length:
            return n
        left -= length
    return fitting[-1]
