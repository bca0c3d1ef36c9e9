"""Alphas that stand beside the tensors: in a file's metadata, or in a peft folder's config.

Files without `.alpha` keys have alpha = rank, unless one of these says otherwise; whoever reads
such a file without them gets another strength than was trained.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CONFIG = "lora_adapter_metadata"
"""Where diffusers keeps peft's settings, each after the name of the part."""

BESIDE, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DOWN = ".lora_A.weight"


def told(found: Mapping[str, Tensor], metadata: Mapping[str, str], file: Path) -> dict[str, Tensor]:
    """The `.alpha` keys that peft's settings amount to, for layers that have none of their own."""
    settings = _settings(metadata, file)
    if not settings:
        return {}
    made = {}
    for key, down in found.items():
        stem = key.removesuffix(DOWN)
        if stem != key and f"{stem}.alpha" not in found:
            alpha = _alpha(settings, stem, len(down))
            if alpha is not None:
                made[f"{stem}.alpha"] = torch.tensor(alpha, dtype=torch.float64)
    return made


def _settings(metadata: Mapping[str, str], file: Path) -> Mapping[str, Any]:
    text = metadata.get(CONFIG, "")
    if not text and file.name == WEIGHTS:
        with suppress(OSError, UnicodeDecodeError):
            text = file.with_name(BESIDE).read_text(encoding="utf-8")
    with suppress(ValueError):
        found = json.loads(text)
        return found if type(found) is dict else {}
    return {}


def _alpha(settings: Mapping[str, Any], stem: str, rank: int) -> float | None:
    """lora_alpha, or what the layer's pattern says; times the root of the rank with rsLoRA."""
    part, _, layer = stem.partition(".")
    mine = {
        name: settings.get(f"{part}.{name}", settings.get(name))
        for name in ("lora_alpha", "alpha_pattern", "use_rslora")
    }
    alpha = mine["lora_alpha"]
    for pattern, value in (mine["alpha_pattern"] or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            alpha = value
            break
    if type(alpha) not in (int, float):
        return None
    return float(alpha) * (math.sqrt(rank) if mine["use_rslora"] else 1.0)
