"""Qwen2.5-VL as a reader of texts, with the pictures they speak of or without.

Needs no torchvision: pictures are cut into patches here, with Pillow and NumPy, and the places of
words and patches are counted here as well. Figures are those of Qwen2.5-VL-7B-Instruct.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from scumble.hardware.imports import from_this_machine

PATCH = 14
MERGE = 2  # patches a side that become one token
FRAMES = 2  # a still picture is a film of two equal ones
LEAST, MOST = 56 * 56, 12_845_056  # pixels of a picture that is looked at
MEAN = (0.48145466, 0.4578275, 0.40821073)
SPREAD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue, as for CLIP."""

PICTURE = "<|image_pad|>"
END = "<|endoftext|>"
IDS, PLACES, PATCHES, GRIDS, SPOTS = (
    f"qwen_{field}" for field in ("ids", "places", "patches", "grids", "spots")
)
"""Fields of a text's numbers in an entry; the last three only of those read with pictures."""

OUTSIDE = ("vision_config", "image_token_id", "vision_start_token_id")
"""What a config.json says beside `text_config` and is needed as well."""


class QwenReader(nn.Module):
    """The language model, and the eyes where pictures are looked at; no head to speak with."""

    def __init__(self, language_model: nn.Module, visual: nn.Module | None) -> None:
        super().__init__()
        self.language_model = language_model
        self.visual = visual


def skeleton(config: Mapping[str, Any], *, sees: bool) -> nn.Module:
    """The reader of a config.json, without weights."""
    with from_this_machine():
        from accelerate import init_empty_weights
        from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import (
            Qwen2_5_VLTextConfig,
            Qwen2_5_VLVisionConfig,
        )
        from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
            Qwen2_5_VisionTransformerPretrainedModel,
            Qwen2_5_VLTextModel,
        )

    config = deepcopy(dict(config))  # transformers writes into what it is given
    told = {name: value for name, value in config.items() if name not in OUTSIDE}
    with init_empty_weights(include_buffers=False):
        language = Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig.from_dict(told))
        if not sees:
            return QwenReader(language, None)
        eyes = Qwen2_5_VLVisionConfig.from_dict(config["vision_config"])
        return QwenReader(language, Qwen2_5_VisionTransformerPretrainedModel(eyes))


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, read from this disk alone.

    Where merges are all there is, as in the folder that comes with the package, the pieces follow
    from them, and the marks stand in `added_tokens.json`.
    """
    from transformers import Qwen2Tokenizer

    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    pairs = (line.split(" ") for line in lines[1:] if line)
    marks = json.loads((folder / "added_tokens.json").read_bytes())
    return merged([(one, other) for one, other in pairs], sorted(marks, key=marks.__getitem__))


def merged(merges: Sequence[tuple[str, str]], marks: Sequence[str]) -> Any:
    """A tokenizer that knows 256 bytes, what each merge makes, and the marks, in this order."""
    from transformers import AddedToken, Qwen2Tokenizer

    pieces = [*letters(), *(one + other for one, other in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    pairs: Any = list(merges)
    made = Qwen2Tokenizer(vocab=vocabulary, merges=pairs)
    made.add_tokens([AddedToken(mark, normalized=False, special=True) for mark in marks])
    return made


def letters() -> list[str]:
    """A printable character for each byte: printable ones stand for themselves and come first."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, own), *(chr(256 + place) for place in range(256 - len(own)))]


def fitted(height: int, width: int) -> tuple[int, int]:
    """Height and width at which the eyes look at a picture: whole tokens, and not too many.

    Nearest multiples of 28, unless that leaves the range of pixels; then the shape is kept.
    """
    side = PATCH * MERGE
    rows, columns = (max(1, round(one / side)) * side for one in (height, width))
    if rows * columns > MOST:
        shrunk = math.sqrt(height * width / MOST)
        rows, columns = (max(1, int(one / shrunk / side)) * side for one in (height, width))
    elif rows * columns < LEAST:
        grown = math.sqrt(LEAST / (height * width))
        rows, columns = (math.ceil(one * grown / side) * side for one in (height, width))
    return rows, columns


def grid(height: int, width: int) -> tuple[int, int]:
    """Tokens that a picture of that height and width becomes, down and across."""
    rows, columns = fitted(height, width)
    return rows // (PATCH * MERGE), columns // (PATCH * MERGE)


def patches(sight: UInt8[np.ndarray, "rows columns 3"]) -> Float32[Tensor, "patches numbers"]:
    """A picture as its eyes take it: patches of one token together, each shown twice."""
    height, width = fitted(*sight.shape[:2])
    picture = Image.fromarray(sight).resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(picture, np.float32) / np.float32(255)
    values = (values - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32)
    down, across = height // (PATCH * MERGE), width // (PATCH * MERGE)
    cut = values.reshape(down, MERGE, PATCH, across, MERGE, PATCH, 3)
    cut = cut.transpose(0, 3, 1, 4, 6, 2, 5)[:, :, :, :, :, None]
    shown = np.broadcast_to(cut, (*cut.shape[:5], FRAMES, PATCH, PATCH))
    return torch.from_numpy(shown.reshape(down * across * MERGE**2, -1).copy())


def places(
    ids: Sequence[int], picture: int, grids: Sequence[tuple[int, int]]
) -> Int[Tensor, "3 tokens"]:
    """Where each token stands in time, height and width (Wang et al. 2024, section 2.1).

    Words stand in a row; a picture's tokens at its beginning plus their row and column, and what
    follows comes after its longer side. `picture` is the number of its tokens among the ids.
    """
    columns: list[Tensor] = []
    begin, left = 0, iter(grids)
    for is_picture, run in groupby(ids, lambda one: one == picture):
        count = len(list(run))
        if is_picture:
            down, across = next(left)
            number = torch.arange(count)
            columns.append(begin + torch.stack([0 * number, number // across, number % across]))
            begin += max(down, across)
        else:
            columns.append(torch.arange(begin, begin + count).expand(3, -1))
            begin += count
    return torch.cat(columns, dim=1)


def read(module: nn.Module, words: Mapping[str, Tensor]) -> Float[Tensor, "tokens features"]:
    """One text's tokens in their context, after the last layer and its norm.

    `words` are its ids and places; with pictures also their patches, the frames, rows and columns
    of each, and the spots among the ids that are theirs.
    """
    assert isinstance(module, QwenReader)
    language: Any = module.language_model
    embedded = language.embed_tokens(words[IDS])
    if PATCHES in words:
        eyes: Any = module.visual
        seen = eyes(words[PATCHES].to(eyes.dtype), grid_thw=words[GRIDS]).pooler_output
        embedded = embedded.index_copy(0, words[SPOTS], seen.to(embedded.dtype))
    where = words[PLACES][:, None]
    told = language(inputs_embeds=embedded[None], position_ids=where, use_cache=False)
    return told.last_hidden_state[0]
