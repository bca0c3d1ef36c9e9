"""Adapter files of either kind, plain LoRA or LyCORIS' forms, put on a network together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from scumble.adapters.layouts import Changes
from scumble.adapters.lycoris.worn import attached
from scumble.adapters.names import DENOISER, Aliases
from scumble.adapters.trained import Trained
from scumble.adapters.worn import put_on
from scumble.checkpoint import bases, combine, export, lycoris
from scumble.checkpoint.lycoris import Forms
from scumble.checkpoint.verdicts import misfits
from scumble.errors import FileError
from scumble.families.weights import Model


@dataclass(frozen=True)
class Outfit:
    """What an adapter file holds: one of the two is empty."""

    changes: Changes
    forms: Forms


def read_for(model: Model, file: Path) -> Outfit:
    """What is in an adapter file; FileError when a layer does not fit the model."""
    if lycoris.is_one(file):
        forms = lycoris.forms(file, model.family.keys)
        wrong = lycoris.unfit(forms, bases.of_parts(model, [DENOISER])[DENOISER])
        outfit = Outfit({}, forms)
    else:
        told = export.layers(file, model.family.keys)
        wrong, outfit = misfits(told, bases.of_parts(model, told)), Outfit(told, {})
    if wrong:
        more = f" (and {len(wrong) - 1} more layers like it)" if len(wrong) > 1 else ""
        raise FileError(file, f"{wrong[0]}{more}", "this adapter was made for another model")
    return outfit


def worn(
    outfits: Sequence[tuple[Outfit, float]],
    module: nn.Module,
    part: str,
    aliases: Aliases,
    *,
    merged: bool,
) -> list[Trained]:
    """Put them on a part, each at its strength: plain LoRA first, then the others one by one.

    They are to be taken off in the other order. With `merged` they become part of the weights, and
    nothing is left to be taken off.
    """
    plain = combine.added([({part: one.changes.get(part, {})}, much) for one, much in outfits])
    adapters = put_on(module, plain.get(part, {}), aliases, 1.0)
    if merged:
        adapters.merge()
    found: list[Trained] = [] if merged else [adapters]
    for one, much in outfits:
        if part != DENOISER or not one.forms:
            continue
        formed = attached(module, {name: form.times(much) for name, form in one.forms.items()})
        if merged:
            formed.merge()
        else:
            found.append(formed)
    return found
