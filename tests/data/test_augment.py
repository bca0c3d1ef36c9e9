"""Mirrored and coloured examples: how often, how much, and that the draw is all that decides."""

import colorsys

import numpy as np
import pytest
from PIL import Image

from scumble.data.augment import coloured, colours, flipped
from scumble.data.view import Colours


def picture(height: int = 60, width: int = 90) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def changed(image: Image.Image, gamma: float = 1.0, hue: float = 0.0) -> np.ndarray:
    return np.asarray(coloured(image, Colours(gamma, hue)))


def test_every_second_example_is_mirrored() -> None:
    drawn = [flipped(0, "cats", f"{n}.png", 0) for n in range(4000)]
    assert abs(sum(drawn) - 2000) < 4 * np.sqrt(1000)


@pytest.mark.parametrize("position", range(4))
def test_draws_depend_on_seed_set_picture_and_variant(position: int) -> None:
    """Each of the four changed alone draws anew; all the same draws the same."""

    def told(first: int | str) -> list[object]:
        rows = []
        for n in range(200):
            key: list[int | str] = [0, "a", str(n), 0]
            key[position] = first if position != 2 else f"{first} {n}"
            seed, dataset, id, variant = key
            assert isinstance(seed, int)
            assert isinstance(variant, int)
            rows += [flipped(seed, str(dataset), str(id), variant)]
            rows += [colours(seed, str(dataset), str(id), variant)]
        return rows

    one, other = (0, 1) if position in (0, 3) else ("a", "b")
    assert told(one) == told(one)
    assert told(one) != told(other)


def test_a_third_of_the_examples_changes_colour_half_in_brightness_half_in_hue() -> None:
    drawn = [colours(0, "cats", f"{n}.png", 0) for n in range(9000)]
    some = [one for one in drawn if one is not None]
    bright = [one.gamma for one in some if one.hue == 0]
    hues = [one.hue for one in some if one.gamma == 1]
    assert abs(len(some) - 3000) < 4 * np.sqrt(2000)
    assert abs(len(bright) - len(some) / 2) < 4 * np.sqrt(750)
    assert len(bright) + len(hues) == len(some)
    assert 0.95 <= min(bright) < 0.951 < 1.049 < max(bright) < 1.05
    assert -16 <= min(hues) < -15.9 < 15.9 < max(hues) < 16


def test_a_variant_of_one_picture_is_mirrored_or_coloured_each_for_itself() -> None:
    pairs = [(flipped(0, "a", "x", n), colours(0, "a", "x", n) is None) for n in range(400)]
    assert len(set(pairs)) == 4


def test_brightness_is_a_power_of_what_it_was() -> None:
    image = picture()
    expected = np.rint(255 * (np.asarray(image) / 255) ** 0.95)
    assert np.array_equal(changed(image, gamma=0.95), expected)
    assert (changed(image, gamma=1.05) <= np.asarray(image)).all()


@pytest.mark.parametrize("degrees", [-16.0, 3.5, 16.0, 120.0, 240.0])
def test_a_turned_hue_is_the_one_of_the_colour_circle(degrees: float) -> None:
    image = picture(8, 9)
    got = changed(image, hue=degrees).reshape(-1, 3)
    for before, after in zip(np.asarray(image).reshape(-1, 3) / 255, got, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        exact = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
        assert np.abs(np.array(exact) * 255 - after).max() <= 0.51


def test_a_third_of_a_turn_changes_the_places_of_the_colours() -> None:
    image = picture()
    assert np.array_equal(changed(image, hue=120.0), np.asarray(image)[..., [2, 0, 1]])


def test_grey_has_no_hue_to_turn() -> None:
    image = picture().convert("L").convert("RGB")
    assert np.array_equal(changed(image, hue=16.0), np.asarray(image))


def test_there_and_back_is_almost_nothing() -> None:
    image = picture()
    there = coloured(image, Colours(hue=16.0))
    assert np.abs(changed(there, hue=-16.0).astype(int) - np.asarray(image)).max() <= 2


def test_nothing_changed_is_the_same_picture() -> None:
    image = picture()
    assert np.array_equal(changed(image), np.asarray(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (257, 255)])
def test_pictures_of_any_shape_are_coloured_whole(size: tuple[int, int]) -> None:
    image = picture(*size)
    got = changed(image, hue=120.0)
    assert np.array_equal(got, np.asarray(image)[..., [2, 0, 1]])
