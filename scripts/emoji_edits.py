"""Pairs of pictures, before and after an edit, made of emoji: what `--set edit` writes.

All that is drawn (which colour, how blurred) follows from the name of the picture, so the same
pictures give the same pairs. A pair whose two pictures look much alike is left out: who hands
the reference back must not come close to the target.
"""

import io
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter, ImageStat

LEAST = 14.0
"""Root mean square difference that a pair has at least, in levels of 0 to 255."""

HUES = {"red": 0, "orange": 28, "yellow": 52, "green": 120, "blue": 220, "purple": 285}
"""Degrees on the colour wheel."""

PLAIN = "yellow"
"""The tone of skin that has no name: nobody is asked for it."""

Pictures = Mapping[str, Image.Image]


@dataclass(frozen=True)
class Pair:
    """A picture, what is to be done to it, and what comes of that."""

    stem: str
    reference: Image.Image
    target: Image.Image
    instruction: str

    @property
    def plain_to_see(self) -> bool:
        """Whether its two pictures are far enough from each other."""
        return apart(self.reference, self.target) >= LEAST


def apart(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference, in levels of 0 to 255."""
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    return (sum(squares) / (3 * one.width * one.height)) ** 0.5


def in_hue(picture: Image.Image, degrees: int) -> Image.Image:
    """All its colours in one hue, as strong and as bright as they were; greys stay."""
    _, strength, brightness = picture.convert("HSV").split()
    hue = Image.new("L", picture.size, round(degrees * 255 / 360))
    return Image.merge("HSV", (hue, strength, brightness)).convert("RGB")


def in_grey(picture: Image.Image) -> Image.Image:
    """Its brightness alone."""
    return picture.convert("L").convert("RGB")


def in_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """As it comes back from a JPEG file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def spoilt(picture: Image.Image, draw: random.Random) -> tuple[str, Image.Image]:
    """Blurred, or badly compressed, or both, and which of them."""
    way = draw.choice(("blur", "jpeg", "both"))
    if way != "jpeg":
        picture = picture.filter(ImageFilter.GaussianBlur(draw.uniform(1.5, 3.0)))
    return way, picture if way == "blur" else in_jpeg(picture, draw.randint(4, 12))


def recoloured(style: str, pictures: Pictures, many: int) -> Iterator[Pair]:
    """Each picture in `many` colours."""
    for name, picture in pictures.items():
        draw = random.Random(f"colour {style} {name}")
        for colour in draw.sample(sorted(HUES), many):
            target = in_hue(picture, HUES[colour])
            yield Pair(f"{style} {name} {colour}", picture, target, f"make it {colour}")


def repaired(style: str, pictures: Pictures, many: int) -> Iterator[Pair]:
    """Each picture after it was spoilt in `many` ways."""
    for name, picture in pictures.items():
        draw = random.Random(f"repair {style} {name}")
        for number in range(many):
            way, reference = spoilt(picture, draw)
            stem = f"{style} {name} {way} {number}"
            yield Pair(stem, reference, picture, "repair the picture")


def toned(style: str, plain: Pictures, tones: Pictures, many: int) -> Iterator[Pair]:
    """Each picture in a tone of skin from `many` others of the same person or hand."""
    things: dict[str, dict[str, Image.Image]] = {}
    for name, picture in tones.items():
        thing, _, tone = name.rpartition(", ")
        things.setdefault(thing, {PLAIN: plain[thing]} if thing in plain else {})[tone] = picture
    for thing, found in things.items():
        draw = random.Random(f"tone {style} {thing}")
        for tone in (tone for tone in found if tone != PLAIN):
            for before in draw.sample(
                others := sorted(found.keys() - {tone}), min(many, len(others))
            ):
                stem = f"{style} {thing} {before} to {tone}"
                yield Pair(stem, found[before], found[tone], f"give it a {tone}")


def redrawn(flat: Pictures, solid: Pictures) -> Iterator[Pair]:
    """What is drawn in both styles, either way."""
    for name in (name for name in flat if name in solid):
        yield Pair(f"{name} solid", flat[name], solid[name], "redraw it as a 3d emoji")
        yield Pair(f"{name} flat", solid[name], flat[name], "redraw it as a flat noto emoji")


def greyed(style: str, pictures: Pictures) -> Iterator[Pair]:
    """The edit that no builtin model was shown."""
    for name, picture in pictures.items():
        yield Pair(f"{style} {name}", picture, in_grey(picture), "make it grey")
