"""Whether the sizes of a pair go together, as far as that shows without decoding it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import log

from scumble.data.example import Image
from scumble.data.pairs.report import Finding
from scumble.data.pairs.sides import Pair
from scumble.data.pairs.turns import ON_ITS_SIDE, tagged

DIFFERS = 0.01
"""Share by which the aspects of a strict pair may differ; a pixel of rounding is always allowed."""


def ill_shaped(pairs: Sequence[Pair]) -> list[Finding]:
    """Pairs of which one lies on its side, has another aspect or another EXIF tag."""
    tags = _tags(pairs)
    found = (_examined(one, tags[one.target.file], tags[one.other.file]) for one in pairs)
    return [one for one in found if one is not None]


def same_shape(first: Image, second: Image) -> bool:
    """Whether one can lie on the other by being resized alone."""
    apart = abs(log(first.width * second.height / (first.height * second.width)))
    pixel = 1 / min(first.width, first.height, second.width, second.height)
    return apart <= max(DIFFERS, pixel)


def _tags(pairs: Iterable[Pair]) -> dict[object, int]:
    """Orientation by file; many at a time, for slow drives."""
    files = list({file for one in pairs for file in (one.target.file, one.other.file)})
    with ThreadPoolExecutor() as pool:
        return dict(zip(files, pool.map(tagged, files, chunksize=64), strict=True))


def _examined(pair: Pair, tag: int, other_tag: int) -> Finding | None:
    """The gravest of what can be said of a pair."""
    target, other = pair.target, pair.other
    exif = _exif(tag, other_tag)
    fits = same_shape(target, other)
    if _lies(target, other) and (not pair.side.loose or exif):
        said = f"is {_size(target)}, its partner {_size(other)}"
        return pair.finding("turned", f"{said}; {exif}" if exif else said)
    if not fits and not pair.side.loose:
        said = f"is {_size(target)} ({_aspect(target)}), its partner {_size(other)} "
        return pair.finding("aspect", f"{said}({_aspect(other)})")
    if not exif:
        return None
    if _hidden(target, tag, other_tag):
        return pair.finding("turned", f"{exif}, and the sizes do not show which is right")
    return pair.finding("tag", f"{exif}; both are {_size(target)} once upright")


def _lies(first: Image, second: Image) -> bool:
    """One wide, one high, and each about as much as the other."""
    wide = first.width - first.height, second.width - second.height
    turned = abs(log(first.width * second.width / (first.height * second.height)))
    apart = abs(log(first.width * second.height / (first.height * second.width)))
    return wide[0] * wide[1] < 0 and apart > DIFFERS and turned < apart


def _hidden(target: Image, tag: int, other_tag: int) -> bool:
    """Whether heeding or not heeding the tag gives the same size."""
    return target.width == target.height or not {tag, other_tag} & ON_ITS_SIDE


def _exif(tag: int, other_tag: int) -> str | None:
    if (tag == 1) == (other_tag == 1):
        return None
    if tag != 1:
        return f"is turned by its EXIF tag ({tag}), its partner has none"
    return f"has no EXIF tag, its partner is turned by one ({other_tag})"


def _size(image: Image) -> str:
    return f"{image.width} x {image.height}"


def _aspect(image: Image) -> str:
    return f"{image.width / image.height:.3f}"
