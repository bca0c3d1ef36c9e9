"""What a law of sizes cannot do, and which pictures it will not take."""

import math
from collections.abc import Iterator

from scumble.data.sizes import aspect, buckets
from scumble.data.sizes.framer import Resolution
from scumble.spec.sizing import AspectSizing, BucketsSizing, ShapesSizing, SizingSpec

MOST_MEGAPIXELS = 20.0
LEAST_SIDE = 64

Problem = tuple[str, str, str]
"""The setting, what is wrong with it, and the way out."""


def check(sizing: SizingSpec, resolution: Resolution, step: int) -> list[Problem]:
    """All that keeps a set from being framed for a family whose sides are multiples of `step`."""
    match sizing:
        case ShapesSizing():
            return list(_side(resolution, step))
        case AspectSizing():
            if isinstance(resolution, tuple):
                return list(_side(resolution, step))
            return [*_stepped(sizing.step, step), *_amounts(sizing, resolution)]
        case BucketsSizing():
            if isinstance(resolution, float):
                return list(_side(resolution, step))
            whole = buckets.sides(resolution)
            return [*_stepped(sizing.step, step), *_bounds(sizing, whole, step)]


def too_small(sizing: SizingSpec, width: int, height: int) -> bool:
    """Whether a picture is below `minimum_image_size`; laws that have none take every picture.

    As an area it is a number of pixels, however long the sides are, except for square cuts,
    which need the side of that square both ways.
    """
    match sizing:
        case AspectSizing(minimum_image_size=float(least)):
            return _too_small(sizing, least, width, height)
        case _:
            return False


def _too_small(sizing: AspectSizing, least: float, width: int, height: int) -> bool:
    scale = aspect.scale(sizing, least, 1)
    if not scale.area:
        return min(width, height) < least
    pixels = scale.amount * 1e6
    squares = sizing.crop and sizing.crop_aspect == "square"
    return width * height < pixels or (squares and min(width, height) < int(math.sqrt(pixels)))


def _side(resolution: Resolution, step: int) -> Iterator[Problem]:
    """A resolution of another law, such as a reference has with a law but no number of its own,
    or one that is nothing once it is rounded."""
    if not isinstance(resolution, int):
        told = list(resolution) if isinstance(resolution, tuple) else f"{resolution:g}"
        problem = f"{told} is not the side of a square in pixels, which this law takes"
        yield "resolution", problem, "write a whole number of pixels, such as 1024"
    elif resolution < step:
        yield "resolution", f"{resolution} is less than one step of {step}", f"set {step} or more"


def _stepped(own: int | None, step: int) -> Iterator[Problem]:
    """Sides in steps the network cannot take."""
    if own is not None and own % step:
        fitting = -(-own // step) * step
        problem = f"sides in steps of {own} do not fit the model, which needs multiples of {step}"
        yield "sizing.step", problem, f"set {fitting}"


def _amounts(sizing: AspectSizing, resolution: int | float) -> Iterator[Problem]:
    """Megapixels taken for pixels, or the other way round."""
    amounts = {
        "resolution": resolution,
        "sizing.minimum_image_size": sizing.minimum_image_size,
        "sizing.maximum_image_size": sizing.maximum_image_size,
        "sizing.target_downsample_size": sizing.target_downsample_size,
    }
    for setting, amount in amounts.items():
        if amount is not None:
            yield from _amount(sizing, setting, amount)


def _amount(sizing: AspectSizing, setting: str, amount: int | float) -> Iterator[Problem]:
    """What is wrong with one number of the law's unit."""
    kind = sizing.resolution_type
    area = aspect.scale(sizing, amount, 1)
    if area.area and area.amount >= MOST_MEGAPIXELS:
        problem = f"{amount:g} is {area.amount:,.0f} megapixels; {MOST_MEGAPIXELS:g} is too many"
        yield setting, problem, _way_out(kind)
    side = math.sqrt(area.amount * 1e6) if area.area else amount
    if side < LEAST_SIDE:
        yield setting, f"{amount:g} is a side of {side:,.0f} pixels", _way_out(kind)


def _way_out(kind: str) -> str:
    """What a number of that unit looks like."""
    if kind == "area":
        return "write megapixels, such as 1.0, or set `sizing.resolution_type: pixel_area`"
    return "write pixels, such as 1024"


def _bounds(sizing: BucketsSizing, whole: tuple[int, int], step: int) -> Iterator[Problem]:
    """A table that cannot hold its own resolution."""
    if not sizing.enable:
        if whole[0] % step or whole[1] % step:
            problem = f"sides of {whole[1]} x {whole[0]} are no multiples of {step}"
            yield "resolution", problem, f"write multiples of {step}, or set `sizing.enable: true`"
        return
    if min(whole) < sizing.step:
        problem = f"{min(whole)} is less than one step of {sizing.step}"
        yield "resolution", problem, "raise it, or lower `sizing.step`"
    if sizing.no_upscale:
        return
    shortest, longest = buckets.limits(sizing)
    if shortest > min(whole):
        problem = f"{shortest} is more than the resolution's {min(whole)}"
        yield "sizing.minimum", problem, f"set {min(whole)} or less"
    if longest < max(whole):
        problem = f"{longest} is less than the resolution's {max(whole)}"
        yield "sizing.maximum", problem, f"set {max(whole)} or more"
