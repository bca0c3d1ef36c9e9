"""`scumble data rare-tokens`: words to bind a new subject to, from a model's own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from scumble.errors import FileError, JobError

if TYPE_CHECKING:
    import numpy as np

    from scumble.data.rare_tokens import Row

KINDS = {"CLIPTokenizer": "clip", "T5Tokenizer": "t5", "Qwen2Tokenizer": "qwen"}
"""Classes of tokenizers, also with "Fast" behind them, and what `--part` calls them."""

FILES = ("tokenizer.json", "vocab.json", "spiece.model")
MEASURED = 8  # so many times the rows that are asked for go through the encoder
BATCH = 32
AGAIN = "fetch it again"
BEFORE = "x"  # a letter before a word, so that it is not the first of the text


@dataclass(frozen=True)
class Reader:
    """A tokenizer in a folder, and the text encoder that belongs to it."""

    name: str
    """A kind of `KINDS`."""

    kind: str
    """Its class."""

    folder: Path
    encoder: Path


def rare_tokens(
    model: Annotated[
        str, Argument(metavar="MODEL", help="A model's or a tokenizer's folder, or builtin:NAME.")
    ],
    part: Annotated[str | None, Option(help="Whose: clip, t5, qwen. Unset: the first.")] = None,
    count: Annotated[int, Option(min=1, help="So many rows.")] = 30,
    shortest: Annotated[int, Option(min=1, help="Letters, at least.")] = 2,
    longest: Annotated[int, Option(min=1, help="Letters, at most.")] = 4,
    by_encoder: Annotated[
        bool, Option("--by-encoder", help="Those first of which the text encoder makes least.")
    ] = False,
) -> None:
    """List short strings that are one rare token, to name a new subject with."""
    from scumble.cli import show
    from scumble.data import rare_tokens as rare

    if longest < shortest:
        raise JobError("--longest", "it is less than --shortest", "raise it")
    reader = _chosen(readers(model), model, part)
    tokenizer = _tokenizer(reader)
    words = rare.vocabulary(json.loads(tokenizer.backend_tokenizer.to_str())["model"])
    known, whence = rare.known_words()
    limit = count * MEASURED if by_encoder else count
    lengths = (shortest, longest)
    rows = rare.found(words, _split(tokenizer), known=known, lengths=lengths, limit=limit)
    if not rows:
        problem = f"it keeps no unknown word of {shortest} to {longest} letters as one token"
        raise FileError(reader.folder, problem, "ask for other lengths or another --part")
    if by_encoder:
        rows = rare.by_effect(rows, _encode(reader, tokenizer))[:count]
    show.table(table(rows))
    show.line(f"Of {len(words):,} whole words in {reader.folder}; the higher the rank, the rarer.")
    if by_encoder:
        show.line("Effect: how far it moves what the encoder says; 1 is as an ordinary word.")
    show.line(f"Left out: {whence}.")


def readers(model: str) -> list[Reader]:
    """The tokenizers of a model's folder, in its order, or the one that the folder is."""
    from scumble.families.weights import located

    folder = located(model, Path())
    if any((folder / name).is_file() for name in FILES):
        return [_reader(folder, _kind(folder))]
    index = _json(folder / "model_index.json")
    inside = [
        _reader(folder / name, _plain(str(index[name][1])))
        for name in sorted(index)
        if name.startswith("tokenizer") and (folder / name).is_dir()
    ]
    if not inside:
        remedy = f"name a diffusers folder, or one with {', '.join(FILES)}"
        raise FileError(folder, "there is no tokenizer in it", remedy)
    return inside


def table(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """A heading and the rows, as text; with effects where they were measured."""
    measured = any(row.effect is not None for row in rows)
    yield ("token", "id", "rank", "effect") if measured else ("token", "id", "rank")
    for row in rows:
        effect = () if row.effect is None else (f"{row.effect:.2f}",)
        yield (row.token, str(row.id), str(row.rank), *effect)


def _reader(folder: Path, kind: str) -> Reader:
    if kind not in KINDS:
        problem = f"it is a {kind or 'tokenizer without a name'}, which is not known here"
        raise FileError(folder, problem, f"known: {', '.join(KINDS)}")
    encoder = folder.with_name(folder.name.replace("tokenizer", "text_encoder"))
    return Reader(KINDS[kind], kind, folder, encoder)


def _kind(folder: Path) -> str:
    """The class of a tokenizer, which old folders leave to be guessed from their files."""
    named = _plain(str(_json(folder / "tokenizer_config.json").get("tokenizer_class") or ""))
    if not named and (folder / "spiece.model").is_file():
        return "T5Tokenizer"
    if not named and (folder / "vocab.json").is_file():
        return "CLIPTokenizer" if "a</w>" in _json(folder / "vocab.json") else "Qwen2Tokenizer"
    return named


def _plain(kind: str) -> str:
    return kind.removesuffix("Fast")


def _json(file: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FileError(
            file, f"this is not what it should be ({error})", "fetch it again"
        ) from None
    return found if type(found) is dict else {}


def _chosen(there: list[Reader], model: str, part: str | None) -> Reader:
    fitting = [reader for reader in there if part in (None, reader.name)]
    if not fitting:
        names = ", ".join(dict.fromkeys(reader.name for reader in there))
        raise JobError("--part", f"{model} has no part '{part}'", f"it has: {names}")
    return fitting[0]


def _tokenizer(reader: Reader) -> Any:
    import transformers

    kinds = {
        "CLIPTokenizer": transformers.CLIPTokenizer,
        "T5Tokenizer": transformers.T5Tokenizer,
        "Qwen2Tokenizer": transformers.Qwen2Tokenizer,
    }
    try:
        return kinds[reader.kind].from_pretrained(reader.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise FileError(reader.folder, f"it is no {reader.kind} ({error})", AGAIN) from error


def _split(tokenizer: Any) -> Callable[[str], list[int]]:
    """The ids of a word inside a text."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    before = len(ids(BEFORE))
    return lambda word: ids(f"{BEFORE} {word}")[before:]


def _encode(reader: Reader, tokenizer: Any) -> Callable[[list[str]], np.ndarray]:
    """Texts through the text encoder: CLIP's summary, or the mean of T5's words."""
    import torch

    module = _encoder(reader)

    def encode(texts: list[str]) -> np.ndarray:
        rows = []
        for first in range(0, len(texts), BATCH):
            told = tokenizer(texts[first : first + BATCH], padding=True, return_tensors="pt")
            with torch.inference_mode():
                said = module(input_ids=told["input_ids"], attention_mask=told["attention_mask"])
            rows.append(_features(said, told["attention_mask"], reader))
        return torch.cat(rows).numpy()

    return encode


def _features(said: Any, mask: Any, reader: Reader) -> Any:
    if reader.name == "clip":
        return said.pooler_output.float()
    weights = mask.unsqueeze(-1).float()
    return (said.last_hidden_state.float() * weights).sum(1) / weights.sum(1)


def _encoder(reader: Reader) -> Any:
    import transformers

    kinds = {"clip": transformers.CLIPTextModel, "t5": transformers.T5EncoderModel}
    if reader.name not in kinds:
        problem = f"the effect of tokens is not measured for {reader.name}"
        raise JobError("--by-encoder", problem, "leave it out")
    if not (reader.encoder / "config.json").is_file():
        problem = "there is no text encoder beside the tokenizer"
        raise FileError(reader.encoder, problem, "name the whole model's folder")
    transformers.utils.logging.disable_progress_bar()
    load: Any = kinds[reader.name].from_pretrained
    try:
        module = load(reader.encoder, local_files_only=True, use_safetensors=True, dtype="auto")
    except (OSError, ValueError) as error:
        raise FileError(reader.encoder, f"it cannot be loaded ({error})", AGAIN) from error
    return module.eval()
