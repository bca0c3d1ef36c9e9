"""Captions as sd-scripts edits them: its outputs are among ours, as often as its law says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scumble.data.captions.edits import told
from scumble.data.captions.when import When
from scumble.spec.captions import CaptionEdits

GOLDEN = json.loads(Path("tests/golden/sd_captions.json").read_text())
CASES: list[dict[str, Any]] = GOLDEN["cases"]
OURS = {
    "caption_prefix": "prefix",
    "caption_suffix": "suffix",
    "caption_dropout_every_n_epochs": "dropout_every_epochs",
    "enable_wildcard": "wildcards",
    "shuffle_caption": "shuffle",
    "token_warmup_step": "warmup_steps",
    "token_warmup_min": "warmup_minimum",
    "caption_tag_dropout_rate": "tag_dropout",
    "keep_tokens": "keep_tokens",
    "keep_tokens_separator": "keep_tokens_separator",
    "secondary_separator": "secondary_separator",
}
RANDOM = {"shuffle_caption", "caption_tag_dropout_rate", "caption_dropout_rate", "enable_wildcard"}
TAGS = [f"tag {letter}" for letter in "abcd"]


def edits(args: dict[str, Any]) -> CaptionEdits:
    return CaptionEdits(**{OURS[name]: value for name, value in args.items() if name in OURS})


def texts(case: dict[str, Any]) -> list[str]:
    """As its reader hands them on: all lines with wildcards, else the first."""
    lines = GOLDEN["captions"][case["caption"]].splitlines()
    return lines if "enable_wildcard" in case["args"] else lines[:1]


def said(case: dict[str, Any], turn: int) -> str:
    """Its epochs count from 1 and its steps from 0: the other way round than ours."""
    when = When(epoch=case["epoch"] - 1, step=case["step"] + 1, steps=100)
    dropout = case["args"].get("caption_dropout_rate", 0.0)
    key = (0, "cats", 0, turn, "cat.png")
    return told(texts(case), edits(case["args"]), dropout=dropout, key=key, when=when)


def label(case: dict[str, Any]) -> str:
    return f"{','.join(case['args'])}-{case['caption']}-{case['step']}"


def cut(case: dict[str, Any]) -> bool:
    """Where the other tool puts the suffix behind a line that it then leaves out."""
    return "caption_suffix" in case["args"] and case["caption"] == 3


@pytest.mark.parametrize(
    "case", [one for one in CASES if not RANDOM & one["args"].keys()], ids=label
)
def test_what_is_not_random_is_equal(case: dict[str, Any]) -> None:
    assert [said(case, 0)] == case["outs"]


@pytest.mark.parametrize(
    "case", [one for one in CASES if RANDOM & one["args"].keys() and not cut(one)], ids=label
)
def test_what_is_random_is_among_what_we_may_say(case: dict[str, Any]) -> None:
    missing, turn = set(case["outs"]), 0
    while missing and turn < 60_000:  # the rarest has a chance of 1 in 5,900
        missing.discard(said(case, turn))
        turn += 1
    assert not missing


def test_a_suffix_stands_behind_the_line_that_is_used() -> None:
    """The other tool puts it behind the last line, where it is lost with that line."""
    (case,) = [one for one in CASES if cut(one)]
    ours = {said(case, turn) for turn in range(100)}
    assert ours == {"PRE first line, a, b SUF", "PRE first line, b SUF, a"}
    assert set(case["outs"]) <= {"PRE first line, a, b", "PRE first line, b, a"}


def frequencies(
    settings: CaptionEdits, text: str, count: int, dropout: float = 0.0
) -> Counter[str]:
    when = When(epoch=0, step=1, steps=100)
    return Counter(
        told([text], settings, dropout=dropout, key=(0, "cats", 0, turn, "cat.png"), when=when)
        for turn in range(count)
    )


def test_all_orders_are_equally_frequent() -> None:
    seen = frequencies(CaptionEdits(shuffle=True), ", ".join(TAGS), 4800)
    assert len(seen) == 24
    chi = sum((count - 200) ** 2 / 200 for count in seen.values())
    assert 5 < chi < 50  # 23 degrees of freedom: one in a thousand lies above 49.7


def test_each_tag_is_dropped_by_itself() -> None:
    seen = frequencies(CaptionEdits(tag_dropout=0.3, keep_tokens=1), ", ".join(TAGS), 6000)
    assert len(seen) == 8
    assert all(text.startswith("tag a") for text in seen)
    for tag in TAGS[1:]:
        kept = sum(count for text, count in seen.items() if tag in text) / 6000
        assert 0.68 < kept < 0.72
    assert 0.343 - 0.02 < seen[", ".join(TAGS)] / 6000 < 0.343 + 0.02


def test_wildcards_are_drawn_evenly_and_apart() -> None:
    seen = frequencies(CaptionEdits(wildcards=True), GOLDEN["captions"][2], 6000)
    assert len(seen) == 6
    assert all(900 < count < 1100 for count in seen.values())


def test_dropout_and_shuffle_do_not_know_of_each_other() -> None:
    settings = CaptionEdits(shuffle=True, tag_dropout=0.2)
    seen = frequencies(settings, "one, two", 6000, dropout=0.3)
    expected = {"": 0.3 + 0.7 * 0.04, "one, two": 0.7 * 0.32, "two, one": 0.7 * 0.32}
    expected |= {"one": 0.7 * 0.16, "two": 0.7 * 0.16}
    assert seen.keys() == expected.keys()
    assert all(abs(seen[text] / 6000 - share) < 0.02 for text, share in expected.items())
