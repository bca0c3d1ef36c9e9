"""The tokenizers that come with the package number words as the published ones do."""

from __future__ import annotations

from typing import Any

import pytest

from scumble.families.encoders import clip, t5
from scumble.families.tokenizers import SHIPPED, shipped

ODD = [
    "A photo of a cat.",
    "  two  spaces\n\nand\tlines ",
    "caf\u00e9 \ufb01ne \uff21\uff22",
    "it's \u201cquoted\u201d \u2014 a dash\u2026",
    "snake_case CamelCase 12345",
    "x" * 300,
]


@pytest.fixture(scope="module")
def letters() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(shipped("clip"))


@pytest.fixture(scope="module")
def pieces() -> Any:
    from transformers import T5Tokenizer

    return T5Tokenizer.from_pretrained(shipped("t5"))


def test_clip_numbers_words_as_published(letters: Any) -> None:
    assert len(letters) == 49408
    cat = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert letters("a photo of a cat").input_ids == letters(" A  Photo of a\ncat").input_ids == cat
    assert letters("").input_ids == [49406, 49407]


def test_clip_is_padded_with_its_end_and_cut_before_it(letters: Any) -> None:
    assert clip.words(letters, "a photo of a cat").tolist()[6:] == [49407] * 71
    cut = clip.words(letters, "cat " * 200).tolist()
    assert cut == [49406, *[2368] * 75, 49407]


def test_t5_numbers_words_as_published(pieces: Any) -> None:
    assert len(pieces) == 32100
    assert pieces("A photo of a cat.").input_ids == [71, 1202, 13, 3, 9, 1712, 5, 1]
    assert (pieces.pad_token_id, pieces.eos_token_id, pieces.unk_token_id) == (0, 1, 2)
    assert pieces("").input_ids == [1]
    assert pieces("\u65e5\u672c").input_ids == [3, 2, 1]  # not a piece of it is known
    assert pieces("<extra_id_0>").input_ids == [32099, 1]


def test_t5_is_padded_with_zeros_and_cut_before_its_end(pieces: Any) -> None:
    padded = t5.words(pieces, "A photo of a cat.", 512).tolist()
    assert padded == [71, 1202, 13, 3, 9, 1712, 5, 1, *[0] * 504]
    cut = t5.words(pieces, "cat " * 700, 512).tolist()
    assert len(cut) == 512 and cut[-1] == 1 and 0 not in cut


@pytest.mark.parametrize("text", ODD)
def test_texts_come_back(letters: Any, pieces: Any, text: str) -> None:
    """But for what a tokenizer does on purpose: CLIP lowers letters and sets words apart, T5 takes
    letters that mean the same for one."""
    words = letters.decode(letters(text).input_ids, skip_special_tokens=True)
    assert "".join(words.split()) == "".join(text.lower().split())
    same = {"\ufb01": "fi", "\uff21": "A", "\uff22": "B", "\u2026": "..."}
    plain = " ".join("".join(same.get(letter, letter) for letter in text).split())
    assert pieces.decode(pieces(text).input_ids, skip_special_tokens=True) == plain


def test_they_load_for_whoever_asks_by_the_folder_alone() -> None:
    from transformers import AutoTokenizer

    for kind, words in (("clip", 49408), ("t5", 32100)):
        assert len(AutoTokenizer.from_pretrained(shipped(kind))) == words


def test_what_they_are_made_of_is_named_beside_them() -> None:
    beside = shipped("clip").parent
    assert {one.name for one in beside.iterdir() if one.is_dir()} >= {*SHIPPED}
    notice = (beside / "NOTICE").read_text()
    assert "OpenAI" in notice and "Google" in notice and "Alibaba" in notice
    assert "MIT License" in (beside / "LICENSE-CLIP").read_text()
    for name in ("LICENSE-T5", "LICENSE-QWEN"):
        assert "Apache License" in (beside / name).read_text()
    assert max(one.stat().st_size for one in beside.rglob("*") if one.is_file()) < 2e6
