"""Every family that can be trained, by name. Nothing heavy is imported until one is asked for."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from scumble.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scumble.families.family import Family

FAMILIES = {
    ("flux", "dev"): "flux.model:FLUX_DEV",
    ("flux", "schnell"): "flux.model:FLUX_SCHNELL",
    ("flux", "kontext"): "flux.model:FLUX_KONTEXT",
    ("qwen-image", "base"): "qwen.model:QWEN_IMAGE",
    ("qwen-image", "edit-v1"): "qwen.model:QWEN_EDIT",
    ("qwen-image", "edit-v2"): "qwen.model:QWEN_EDIT_PLUS",
}


def find(family: str, flavour: str) -> Family:
    """The family of that name and flavour; JobError names what there is."""
    if (family, flavour) not in FAMILIES:
        _refuse("model.family", family, {known for known, _ in FAMILIES})
        _refuse("model.flavour", flavour, {kind for known, kind in FAMILIES if known == family})
    module, constant = FAMILIES[family, flavour].split(":")
    return getattr(import_module(f"scumble.families.{module}"), constant)


def _refuse(where: str, name: str, known: Iterable[str]) -> None:
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    remedy = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}"
    raise JobError(where, f"'{name}' is not known", remedy)
