"""What a preview was shown, what it became and what it should be, side by side in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

GAP = 8  # pixels between pictures whose shorter side is that many times as long, or more
NARROW = 32  # of smaller ones, it is this part
PAPER = (255, 255, 255)

Raw = UInt8[np.ndarray, "_ _ 3"]
"""Rows, columns and colours; each of a size of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """What stands beside the output: references on its left, the target on its right."""

    references: tuple[Raw, ...] = ()
    target: Raw | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What is seen, from the left."""
        count = len(self.references)
        shown = ["reference"] if count == 1 else [f"reference {n}" for n in range(1, count + 1)]
        return (*shown, "output", *(() if self.target is None else ("target",)))


Box = tuple[int, int, int, int]
"""Left, top, right, bottom: pixels."""


def stitched(output: Image.Image, beside: Beside) -> tuple[Image.Image, dict[str, Box]]:
    """All of it in one row, and where each part stands in it, from the left.

    The output is untouched, so that it can be cut out again; all else is brought to its height.
    With nothing beside it, it is returned as it is, and there are no parts.
    """
    left = [_as_high(one, output.height) for one in beside.references]
    right = [] if beside.target is None else [_as_high(beside.target, output.height)]
    if not left and not right:
        return output, {}
    gap = max(1, min(GAP, min(output.size) // NARROW))
    row = [*left, output, *right]
    starts = _starts(row, gap)
    whole = Image.new("RGB", (starts[-1] - gap, output.height), PAPER)
    for picture, start in zip(row, starts, strict=False):
        whole.paste(picture, (start, 0))
    places = zip(beside.words, row, starts, strict=False)
    return whole, {word: (x, 0, x + one.width, one.height) for word, one, x in places}


def _starts(row: Sequence[Image.Image], gap: int) -> list[int]:
    """The left edge of each, and of one more."""
    starts = [0]
    for picture in row:
        starts.append(starts[-1] + picture.width + gap)
    return starts


def _as_high(raw: Raw, height: int) -> Image.Image:
    picture = Image.fromarray(raw)
    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
