from pathlib import Path

import pytest
from PIL import Image

from scumble.observers.grid import before_after, scaled, wrapped
from tests.observers.runs import preview


def test_every_prompt_has_a_row_of_its_first_and_last_picture(tmp_path: Path) -> None:
    for number in (0, 10, 200):
        preview(tmp_path, number, ("a cat", "a dog"), (64, 48))
    file = before_after(tmp_path)
    assert file is not None
    assert file.name == "before-after.png"
    with Image.open(file) as sheet:
        width, height = 64 * 6, 48 * 6
        assert sheet.size == (32 * 2 + 16 + 2 * width, 32 * 2 + 44 + 2 * (height + 16 + 20) + 30)
        assert sheet.getpixel((32 + 5, 32 + 44 + 5)) == (0, 80, 120)
        assert sheet.getpixel((32 + width + 16 + 5, 32 + 44 + 5)) == (200, 80, 120)


@pytest.mark.parametrize("steps", [(), (0,)])
def test_without_two_steps_there_is_nothing_to_compare(
    tmp_path: Path, steps: tuple[int, ...]
) -> None:
    for number in steps:
        preview(tmp_path, number, ("a cat",))
    assert before_after(tmp_path) is None
    assert not (tmp_path / "before-after.png").exists()


def test_a_prompt_that_changed_on_the_way_has_no_row(tmp_path: Path) -> None:
    preview(tmp_path, 0, ("a cat", "a dog"))
    preview(tmp_path, 10, ("a cat", "a bird"))
    file = before_after(tmp_path)
    assert file is not None
    with Image.open(file) as sheet:
        assert sheet.height == 32 * 2 + 44 + 256 + 16 + 20


def test_a_torn_picture_costs_only_its_row(tmp_path: Path) -> None:
    preview(tmp_path, 0, ("a cat",))
    preview(tmp_path, 10, ("a cat",))
    (tmp_path / "samples/step-000010/00-cat.png").write_bytes(b"\x89PNG")
    assert before_after(tmp_path) is None


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((32, 32), (256, 256)),
        ((48, 64), (288, 384)),
        ((200, 300), (256, 384)),
        ((512, 512), (512, 512)),
        ((2048, 1024), (1024, 512)),
    ],
)
def test_pictures_are_shown_large_enough(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert scaled(Image.new("RGB", size)).size == shown


def test_a_long_prompt_takes_three_lines_and_says_that_it_goes_on() -> None:
    lines = wrapped("a cat in a hat " * 30, 300)
    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert wrapped("x" * 500, 300)[0].endswith("...")
    assert wrapped("", 300) == [""]
