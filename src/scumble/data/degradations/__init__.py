"""Pictures made worse, so that a network can learn the way back.

`degraded` is pure: the same picture, settings and generator state give the same pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from scumble.data.degradations import compression, covers, edges, grain, optics
from scumble.spec.degradation import (
    Blur,
    Canny,
    DegradationSpec,
    Downscale,
    JpegArtifacts,
    Noise,
    Outpaint,
    RandomMasks,
    Several,
    SingleSpec,
    Superresolution,
)


def degraded(
    picture: Image.Image, spec: DegradationSpec, random: np.random.Generator
) -> Image.Image:
    """The picture after what `spec` does to it: RGB in, RGB of the same size out.

    JobError when OpenCV is needed and not installed.
    """
    assert picture.mode == "RGB", picture.mode
    for step in steps(spec):
        picture = _once(picture, step, random)
    return picture


def steps(spec: DegradationSpec) -> tuple[SingleSpec, ...]:
    """What is done, one by one."""
    match spec:
        case Several():
            return spec.steps
        case _:
            return (spec,)


def _once(picture: Image.Image, spec: SingleSpec, random: np.random.Generator) -> Image.Image:
    match spec:
        case Superresolution():
            return _superresolution(picture, spec, random)
        case Blur():
            return optics.blurred(picture, spec, random)
        case Noise():
            return grain.noisy(picture, spec, random)
        case JpegArtifacts():
            return compression.compressed(picture, spec, random)
        case Downscale():
            return optics.rescaled(picture, spec.factor, spec.method, spec.method)
        case Canny():
            return edges.edges(picture, spec)
        case RandomMasks() | Outpaint():
            return covers.covered(picture, spec, random)


def _superresolution(
    picture: Image.Image, spec: Superresolution, random: np.random.Generator
) -> Image.Image:
    """What an enlarged picture suffered, in the order in which cameras and sites do it."""
    if spec.downscale_factor is not None:
        picture = optics.rescaled(picture, spec.downscale_factor, "bilinear", "lanczos")
    if spec.blur_type in ("gaussian", "both"):
        picture = optics.gaussian(picture, spec.blur_radius)
    if spec.blur_type in ("box", "both"):
        picture = optics.box(picture, spec.blur_radius)
    if spec.add_noise:
        picture = grain.grainy(picture, spec.noise_level, random)
    if spec.jpeg_quality is not None:
        picture = compression.jpeg(picture, spec.jpeg_quality, None)
    return picture
