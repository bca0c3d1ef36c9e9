"""Minimal inference: pictures from a model and an adapter file, nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from scumble import families
from scumble.adapters.layouts import Changes
from scumble.adapters.worn import put_on
from scumble.checkpoint import bases, export
from scumble.checkpoint.verdicts import misfits
from scumble.disk import made
from scumble.errors import FileError, JobError, gather
from scumble.families import encoding, weights
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.validation import ValidationSpec
from scumble.validation import previews


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What `scumble sample` was asked for."""

    model: ModelSpec
    hardware: HardwareSpec
    validation: ValidationSpec
    adapter: Path | None
    strength: float
    out: Path
    """A folder."""

    base: Path
    """Where a relative `model.path` starts."""


def sampled(asked: Sampling) -> Iterator[Path]:
    """Make the pictures one after another; each file's path as soon as it is written."""
    if not math.isfinite(asked.strength):
        raise JobError("--strength", f"{asked.strength} is no number to scale by", "try 1")
    family = families.find(asked.model.family, asked.model.flavour)
    gather("these pictures cannot be made", list(previews.check(asked.validation, family)))
    place = place_for(asked.hardware)
    model = weights.opened(family, asked.model, asked.base)
    changes = read_for(model, asked.adapter) if asked.adapter is not None else {}
    made(asked.out)
    wanted = previews.requests(asked.validation, family)
    tokens = asked.model.text_tokens or family.text_tokens
    prompts = [one.prompt for one in wanted]

    def dress(part: str, module: nn.Module) -> None:
        put_on(module, changes.get(part, {}), aliases(model, part), asked.strength)

    tools = weights.tools(model)
    texts = list(
        encoding.read_texts(model, tools, place, prompts, tokens, dress)
    )  # the encoders go first
    denoiser = weights.loaded(model, "denoiser", dtype=place.dtype, device=place.device)
    dress("denoiser", denoiser)
    about = {
        "model": asked.model.path,
        "parts": {name: source.told for name, source in model.parts.items()},
        "flavour": family.flavour,
        "text_tokens": tokens,
        "adapter": asked.adapter.name if asked.adapter else None,
        "strength": asked.strength,
        "precision": place.precision,
    }
    painter = previews.Painter(model, place)
    pairs = list(zip(wanted, texts, strict=True))
    yield from previews.painted(
        painter, Net(denoiser, plain), pairs, asked.out, about, first=_next(asked.out)
    )


def _next(folder: Path) -> int:
    """The first number that no picture there has: nothing is painted over."""
    numbers = [file.name.split("-")[0] for file in folder.glob("*-*.png")]
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def read_for(model: weights.Model, file: Path) -> Changes:
    """The changes in an adapter file; every layer that does not fit the model is told at once."""
    told = export.layers(file, model.family.keys)
    if unfit := misfits(told, bases.of_parts(model, told)):
        more = f" (and {len(unfit) - 1} more layers like it)" if len(unfit) > 1 else ""
        remedy = "this adapter was made for another model"
        raise FileError(file, f"{unfit[0]}{more}", remedy)
    return told


def aliases(model: weights.Model, part: str) -> tuple[tuple[str, str], ...]:
    """How names of a part in files begin in its module."""
    return model.family.parts[part].aliases
