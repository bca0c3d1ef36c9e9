"""What the pixels of one pair tell: how far they differ, where they lie, which has more detail.

Pictures are compared twice: whole, at no more than SIDE pixels, and in a window at the target's
own size, where what is lost by making a picture smaller can still be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from jaxtyping import Float32
from PIL import Image
from PIL.Image import Resampling

from scumble.data.pairs import opening
from scumble.data.pairs.opening import Pixels
from scumble.data.pairs.shift import Shift, shift

SIDE = 512
"""Pixels of the longer side of what is compared."""

BLOCK = 16
"""Side of the blocks whose mean difference is taken: a change in one corner is a change."""

FAR = 0.25
"""Of the window: from that shift on, two windows show different things."""

Grey = Float32[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a picture has more or less of; compared by the logarithm of the ratio."""

    sharpness: float
    """Strength of the finest detail against that of everything."""

    colour: float
    """Mean distance of the strongest from the weakest channel, in levels of 255."""

    noise: float
    """Median of what a smooth surface cannot have, in levels of 255."""

    def over(self, other: Traits) -> dict[str, float]:
        """Logarithm of how much more this one has, by trait."""
        return {
            "sharpness": log((self.sharpness + 1e-3) / (other.sharpness + 1e-3)),
            "colour": log((self.colour + 2) / (other.colour + 2)),
            "noise": log((self.noise + 1) / (other.noise + 1)),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target against its partner."""

    difference: float
    """Mean difference, in levels of 255, in the block where it is greatest."""

    shift: Shift | None
    """How far the partner lies from its place, in pixels of the target; None: not certain."""

    more: dict[str, float]
    """Logarithm of how much more of each trait the target has."""


def compared(target: Image.Image, other: Image.Image) -> Comparison:
    """Compare two upright pictures; the other is brought to the target's size.

    So both must be of one shape for a shift to mean anything.
    """
    size = opening.within(target.size, SIDE)
    whole = opening.reduced(target, size), opening.reduced(other, size)
    window = whole if size == target.size and size == other.size else _window(target, other, whole)
    traits = [_traits(picture) for picture in window]
    scale = target.width / size[0]
    return Comparison(
        difference=max(_difference(*whole), _difference(*window)),
        shift=_placed(whole, window, scale),
        more=traits[0].over(traits[1]),
    )


def _placed(whole: tuple[Pixels, Pixels], window: tuple[Pixels, Pixels], scale: float):
    """The shift of the whole, more exactly from the window if that does not contradict."""
    found = shift(_grey(whole[0]), _grey(whole[1]))
    if found is None or scale == 1:
        return found
    coarse = found.times(scale)
    if coarse.length > FAR * min(window[0].shape[:2]):
        return coarse
    fine = shift(_grey(window[0]), _grey(window[1]))
    if fine is None:
        return coarse if found.length > 1 else None
    return fine if fine.apart(coarse) <= max(1.5, scale) else None


def _window(
    target: Image.Image, other: Image.Image, whole: tuple[Pixels, Pixels]
) -> tuple[Pixels, Pixels]:
    """A part of both at the target's size, where there is most to see in both."""
    width, height = (min(SIDE, side) for side in target.size)
    across, down = _richest(whole)
    left = round(across * (target.width - width))
    top = round(down * (target.height - height))
    cut = (left, top, left + width, top + height)
    ratio = other.width / target.width, other.height / target.height
    box = (cut[0] * ratio[0], cut[1] * ratio[1], cut[2] * ratio[0], cut[3] * ratio[1])
    size = (width, height)
    second = other.crop(cut) if other.size == target.size else None
    second = second or other.resize(size, Resampling.LANCZOS, _inside(box, other.size))
    return np.array(target.crop(cut)), np.array(second)


def _inside(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Pillow refuses a box that rounding took out of the picture."""
    return box[0], box[1], min(box[2], size[0]), min(box[3], size[1])


def _richest(whole: tuple[Pixels, Pixels]) -> tuple[float, float]:
    """Shares of the free room left of and above the part with most detail, of nine parts."""
    detail = [np.abs(np.diff(_grey(one), axis=1)) for one in whole]
    places = [(across, down) for down in (0.5, 0.0, 1.0) for across in (0.5, 0.0, 1.0)]

    def richness(place: tuple[float, float]) -> float:
        parts = []
        for one in detail:
            rows, columns = (side // 2 for side in one.shape)
            top = round(place[1] * (one.shape[0] - rows))
            left = round(place[0] * (one.shape[1] - columns))
            parts.append(float(one[top : top + rows, left : left + columns].mean()))
        return min(parts)

    return max(places, key=richness)


def _difference(first: Pixels, second: Pixels) -> float:
    """How far the block that differs most is off: in its light anywhere, or in a mean colour.

    JPEG halves the colours' size, so that single pixels of the same picture may differ much.
    """
    light = np.abs(_grey(first) - _grey(second))[..., None]
    colour = first.astype(np.float32) - second
    return max(float(np.abs(_means(one)).max()) for one in (light, colour))


def _means(values: Float32[np.ndarray, "height width channels"]) -> np.ndarray:
    """Of blocks of about BLOCK pixels, the last of a row and column being larger."""
    for axis in (0, 1):
        count = max(1, values.shape[axis] // BLOCK)
        starts = np.arange(count) * BLOCK
        sums = np.add.reduceat(values, starts, axis=axis)
        sizes = np.diff([*starts, values.shape[axis]])
        values = sums / sizes.reshape(-1, *(1,) * (values.ndim - 1 - axis)).astype(np.float32)
    return values


def _traits(picture: Pixels) -> Traits:
    grey = _grey(picture)
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    corners = grey[:-2, :-2] + grey[:-2, 2:] + grey[2:, :-2] + grey[2:, 2:]
    fine = 4 * middle - around
    red, green, blue = (picture[..., channel] for channel in range(3))
    strongest = np.maximum(np.maximum(red, green), blue)
    weakest = np.minimum(np.minimum(red, green), blue)
    return Traits(
        sharpness=float(fine.std() / (grey.std() + 1)),
        colour=float((strongest - weakest).mean()),
        noise=float(np.median(np.abs(4 * middle - 2 * around + corners)) / 4),
    )


def _grey(picture: Pixels) -> Grey:
    red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue
