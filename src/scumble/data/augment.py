"""Changes of an example that its caption stays true for: mirrored, or a little off in colour.

What is done is drawn from the job's seed, the set, the picture and which variant of it is asked
for, and from nothing else: a resumed run, another machine and a rebuilt cache do the same.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from scumble import dice
from scumble.data.view import Colours

SHARE = 1 / 3
"""Of the examples whose colours are changed, as by sd-scripts."""

GAMMA = 0.95, 1.05
HUE = 16.0
"""Degrees each way: 8 of the 180 units that OpenCV has for a turn."""

BAND_PIXELS = 1 << 14
"""Hues are turned for so many pixels at once, which keeps what is in between in the cache."""


def flipped(seed: int, dataset: str, id: str, variant: int) -> bool:
    """Whether that variant is mirrored, which every second one is."""
    return dice.uniform(seed, "flip", dataset, id, variant) < 0.5


def colours(seed: int, dataset: str, id: str, variant: int) -> Colours | None:
    """What becomes of that variant's colours; for two of three, nothing."""
    key = seed, "colour", dataset, id, variant
    if dice.uniform(*key, "whether") >= SHARE:
        return None
    much = dice.uniform(*key, "much")
    if dice.uniform(*key, "which") < 0.5:
        return Colours(gamma=GAMMA[0] + (GAMMA[1] - GAMMA[0]) * much)
    return Colours(hue=HUE * (2 * much - 1))


def coloured(picture: Image.Image, colours: Colours) -> Image.Image:
    """An RGB picture with its colours changed; grey stays grey, black black, white white."""
    if colours.gamma != 1:
        shades = 255 * (np.arange(256) / 255) ** colours.gamma
        picture = picture.point([round(shade) for shade in shades.tolist()] * 3)
    if colours.hue % 360 == 0:
        return picture
    values = np.asarray(picture)
    rows = max(1, BAND_PIXELS // values.shape[1])
    bands = [_turned(values[n : n + rows], colours.hue) for n in range(0, len(values), rows)]
    return Image.fromarray(np.concatenate(bands))


def _turned(
    values: UInt8[np.ndarray, "height width 3"], degrees: float
) -> UInt8[np.ndarray, "height width 3"]:
    """The hue of every pixel moved round the circle; its largest and smallest value stay.

    Reckoned in floats: 8 bits for hue and saturation would leave stripes in skies.
    """
    wide = values.astype(np.float32)
    most, least = wide.max(axis=2), wide.min(axis=2)
    spread = most - least
    turn = _hue(wide, most, spread) + np.float32(degrees / 60)
    result = np.empty_like(values)
    for channel, start in enumerate((5, 3, 1)):
        place = turn + np.float32(start)
        place -= 6 * np.floor(place / 6) + 2
        share = np.clip(2 - np.abs(place), 0, 1)
        result[..., channel] = np.rint(most - spread * share)
    return result


def _hue(
    wide: Float32[np.ndarray, "height width 3"],
    most: Float32[np.ndarray, "height width"],
    spread: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width"]:
    """Where each pixel lies on the circle of six colours, from red at 0 over green at 2."""
    red, green, blue = wide[..., 0], wide[..., 1], wide[..., 2]
    divisor = np.maximum(spread, 1)
    from_red = (green - blue) / divisor
    from_green = (blue - red) / divisor + 2
    from_blue = (red - green) / divisor + 4
    return np.where(most == red, from_red, np.where(most == green, from_green, from_blue))
