"""What is said of a picture."""

from pathlib import Path

import pytest

from scumble.data.captions import caption, dropped, named
from scumble.errors import FileError
from scumble.spec.dataset import FolderSpec

TEXT = FolderSpec(id="cats", folder="cats")
NAME = FolderSpec(id="cats", folder="cats", captions="filename")


def beside(folder: Path, data: bytes) -> str | None:
    (folder / "cat.txt").write_bytes(data)
    return caption(TEXT, folder / "cat.png", "cat.png")


def test_the_text_beside_a_picture_is_its_caption(tmp_path: Path) -> None:
    assert beside(tmp_path, b"a cat\n") == "a cat"


@pytest.mark.parametrize(
    "data",
    [
        "un chat \u00e9tonn\u00e9".encode(),
        "\ufeff  un chat \u00e9tonn\u00e9\r\n".encode(),
        "un chat\n\n  \u00e9tonn\u00e9 \n".encode(),
        "un chat \u00e9tonn\u00e9".encode("utf-16"),
    ],
)
def test_marks_blanks_and_line_ends_are_not_part_of_a_caption(tmp_path: Path, data: bytes) -> None:
    assert beside(tmp_path, data) == "un chat \u00e9tonn\u00e9"


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", b"\xef\xbb\xbf"])
def test_an_empty_text_is_no_caption(tmp_path: Path, data: bytes) -> None:
    assert beside(tmp_path, data) is None


def test_no_text_is_no_caption(tmp_path: Path) -> None:
    assert caption(TEXT, tmp_path / "cat.png", "cat.png") is None


@pytest.mark.parametrize("data", [b"caf\xe9", b"\xff\xfe\x00"])
def test_a_text_in_another_encoding_is_a_problem(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FileError, match=r"cat\.txt: has a caption that is not UTF-8"):
        beside(tmp_path, data)


def test_a_text_that_is_a_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").mkdir()
    with pytest.raises(FileError, match="has a caption that cannot be opened"):
        caption(TEXT, tmp_path / "cat.png", "cat.png")


def test_only_the_last_ending_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "cat.v2.txt").write_text("second")
    assert caption(TEXT, tmp_path / "cat.v2.png", "cat.v2.png") == "second"


@pytest.mark.parametrize(
    ("id", "text"),
    [
        ("a_red_cat.png", "a red cat"),
        ("deep/down/a red cat.png", "a red cat"),
        ("a_red_cat (2).png", "a red cat"),
        ("a_red_cat(12).png", "a red cat"),
        ("a red cat-3.png", "a red cat"),
        ("a_red_cat_004.png", "a red cat"),
        ("a_red_cat_00017_.png", "a red cat"),
        ("a_red_cat_1 (3).png", "a red cat"),
        ("cat-eyed_woman.png", "cat-eyed woman"),
        ("paris-1920.png", "paris-1920"),
        ("apollo 11.png", "apollo 11"),
        ("2 cats.png", "2 cats"),
        ("v1.5 beta.png", "v1.5 beta"),
        ("\u732b.png", "\u732b"),
    ],
)
def test_a_name_is_read_without_underscores_and_counters(id: str, text: str) -> None:
    assert caption(NAME, Path(id), id) == text


@pytest.mark.parametrize("id", ["0001.png", "_004.png", "2024-01-02.png", "(1).png", "___.png"])
def test_a_name_of_numbers_says_nothing(id: str) -> None:
    assert named(id) == ""
    assert caption(NAME, Path(id), id) is None


def test_a_prompt_is_said_of_every_picture() -> None:
    spec = FolderSpec(id="cats", folder="cats", captions="prompt", prompt=" a cat ")
    assert caption(spec, Path("nowhere.png"), "nowhere.png") == "a cat"


def test_captions_are_dropped_as_often_as_told() -> None:
    told = [
        dropped(0, "cats", epoch, 0, f"{n}.png", 0.1) for epoch in range(20) for n in range(500)
    ]
    assert 0.09 < sum(told) / len(told) < 0.11
    assert not any(dropped(0, "cats", 0, 0, f"{n}.png", 0.0) for n in range(500))
    assert all(dropped(0, "cats", 0, 0, f"{n}.png", 1.0) for n in range(500))


def test_which_captions_are_dropped_depends_on_the_whole_key() -> None:
    def row(seed: int, dataset: str, epoch: int, turn: int) -> list[bool]:
        return [dropped(seed, dataset, epoch, turn, f"{n}.png", 0.5) for n in range(64)]

    rows = [row(0, "a", 0, 0), row(1, "a", 0, 0), row(0, "b", 0, 0), row(0, "a", 1, 0)]
    rows.append(row(0, "a", 0, 1))
    assert len({tuple(one) for one in rows}) == 5
    assert rows[0] == row(0, "a", 0, 0)
