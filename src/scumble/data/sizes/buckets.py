"""The law of sd-scripts: the nearest of a table of sizes that are no larger than the area."""

import math
from functools import lru_cache

from scumble.data.sizes.frame import Size
from scumble.spec.sizing import BucketsSizing


def sides(resolution: int | float | tuple[int, ...]) -> Size:
    """Height and width of the resolution, which is written as one side or [width, height]."""
    if isinstance(resolution, tuple):
        width, height = resolution
        return height, width
    return int(resolution), int(resolution)


def limits(sizing: BucketsSizing) -> tuple[int, int]:
    """The shortest and the longest side of a bucket, as multiples of the step: down, and up."""
    step = sizing.step
    return sizing.minimum // step * step, -(-sizing.maximum // step) * step


def table(sizing: BucketsSizing, area: int) -> tuple[Size, ...]:
    """All buckets, narrow ones first; of two that fit alike, the earlier is taken.

    1024 x 1024 from 256 to 1024 in steps of 64 has 25, and a side of each is 1024.
    """
    return _table(*limits(sizing), sizing.step, area)


@lru_cache(maxsize=64)
def _table(shortest: int, longest: int, step: int, area: int) -> tuple[Size, ...]:
    """As `table`; kept, for it is asked for by every picture of a new size."""
    square = step * (math.isqrt(area) // step)
    found = {(square, square)}
    for one in range(max(shortest, step), longest + 1, step):
        other = min(longest, step * (area // one // step))
        if other >= max(shortest, step):
            found |= {(one, other), (other, one)}
    return tuple((height, width) for width, height in sorted(found))


def fit(sizing: BucketsSizing, whole: Size, width: int, height: int) -> tuple[Size, Size]:
    """What a picture is resized to, and the bucket that is cut out of it.

    `whole` is the resolution, as `sides` has it. With `no_upscale` a picture smaller than one
    step is enlarged all the same: a bucket cannot have no pixels.
    """
    if not sizing.enable:
        return _covering(width, height, whole), whole
    if sizing.no_upscale:
        return _kept(sizing.step, math.prod(whole), width, height)
    known = table(sizing, math.prod(whole))
    size = (height, width) if (height, width) in known else _nearest(width / height, known)
    return _covering(width, height, size), size


def _nearest(aspect: float, known: tuple[Size, ...]) -> Size:
    """By the difference of width over height, which favours wide buckets less than a ratio does."""
    return min(known, key=lambda size: abs(size[1] / size[0] - aspect))


def _covering(width: int, height: int, size: Size) -> Size:
    """One side becomes the bucket's, and the other keeps the shape as near as it can."""
    rows, columns = size
    scale = rows / height if width / height > columns / rows else columns / width
    return int(height * scale + 0.5), int(width * scale + 0.5)


def _kept(step: int, area: int, width: int, height: int) -> tuple[Size, Size]:
    """Made smaller only if the area says so; the bucket is what is left, in whole steps."""
    resized = height, width
    if width * height > area:
        resized = _reduced(step, area, width / height)
    rows, columns = (side - side % step for side in resized)
    if rows and columns:
        return resized, (rows, columns)
    least = max(rows, step), max(columns, step)
    return _covering(width, height, least), least


def _reduced(step: int, area: int, aspect: float) -> Size:
    """About that area, with the side in whole steps that leaves the shape nearer to what it was."""
    width = math.sqrt(area * aspect)
    across, down = _floored(width, step), _floored(area / width, step)
    by_width = across / max(step, _floored(across / aspect, step)) if across else math.inf
    by_height = _floored(down * aspect, step) / down if down else math.inf
    if abs(by_width - aspect) < abs(by_height - aspect):
        return int(across / aspect + 0.5), across
    return down, int(down * aspect + 0.5)


def _floored(side: int | float, step: int) -> int:
    """Rounded to a whole pixel, then down to a multiple of the step."""
    whole = int(side + 0.5)
    return whole - whole % step
