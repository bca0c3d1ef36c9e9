"""From a set's settings to the frame of each of its pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from scumble.data.sizes import aspect, buckets, shapes
from scumble.data.sizes.aspect import Draw
from scumble.data.sizes.frame import Frame, Size
from scumble.spec.sizing import AspectSizing, BucketsSizing, ShapesSizing, SizingSpec

Fit = Callable[[int, int, Draw], tuple[Size, Size]]
"""From width and height: what a picture is resized to, and the size that is cut out of it."""

Resolution = int | float | tuple[int, ...]
Cut = Literal["centre", "random", "corner"]
KEPT = 1 << 16
"""Of so many different sizes the outcome is kept: pictures of one camera are all alike."""


@dataclass(frozen=True, slots=True)
class Framer:
    """The law of one set, ready for its pictures."""

    fit: Fit
    cut: Cut
    varies: bool
    """Whether the trained size itself depends on the draw, and not just where the cut lies."""

    @property
    def random(self) -> bool:
        """Whether frames depend on the draw at all."""
        return self.varies or self.cut == "random"

    def frame(self, width: int, height: int, draw: Draw) -> Frame:
        """The frame of an upright picture of that size.

        Ask for the pictures of a set in one order, that of their ids: under the aspect law the
        first picture of a shape settles the size of all later ones. `draw` is asked only for what
        is needed.
        """
        resized, size = self.fit(width, height, draw)
        top = self._cut("top", resized[0] - size[0], draw)
        left = self._cut("left", resized[1] - size[1], draw)
        return Frame((height, width), resized, (top, left), size)

    def _cut(self, purpose: str, free: int, draw: Draw) -> int:
        """Pixels before the cut, of those that are free; all places are drawn equally often."""
        if free == 0 or self.cut == "corner":
            return 0
        if self.cut == "centre":
            return free // 2
        return min(free, int(draw(purpose) * (free + 1)))


def framer(sizing: SizingSpec, resolution: Resolution, step: int) -> Framer:
    """The law of a set for a family whose sides are multiples of `step`; see `limits.check` first.

    Outcomes are kept by size, so that a hundred thousand pictures take a fraction of a second.
    """
    match sizing:
        case ShapesSizing():
            side = int(_side(resolution))
            cut = "centre" if sizing.crop == "none" else sizing.crop
            return _settled(lambda w, h: shapes.fit(sizing, side, step, w, h), cut)
        case BucketsSizing():
            cut = "random" if sizing.random_crop else "centre"
            whole = buckets.sides(resolution)
            return _settled(lambda w, h: buckets.fit(sizing, whole, w, h), cut)
        case AspectSizing():
            return _by_aspect(aspect.law(sizing, _side(resolution), step))


def _side(resolution: Resolution) -> int | float:
    """The number, of laws that know no other resolution."""
    return resolution[0] if isinstance(resolution, tuple) else resolution


def _settled(fit: Callable[[int, int], tuple[Size, Size]], cut: Cut) -> Framer:
    """A law whose sizes depend on nothing but the picture's."""
    known = lru_cache(maxsize=KEPT)(fit)
    return Framer(lambda width, height, _: known(width, height), cut, varies=False)


def _by_aspect(law: aspect.Law) -> Framer:
    """The law that remembers; what it remembers lives as long as the framer."""
    remembered: aspect.Remembered = {}
    sizing = law.sizing
    if sizing.crop and sizing.crop_aspect == "random":
        return Framer(
            lambda width, height, draw: aspect.fit(law, width, height, draw, remembered),
            sizing.crop_style,
            varies=True,
        )
    return _settled(lambda w, h: aspect.fit(law, w, h, _undrawn, remembered), sizing.crop_style)


def _undrawn(purpose: str) -> float:
    """Stands for the draw where none is made."""
    raise ValueError(purpose)
