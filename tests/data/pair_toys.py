"""Made-up pictures with soft colours, fine texture and hard shapes, and what an editor does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZES = ((384, 256), (256, 384), (320, 320), (512, 288), (300, 257))


def picture(seed: int, size: tuple[int, int] = (320, 320)) -> Image.Image:
    """Never the same for two seeds."""
    dice = np.random.default_rng(seed)
    width, height = size
    soft = _enlarged(dice.uniform(0, 255, (height // 40 + 2, width // 40 + 2, 3)), size)
    fine = _enlarged(dice.normal(128, 60, (height // 3, width // 3, 3)), size) - 128.0
    image = Image.fromarray((soft + 0.3 * fine).clip(0, 255).astype(np.uint8))
    return painted(image, seed, 12)


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)


def painted(image: Image.Image, seed: int, count: int = 2) -> Image.Image:
    """With shapes on it, as if somebody had filled parts of it anew."""
    dice = np.random.default_rng([seed, 1])
    made = image.copy()
    draw = ImageDraw.Draw(made)
    for _ in range(count):
        left, top = int(dice.integers(0, made.width)), int(dice.integers(0, made.height))
        right, bottom = left + int(dice.integers(15, 90)), top + int(dice.integers(15, 90))
        shape = draw.ellipse if dice.random() < 0.5 else draw.rectangle
        shape((left, top, right, bottom), fill=tuple(dice.integers(0, 256, 3).tolist()))
    return made


def blurred(image: Image.Image, radius: float = 2.5) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def noisy(image: Image.Image, seed: int, strength: float = 18) -> Image.Image:
    values = np.asarray(image, np.float32)
    noise = np.random.default_rng([seed, 2]).normal(0, strength, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


def recoloured(image: Image.Image, seed: int) -> Image.Image:
    channels = np.random.default_rng([seed, 3]).permutation(3)
    values = np.asarray(image)[..., channels if list(channels) != [0, 1, 2] else [1, 2, 0]]
    return Image.fromarray(np.ascontiguousarray(values))


def edges(image: Image.Image) -> Image.Image:
    return image.convert("L").filter(ImageFilter.FIND_EDGES).convert("RGB")


def grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def moved(image: Image.Image, right: int, down: int) -> Image.Image:
    """As another cut of a larger picture: what leaves on one side comes in on the other."""
    return Image.fromarray(np.roll(np.asarray(image), (down, right), axis=(0, 1)))


def kept(image: Image.Image, path: Path, *, orientation: int | None = None) -> Path:
    """Saved by its ending, with an EXIF tag if one is named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    if path.suffix.lower() in (".jpg", ".jpeg"):
        image.save(path, quality=90, exif=exif)
    else:
        image.save(path, exif=exif)
    return path
