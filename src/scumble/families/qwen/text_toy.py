"""A toy of Qwen-Image's text encoder: its shape and its frames of words, small and random.

The frames' own words are one token each, as in the real vocabulary, so that the published numbers
of dropped tokens hold; of all else it knows the letters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from scumble.dice import generator
from scumble.families import tokenizers
from scumble.families.encoders import qwen_vl
from scumble.families.qwen import text

WIDTH = 64
"""Features of a text's token."""

EYES = {
    "model_type": "qwen2_5_vl",
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": WIDTH,
    "patch_size": qwen_vl.PATCH,
    "window_size": 112,
    "fullatt_block_indexes": [1],
}
WORDS = {
    "model_type": "qwen2_5_vl_text",
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32768,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1_000_000.0,
        "mrope_section": [4, 6, 6],
    },
}
PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
    "min_pixels": qwen_vl.LEAST,
    "max_pixels": qwen_vl.MOST,
    "patch_size": qwen_vl.PATCH,
    "temporal_patch_size": qwen_vl.FRAMES,
    "merge_size": qwen_vl.MERGE,
    "image_mean": list(qwen_vl.MEAN),
    "image_std": list(qwen_vl.SPREAD),
}
ROWS = 16  # the embedding's rows are a multiple of it, a few more than there are pieces


def write_toy(folder: Path, *, vision: bool) -> None:
    """`text_encoder` and `tokenizer` of a diffusers folder, with `vision` also `processor`.

    The encoder has its eyes either way, as the published folders do.
    """
    told = json.loads((tokenizers.shipped(text.NAME) / "added_tokens.json").read_bytes())
    pieces = qwen_vl.merged(merges(), sorted(told, key=told.__getitem__))
    config = _config(pieces)
    _json(folder / "text_encoder" / "config.json", config)
    flat = {**config["text_config"], **config}
    save_file(_values(flat), folder / "text_encoder" / "model.safetensors", {"format": "pt"})
    for place in ("tokenizer", "processor") if vision else ("tokenizer",):
        pieces.save_pretrained(folder / place)
    if vision:
        _json(folder / "processor" / "preprocessor_config.json", PROCESSOR)


def merges() -> list[tuple[str, str]]:
    """Those that make one piece of every word of the frames."""
    found: list[tuple[str, str]] = []
    for word in dict.fromkeys(_words()):
        pieces = list(word)
        for pair in found:
            pieces = _joined(pieces, pair)
        while len(pieces) > 1:
            found.append((pieces[0], pieces[1]))
            pieces = _joined(pieces, found[-1])
    return found


def _words() -> Iterator[str]:
    """As they are cut before they are merged, in the letters that stand for bytes."""
    said = [one.head for one in (text.TEXT, text.EDIT)]
    said += [text.TAIL, *(text.EDIT_PLUS.announced.format(number) for number in range(10))]
    cut = qwen_vl.merged([], []).backend_tokenizer.pre_tokenizer
    plain = chain.from_iterable(one.replace(">", "<").split("<")[::2] for one in said)
    return (word for part in plain for word, _ in cut.pre_tokenize_str(part))


def _joined(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """With every neighbouring pair made one."""
    made, at = list[str](), 0
    while at < len(pieces):
        both = tuple(pieces[at : at + 2]) == pair
        made.append("".join(pair) if both else pieces[at])
        at += 2 if both else 1
    return made


def _config(pieces: Any) -> dict[str, Any]:
    """As transformers writes it: the words' settings by themselves, the marks beside them."""
    mark = pieces.convert_tokens_to_ids
    rows = math.ceil(len(pieces) / ROWS) * ROWS
    ends = {"bos_token_id": mark(qwen_vl.END), "eos_token_id": mark("<|im_end|>")}
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "image_token_id": mark("<|image_pad|>"),
        "video_token_id": mark("<|video_pad|>"),
        "vision_start_token_id": mark("<|vision_start|>"),
        "vision_end_token_id": mark("<|vision_end|>"),
        "tie_word_embeddings": False,
        "text_config": WORDS | ends | {"vocab_size": rows},
        "vision_config": EYES,
    }


def _values(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Random weights by the names of the published files, and a head that nobody needs."""
    shapes = {
        published(name): tuple(one.shape)
        for name, one in text.skeleton(config, sees=True).state_dict().items()
    }
    shapes["lm_head.weight"] = (config["vocab_size"], WIDTH)
    return {name: _value(name, shape) for name, shape in shapes.items()}


def published(name: str) -> str:
    """What the published files call a tensor of ours."""
    words = f"{text.LANGUAGE}."
    return f"model.{name.removeprefix(words)}" if name.startswith(words) else name


def _value(name: str, shape: tuple[int, ...]) -> Tensor:
    """Keeps the size of what goes through it; norms near one, biases near zero."""
    drawn = torch.randn(shape, generator=generator("tiny-qwen-text", name))
    if len(shape) == 1:
        return 0.05 * drawn + (1.0 if name.endswith("weight") else 0.0)
    if "embed_tokens" in name:
        return drawn
    return drawn / math.prod(shape[1:]) ** 0.5


def _json(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
