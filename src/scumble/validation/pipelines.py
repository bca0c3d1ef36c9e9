"""An adapter file in the hands of the published pipeline: what it loads, and what it paints."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from scumble.errors import JobError
from scumble.hardware.device import Place
from scumble.validation.previews import Request

LOADED = ".lora_A."
"""In the name of a weight that peft has put beside a layer."""


@dataclass(frozen=True)
class Seen:
    """What the pipeline made of a file."""

    layers: frozenset[str]
    """The transformer's layers that have got an adapter."""

    picture: Image.Image


class Refused(Exception):
    """The pipeline cannot load a file; in its own words."""


def refuse_without_peft() -> None:
    """JobError where the pipeline could not load an adapter."""
    if find_spec("peft") is None:
        remedy = 'install it with: pip install "scumble[peft]"'
        raise JobError("--against diffusers", "the plain pipeline loads adapters by peft", remedy)


def seen(folder: Path, file: Path, request: Request, tokens: int, place: Place) -> Seen:
    """Load the model of a diffusers folder and the file as its users do, and paint one picture.

    Refused when it does not load the file. Its readers of kohya's and ComfyUI's layouts know FLUX
    in the published size alone (diffusers 0.42).
    """
    with _quiet():
        from diffusers import FluxPipeline

        pipeline: Any = FluxPipeline.from_pretrained(folder, torch_dtype=place.dtype)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(place.device)
        try:
            pipeline.load_lora_weights(str(file))
        except Exception as error:  # foreign code with a foreign file: it may raise anything
            raise Refused(f"{type(error).__name__} {error}".strip()) from error
        names = [name for name, _ in pipeline.transformer.named_parameters() if LOADED in name]
        answer = pipeline(
            request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            max_sequence_length=tokens,
            generator=torch.Generator().manual_seed(request.seed),
        )
    return Seen(frozenset(name.split(LOADED)[0] for name in names), answer.images[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Libraries keep to themselves what they think of each other's versions, and their bars."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    loud = of_diffusers.get_verbosity(), of_transformers.get_verbosity()
    of_diffusers.set_verbosity_error()
    of_transformers.set_verbosity_error()
    of_diffusers.disable_progress_bar()
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        of_diffusers.set_verbosity(loud[0])
        of_transformers.set_verbosity(loud[1])
        of_diffusers.enable_progress_bar()
        of_transformers.enable_progress_bar()
