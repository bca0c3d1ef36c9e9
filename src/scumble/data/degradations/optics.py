"""What lenses, moving hands and small sensors do: blur, and detail that is lost for good."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter
from PIL.Image import Resampling, Transform

from scumble.spec.degradation import Blur

Method = Literal["area", "bilinear", "bicubic", "lanczos", "nearest"]
RESAMPLING: dict[Method, Resampling] = {
    "area": Resampling.BOX,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
    "nearest": Resampling.NEAREST,
}


def blurred(picture: Image.Image, spec: Blur, random: np.random.Generator) -> Image.Image:
    """Out of focus or moved; the edge of the picture is taken to go on as it is."""
    match spec.blur_type:
        case "gaussian":
            return gaussian(picture, spec.radius)
        case "box":
            return box(picture, spec.radius)
        case "motion":
            angle = float(random.uniform(0, 180)) if spec.angle is None else spec.angle
            return moved(picture, spec.length, angle)


def gaussian(picture: Image.Image, radius: float) -> Image.Image:
    """Blurred with a standard deviation of `radius` pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def box(picture: Image.Image, radius: float) -> Image.Image:
    """Each pixel becomes the mean of the square of 2 `radius` + 1 pixels around it."""
    return picture.filter(ImageFilter.BoxBlur(radius))


def moved(picture: Image.Image, length: float, angle: float) -> Image.Image:
    """The mean of the picture along a way of `length` pixels, with a sample for each of them.

    `angle` is in degrees, 0 to the right and 90 up; the way is centred, so nothing is shifted.
    """
    margin = math.ceil(length / 2) + 1
    pixels = np.asarray(picture)
    wide = Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), "edge"))
    along, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    samples = max(2, math.ceil(length) + 1)
    total = np.zeros(pixels.shape, np.float32)
    for place in np.linspace(-length / 2, length / 2, samples):
        corner = (1.0, 0.0, margin + place * along, 0.0, 1.0, margin - place * up)
        total += np.asarray(
            wide.transform(picture.size, Transform.AFFINE, corner, Resampling.BILINEAR)
        )
    return Image.fromarray(np.rint(total / samples).astype(np.uint8))


def rescaled(picture: Image.Image, factor: float, down: Method, up: Method) -> Image.Image:
    """Made `factor` times smaller, at least one pixel, and as large as before again."""
    small = max(1, round(picture.width / factor)), max(1, round(picture.height / factor))
    return picture.resize(small, RESAMPLING[down]).resize(picture.size, RESAMPLING[up])
