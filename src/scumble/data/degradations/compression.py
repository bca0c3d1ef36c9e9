"""What JPEG does to a picture that was saved too small, or too often."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from scumble.data.degradations import grain, optics
from scumble.spec.degradation import JpegArtifacts

BLOCK = 8
"""Side of a JPEG block in pixels."""

ENHANCED = 0.2
"""Share of the blocks that `enhance_blocks` changes."""


def compressed(
    picture: Image.Image, spec: JpegArtifacts, random: np.random.Generator
) -> Image.Image:
    """Compressed as often as asked for, each time worse; the first quality is drawn, if any is."""
    quality = _quality(spec, random)
    if spec.pre_blur:
        picture = optics.gaussian(picture, spec.pre_blur_radius)
    if spec.add_noise:
        picture = grain.grainy(picture, spec.noise_level, random)
    for number in range(spec.compression_rounds):
        worse = int(quality * spec.round_quality_decay**number)
        picture = jpeg(picture, max(1, worse), spec.subsampling)
    if spec.enhance_blocks:
        picture = _with_blocks(picture, spec.block_noise_level, random)
    return picture


def jpeg(picture: Image.Image, quality: int, subsampling: str | None) -> Image.Image:
    """Once through JPEG, in memory. Other builds of libjpeg give other pixels, by a shade."""
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality, subsampling=subsampling or "4:2:0")
    stream.seek(0)
    with Image.open(stream, formats=("JPEG",)) as image:
        return image.convert("RGB")


def _quality(spec: JpegArtifacts, random: np.random.Generator) -> int:
    match spec.quality_mode:
        case "fixed":
            return spec.quality
        case "range":
            low, high = spec.quality_range
            return int(random.integers(low, high + 1))
        case "random":
            return spec.quality_list[random.integers(len(spec.quality_list))]


def _with_blocks(picture: Image.Image, level: float, random: np.random.Generator) -> Image.Image:
    """Some blocks brighter, darker or of another tint."""
    pixels = np.array(picture)
    down, across = -(-picture.height // BLOCK), -(-picture.width // BLOCK)
    chosen = random.random((down, across, 1)) < ENHANCED
    change = np.rint(random.standard_normal((down, across, 3)) * 255 * level * chosen)
    for row in range(down):
        band = pixels[row * BLOCK : (row + 1) * BLOCK]
        offsets = change[row].repeat(BLOCK, 0)[: picture.width]
        band[:] = np.clip(band + offsets, 0, 255)
    return Image.fromarray(pixels)
