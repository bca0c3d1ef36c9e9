"""Masks without any network: transparency, colour, and OpenCV's GrabCut."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from scumble.data import whole
from scumble.data.mask_makers.makers import Alpha, Backdrop, GrabCut
from scumble.data.masks import Grey
from scumble.data.sources.record import File
from scumble.errors import FileError, JobError

LONGEST = 384
"""GrabCut looks at no more than so many pixels a side: 1.3 s of a core, where 512 take 3.9."""

ROUNDS = 5
SEED = 1
GRAIN = 3.0
"""Noise in shades: GrabCut's mixtures of colours fail where some of them have no spread."""

FLAT = 1.0
"""With a smaller spread than so many shades, there is nothing to tell apart."""

SCREEN = 40
"""Green or blue of a screen exceeds both other channels by so many shades."""


def drawn(maker: Alpha | GrabCut | Backdrop, file: File) -> Grey:
    """The mask of one picture; FileError if it cannot be read or nothing can be told apart."""
    match maker:
        case Alpha():
            return whole.opacity(file)
        case Backdrop():
            return backdrop(whole.upright(file), maker)
        case GrabCut():
            mask = grabcut(whole.upright(file), maker)
            if mask is None:
                problem = "GrabCut finds nothing in the box that differs from what lies around it"
                raise FileError(file, problem, "give another --box, or another way")
            return mask


def backdrop(picture: Image.Image, maker: Backdrop) -> Grey:
    """White where the picture has not the colour of the background."""
    pixels = np.asarray(picture).astype(np.int16)
    if maker.colour is None:
        return np.where(_screen(pixels), 0, 255).astype(np.uint8)
    away = np.abs(pixels - np.array(maker.colour, np.int16)).max(-1)
    return np.where(away > maker.tolerance, 255, 0).astype(np.uint8)


def demanded() -> None:
    """JobError if OpenCV is not installed."""
    if find_spec("cv2") is None:
        remedy = "run `pip install 'scumble[opencv]'`, or make masks another way"
        raise JobError("data masks", "GrabCut needs OpenCV", remedy)


def grabcut(picture: Image.Image, maker: GrabCut) -> Grey | None:
    """What OpenCV takes for the foreground of the box; None if it sees none.

    Rother, Kolmogorov, Blake 2004: outside the box all is background, within it what has other
    colours is not.
    """
    import cv2

    small = picture.copy()
    small.thumbnail((LONGEST, LONGEST), Resampling.BOX)
    seeds = np.full((small.height, small.width), cv2.GC_BGD, np.uint8)
    rows, columns = _inner(maker.box, small.size)
    seeds[rows, columns] = cv2.GC_PR_FGD
    if (seeds == cv2.GC_BGD).sum() < ROUNDS or (seeds == cv2.GC_PR_FGD).sum() < ROUNDS:
        return None
    colours = np.asarray(small)[..., ::-1]
    if colours.std((0, 1)).max() < FLAT:
        return None
    grain = np.random.Generator(np.random.Philox(key=SEED)).standard_normal(colours.shape)
    colours = np.clip(np.rint(colours + GRAIN * grain), 0, 255).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(SEED)
    try:
        cv2.grabCut(colours, seeds, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None
    kept = np.where((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)
    if not kept.any():
        return None
    large = Image.fromarray(kept).resize(picture.size, Resampling.BICUBIC)
    return np.where(np.asarray(large) >= 128, 255, 0).astype(np.uint8)


def _screen(pixels: np.ndarray) -> np.ndarray:
    """Where a green or blue screen shows."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    greens = green - np.maximum(red, blue) > SCREEN
    blues = blue - np.maximum(red, green) > SCREEN
    return greens if _edge(greens) >= _edge(blues) else blues


def _edge(where: np.ndarray) -> int:
    """How many pixels of the picture's edge are meant."""
    return int(where[0].sum() + where[-1].sum() + where[:, 0].sum() + where[:, -1].sum())


def _inner(box: tuple[float, ...], size: tuple[int, int]) -> tuple[slice, slice]:
    left, top, right, bottom = box
    columns = slice(round(left * size[0]), round(right * size[0]))
    rows = slice(round(top * size[1]), round(bottom * size[1]))
    return rows, columns
