"""Whether a diffusers folder is of the flavour that the job says, as far as anything tells.

Flavours of a family may have the same tensors to the last name; what their folders say is which
pipeline they are for.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from scumble import families
from scumble.families import weights
from scumble.families.family import Family

INDEX = "model_index.json"
FULL = 1_000_000_000
"""Numbers of a network that is no toy: toys serve for any flavour."""


def remarks(model: weights.Model, denoiser: nn.Module) -> tuple[str, ...]:
    """A sentence where the folder of the denoiser is for another flavour of the family."""
    family, files = model.family, model.files("denoiser")
    if not files or sum(one.numel() for one in denoiser.parameters()) < FULL:
        return ()
    folder = files[0].parent.parent
    said = _pipeline(folder)
    other = next((one for one in _siblings(family) if one.pipeline == said), None)
    if said == family.pipeline or other is None:
        return ()
    return (
        f"{folder} is published as {family.name} {other.flavour} ({said}); it is trained as"
        f" {family.flavour}, as `model.flavour` says.",
    )


def _pipeline(folder: Path) -> str:
    """What its index says; nothing where there is none that can be read."""
    try:
        return str(json.loads((folder / INDEX).read_bytes())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _siblings(family: Family) -> list[Family]:
    """All flavours of the family."""
    return [families.find(name, kind) for name, kind in families.FAMILIES if name == family.name]
