"""Noise of sensors and of broken pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from scumble.spec.degradation import Noise

ROWS = 256
"""So many rows are noised at a time: the noise takes four times the memory of the pixels."""


def noisy(picture: Image.Image, spec: Noise, random: np.random.Generator) -> Image.Image:
    """Grain, then salt and pepper."""
    grained = grainy(picture, spec.level, random, coloured=spec.coloured)
    if spec.salt_and_pepper == 0:
        return grained
    pixels = np.array(grained)
    for rows in _bands(pixels):
        drawn = random.random(rows.shape[:2], np.float32)
        rows[drawn < spec.salt_and_pepper / 2] = 0
        rows[drawn >= 1 - spec.salt_and_pepper / 2] = 255
    return Image.fromarray(pixels)


def grainy(
    picture: Image.Image, level: float, random: np.random.Generator, *, coloured: bool = True
) -> Image.Image:
    """With normal noise of standard deviation `level` of the range; rounded, so of no bias."""
    pixels = np.array(picture)
    for rows in _bands(pixels):
        shape = rows.shape if coloured else (*rows.shape[:2], 1)
        grain = random.standard_normal(shape, np.float32) * np.float32(255 * level)
        rows[:] = np.clip(np.rint(rows + grain), 0, 255)
    return Image.fromarray(pixels)


def _bands(pixels: np.ndarray) -> list[np.ndarray]:
    """Views of a picture's rows, a few at a time."""
    return [pixels[top : top + ROWS] for top in range(0, len(pixels), ROWS)]
