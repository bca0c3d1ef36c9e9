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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scumble.adapters.layouts import ALPHA

CONFIG = "lora_adapter_metadata"
"""Where diffusers keeps peft's settings, each after the name of the part."""

ENTRIES = ("lora_alpha", "alpha_pattern", "use_rslora", "init_lora_weights")
REBASING = ("pissa", "olora", "corda", "loftq")
"""Ways to start that take from the base model's weights what they put into the adapter."""

BESIDE, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DOWN = ".lora_A.weight"
WRAPPED = "base_model.model."


@dataclass(frozen=True)
class Told:
    """What peft's settings say of a file."""

    alphas: Mapping[str, Tensor]
    """The `.alpha` keys that they amount to, for layers that have none of their own."""

    faults: tuple[str, ...]
    """Why the file is no change of the published model, in sentences."""


def told(found: Mapping[str, Tensor], metadata: Mapping[str, str], file: Path) -> Told:
    """All that the settings in a file's metadata, or beside it, say; often there are none."""
    settings = _settings(metadata, file)
    made, starts = {}, set[str]()
    for key, down in found.items():
        stem = key.removesuffix(DOWN)
        if not settings or stem == key or not down.ndim:
            continue
        layer, mine = _of(settings, stem)
        starts.add(str(mine["init_lora_weights"]).lower())
        if f"{stem}{ALPHA}" not in found:
            alpha = _alpha(mine, layer, len(down))
            made |= {} if alpha is None else {f"{stem}{ALPHA}": torch.tensor(alpha).double()}
    faults = [
        f"it was started with {start}, which changes the base model's own weights; have peft "
        "save it with `path_initial_model_for_weight_conversion`"
        for start in sorted(starts)
        if start.startswith(REBASING)
    ]
    return Told(made, tuple(faults))


def _settings(metadata: Mapping[str, str], file: Path) -> Mapping[str, Any]:
    text = metadata.get(CONFIG, "")
    if not text and file.name == WEIGHTS:
        with suppress(OSError, UnicodeDecodeError):
            text = file.with_name(BESIDE).read_text(encoding="utf-8")
    with suppress(ValueError):
        found = json.loads(text)
        return found if type(found) is dict else {}
    return {}


def _of(settings: Mapping[str, Any], stem: str) -> tuple[str, dict[str, Any]]:
    """A layer as peft names it, and the settings for it: diffusers puts a part before each."""
    layer = stem.removeprefix(WRAPPED)
    part, _, rest = layer.partition(".")
    if any(f"{part}.{name}" in settings for name in ENTRIES):
        return rest, {name: settings.get(f"{part}.{name}") for name in ENTRIES}
    return layer, {name: settings.get(name) for name in ENTRIES}


def _alpha(mine: Mapping[str, Any], layer: str, rank: int) -> float | None:
    """lora_alpha, or what the layer's pattern says; times the root of the rank with rsLoRA."""
    alpha, patterns = mine["lora_alpha"], mine["alpha_pattern"]
    for pattern, value in patterns.items() if type(patterns) is dict else ():
        if _fits(pattern, layer):
            alpha = value
            break
    if type(alpha) not in (int, float):
        return None
    return float(alpha) * (math.sqrt(rank) if mine["use_rslora"] else 1.0)


def _fits(pattern: str, layer: str) -> bool:
    """Whether a layer's name ends as a pattern of peft says; one that is none fits nothing."""
    with suppress(re.error):
        return re.match(rf"(.*\.)?({pattern})$", layer) is not None
    return False
