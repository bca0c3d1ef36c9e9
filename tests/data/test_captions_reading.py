"""Which texts a picture has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scumble.data.captions.filters import check, filtered
from scumble.data.captions.reading import alternatives, decoded, kind, named
from scumble.data.sources.record import Found
from scumble.spec.captions import CaptionEdits
from scumble.spec.dataset import DatasetSpec
from scumble.spec.references import ReferenceSpec


def found(id: str = "cat.png", texts: tuple[str, ...] | None = None) -> Found:
    return Found(id=id, file=Path(id), size_bytes=1, mtime_ns=1, texts=texts)


def dataset(**settings: Any) -> DatasetSpec:
    if "source" not in settings:
        settings["folder"] = "cats"
    return DatasetSpec.model_validate({"id": "cats", **settings})


def edited(text: str | None, **edits: Any) -> tuple[str, ...]:
    return alternatives(dataset(caption_edits=edits), found(), text)


@pytest.mark.parametrize(
    "data",
    [
        "un chat \u00e9tonn\u00e9".encode(),
        "un chat \u00e9tonn\u00e9".encode("utf-8-sig"),
        "un chat \u00e9tonn\u00e9".encode("utf-16"),
        b"\xfe\xff" + "un chat \u00e9tonn\u00e9".encode("utf-16-be"),
    ],
)
def test_a_text_is_read_in_the_encoding_it_says(data: bytes) -> None:
    assert decoded(data) == "un chat \u00e9tonn\u00e9"


@pytest.mark.parametrize(
    "data",
    [
        b"caf\xe9",
        b"\xff\xfe\x00",
        "cat".encode("utf-16-le"),
        "cat".encode("utf-32"),
        b"a cat\0",
    ],
)
def test_a_text_in_another_encoding_is_never_guessed(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decoded(data)


@pytest.mark.parametrize("text", ["a cat", "\ta cat\r\n", "a\n\n  cat \n", "a\r\ncat"])
def test_lines_are_one_text_without_the_blanks_around_them(text: str) -> None:
    assert edited(text) == ("a cat",)


@pytest.mark.parametrize("text", [None, "", " \n\t\r\n"])
def test_an_empty_text_is_no_caption(text: str | None) -> None:
    assert edited(text) == ()
    assert edited(text, lines="choose") == ()
    assert edited(text, lines="first") == ()


def test_lines_can_be_alternatives_or_all_but_the_first_be_left_out() -> None:
    assert edited("\n a cat\n\nmy cat \n", lines="choose") == ("a cat", "my cat")
    assert edited("\n a cat\n\nmy cat \n", lines="first") == ("a cat",)


def test_a_prompt_stands_in_where_a_picture_has_no_text() -> None:
    spec = dataset(prompt=" a cat ")
    assert alternatives(spec, found(), None) == ("a cat",)
    assert alternatives(spec, found(), " ") == ("a cat",)
    assert alternatives(spec, found(), "my cat") == ("my cat",)
    assert alternatives(dataset(captions="filename", prompt="a cat"), found("01.png"), None) == (
        "a cat",
    )


def test_a_prompt_stands_in_for_a_text_that_is_filtered_away() -> None:
    spec = dataset(prompt="a cat", caption_edits={"filters": ["n/a"]})
    assert alternatives(spec, found(), "n/a") == ("a cat",)


def test_several_prompts_are_alternatives() -> None:
    spec = dataset(captions="prompt", prompt=["a cat", "", "my cat"])
    assert alternatives(spec, found(), "not asked for") == ("a cat", "my cat")


@pytest.mark.parametrize(
    ("source", "of"),
    [
        ({"kind": "hub", "dataset": "x/y"}, "column"),
        ({"kind": "table", "file": "t.csv"}, "column"),
        ({"kind": "s3", "bucket": "cats"}, "textfile"),
    ],
)
def test_texts_come_from_where_the_source_has_them(source: dict[str, str], of: str) -> None:
    assert kind(dataset(source=source)) == of
    assert kind(dataset(source=source, captions="filename")) == "filename"
    assert kind(dataset()) == "textfile"


def test_columns_are_alternatives() -> None:
    spec = dataset(source={"kind": "table", "file": "t.csv"})
    assert alternatives(spec, found(texts=("a\ncat", "", "my cat")), None) == ("a cat", "my cat")
    assert alternatives(spec, found(texts=()), None) == ()
    assert alternatives(spec, found(), "beside") == ()


def test_lines_of_a_reference_are_alternatives_and_it_has_none_unasked() -> None:
    spec = ReferenceSpec(folder="before", captions="textfile")
    assert alternatives(spec, found(), "make it blue\n\nblue") == ("make it blue", "blue")
    assert alternatives(spec, found(), None) == ()
    assert alternatives(ReferenceSpec(folder="before"), found(), "text") == ()
    spec = ReferenceSpec(folder="before", captions="prompt", prompt=("sharpen", "mend"))
    assert alternatives(spec, found(), None) == ("sharpen", "mend")
    spec = ReferenceSpec(folder="before", captions="filename")
    assert alternatives(spec, found("make_it_blue.png"), None) == ("make it blue",)


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
    assert alternatives(dataset(captions="filename"), found(id), None) == (text,)


@pytest.mark.parametrize("id", ["0001.png", "_004.png", "2024-01-02.png", "(1).png", "___.png"])
def test_a_name_of_numbers_says_nothing(id: str) -> None:
    assert named(id) == ""
    assert alternatives(dataset(captions="filename"), found(id), None) == ()


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        (["a photo of "], "a very blurry cat (1)"),
        (["blurry "], "a photo of a very cat (1)"),
        (["very", "blurry"], "a photo of a cat (1)"),
        (["(1)"], "a photo of a very blurry cat"),
        ([r"s/\s*\(\d+\)$//"], "a photo of a very blurry cat"),
        (["s/cat/dog/", "s/dog/fox/"], "a photo of a very blurry fox (1)"),
        ([r"s/(very) (blurry)/\2, \1/"], "a photo of a blurry, very cat (1)"),
        ([r"s/cat/cat\/dog/"], "a photo of a very blurry cat/dog (1)"),
        (["not there", "s/nor this//"], "a photo of a very blurry cat (1)"),
    ],
)
def test_filters_take_out_texts_and_replace_expressions(filters: list[str], text: str) -> None:
    edits = CaptionEdits(filters=tuple(filters))
    assert filtered("a photo of a very blurry cat (1)", edits) == text
    assert check(edits) == []


def test_filters_act_on_each_line() -> None:
    lines = edited("photo of\na cat\nphoto of a cat", lines="choose", filters=("photo of",))
    assert lines == ("a cat", "a cat")


def test_a_text_without_what_is_filtered_keeps_its_blanks() -> None:
    assert edited("a  cat", filters=("dog",)) == ("a  cat",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("s/(cat/dog/", "not a regular expression"),
        (r"s/cat/\1/", "not a regular expression"),
        (r"s/cat/\g<name>/", "not a regular expression"),
        ("s/cat/dog", "looks like a replacement"),
        ("s//dog/", "looks like a replacement"),
        ("", "takes nothing out"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_told(wrong: str, said: str) -> None:
    ((setting, problem, remedy),) = check(CaptionEdits(filters=("s/he", wrong)))
    assert setting == "filters.1"
    assert said in problem
    assert remedy
