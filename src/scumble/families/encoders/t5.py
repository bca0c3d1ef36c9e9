"""T5's encoder: every word of a prompt in its context."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping

IDS = "t5_ids"
"""Field of the numbered words in an entry."""


def skeleton(config: Mapping[str, Any]) -> nn.Module:
    """The encoder of a config.json, without weights."""
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
    numbers = tokenizer(text, padding="max_length", max_length=length, truncation=True)
    return torch.tensor(numbers["input_ids"])


def read(
    module: nn.Module, ids: Int[Tensor, "batch tokens"]
) -> Float[Tensor, "batch tokens features"]:
    """Embeddings of all tokens, padding included and without a mask, as FLUX was trained."""
    return module(input_ids=ids).last_hidden_state
