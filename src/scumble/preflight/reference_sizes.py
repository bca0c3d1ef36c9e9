"""At what sizes references are shown, and whether the model was published with such ones."""

from __future__ import annotations

import math
from collections import Counter

from scumble.data.companions import reference_place
from scumble.data.looks import looks
from scumble.data.picture_set import PictureSet
from scumble.data.sizes.frame import Size
from scumble.preflight.plan import Plan

NAMED = 4  # sizes that one note lists
FAR = 1.3  # times the published area, or its inverse: nearer ones are rounding
FULL = 1_000_000_000
"""Numbers of a network that is no toy: only with those it matters what they were trained with."""


def notes(one: PictureSet) -> list[str]:
    """The sizes of references that do not have their target's, first those of most pictures."""
    said = []
    for number in range(len(one.spec.references)):
        seen = _seen(one, number)
        if any(own != target for own, target in seen):
            counts = Counter(f"{columns}x{rows}" for (rows, columns), _ in seen).most_common()
            listed = ", ".join(f"{size} ({count})" for size, count in counts[:NAMED])
            more = f" and {len(counts) - NAMED} other sizes" if len(counts) > NAMED else ""
            name = reference_place(one.spec, number)
            said.append(f"references of {name} are shown at {listed}{more}")
    return said


def remarks(plan: Plan) -> list[str]:
    """Sets whose references are far from the area that the model was published with."""
    side = plan.family.reference_side
    if side is None or sum(one.numel() for one in plan.denoiser.parameters()) < FULL:
        return []
    said = []
    for one in plan.sets:
        sizes = Counter(own for n in range(len(one.spec.references)) for own, _ in _seen(one, n))
        far = [size for size, _ in sizes.most_common() if not _near(size, side)]
        if far:
            rows, columns = far[0]
            said.append(
                f"References of {one.spec.id} are shown at {columns}x{rows}; this model was"
                f" published with about {side}x{side}: `area: {side}` of a reference shows it so,"
                " and takes the memory for it."
            )
    return said


def _near(size: Size, side: int) -> bool:
    return 1 / FAR <= math.prod(size) / side**2 <= FAR


def _seen(one: PictureSet, number: int) -> list[tuple[Size, Size]]:
    """Sizes of a reference and its target, for each picture that has one."""
    every = (looks(one, member, 0) for member in range(len(one.examples)))
    pairs = ((each.references[number], each.target) for each in every)
    return [(own.view.frame.size, it.view.frame.size) for own, it in pairs if own is not None]
