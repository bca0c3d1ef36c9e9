from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from PIL import Image

from scumble.data.pairs.shift import Shift, shift

from .pair_toys import blurred, edges, moved, noisy, painted, picture, recoloured


def light(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), np.float32)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "nothing": lambda one: one,
    "blur": lambda one: blurred(one, 3),
    "strong blur": lambda one: blurred(one, 5),
    "noise": lambda one: noisy(one, 5, 30),
    "colours": lambda one: recoloured(one, 5),
    "negative": lambda one: Image.fromarray(255 - np.asarray(one)),
    "edges": edges,
    "painted": lambda one: painted(one, 5, 4),
    "dark": lambda one: Image.fromarray(np.asarray(one) // 4),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize(("right", "down"), [(5, 0), (-3, 4), (0, -25), (40, 31)])
def test_a_shift_is_found_whatever_else_was_done(
    edit: Callable[[Image.Image], Image.Image], right: int, down: int
) -> None:
    whole = picture(3, (320, 256))
    found = shift(light(whole), light(moved(edit(whole), right, down)))
    assert found is not None
    assert found.apart(Shift(float(right), float(down))) < 0.5


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_what_stayed_in_its_place_has_no_shift(
    edit: Callable[[Image.Image], Image.Image],
) -> None:
    for seed in range(4):
        whole = picture(seed, (256, 320))
        found = shift(light(whole), light(edit(whole)))
        assert found is None or found.length < 0.7


def test_parts_of_a_pixel_are_found() -> None:
    whole = picture(8, (1280, 1280))
    first = whole.crop((0, 0, 1240, 1240)).resize((310, 310), Image.Resampling.BOX)
    second = whole.crop((6, 3, 1246, 1243)).resize((310, 310), Image.Resampling.BOX)
    found = shift(light(first), light(second))
    assert found is not None
    assert found.apart(Shift(-1.5, -0.75)) < 0.15


def test_of_pictures_of_other_things_nothing_is_said() -> None:
    pictures = [light(picture(seed, (256, 256))) for seed in range(6)]
    assert [shift(*both) for both in permutations(pictures, 2)] == [None] * 30


@pytest.mark.parametrize("value", [0.0, 128.0])
def test_nothing_is_said_of_what_shows_nothing(value: float) -> None:
    flat = np.full((64, 64), value, np.float32)
    some = light(picture(1, (64, 64)))
    assert shift(flat, flat) is None
    assert shift(flat, some) is None
    assert shift(some, flat) is None


def test_a_tiny_picture_has_no_shift() -> None:
    tiny = light(picture(1, (31, 400)))
    assert shift(tiny, tiny) is None
