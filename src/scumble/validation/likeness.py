"""How like one picture is to another."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB over all channels; infinite for equal pictures."""
    squared = np.square(_values(one) - _values(other)).mean()
    return math.inf if squared == 0 else 20 * math.log10(255) - 10 * math.log10(squared)


def apart(one: Image.Image, other: Image.Image) -> float:
    """Mean distance of two pictures, in levels of 255."""
    return float(np.abs(_values(one) - _values(other)).mean())


def decibels(value: float) -> str:
    """A PSNR in words."""
    return "equal in every pixel" if math.isinf(value) else f"PSNR {value:.1f} dB"


def _values(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), np.float64)
