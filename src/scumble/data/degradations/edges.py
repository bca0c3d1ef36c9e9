"""Edges after J. Canny, "A computational approach to edge detection", 1986, by OpenCV."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from PIL import Image

from scumble.errors import JobError
from scumble.spec.degradation import Canny

SIGMA, SIDE = 1.4, 7
"""The detector begins with a Gaussian, which OpenCV leaves to its caller."""


def edges(picture: Image.Image, spec: Canny) -> Image.Image:
    """White lines on black, in three equal channels."""
    demanded()
    import cv2

    grey = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)
    soft = cv2.GaussianBlur(grey, (SIDE, SIDE), SIGMA)
    lines = cv2.Canny(soft, spec.low_threshold, spec.high_threshold, L2gradient=True)
    return Image.fromarray(lines).convert("RGB")


def demanded() -> None:
    """JobError if OpenCV is not installed."""
    if find_spec("cv2") is None:
        problem, remedy = "`canny` needs OpenCV", "run `pip install 'scumble[opencv]'`"
        raise JobError("degrade", problem, remedy)
