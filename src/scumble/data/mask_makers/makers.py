"""The ways to make a mask, as values."""

from __future__ import annotations

from dataclasses import dataclass

CLIPSEG = "CIDAS/clipseg-rd64-refined"
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Alpha:
    """What is opaque."""


@dataclass(frozen=True, slots=True)
class GrabCut:
    """What differs from the rest of the picture, within a box."""

    box: tuple[float, ...] = (0.1, 0.1, 0.9, 0.9)
    """Left, top, right, bottom, as shares of the width and height."""


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What has not the colour of the background."""

    colour: Rgb | None
    """None: green or blue, whichever of the two the picture's edge shows more of."""

    tolerance: int = 24
    """By so many shades of 255 a channel may differ from the background's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What is told in words, found by networks."""

    texts: tuple[str, ...]
    """Each is looked for by itself; the mask holds all that is found."""

    model: str = CLIPSEG
    """A CLIPSeg or Grounding DINO model: a folder, or an id of the Hugging Face hub."""

    sam: str | None = None
    """A Segment Anything model, which Grounding DINO needs to cut its boxes out."""

    threshold: float = 0.4
    """How sure the network has to be, from 0 to 1."""

    device: str = "auto"
    """`auto` takes a card if there is one."""


Maker = Alpha | GrabCut | Backdrop | Words
