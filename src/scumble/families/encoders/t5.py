"""T5's encoder: every word of a prompt in its context."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from scumble.hardware.imports import from_this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping

IDS = "t5_ids"
"""Field of the numbered words in an entry."""

MASK = "t5_mask"
"""Field that tells words (1) from padding (0), where that is hidden."""


def skeleton(config: Mapping[str, Any]) -> nn.Module:
    """The encoder of a config.json, without weights."""
    with from_this_machine():
        from accelerate import init_empty_weights
        from transformers import T5Config, T5EncoderModel

    with init_empty_weights(include_buffers=False):
        made = T5EncoderModel(T5Config.from_dict(dict(config)))
    made.set_input_embeddings(made.shared)  # one module: moved once, counted once
    return made


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, read from this disk alone."""
    from transformers import T5Tokenizer

    return T5Tokenizer.from_pretrained(folder, local_files_only=True)


def words(tokenizer: Any, text: str, length: int) -> Int[Tensor, " tokens"]:
    """A text as token numbers, cut and padded to `length`."""
    return torch.tensor(_numbered(tokenizer, text, length)["input_ids"])


def mask(tokenizer: Any, text: str, length: int) -> UInt8[Tensor, " tokens"]:
    """Which of its `words` are no padding: at least the end mark, which an empty text has too."""
    told = _numbered(tokenizer, text, length)["attention_mask"]
    return torch.tensor(told, dtype=torch.uint8)


def _numbered(tokenizer: Any, text: str, length: int) -> Any:
    return tokenizer(text, padding="max_length", max_length=length, truncation=True)


def read(
    module: nn.Module,
    ids: Int[Tensor, "batch tokens"],
    mask: UInt8[Tensor, "batch tokens"] | None = None,
) -> Float[Tensor, "batch tokens features"]:
    """Embeddings of all tokens, padding included.

    Without a mask every token sees padding, as FLUX was trained. With one none does, and what
    stands for padding itself means nothing.
    """
    return module(input_ids=ids, attention_mask=mask).last_hidden_state
