"""Two laws of sizes give the numbers of the trainers they were learnt from, row by row."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scumble.data.sizes import aspect, buckets
from scumble.data.sizes.frame import Frame
from scumble.data.sizes.framer import framer
from scumble.spec.sizing import AspectSizing, BucketsSizing

GOLDEN = Path(__file__).parent.parent / "golden"
BUCKETS = json.loads((GOLDEN / "sd_buckets.json").read_text())
SIZES = json.loads((GOLDEN / "st_sizes.json").read_text())


def undrawn(purpose: str) -> float:
    raise AssertionError(purpose)


def named(case: dict[str, Any]) -> str:
    return "-".join(str(value) for value in case.values() if not isinstance(value, list | dict))


# sd-scripts


def table_settings(case: dict[str, Any]) -> BucketsSizing:
    settings = {"minimum": case["min"], "maximum": case["max"]} if case["min"] else {}
    step, no_upscale = case["reso_steps"], case["no_upscale"]
    return BucketsSizing.model_validate(
        {"kind": "buckets", "step": step, "no_upscale": no_upscale, **settings}
    )


@pytest.mark.parametrize("case", BUCKETS["cases"], ids=named)
def test_buckets_and_their_pictures_are_those_of_sd_scripts(case: dict[str, Any]) -> None:
    sizing = table_settings(case)
    if case["predefined"] is not None:
        told = buckets.table(sizing, math.prod(case["resolution"]))
        assert [[width, height] for height, width in told] == case["predefined"]
    law = framer(sizing, tuple(case["resolution"]), 8)
    for width, height, *expected, error in case["assign"]:
        frame = law.frame(width, height, undrawn)
        assert [*frame.size[::-1], *frame.resized[::-1]] == expected
        aspect_error = expected[0] / expected[1] - width / height
        assert abs(aspect_error) == pytest.approx(abs(error), abs=1e-5)


@pytest.mark.parametrize("row", BUCKETS["crop_ltrb"], ids=lambda row: str(row["image"]))
def test_the_part_that_is_shown_is_that_of_sd_scripts(row: dict[str, Any]) -> None:
    """Its numbers are of a picture that fits into the bucket; ours, of one that covers it.

    Seen from the bucket's middle, one is the other made larger.
    """
    (bw, bh), (width, height) = row["bucket"], row["image"]
    left, top, right, bottom = row["ltrb"]
    sizing = BucketsSizing(kind="buckets", enable=False)
    frame = framer(sizing, (bw, bh), 8).frame(width, height, undrawn)
    growth = max(bw / (right - left), bh / (bottom - top))
    assert frame.resized[1] == pytest.approx((right - left) * growth, abs=1.5)
    assert frame.resized[0] == pytest.approx((bottom - top) * growth, abs=1.5)


# SimpleTuner


@pytest.mark.parametrize("case", SIZES["low_level"], ids=named)
def test_the_size_of_each_shape_is_that_of_simpletuner(case: dict[str, Any]) -> None:
    area = case["resolution_type"] == "area"
    scale = aspect.Scale(area=area, amount=float(case["resolution"]), step=case["alignment"])
    for width, height, shape, tw, th, iw, ih, shape_out in case["rows"]:
        size = aspect.plain(shape, scale, {})
        assert size == (th, tw)
        assert aspect.covering(width, height, size, scale) == (ih, iw)
        assert round(tw / th, 2) == shape_out


def aspect_settings(backend: dict[str, Any]) -> AspectSizing:
    told = {key: value for key, value in backend.items() if key != "resolution"}
    told["crop_style"] = told["crop_style"].replace("center", "centre")
    return AspectSizing.model_validate({"kind": "aspect", **told})


def short(row: list[Any], case: dict[str, Any]) -> tuple[int, int] | None:
    """The picture that upstream cuts out of where it does not cover what is cut out, else None.

    At 1.0 megapixels and steps of 16 its square has 1024 pixels, but pictures are resized for
    the side of 992 that other shapes have (and tall ones to the square, which stretches them).
    And a `target_downsample_size` below the resolution can leave less than the size, and then
    only the first side that is short is made up for. What is missing counts as cut at its first
    pixel. Sizes agree there too; ours is cut out of what covers.
    """
    width, height, tw, th = row[:4]
    backend, step = case["backend"], case["alignment"]
    if (backend["crop_aspect"], step, backend["resolution"]) == ("square", 16, 1.0):
        if not backend["crop"] or width == height:
            return None
        scale = aspect.Scale(area=True, amount=1.0, step=step)
        return aspect.covering(width, height, (992, 992), scale) if width > height else (th, tw)
    smaller = backend["target_downsample_size"]
    if smaller is None or smaller >= backend["resolution"] or width * height == tw * th:
        return None
    scale = aspect.Scale(area=True, amount=float(smaller), step=step)
    own = aspect.plain(round(width / height, 2), scale, {})
    high, wide = aspect.covering(width, height, own, scale)
    if wide < tw:
        return int(high * (tw / wide)), tw
    return (th, int(wide * (th / high))) if high < th else None


@pytest.mark.parametrize("case", SIZES["cases"], ids=lambda case: f"{case['alignment']}")
def test_frames_are_those_of_simpletuner(case: dict[str, Any]) -> None:
    backend, step = case["backend"], case["alignment"]
    sizing = aspect_settings(backend)
    scale = aspect.scale(sizing, backend["resolution"], step)
    for row in case["rows"]:
        width, height, tw, th, iw, ih, shape, top, left = row
        law = framer(sizing, backend["resolution"], step)
        frame = law.frame(width, height, undrawn)
        assert frame.size == (th, tw)
        assert round(tw / th, 2) == shape
        assert_covers(frame)
        if (uncovered := short(row, case)) is not None:
            assert (top, left) == centre(uncovered, frame.size)
            assert frame.resized == aspect.covering(width, height, (th, tw), scale)
            assert frame.corner == centre(frame.resized, frame.size)
            continue
        assert aspect.covering(width, height, (th, tw), scale) == (ih, iw)
        assert frame.corner == (top, left)
        if sizing.target_downsample_size is None:
            assert frame.resized == (ih, iw)


def test_only_so_many_rows_of_simpletuner_are_cut_out_of_too_little() -> None:
    cases = SIZES["cases"]
    counts = [sum(short(row, case) is not None for row in case["rows"]) for case in cases]
    assert sorted(counts)[-3:] == [0, 56, 59]


def centre(whole: tuple[int, int], part: tuple[int, int]) -> tuple[int, int]:
    return max(0, (whole[0] - part[0]) // 2), max(0, (whole[1] - part[1]) // 2)


def assert_covers(frame: Frame) -> None:
    for whole, part, cut in zip(frame.resized, frame.size, frame.corner, strict=True):
        assert 0 <= cut <= whole - part


def test_the_first_picture_of_a_shape_settles_the_size_of_later_ones() -> None:
    sizing = AspectSizing(kind="aspect", resolution_type="area", crop_style="centre")
    law = framer(sizing, 1.0, 16)
    for width, height, tw, th, iw, ih, shape in SIZES["stateful_sequence"]:
        frame = law.frame(width, height, undrawn)
        assert (frame.size, frame.resized) == ((th, tw), (ih, iw))
        assert round(tw / th, 2) == shape


def test_what_is_remembered_can_be_given_and_is_obeyed() -> None:
    scale = aspect.Scale(area=True, amount=1.0, step=16)
    remembered = {(1.0, 1.49): (800, 1200)}
    assert aspect.plain(1.5, scale, remembered) == (800, 1200)
    assert aspect.plain(1.2, scale, remembered) == (912, 1088)
    assert remembered == {(1.0, 1.49): (800, 1200), (1.0, 1.19): (912, 1088)}
