"""Which size a picture is trained at: arithmetic that must hold for every shape."""

import math
import random

import pytest

from scumble.data import buckets
from scumble.data.buckets import Frame
from scumble.spec.dataset import ASPECTS, FolderSpec, ratio


def spec(**settings: object) -> FolderSpec:
    return FolderSpec.model_validate({"id": "cats", "folder": "cats", **settings})


def test_sizes_come_in_the_order_of_their_aspects_as_height_and_width() -> None:
    told = buckets.sizes(1024, 16, ("1:1", "16:9", "9:16", "2:1"))
    assert told == ((1024, 1024), (768, 1360), (1360, 768), (720, 1456))


def test_any_aspect_at_any_resolution_has_a_size_of_its_shape_and_area() -> None:
    dice = random.Random(0)
    for _ in range(200):
        width, height = dice.randint(1, 100), dice.randint(1, 100)
        resolution, step = dice.choice([256, 512, 768, 1024]), dice.choice([8, 16, 32])
        ((rows, columns),) = buckets.sizes(resolution, step, (f"{width}:{height}",))
        assert rows % step == columns % step == 0
        assert rows > 0
        sides = resolution * math.sqrt(width / height), resolution / math.sqrt(width / height)
        slack = math.prod(1 + step / 2 / max(side, step / 2) for side in sides)
        assert (
            1 / slack - 0.01 <= rows * columns / resolution**2 <= slack + 0.01 or min(sides) < step
        )
        for exact, side in zip(sides, (columns, rows), strict=True):
            assert abs(exact - side) <= step / 2 or side == step


def test_a_side_is_never_nothing() -> None:
    assert buckets.sizes(64, 32, ("100:1",)) == ((32, 640),)


@pytest.mark.parametrize("crop", ["centre", "random"])
def test_a_frame_covers_its_size_and_cuts_in_one_direction_at_most(crop: str) -> None:
    dice, folder = random.Random(1), spec(crop=crop)
    known = buckets.sizes(1024, 16, ASPECTS)
    for _ in range(500):
        width, height = dice.randint(1, 6000), dice.randint(1, 6000)
        place = dice.choice([(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (dice.random(), dice.random())])
        frame = buckets.frame(width, height, folder, 16, place=place)
        free = [whole - part for whole, part in zip(frame.resized, frame.size, strict=True)]
        assert frame.size in known
        assert frame.original == (height, width)
        assert min(free) == 0
        assert all(0 <= cut <= room for cut, room in zip(frame.corner, free, strict=True))
        assert 0 <= buckets.lost(frame) < 1


def test_the_size_is_the_one_whose_shape_is_nearest() -> None:
    for aspect in ASPECTS:
        width = round(2000 * ratio(aspect))
        ((nominal),) = buckets.sizes(1024, 16, (aspect,))
        assert buckets.frame(width, 2000, spec(), 16).size == nominal
    assert buckets.frame(100_000, 10, spec(), 16).size == buckets.sizes(1024, 16, ("2:1",))[0]
    assert buckets.frame(4000, 1000, spec(aspects=["1:1", "4:1"]), 16).size == (512, 2048)


def test_all_of_a_picture_in_the_right_shape_is_kept_as_it_is() -> None:
    frame = buckets.frame(1024, 1024, spec(), 16)
    assert frame == Frame((1024, 1024), (1024, 1024), (0, 0), (1024, 1024))
    assert buckets.lost(frame) == 0
    assert not buckets.enlarged(frame)


def test_the_place_of_the_cut_is_a_share_of_the_free_room() -> None:
    def corner(top: float, left: float) -> tuple[int, int]:
        return buckets.frame(1024, 1124, spec(aspects=["1:1"]), 16, place=(top, left)).corner

    assert [corner(0.0, 1.0), corner(0.5, 0.5), corner(1.0, 0.0)] == [(0, 0), (50, 0), (100, 0)]


def test_nothing_is_cut_without_crop() -> None:
    dice, folder = random.Random(2), spec(crop="none", resolution=512)
    for _ in range(200):
        width, height = dice.randint(100, 4000), dice.randint(100, 4000)
        frame = buckets.frame(width, height, folder, 16, place=(1.0, 1.0))
        assert frame.resized == frame.size
        assert frame.corner == (0, 0)
        assert frame.size[0] % 16 == frame.size[1] % 16 == 0
        assert buckets.lost(frame) == 0


def test_without_crop_each_side_is_rounded_to_the_step() -> None:
    assert buckets.frame(3000, 2000, spec(crop="none"), 16).size == (832, 1248)
    assert buckets.frame(10, 40_000, spec(crop="none"), 16).size == (64768, 16)


def test_a_row_has_height_before_width() -> None:
    frame = Frame((1, 2), (3, 4), (5, 6), (7, 8))
    assert frame.row() == (1, 2, 3, 4, 5, 6, 7, 8)


def test_half_of_a_picture_twice_too_wide_is_lost() -> None:
    assert buckets.lost(buckets.frame(2000, 1000, spec(aspects=["1:1"]), 16)) == 0.5


@pytest.mark.parametrize(("side", "enlarged"), [(100, True), (900, True), (1000, False)])
def test_pictures_below_their_size_are_enlarged(side: int, enlarged: bool) -> None:
    assert buckets.enlarged(buckets.frame(side, side, spec(), 16)) is enlarged


def test_random_places_depend_on_all_that_names_them() -> None:
    keys = [
        (0, "a", "x", 0),
        (1, "a", "x", 0),
        (0, "b", "x", 0),
        (0, "a", "y", 0),
        (0, "a", "x", 1),
    ]
    places = [buckets.place(*key) for key in keys]
    assert len({number for place in places for number in place}) == 10
    assert places == [buckets.place(*key) for key in keys]


def test_random_places_reach_every_row_equally_often() -> None:
    corners = [
        buckets.frame(
            64, 68, spec(aspects=["1:1"], resolution=64), 16, place=(top / 100, 0.0)
        ).corner
        for top in range(100)
    ]
    assert [sum(corner == (row, 0) for corner in corners) for row in range(5)] == [20] * 5
