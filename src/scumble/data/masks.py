"""Where the loss counts: what becomes of a mask's grey before it weighs the loss.

In this order: inverted, grown or shrunk, softened, brought to the size of the latents, made
black or white, raised to the least. Grey is linear: 255 is 1, 0 is exactly 0, and stays so wherever
no edge was softened.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

from scumble.spec.references import MaskSpec

Grey = UInt8[np.ndarray, "height width"]


def weights(grey: Grey, spec: MaskSpec, cells: int) -> Float32[np.ndarray, "_ _"]:
    """The weight of each place of the latents, of a mask that has the trained size."""
    found = reduced(values(grey, spec), cells)
    if not spec.binary:
        return found
    return np.maximum((found > 0).astype(np.float32), np.float32(spec.minimum))


def values(grey: Grey, spec: MaskSpec) -> Float32[np.ndarray, "height width"]:
    """The weight of each pixel, from 0 to 1, before the least: what a binary mask makes of grey
    is known once it is small."""
    if spec.invert:
        grey = 255 - grey
    grey = softened(grown(grey, spec.grow), spec.blur)
    least = 0.0 if spec.binary else spec.minimum
    return np.maximum(grey.astype(np.float32) / 255, np.float32(least))


def reduced(weights: Float32[np.ndarray, "height width"], cells: int) -> Float32[np.ndarray, "_ _"]:
    """The mean of each square of `cells` x `cells` pixels, which is one place of the latents."""
    height, width = weights.shape
    assert height % cells == 0 and width % cells == 0, "masks have the trained size"
    squares = weights.reshape(height // cells, cells, width // cells, cells)
    return squares.mean((1, 3), dtype=np.float32)


def grown(grey: Grey, radius: int) -> Grey:
    """Each pixel takes the lightest grey within `radius` pixels, or the darkest if below 0.

    Round, so that a point becomes a disc. Beyond the edge of the picture there is nothing that
    could grow or shrink into it.
    """
    if radius == 0:
        return grey
    if radius < 0:
        return 255 - _dilated(255 - grey, -radius)
    return _dilated(grey, radius)


def softened(grey: Grey, radius: float) -> Grey:
    """With edges softened by a Gaussian of that standard deviation in pixels."""
    if radius == 0:
        return grey
    return np.array(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(radius)))


def _dilated(grey: Grey, radius: int) -> Grey:
    """The maximum over a disc, as that over its rows, of which the widest lies in the middle.

    The rows are widened by one pixel at a time, so all of them take 4 `radius` passes together.
    """
    radius = min(radius, math.ceil(math.hypot(*grey.shape)))
    result, row, half = np.zeros_like(grey), grey.copy(), 0
    for distance in range(radius, -1, -1):
        wanted = math.isqrt(radius**2 - distance**2)
        for step in range(half + 1, wanted + 1):
            np.maximum(row[:, :-step], grey[:, step:], out=row[:, :-step])
            np.maximum(row[:, step:], grey[:, :-step], out=row[:, step:])
        half = wanted
        below, above = slice(distance, None), slice(None, max(0, len(grey) - distance))
        np.maximum(result[below], row[above], out=result[below])
        np.maximum(result[above], row[below], out=result[above])
    return result
