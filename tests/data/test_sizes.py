"""Which size a picture is trained at: arithmetic that must hold for every shape."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from scumble.data.sizes import limits, shapes
from scumble.data.sizes.frame import Frame, enlarged, lost, strict
from scumble.data.sizes.framer import Framer, framer
from scumble.spec.sizing import ASPECTS, AspectSizing, BucketsSizing, ShapesSizing, ratio


def ours(**settings: Any) -> ShapesSizing:
    return ShapesSizing.model_validate(settings)


def by_aspect(**settings: Any) -> AspectSizing:
    return AspectSizing.model_validate({"kind": "aspect", **settings})


def by_buckets(**settings: Any) -> BucketsSizing:
    return BucketsSizing.model_validate({"kind": "buckets", **settings})


def undrawn(purpose: str) -> float:
    raise AssertionError(purpose)


def always(number: float) -> Callable[[str], float]:
    return lambda _: number


LAWS = {
    "shapes": framer(ours(), 1024, 16),
    "shapes-random": framer(ours(crop="random"), 1024, 16),
    "shapes-corner": framer(ours(crop="corner"), 512, 8),
    "whole": framer(ours(crop="none"), 512, 16),
    "aspect": framer(by_aspect(), 1024, 64),
    "aspect-area": framer(by_aspect(resolution_type="area", crop_style="corner"), 0.5, 16),
    "aspect-pixel": framer(by_aspect(resolution_type="pixel", crop_style="centre"), 512, 16),
    "aspect-square": framer(by_aspect(crop=True), 512, 64),
    "aspect-closest": framer(
        by_aspect(crop=True, crop_aspect="closest", crop_aspect_buckets=[1.0, 1.5, 0.67]), 1024, 64
    ),
    "aspect-drawn": framer(
        by_aspect(crop=True, crop_aspect="random", crop_aspect_buckets=[1.0, 1.5, 0.67]), 1024, 64
    ),
    "aspect-smaller": framer(
        by_aspect(
            crop=True,
            crop_aspect="preserve",
            maximum_image_size=2048,
            target_downsample_size=1536,
        ),
        1024,
        64,
    ),
    "aspect-too-small": framer(
        by_aspect(crop=True, maximum_image_size=2048, target_downsample_size=256), 1024, 16
    ),
    "buckets": framer(by_buckets(), 1024, 16),
    "buckets-random": framer(by_buckets(random_crop=True, step=32), (768, 512), 16),
    "buckets-off": framer(by_buckets(enable=False), (768, 512), 16),
    "buckets-small": framer(by_buckets(no_upscale=True), 1024, 16),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_every_law_cuts_whole_steps_out_of_a_picture_that_covers_them(law: Framer) -> None:
    dice = random.Random(0)
    for _ in range(400):
        width, height = (int(math.exp(dice.uniform(0, 9))) for _ in range(2))
        frame = law.frame(width, height, lambda _: dice.random())
        assert frame.original == (height, width)
        assert frame.size[0] % 8 == frame.size[1] % 8 == 0 < min(frame.size)
        for whole, part, cut in zip(frame.resized, frame.size, frame.corner, strict=True):
            assert 0 <= cut <= whole - part
        assert 0 <= lost(frame) < 1


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_law_says_whether_its_frames_depend_on_the_draw(law: Framer) -> None:
    sizes = [(1000, 1777), (640, 427), (3000, 900), (200, 1500)]
    frames = [
        [law.frame(*size, always(number)) for size in sizes] for number in (0.0, 0.4, 0.7, 0.99)
    ]
    assert law.random == any(frames[0] != other for other in frames)
    assert law.varies == any(
        one.size != first.size
        for other in frames
        for one, first in zip(other, frames[0], strict=True)
    )
    if not law.random:
        law.frame(*sizes[0], undrawn)


# Ours


def test_sizes_come_in_the_order_of_their_aspects_as_height_and_width() -> None:
    told = shapes.sizes(1024, 16, ("1:1", "16:9", "9:16", "2:1"))
    assert told == ((1024, 1024), (768, 1360), (1360, 768), (720, 1456))


def test_any_aspect_at_any_resolution_has_a_size_of_its_shape_and_area() -> None:
    dice = random.Random(0)
    for _ in range(200):
        width, height = dice.randint(1, 100), dice.randint(1, 100)
        resolution, step = dice.choice([256, 512, 768, 1024]), dice.choice([8, 16, 32])
        ((rows, columns),) = shapes.sizes(resolution, step, (f"{width}:{height}",))
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
    assert shapes.sizes(64, 32, ("100:1",)) == ((32, 640),)


@pytest.mark.parametrize("crop", ["centre", "random", "corner"])
def test_a_frame_covers_its_size_and_cuts_in_one_direction_at_most(crop: str) -> None:
    dice, law = random.Random(1), framer(ours(crop=crop), 1024, 16)
    known = shapes.sizes(1024, 16, ASPECTS)
    for _ in range(500):
        frame = law.frame(dice.randint(1, 6000), dice.randint(1, 6000), lambda _: dice.random())
        assert frame.size in known
        assert min(a - b for a, b in zip(frame.resized, frame.size, strict=True)) == 0


def test_the_size_is_the_one_whose_shape_is_nearest() -> None:
    law = framer(ours(), 1024, 16)
    for aspect in ASPECTS:
        ((nominal),) = shapes.sizes(1024, 16, (aspect,))
        assert law.frame(round(2000 * ratio(aspect)), 2000, undrawn).size == nominal
    assert law.frame(100_000, 10, undrawn).size == shapes.sizes(1024, 16, ("2:1",))[0]
    own = framer(ours(aspects=["1:1", "4:1"]), 1024, 16)
    assert own.frame(4000, 1000, undrawn).size == (512, 2048)


def test_all_of_a_picture_in_the_right_shape_is_kept_as_it_is() -> None:
    frame = framer(ours(), 1024, 16).frame(1024, 1024, undrawn)
    assert frame == Frame((1024, 1024), (1024, 1024), (0, 0), (1024, 1024))
    assert lost(frame) == 0
    assert not enlarged(frame)


@pytest.mark.parametrize(
    ("crop", "corner"), [("centre", (50, 0)), ("corner", (0, 0)), ("random", (99, 0))]
)
def test_the_cut_lies_where_the_settings_say(crop: str, corner: tuple[int, int]) -> None:
    law = framer(ours(crop=crop, aspects=["1:1"]), 1024, 16)
    assert law.frame(1024, 1124, always(0.99)).corner == corner


def test_a_random_cut_reaches_every_row_equally_often() -> None:
    law = framer(ours(crop="random", aspects=["1:1"]), 64, 16)
    corners = [law.frame(64, 68, always(top / 100)).corner for top in range(100)]
    assert [sum(corner == (row, 0) for corner in corners) for row in range(5)] == [20] * 5


def test_top_and_left_are_drawn_each_for_itself() -> None:
    draw = {"top": 0.0, "left": 0.999}.__getitem__
    sizing = by_aspect(
        crop=True, crop_aspect="square", maximum_image_size=64, target_downsample_size=128
    )
    assert framer(sizing, 64, 16).frame(400, 400, draw).corner == (0, 64)


def test_nothing_is_cut_without_crop() -> None:
    dice, law = random.Random(2), framer(ours(crop="none"), 512, 16)
    for _ in range(200):
        frame = law.frame(dice.randint(100, 4000), dice.randint(100, 4000), undrawn)
        assert frame.resized == frame.size
        assert frame.corner == (0, 0)
        assert lost(frame) == 0


def test_without_crop_each_side_is_rounded_to_the_step() -> None:
    law = framer(ours(crop="none"), 1024, 16)
    assert law.frame(3000, 2000, undrawn).size == (832, 1248)
    assert law.frame(10, 40_000, undrawn).size == (64768, 16)


def test_a_row_has_height_before_width() -> None:
    assert Frame((1, 2), (3, 4), (5, 6), (7, 8)).row() == (1, 2, 3, 4, 5, 6, 7, 8)


def test_half_of_a_picture_twice_too_wide_is_lost() -> None:
    assert lost(framer(ours(aspects=["1:1"]), 1024, 16).frame(2000, 1000, undrawn)) == 0.5


@pytest.mark.parametrize(("side", "made_up"), [(100, True), (900, True), (1000, False)])
def test_pictures_below_their_size_are_enlarged(side: int, made_up: bool) -> None:
    assert enlarged(framer(ours(), 1024, 16).frame(side, side, undrawn)) is made_up


# A strict reference


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_strict_reference_takes_all_but_its_own_size_from_the_target(law: Framer) -> None:
    target = law.frame(1200, 900, always(0.3))
    reference = strict(target, 2400, 1801)
    assert reference == Frame((1801, 2400), target.resized, target.corner, target.size)
    assert strict(reference, 1200, 900) == target


# The law of sd-scripts


def test_a_picture_that_is_a_bucket_is_taken_as_it_is() -> None:
    law = framer(by_buckets(maximum=2048), 1024, 16)
    assert law.frame(832, 1216, undrawn) == Frame((1216, 832), (1216, 832), (0, 0), (1216, 832))


def test_limits_are_rounded_away_from_each_other() -> None:
    odd = by_buckets(minimum=300, maximum=1000)
    even = by_buckets(minimum=256, maximum=1024)
    sizes = [(100, 5000), (777, 777), (5000, 100)]
    for width, height in sizes:
        frames = [framer(one, 1024, 16).frame(width, height, undrawn) for one in (odd, even)]
        assert frames[0] == frames[1]


def test_without_buckets_all_pictures_have_the_one_size() -> None:
    law = framer(by_buckets(enable=False), (768, 512), 16)
    assert law.frame(3000, 3000, undrawn) == Frame((3000, 3000), (768, 768), (128, 0), (512, 768))


def test_a_picture_smaller_than_a_step_still_has_pixels() -> None:
    law = framer(by_buckets(no_upscale=True), 1024, 16)
    assert law.frame(40, 200, undrawn).size == (192, 64)
    assert law.frame(40, 200, undrawn).resized == (320, 64)
    assert law.frame(100, 130, undrawn) == Frame((130, 100), (130, 100), (1, 18), (128, 64))


# SimpleTuner's law


def test_all_units_of_one_size_give_the_same_frames() -> None:
    area = by_aspect(resolution_type="area", crop_style="centre")
    side = by_aspect(resolution_type="pixel_area", crop_style="centre")
    for width, height in [(640, 427), (3000, 900), (500, 500)]:
        one = framer(area, 1.048576, 64).frame(width, height, undrawn)
        assert one == framer(side, 1024, 64).frame(width, height, undrawn)


def test_the_square_is_the_one_that_megapixels_stand_for() -> None:
    area = by_aspect(resolution_type="area", crop=True, crop_style="centre")
    told = [framer(area, amount, 64).frame(900, 700, undrawn).size[0] for amount in (0.25, 0.5, 1)]
    assert told == [512, 768, 1024]
    assert framer(area, 0.75, 64).frame(900, 700, undrawn).size == (896, 896)


def test_a_square_by_its_side_is_still_a_multiple_of_the_step() -> None:
    pixel = by_aspect(resolution_type="pixel", crop=True, crop_style="centre")
    assert framer(pixel, 500, 64).frame(900, 700, undrawn).size == (512, 512)


def listed(**settings: Any) -> AspectSizing:
    shape = {"crop_aspect_buckets": [1.0, 1.5, 0.5], "crop_style": "centre"}
    return by_aspect(crop=True, **shape, **settings)


def test_the_closest_of_the_listed_shapes_is_taken() -> None:
    law = framer(listed(crop_aspect="closest"), 1024, 64)
    told = [law.frame(width, 1000, undrawn).size for width in (300, 700, 1100, 1300, 9000)]
    tall, wide = (1472, 704), (832, 1280)
    assert told == [tall, tall, (1024, 1024), wide, wide]


def test_shapes_are_drawn_as_often_as_their_weights_say() -> None:
    law = framer(listed(crop_aspect="random", crop_aspect_weights=[1, 2, 1]), 1024, 64)
    told = [law.frame(1000, 1000, always(n / 400)).size for n in range(400)]
    assert [told.count(size) for size in ((1024, 1024), (832, 1280), (1472, 704))] == [
        100,
        200,
        100,
    ]
    alike = framer(listed(crop_aspect="random"), 1024, 64)
    told = [alike.frame(1000, 1000, always(n / 300)).size for n in range(300)]
    assert told.count((832, 1280)) == 100


def test_shapes_that_would_enlarge_too_much_are_not_taken() -> None:
    law = framer(listed(crop_aspect="random", max_upscale_threshold=0.1), 1024, 64)
    told = {law.frame(1200, 1100, always(n / 10)).size for n in range(10)}
    assert told == {(1024, 1024), (832, 1280)}
    assert law.frame(200, 200, always(0.9)).size == (1024, 1024)


def test_a_picture_as_narrow_as_a_line_has_a_size() -> None:
    law = framer(by_aspect(crop_style="centre"), 1024, 64)
    assert min(law.frame(1, 5000, undrawn).size) == 128
    assert min(framer(by_aspect(), 512, 16).frame(5000, 1, always(0.5)).size) == 16


# What does not fit


def test_pictures_below_the_minimum_are_too_small() -> None:
    pixel = by_aspect(resolution_type="pixel", minimum_image_size=512)
    assert limits.too_small(pixel, 511, 4000)
    assert not limits.too_small(pixel, 512, 512)
    area = by_aspect(resolution_type="area", minimum_image_size=0.25)
    assert not limits.too_small(area, 250, 1000)
    assert limits.too_small(area, 249, 1000)
    square = by_aspect(resolution_type="area", minimum_image_size=0.25, crop=True)
    assert limits.too_small(square, 250, 1000)
    assert not limits.too_small(square, 500, 500)
    side = by_aspect(minimum_image_size=500)
    assert not limits.too_small(side, 250, 1000)
    assert limits.too_small(side, 249, 1000)


@pytest.mark.parametrize("sizing", [ours(), by_aspect(), by_buckets()])
def test_without_a_minimum_no_picture_is_too_small(sizing: Any) -> None:
    assert not limits.too_small(sizing, 1, 1)
    assert limits.check(sizing, 1024, 16) == []


@pytest.mark.parametrize(
    ("sizing", "resolution", "setting"),
    [
        (by_aspect(step=24), 1024, "sizing.step"),
        (by_buckets(step=24), 512, "sizing.step"),
        (by_aspect(resolution_type="area"), 1024.0, "resolution"),
        (by_aspect(resolution_type="area"), 20.0, "resolution"),
        (by_aspect(), 4473, "resolution"),
        (by_aspect(), 1, "resolution"),
        (by_aspect(resolution_type="pixel"), 63, "resolution"),
        (by_aspect(minimum_image_size=0.5), 1024, "sizing.minimum_image_size"),
        (
            by_aspect(
                crop=True, resolution_type="area", maximum_image_size=2048, target_downsample_size=2
            ),
            1.0,
            "sizing.maximum_image_size",
        ),
        (
            by_aspect(
                crop=True,
                resolution_type="pixel",
                maximum_image_size=2048,
                target_downsample_size=2,
            ),
            1024,
            "sizing.target_downsample_size",
        ),
        (by_buckets(), 2048, "sizing.maximum"),
        (by_buckets(), (512, 192), "sizing.minimum"),
        (by_buckets(minimum=1), 32, "resolution"),
        (by_buckets(enable=False), (1000, 512), "resolution"),
    ],
)
def test_what_cannot_be_is_told_with_a_way_out(
    sizing: AspectSizing | BucketsSizing, resolution: Any, setting: str
) -> None:
    told = limits.check(sizing, resolution, 16)
    assert [one[0] for one in told] == [setting]
    assert all(told[0])


@pytest.mark.parametrize(
    ("sizing", "resolution"),
    [
        (by_aspect(step=32), 1024),
        (by_aspect(resolution_type="area"), 19.9),
        (by_aspect(), 4472),
        (by_aspect(resolution_type="pixel"), 64),
        (by_buckets(minimum=300, maximum=1000), (1024, 256)),
        (by_buckets(no_upscale=True), 2048),
        (by_buckets(enable=False), 2048),
    ],
)
def test_what_can_be_is_not_told(sizing: AspectSizing | BucketsSizing, resolution: Any) -> None:
    assert limits.check(sizing, resolution, 16) == []
