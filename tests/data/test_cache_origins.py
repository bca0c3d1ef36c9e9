"""Each thing that makes an entry, changed alone, is given as the reason; and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scumble.data import origins
from scumble.data.origins import PARTS, Change, Origins, brief, parts, why_picture, why_text
from scumble.data.sizes.frame import Frame
from scumble.data.view import Colours, Degraded, View
from scumble.spec.degradation import Blur

FRAME = Frame((64, 96), (32, 48), (0, 8), (32, 32))
VIEW = View(FRAME)
SOURCE = "ab" * 16
PICTURE = {"family": "flux", "autoencoder weights": "1234", "precision": "fp32", "kept as": "fp32"}
TEXT = {"family": "flux", "t5 weights": "1234", "text length": "512"}
BLUR = Blur(kind="blur")

BEFORE = Origins(
    picture_recipe=PICTURE,
    text_recipe=TEXT,
    pictures={"cat/a.png": (parts(SOURCE, VIEW), parts(SOURCE, replace(VIEW, flipped=True)))},
    texts={"cat/a.png": ("a cat", "a pet")},
)

VIEWS = {
    "size and crop": [
        View(replace(FRAME, corner=(0, 9))),
        View(replace(FRAME, resized=(32, 49))),
        View(replace(FRAME, size=(32, 48), corner=(0, 0))),
        View(replace(FRAME, original=(65, 96))),
    ],
    "interpolation": [replace(VIEW, interpolation="area")],
    "mirroring": [replace(VIEW, flipped=True)],
    "colours": [replace(VIEW, colours=Colours()), replace(VIEW, colours=Colours(hue=5.0))],
    "degradation": [
        replace(VIEW, degraded=Degraded(BLUR, "trained", 1)),
        replace(VIEW, degraded=Degraded(BLUR, "original", 1)),
        replace(VIEW, degraded=Degraded(BLUR, "trained", 2)),
        replace(VIEW, degraded=Degraded(Blur(kind="blur", radius=9.0), "trained", 1)),
    ],
}


def test_nothing_changed_gives_no_reason() -> None:
    assert why_picture(BEFORE, "cat/a.png", 0, parts(SOURCE, VIEW), PICTURE) == ()
    assert why_text(BEFORE, "cat/a.png", "a pet", TEXT) == ()


@pytest.mark.parametrize(
    ("what", "view"), [(what, view) for what, views in VIEWS.items() for view in views]
)
def test_a_part_of_the_view_changed_alone_is_the_reason(what: str, view: View) -> None:
    assert view.facts() != VIEW.facts()
    changes = why_picture(BEFORE, "cat/a.png", 0, parts(SOURCE, view), PICTURE)
    assert changes is not None and [change.what for change in changes] == [what]
    assert changes[0].was != changes[0].now


def test_views_that_differ_have_parts_that_differ_and_the_other_way_round() -> None:
    every = [VIEW, *(view for views in VIEWS.values() for view in views)]
    assert len({view.facts() for view in every}) == len(every)
    assert len({parts(SOURCE, view) for view in every}) == len(every)
    assert VIEWS.keys() == set(PARTS) - {"bytes"}


def test_other_bytes_are_the_reason() -> None:
    changes = why_picture(BEFORE, "cat/a.png", 0, parts("cd" * 16, VIEW), PICTURE)
    assert changes == (Change("bytes", SOURCE, "cd" * 16),)


@pytest.mark.parametrize("name", PICTURE)
def test_a_part_of_the_recipe_changed_alone_is_the_reason(name: str) -> None:
    now = parts(SOURCE, VIEW)
    changed = PICTURE | {name: "other"}
    assert why_picture(BEFORE, "cat/a.png", 0, now, changed) == (
        Change(name, PICTURE[name], "other"),
    )
    without = {other: part for other, part in PICTURE.items() if other != name}
    assert why_picture(BEFORE, "cat/a.png", 0, now, without) == (
        Change(name, PICTURE[name], "none"),
    )


def test_of_a_text_the_caption_or_the_recipe_is_the_reason() -> None:
    assert why_text(BEFORE, "cat/a.png", "a dog", TEXT) == (
        Change("caption", "a cat | a pet", "a dog"),
    )
    longer = TEXT | {"text length": "256"}
    assert why_text(BEFORE, "cat/a.png", "a cat", longer) == (Change("text length", "512", "256"),)


def test_what_was_never_made_has_no_changes() -> None:
    now = parts(SOURCE, VIEW)
    assert why_picture(None, "cat/a.png", 0, now, PICTURE) is None
    assert why_picture(BEFORE, "cat/b.png", 0, now, PICTURE) is None
    assert why_picture(BEFORE, "cat/a.png", 2, now, PICTURE) is None
    assert why_text(BEFORE, "cat/b.png", "a cat", TEXT) is None


def test_a_version_is_compared_with_itself() -> None:
    mirrored = parts(SOURCE, replace(VIEW, flipped=True))
    assert why_picture(BEFORE, "cat/a.png", 1, mirrored, PICTURE) == ()


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = origins.at(tmp_path, "cat", "/pictures/of cats")
    origins.write(file, BEFORE)
    assert origins.read(file) == replace(BEFORE)
    assert file.parent.name == "made" and file.name.startswith("cat-")
    assert origins.at(tmp_path, "cat", "/elsewhere") != file


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b'{"format": "other"}', b"\xff"])
def test_a_record_that_is_none_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert origins.read(tmp_path / "x.json") is None
    assert origins.read(tmp_path / "absent.json") is None


def test_long_texts_are_told_apart_by_their_ends() -> None:
    long = "a cat " * 100
    assert brief("a cat") == "a cat"
    assert brief(long + "x") != brief(long + "y")
    assert len(brief(long)) <= 80
