"""Minimal inference: pictures from a model and an adapter file, nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from scumble import families
from scumble.adapters.attach import Adapters, attach_tensors
from scumble.checkpoint import export
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
    made(asked.out)
    wanted = previews.requests(asked.validation, family)
    tokens = asked.model.text_tokens or family.text_tokens
    prompts = [one.prompt for one in wanted]
    texts = list(
        encoding.read_texts(model, weights.tools(model), place, prompts, tokens)
    )  # the encoders go first
    denoiser = weights.loaded(model, "denoiser", dtype=place.dtype, device=place.device)
    if asked.adapter is not None:
        worn(denoiser, asked.adapter, asked.strength)
    about = {
        "model": asked.model.path,
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


def worn(denoiser: torch.nn.Module, file: Path, strength: float) -> Adapters:
    """Attach an adapter file; FileError when it was made for another model."""
    told = export.read(file)
    linears = {n: m for n, m in denoiser.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, tensors in told.items():
        if name not in linears:
            remedy = "this adapter was made for another model"
            raise FileError(file, f"the model has no layer '{name}'", remedy)
        here, there = tuple(linears[name].weight.shape), (len(tensors.up), tensors.down.shape[1])
        if here != there:
            remedy = "this adapter was made for another model"
            raise FileError(file, f"'{name}' is {here} in the model, {there} in the file", remedy)
    return attach_tensors(denoiser, told, strength=strength)
