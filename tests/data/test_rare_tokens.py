"""Words to name a new subject with."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from scumble.cli.rare_tokens import rare_tokens, readers
from scumble.data.rare_tokens import (
    NEUTRAL,
    ORDINARY,
    PHRASE,
    WORDS,
    Row,
    Word,
    by_effect,
    found,
    known_words,
    vocabulary,
)
from scumble.errors import FileError, JobError

MERGES: Any = [
    ("c", "a"),
    ("ca", "t</w>"),
    ("b", "c</w>"),
    ("s", "k"),
    ("sk", "s</w>"),
    ("q", "b"),
    ("qb", "c</w>"),  # never the outcome: "bc" comes first
    ("v", "q"),
    ("z", "q</w>"),
    ("m", "o"),
    ("mo", "m</w>"),
    ("\u00fc", "v</w>"),
    ("vq", "zq</w>"),
]
"""Merges as CLIP has them; the rare words are bc, sks, zq and vqzq."""

LETTERS = [*string.ascii_lowercase, "\u00fc"]


def clip_tokenizer(folder: Path) -> dict[str, int]:
    from transformers import CLIPTokenizer

    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *map("".join, MERGES)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: number for number, token in enumerate(tokens)}
    CLIPTokenizer(vocab=ids, merges=MERGES, model_max_length=77).save_pretrained(folder)
    return ids


def t5_tokenizer(folder: Path) -> None:
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -6.0)]
    pieces += [(letter, -6.0) for letter in string.ascii_lowercase]
    pieces += [("\u2581cat", -3.0), ("\u2581zqx", -12.0), ("\u2581vw", -11.0), ("qqq", -4.0)]
    pieces += [("\u2581jj", -30.0)]  # never the outcome: its letters together are likelier
    T5Tokenizer(vocab=pieces, extra_ids=0).save_pretrained(folder)


def clip_model(folder: Path) -> Path:
    """A model's folder as far as it matters here, with a random text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel

    ids = clip_tokenizer(folder / "tokenizer")
    index = {"_class_name": "Any", "tokenizer": ["transformers", "CLIPTokenizer"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    ends: dict[str, Any] = {
        "bos_token_id": ids["<|startoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
    }
    config = CLIPTextConfig(vocab_size=len(ids), num_hidden_layers=2, **shape, **ends)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        module = CLIPTextModel(config)
        for name, value in module.named_parameters():
            if "embedding" in name:
                value.normal_()
            if name.endswith("token_embedding.weight"):
                value[ids["zq</w>"]] = 0.01 * value[ids["zq</w>"]]
                value[ids["vqzq</w>"]] *= 8
    module.save_pretrained(folder / "text_encoder")
    return folder


def model_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tokenizer.json").read_text())["model"]


def command(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(rare_tokens)
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def listed(output: str) -> list[str]:
    """The first column below the heading."""
    rows = output.splitlines()
    end = next(at for at, row in enumerate(rows) if row.startswith("Of "))
    return [row.split()[0] for row in rows[1:end]]


def one_token(words: list[Word]) -> dict[str, list[int]]:
    return {word.text: [word.id] for word in words}


def test_a_word_of_bpe_ranks_by_its_merge(tmp_path: Path) -> None:
    ids = clip_tokenizer(tmp_path)
    words = {word.text: word for word in vocabulary(model_of(tmp_path))}
    assert words["cat"] == Word("cat", ids["cat</w>"], 2)
    assert words["sks"] == Word("sks", ids["sks</w>"], 5)
    assert words["a"].rank == 0
    assert "ca" not in words
    assert "<|startoftext|>" not in words


def test_merges_are_read_in_their_older_spelling() -> None:
    model = {"type": "BPE", "vocab": {"\u0120zq": 7, "zq": 8}, "merges": ["z q", "\u0120 zq"]}
    assert vocabulary(model) == [Word("zq", 7, 2)]


def test_a_word_of_sentencepiece_ranks_by_its_score(tmp_path: Path) -> None:
    t5_tokenizer(tmp_path)
    words = {word.text: word for word in vocabulary(model_of(tmp_path))}
    assert words["jj"].rank > words["zqx"].rank > words["vw"].rank > words["cat"].rank
    assert "qqq" not in words


def test_a_tokenizer_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FileError, match="kind WordPiece"):
        vocabulary({"type": "WordPiece", "vocab": {}})


def test_rarest_come_first_without_words_people_know() -> None:
    words = [Word(text, n, n) for n, text in enumerate(["cat", "zq", "sks", "b", "abcde", "z1"])]
    split = one_token(words).__getitem__
    rows = found(words, split, known={"cat"}, limit=9)
    assert rows == [Row("sks", 2, 2), Row("zq", 1, 1)]
    assert found(words, split, known={"cat"}, limit=1) == rows[:1]
    assert [row.token for row in found(words, split, known=(), lengths=(1, 5), limit=9)] == [
        "abcde",
        "b",
        "sks",
        "zq",
        "cat",
    ]


def test_a_token_that_is_never_the_outcome_is_left_out() -> None:
    words = [Word("zq", 1, 1), Word("vx", 2, 2)]
    assert [row.token for row in found(words, lambda _: [1], known=(), limit=9)] == ["zq"]


def test_capitals_and_other_letters_are_left_out() -> None:
    words = [Word(text, 0, 0) for text in ("Zq", "ZQ", "\u00fcv", "z'q", "z q", "")]
    assert found(words, lambda _: [0], known=(), lengths=(0, 4), limit=9) == []


def test_known_words_are_told_with_where_they_are_from(tmp_path: Path) -> None:
    words, whence = known_words(tmp_path / "none")
    assert words == WORDS
    assert "come with the program" in whence
    (tmp_path / "words").write_bytes(b"Zebu\nqua\xe9\n")
    words, whence = known_words(tmp_path / "words")
    assert words > WORDS
    assert "zebu" in words
    assert str(tmp_path / "words") in whence


def test_the_words_that_come_along_are_short_and_small() -> None:
    assert len(WORDS) > 2000
    assert all(2 <= len(word) <= 4 and word.isascii() and word.islower() for word in WORDS)
    assert not {"sks", "ohwx"} & WORDS


def test_tokens_of_which_little_is_made_come_first() -> None:
    """The encoder adds up what its words mean to it."""
    meaning = dict.fromkeys(ORDINARY, np.array([0.0, 2.0]))
    meaning |= {"zq": np.array([1.0, 0.0]), "vx": np.array([0.0, 0.2]), "sks": np.zeros(2)}
    asked = []

    def encode(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        nothing = np.zeros(2)
        return np.stack([sum((meaning.get(w, nothing) for w in t.split()), nothing) for t in texts])

    rows = by_effect([Row(token, 0, 0) for token in ("zq", "vx", "sks")], encode)
    assert [(row.token, row.effect) for row in rows] == [("sks", 0.0), ("vx", 0.1), ("zq", 0.5)]
    assert {NEUTRAL, PHRASE.format("zq"), PHRASE.format("old")} <= set(asked)


def test_an_encoder_that_makes_nothing_of_anything_is_no_error() -> None:
    rows = by_effect([Row("zq", 0, 0)], lambda texts: np.zeros((len(texts), 4)))
    assert [row.effect for row in rows] == [0.0]


def test_the_command_lists_the_rare_tokens_of_clip(tmp_path: Path) -> None:
    clip_tokenizer(tmp_path)
    output = command(str(tmp_path))
    assert listed(output) == ["vqzq", "zq", "sks", "bc"]
    assert output.splitlines()[0].split() == ["token", "id", "rank"]
    assert listed(command(str(tmp_path), "--count", "1")) == ["vqzq"]
    assert listed(command(str(tmp_path), "--shortest", "3")) == ["vqzq", "sks"]


def test_the_command_lists_the_rare_tokens_of_t5(tmp_path: Path) -> None:
    t5_tokenizer(tmp_path)
    assert listed(command(str(tmp_path))) == ["zqx", "vw"]


def test_the_command_orders_by_what_the_encoder_makes_of_them(tmp_path: Path) -> None:
    output = command(str(clip_model(tmp_path)), "--by-encoder", "--count", "3")
    effects = [float(row.split()[3]) for row in output.splitlines()[1:4]]
    assert output.splitlines()[0].split() == ["token", "id", "rank", "effect"]
    assert effects == sorted(effects)
    assert len(effects) == 3
    assert "vqzq" not in listed(output)  # the rarest, but the strongest
    assert effects[0] > 0


def test_the_toy_has_a_part_for_each_tokenizer() -> None:
    assert [reader.name for reader in readers("builtin:tiny-flux")] == ["clip", "t5"]
    assert all(reader.encoder.is_dir() for reader in readers("builtin:tiny-flux"))
    letters = listed(command("builtin:tiny-flux", "--shortest", "1", "--by-encoder"))
    assert len(letters) == 26  # each letter a word of its own
    with pytest.raises(FileError, match="keeps no unknown word of 2 to 4 letters"):
        command("builtin:tiny-flux")
    with pytest.raises(FileError, match="tokenizer_2: it keeps no unknown word"):
        command("builtin:tiny-flux", "--part", "t5", "--shortest", "1")


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="has no part 'qwen'; it has: clip, t5"):
        command("builtin:tiny-flux", "--part", "qwen")
    with pytest.raises(FileError, match="no tokenizer in it"):
        command(str(tmp_path))
    with pytest.raises(FileError, match="no folder"):
        command(str(tmp_path / "nowhere"))
    clip_tokenizer(tmp_path / "alone")
    with pytest.raises(FileError, match="no text encoder beside"):
        command(str(tmp_path / "alone"), "--by-encoder")
    with pytest.raises(JobError, match="less than --shortest"):
        command(str(tmp_path / "alone"), "--longest", "1")


def test_a_tokenizer_without_its_name_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "a</w>": 1}))
    assert readers(str(tmp_path))[0].name == "clip"
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "\u0120a": 1}))
    assert readers(str(tmp_path))[0].name == "qwen"
    (tmp_path / "spiece.model").write_bytes(b"")
    assert readers(str(tmp_path))[0].name == "t5"
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(FileError, match="it is a BertTokenizer"):
        readers(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(FileError, match="not what it should be"):
        readers(str(tmp_path))
