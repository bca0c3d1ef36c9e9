"""What a network's file that was written here says of its network.

Shapes do not tell how positions are laid over the features of a head, so files of other tools are
taken for networks as published; ours carry the config.json that they were trained with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

CONFIG = "scumble.config"
"""Entry of a file's metadata."""


def config_of(file: Path) -> dict[str, Any]:
    """The config that a file carries; empty where there is none that can be read."""
    try:
        with safe_open(file, "pt") as stored:
            told = json.loads((stored.metadata() or {}).get(CONFIG, "{}"))
    except (SafetensorError, OSError, ValueError):
        return {}  # whoever reads its tensors says what is wrong with the file
    return told if isinstance(told, dict) else {}
