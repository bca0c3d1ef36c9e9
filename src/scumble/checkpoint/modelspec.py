"""What web UIs look for in a file's metadata to tell which model it belongs to.

The ModelSpec metadata standard (Stability AI, version 1.0.1), as far as it can be told truly. It
asks for a date too, which is left out: the same adapter makes the same file, to the last byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from scumble.adapters.layouts import LAYOUTS

FAMILY, FLAVOUR, TITLE = "scumble.family", "scumble.flavour", "scumble.job"
"""Entries of our own that say what the others are made of."""

ARCHITECTURES = {
    ("flux", "dev"): "flux-1-dev/lora",
    ("flux", "schnell"): "flux-1-schnell/lora",
    ("qwen-image", "base"): "Qwen-Image/lora",
    ("qwen-image", "edit-v1"): "Qwen-Image-Edit/lora",
    ("qwen-image", "edit-v2"): "Qwen-Image-Edit-Plus/lora",
}
"""By family and flavour; there is no agreed name for Kontext. Qwen's are musubi-tuner's."""

AUTHORS = {
    "flux": "https://github.com/black-forest-labs/flux",
    "qwen-image": "https://github.com/QwenLM/Qwen-Image",
}
DIFFUSERS = "diffusers"


def told(about: Mapping[str, str], layout: str) -> dict[str, str]:
    """The entries for a file about which ours say this; none where nobody knows its flavour."""
    family = about.get(FAMILY, "")
    architecture = ARCHITECTURES.get((family, about.get(FLAVOUR, "")))
    if architecture is None:
        return {}
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": AUTHORS[family] if LAYOUTS[layout].authors else DIFFUSERS,
        **({"modelspec.title": about[TITLE]} if about.get(TITLE) else {}),
    }
