"""What web UIs look for in a file's metadata to tell which model it belongs to.

The ModelSpec metadata standard (Stability AI, version 1.0.1), as far as it can be told truly. It
asks for a date too, which is left out: the same adapter makes the same file, to the last byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from scumble.adapters.layouts import LAYOUTS

FAMILY, FLAVOUR, TITLE = "scumble.family", "scumble.flavour", "scumble.job"
"""Entries of our own that say what the others are made of."""

ARCHITECTURES = {("flux", "dev"): "flux-1-dev/lora", ("flux", "schnell"): "flux-1-schnell/lora"}
"""By family and flavour; there is no agreed name for Kontext."""

AUTHORS, DIFFUSERS = "https://github.com/black-forest-labs/flux", "diffusers"


def told(about: Mapping[str, str], layout: str) -> dict[str, str]:
    """The entries for a file about which ours say this; none where nobody knows its flavour."""
    architecture = ARCHITECTURES.get((about.get(FAMILY, ""), about.get(FLAVOUR, "")))
    if architecture is None:
        return {}
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": AUTHORS if LAYOUTS[layout].authors else DIFFUSERS,
        **({"modelspec.title": about[TITLE]} if about.get(TITLE) else {}),
    }
