"""Parts of a picture that are covered at random, to be painted again by the network."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from scumble.data.degradations import shapes
from scumble.spec.degradation import Outpaint, RandomMasks

MOST_SHAPES = 200
"""Then the least coverage is given up: the picture is too small for it."""

GROWTH = 1.1
"""By this factor shapes grow once there are as many as asked for and they do not cover enough."""

LARGEST = 16.0
"""They grow no further."""

HALVINGS = 8
"""So often a shape that would cover too much is halved before it is left out."""

GREYS = {"grey": 128, "white": 255, "black": 0}


def covered(
    picture: Image.Image, spec: RandomMasks | Outpaint, random: np.random.Generator
) -> Image.Image:
    """With parts or bands covered, or these alone, in white on black."""
    match spec:
        case RandomMasks():
            return masked(picture, spec, random)
        case Outpaint():
            return outpainted(picture, spec, random)


def masked(picture: Image.Image, spec: RandomMasks, random: np.random.Generator) -> Image.Image:
    """The covered parts as a grey picture, or the picture with its parts covered."""
    hard = mask(picture.size, spec, random)
    soft = _softened(hard, spec.edge_blur, inside=spec.edge_feather)
    if spec.invert:
        soft = 1 - soft
    if spec.output == "mask":
        grey = np.rint(soft * spec.mask_value).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    cover = np.full((*soft.shape, 3), spec.mask_value, np.uint8)
    return _blended(picture, cover, soft)


def mask(
    size: tuple[int, int], spec: RandomMasks, random: np.random.Generator
) -> UInt8[np.ndarray, "height width"]:
    """255 where covered, else 0; `size` is (width, height).

    The share of what is covered lies within `spec.coverage`, as far as pixels allow.
    """
    least = spec.coverage[0]
    wanted = int(random.integers(spec.counts[0], spec.counts[1] + 1))
    canvas = Image.new("L", size, 0)
    for number in range(MOST_SHAPES):
        if number >= wanted and _share(canvas) >= least:
            break
        scale = min(LARGEST, GROWTH ** max(0, number - wanted))
        canvas = _with_one_more(canvas, spec, random, scale)
    return np.array(canvas)


def outpainted(picture: Image.Image, spec: Outpaint, random: np.random.Generator) -> Image.Image:
    """With bands along some sides, or these bands in white on black."""
    bands = np.zeros((picture.height, picture.width), np.float32)
    count = random.integers(spec.counts[0], min(spec.counts[1], len(spec.sides)) + 1)
    for place in sorted(random.permutation(len(spec.sides))[:count]):
        width = shapes.within(spec.width, random)
        across, down = round(width * picture.width), round(width * picture.height)
        match spec.sides[place]:
            case "left":
                bands[:, :across] = 1
            case "right":
                bands[:, picture.width - across :] = 1
            case "top":
                bands[:down] = 1
            case "bottom":
                bands[picture.height - down :] = 1
    if spec.output == "mask":
        return Image.fromarray((bands * 255).astype(np.uint8)).convert("RGB")
    return _blended(picture, _filling(picture, spec, random), bands)


def _with_one_more(
    canvas: Image.Image, spec: RandomMasks, random: np.random.Generator, scale: float
) -> Image.Image:
    """With another shape, smaller than drawn if it would cover too much, or as it was."""
    shape = shapes.drawn(canvas.size, spec, random)
    for _ in range(HALVINGS):
        more = canvas.copy()
        shapes.paint(more, shape, scale)
        if _share(more) <= spec.coverage[1]:
            return more
        scale /= 2
    return canvas


def _share(canvas: Image.Image) -> float:
    return canvas.histogram()[255] / (canvas.width * canvas.height)


def _softened(
    hard: UInt8[np.ndarray, "height width"], radius: float, *, inside: bool
) -> Float[np.ndarray, "height width"]:
    """From 0 to 1, with edges softened on both sides, or on their inner side only."""
    blurred = Image.fromarray(hard).filter(ImageFilter.GaussianBlur(radius))
    soft = np.asarray(blurred, np.float32) / 255
    if not inside or radius == 0:
        return soft
    return np.clip(2 * soft - 1, 0, 1) * (hard > 0)  # in concave corners it would reach out


def _filling(
    picture: Image.Image, spec: Outpaint, random: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    pixels = np.asarray(picture)
    match spec.fill:
        case "noise":
            return random.integers(0, 256, pixels.shape, np.uint8)
        case "mean":
            mean = np.rint(pixels.mean((0, 1))).astype(np.uint8)
            return np.broadcast_to(mean, pixels.shape)
        case _:
            return np.full(pixels.shape, GREYS[spec.fill], np.uint8)


def _blended(
    picture: Image.Image,
    cover: UInt8[np.ndarray, "height width 3"],
    where: Float[np.ndarray, "height width"],
) -> Image.Image:
    weight = where[..., None].astype(np.float32)
    mixed = np.asarray(picture) * (1 - weight) + cover * weight
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
