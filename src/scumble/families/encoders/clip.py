"""CLIP's text encoder: the summary of a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scumble.hardware.imports import from_this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping

LENGTH = 77
"""Tokens of a CLIP text, its ends included (Radford et al. 2021)."""

IDS = "clip_ids"
"""Field of the numbered words in an entry."""


def skeleton(config: Mapping[str, Any]) -> nn.Module:
    """The encoder of a config.json, without weights."""
    with from_this_machine():
        from accelerate import init_empty_weights
        from transformers import CLIPTextConfig, CLIPTextModel

    with init_empty_weights(include_buffers=False):
        return CLIPTextModel(CLIPTextConfig.from_dict(dict(config)))


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, read from this disk alone."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def words(tokenizer: Any, text: str) -> Int[Tensor, " tokens"]:
    """A text as token numbers, cut and padded to 77."""
    numbers = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(numbers["input_ids"])


def read(module: nn.Module, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch features"]:
    """The summary at the end-of-text token."""
    return module(input_ids=ids).pooler_output
