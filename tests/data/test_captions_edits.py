"""What is told of a picture at one time."""

from __future__ import annotations

from typing import Any

import pytest

from scumble.data.captions.draws import SPAN, numbers, pick
from scumble.data.captions.edits import Key, changes_with_step, idle, possible, told
from scumble.data.captions.when import When, tags_used
from scumble.spec.captions import CaptionEdits

PLAIN = CaptionEdits()
TAGS = "sks, one, two, three, four, five"
EARLY = When(epoch=0, step=1, steps=100)


def key(turn: int = 0, *, seed: int = 0, dataset: str = "cats", epoch: int = 0) -> Key:
    return seed, dataset, epoch, turn, "cat.png"


def said(
    text: str, at: Key | None = None, when: When = EARLY, dropout: float = 0.0, **edits: Any
) -> str:
    return told([text], CaptionEdits(**edits), dropout=dropout, key=at or key(), when=when)


def all_said(text: str, turns: int = 300, **edits: Any) -> set[str]:
    return {said(text, key(turn), **edits) for turn in range(turns)}


def test_without_settings_a_caption_is_told_as_it_is() -> None:
    text = "a {red|blue} cat, {{sic}}, on|off ||| ;;; , ,b"
    assert told([text], PLAIN, dropout=0.0, key=key(), when=EARLY) == text


def test_of_a_picture_without_a_text_nothing_is_told() -> None:
    settings = CaptionEdits(prefix="PRE")
    assert told([], settings, dropout=0.0, key=key(), when=EARLY) == ""
    assert possible([], settings, dropout=0.0, key=(0, "cats", "cat.png")) == ("",)


def test_prefix_and_suffix_stand_around_every_line() -> None:
    settings = CaptionEdits(prefix="sks", suffix="4k")
    lines = ["a cat", "my cat"]
    seen = {told(lines, settings, dropout=0.0, key=key(turn), when=EARLY) for turn in range(50)}
    assert seen == {"sks a cat 4k", "sks my cat 4k"}


def test_captions_are_dropped_as_often_as_told() -> None:
    draws = [
        (epoch, turn, f"{n}.png") for epoch in range(10) for turn in range(2) for n in range(500)
    ]
    for rate in (0.0, 0.1, 0.5, 1.0):
        empty = sum(
            told(["a cat"], PLAIN, dropout=rate, key=(0, "cats", *one), when=EARLY) == ""
            for one in draws
        )
        assert abs(empty / len(draws) - rate) < 0.01
        assert empty in (0, len(draws)) or 0.0 < rate < 1.0


def test_which_captions_are_dropped_depends_on_the_whole_key() -> None:
    def row(seed: int, dataset: str, epoch: int, turn: int) -> str:
        keys = [(seed, dataset, epoch, turn, f"{n}.png") for n in range(64)]
        return " ".join(told(["x"], PLAIN, dropout=0.5, key=one, when=EARLY) or "-" for one in keys)

    rows = [row(0, "a", 0, 0), row(1, "a", 0, 0), row(0, "b", 0, 0), row(0, "a", 1, 0)]
    rows.append(row(0, "a", 0, 1))
    assert len(set(rows)) == 5
    assert rows[0] == row(0, "a", 0, 0)


def test_shuffling_does_not_change_whose_captions_are_dropped() -> None:
    def dropped(settings: CaptionEdits) -> list[bool]:
        return [
            told([TAGS], settings, dropout=0.3, key=key(turn), when=EARLY) == ""
            for turn in range(100)
        ]

    assert dropped(PLAIN) == dropped(CaptionEdits(shuffle=True, variants=3, wildcards=True))


def test_every_third_epoch_of_a_user_is_without_captions() -> None:
    texts = [said("a cat", when=When(epoch, 1, 100), dropout_every_epochs=3) for epoch in range(7)]
    assert texts == ["a cat", "a cat", "", "a cat", "a cat", "", "a cat"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a {red|blue} cat", {"a red cat", "a blue cat"}),
        ("a {big |}cat", {"a big cat", "a cat"}),
        ("{{a|b}}", {"{a|b}"}),
        ("{{{a|b} }}", {"{a }", "{b }"}),
        ("{a|{{b}} }", {"a", "{b} "}),
        ("{only}", {"only"}),
        ("{}", {"{}"}),
        ("{a|b", {"{a|b"}),
        ("a|b}", {"a|b}"}),
        ("no braces", {"no braces"}),
    ],
)
def test_wildcards_become_one_of_their_parts(text: str, seen: set[str]) -> None:
    assert all_said(text, 60, wildcards=True) == seen
    ours = possible([text], CaptionEdits(wildcards=True), dropout=0.0, key=(0, "cats", "cat.png"))
    assert ours is not None
    assert set(ours) == seen


def test_equal_wildcards_of_a_caption_are_drawn_apart() -> None:
    assert len(all_said("{a|b} {a|b}", wildcards=True)) == 4


def test_tags_that_stay_are_first_and_never_dropped() -> None:
    seen = all_said(TAGS, shuffle=True, tag_dropout=0.5, keep_tokens=2)
    assert all(text.startswith("sks, one") for text in seen)
    assert "sks, one" in seen
    assert len(seen) > 30


def test_more_tags_may_stay_than_there_are() -> None:
    assert all_said("a, b", shuffle=True, tag_dropout=1.0, keep_tokens=9) == {"a, b"}


def test_marks_say_which_tags_stay() -> None:
    seen = all_said("sks,, x ||| a, b ||| end ||| more", shuffle=True, keep_tokens_separator="|||")
    assert seen == {"sks, x, a, b, end ||| more", "sks, x, b, a, end ||| more"}
    seen = all_said("sks ||| a, b", tag_dropout=1.0, keep_tokens_separator="|||")
    assert seen == {"sks"}
    seen = all_said("||| a", shuffle=True, keep_tokens_separator="|||")
    assert seen == {"a"}


def test_without_a_mark_in_a_caption_its_first_tags_stay() -> None:
    seen = all_said("a, b, c", shuffle=True, keep_tokens=2, keep_tokens_separator="|||")
    assert seen == {"a, b, c"}


def test_marks_are_left_alone_where_no_tag_moves() -> None:
    text = "sks ||| a, b"
    assert said(text, keep_tokens_separator="|||", keep_tokens=1) == text


def test_tags_are_joined_by_a_comma_whatever_parts_them() -> None:
    assert said("a;b ;c", separator=";", tag_dropout=0.0, warmup_steps=1) == "a"
    late = When(0, 2, 100)
    assert said("a;b ;c", when=late, separator=";", warmup_steps=1) == "a, b, c"


def test_joined_tags_stay_together_and_are_parted_at_last() -> None:
    seen = all_said("red;;;blue, x", shuffle=True, secondary_separator=";;;")
    assert seen == {"red,blue, x", "x, red,blue"}
    assert said("red;;;blue", secondary_separator=";;;") == "red,blue"


def test_all_tags_may_be_dropped() -> None:
    assert said("a, b", tag_dropout=1.0) == ""


def test_tags_come_in_one_after_another() -> None:
    settings = CaptionEdits(warmup_steps=10, warmup_minimum=2)
    counts = [tags_used(6, settings, When(0, step, 100)) for step in range(1, 13)]
    assert counts == [2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6]
    share = CaptionEdits(warmup_steps=0.1, warmup_minimum=2)
    assert counts == [tags_used(6, share, When(0, step, 100)) for step in range(1, 13)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_minimum_above_the_number_of_tags_means_all(count: int) -> None:
    settings = CaptionEdits(warmup_steps=10, warmup_minimum=3)
    assert all(tags_used(count, settings, When(0, step, 100)) == count for step in range(1, 12))


def test_a_warm_up_that_rounds_to_no_step_is_over_at_once() -> None:
    assert tags_used(6, CaptionEdits(warmup_steps=0.001), When(0, 1, 100)) == 6


def test_only_warm_up_depends_on_the_step() -> None:
    assert changes_with_step(CaptionEdits(warmup_steps=5))
    busy = CaptionEdits(shuffle=True, tag_dropout=0.5, wildcards=True, dropout_every_epochs=2)
    assert not changes_with_step(busy)
    texts = {
        told([TAGS], busy, dropout=0.2, key=key(3), when=When(0, step, 100)) for step in (1, 50)
    }
    assert len(texts) == 1


BUSY = [
    {"shuffle": True},
    {"tag_dropout": 0.4, "keep_tokens": 1},
    {"wildcards": True, "prefix": "{a|an|the}", "shuffle": True},
    {"wildcards": True, "suffix": "{4k|8k}"},
    {"secondary_separator": "one"},
]


@pytest.mark.parametrize("edits", BUSY)
@pytest.mark.parametrize("variants", [1, 3, 8])
def test_variants_bound_what_may_be_told(edits: dict[str, Any], variants: int) -> None:
    texts, settings = [TAGS, "a, b, c"], CaptionEdits(**edits, variants=variants)
    ours = possible(texts, settings, dropout=0.2, key=(0, "cats", "cat.png"))
    assert ours is not None
    assert len(ours) <= 2 * variants + 1
    seen = {
        told(texts, settings, dropout=0.2, key=key(turn, epoch=epoch), when=When(epoch, turn, 9))
        for epoch in range(10)
        for turn in range(1, 30)
    }
    assert seen == set(ours)


def test_variants_differ_between_pictures() -> None:
    settings = CaptionEdits(shuffle=True, variants=1)
    ids = [f"{number}.png" for number in range(20)]
    assert len({possible([TAGS], settings, dropout=0.0, key=(0, "cats", id)) for id in ids}) > 10


def test_what_is_possible_is_told_beforehand_where_it_is_little() -> None:
    def ours(dropout: float = 0.0, **edits: Any) -> tuple[str, ...] | None:
        settings = CaptionEdits(**edits)
        return possible(["a, b", "c", "c"], settings, dropout=dropout, key=(0, "s", "id"))

    assert ours() == ("a, b", "c")
    assert ours(0.1) == ("", "a, b", "c")
    assert ours(1.0) == ("",)
    assert ours(dropout_every_epochs=2, prefix="x") == ("", "x a, b", "x c")
    assert ours(dropout_every_epochs=1) == ("",)
    assert ours(variants=5) == ("a, b", "c")
    assert ours(shuffle=True) is None
    assert ours(tag_dropout=0.1) is None
    assert ours(warmup_steps=3) is None
    assert ours(wildcards=True, prefix="{1|2|3|4}" * 5) is None


def test_settings_that_change_nothing_are_named() -> None:
    vain = {"keep_tokens": 2, "keep_tokens_separator": "|||", "separator": ";", "variants": 3}
    assert idle(CaptionEdits(**vain, warmup_minimum=2)) == (
        "keep_tokens",
        "keep_tokens_separator",
        "separator",
        "warmup_minimum",
        "variants",
    )
    assert idle(CaptionEdits(**vain, shuffle=True)) == ()
    assert idle(CaptionEdits(separator=";", secondary_separator="/", prefix="x")) == ()
    assert idle(CaptionEdits(variants=3, wildcards=True, warmup_minimum=1)) == ()
    assert idle(PLAIN) == ()


def test_numbers_are_even_and_longer_rows_begin_alike() -> None:
    drawn = numbers(20_000, 0, "test")
    assert all(0 <= number < SPAN for number in drawn)
    assert abs(sum(drawn) / len(drawn) / SPAN - 0.5) < 0.01
    assert numbers(20, 0, "test") == drawn[:20]
    assert numbers(0, 0, "test") == []
    assert numbers(3, 1, "test") != drawn[:3]
    assert {pick(3, "test", turn) for turn in range(50)} == {0, 1, 2}
