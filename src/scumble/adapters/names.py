"""How the keys of saved adapters are spelt for other tools."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "transformer."
DOWN, UP, ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"
FOREIGN = (
    ("lora_unet_", "kohya"),
    ("lora_te", "kohya"),
    ("lycoris_", "LyCORIS"),
    ("diffusion_model.", "ComfyUI"),
    ("base_model.model.", "peft"),
)


def diffusers(layer: str, ending: str) -> str:
    """A layer's key in a file for `load_lora_weights`."""
    return f"{PREFIX}{layer}{ending}"


def parsed(key: str) -> tuple[str, str] | None:
    """Layer and ending of a key in diffusers layout; None for any other key."""
    for ending in (DOWN, UP, ALPHA):
        if key.startswith(PREFIX) and key.endswith(ending):
            return key[len(PREFIX) : -len(ending)], ending
    return None


def layout(keys: Iterable[str]) -> str:
    """Which tool spells its keys like this, as far as their beginnings tell."""
    first = min(keys, default="")
    return next((tool for start, tool in FOREIGN if first.startswith(start)), "an unknown tool")
