"""An adapter file in the hands of the published pipeline: what it loads, and what it paints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from scumble.errors import JobError
from scumble.families.family import Family
from scumble.families.qwen.text import as_published
from scumble.hardware.device import Place
from scumble.validation.previews import Request

LOADED = ".lora_A."
"""In the name of a weight that peft has put beside a layer."""

QWEN = "diffusers.pipelines.qwenimage.pipeline_qwenimage_"


@dataclass(frozen=True)
class Seen:
    """What the pipeline made of a file."""

    layers: frozenset[str]
    """The transformer's layers that have got an adapter."""

    picture: Image.Image


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What it is to paint."""

    family: Family
    request: Request
    tokens: int
    shown: tuple[Image.Image, ...] = ()
    """References, in order, each at the size at which the network is to be shown it."""


class Refused(Exception):
    """The pipeline cannot load a file; in its own words."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one of diffusers' pipelines is asked."""

    call: Callable[[Asked], dict[str, Any]]
    """Its arguments, but for those that all take."""

    references: int = 0
    """How many pictures it is shown."""

    module: str | None = None
    """Where it says at which sizes it looks at pictures."""

    as_glanced: bool = False
    """Whether network and reader are shown a picture at one and the same size."""


def _flux(asked: Asked) -> dict[str, Any]:
    return {"guidance_scale": asked.request.guidance, "max_sequence_length": asked.tokens}


def _kontext(asked: Asked) -> dict[str, Any]:
    """It brings pictures to sizes of its own, but not when it is told to leave that."""
    area = asked.request.width * asked.request.height
    told = {"image": asked.shown[0], "max_area": area, "_auto_resize": False}
    return {**_flux(asked), **told}


def _qwen(asked: Asked) -> dict[str, Any]:
    return {"max_sequence_length": asked.tokens}


def _edit(asked: Asked) -> dict[str, Any]:
    return {**_qwen(asked), "image": asked.shown[0]}


def _edit_plus(asked: Asked) -> dict[str, Any]:
    return {**_qwen(asked), "image": list(asked.shown)}


ROWS: Mapping[str, Row] = {
    "FluxPipeline": Row(call=_flux),
    "FluxKontextPipeline": Row(call=_kontext, references=1),
    "QwenImagePipeline": Row(call=_qwen),
    "QwenImageEditPipeline": Row(call=_edit, references=1, module=f"{QWEN}edit", as_glanced=True),
    "QwenImageEditPlusPipeline": Row(call=_edit_plus, references=2, module=f"{QWEN}edit_plus"),
}
"""By the class in diffusers, which a family names as its `pipeline`."""


def refuse_without_peft() -> None:
    """JobError where the pipeline could not load an adapter."""
    if find_spec("peft") is None:
        remedy = 'install it with: pip install "scumble[peft]"'
        raise JobError("--against diffusers", "the plain pipeline loads adapters by peft", remedy)


def seen(folder: Path, file: Path, asked: Asked, place: Place) -> Seen:
    """Load the model of a diffusers folder and the file as its users do, and paint one picture.

    Refused when it does not load the file: diffusers 0.42 reads FLUX in kohya's layout in the
    published size alone, and not in ComfyUI's.
    """
    row = ROWS[asked.family.pipeline]
    with _quiet():
        pipeline = _opened(folder, asked.family.pipeline, place)
        try:
            pipeline.load_lora_weights(str(file))
        except Exception as error:  # foreign code with a foreign file: it may raise anything
            raise Refused(f"{type(error).__name__} {error}".strip()) from error
        names = [name for name, _ in pipeline.transformer.named_parameters() if LOADED in name]
        with _as_given(row, asked):
            answer = pipeline(**_arguments(asked), **row.call(asked))
    return Seen(frozenset(name.split(LOADED)[0] for name in names), answer.images[0])


def _arguments(asked: Asked) -> dict[str, Any]:
    """What all of them take; they lead away from another text only by more than 1."""
    request = asked.request
    led = {"true_cfg_scale": request.scale, "negative_prompt": request.negative}
    return {
        "prompt": request.prompt,
        "width": request.width,
        "height": request.height,
        "num_inference_steps": request.steps,
        "generator": torch.Generator().manual_seed(request.seed),
        **(led if request.scale > 1 else {"true_cfg_scale": 1.0}),
    }


def _opened(folder: Path, name: str, place: Place) -> Any:
    import diffusers

    told = {"processor": _processor(folder)} if (folder / "processor").is_dir() else {}
    maker: Any = getattr(diffusers, name)
    pipeline = maker.from_pretrained(folder, torch_dtype=place.dtype, **told)
    pipeline.set_progress_bar_config(disable=True)
    if told:
        as_published(pipeline.text_encoder)
    return pipeline.to(place.device)


def _processor(folder: Path) -> Any:
    """What shows pictures and words to Qwen2.5-VL, put together without what is for films: that
    needs torchvision."""
    from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen2VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class Processor(Qwen2VLProcessor):
        """Without a part for films."""

        def __init__(self, image_processor: Any, tokenizer: Any) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            mark = tokenizer.convert_tokens_to_ids
            self.image_token_id, self.video_token_id = map(
                mark, (self.image_token, self.video_token)
            )
            ProcessorMixin.__init__(self, image_processor, tokenizer)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

    eyes = Qwen2VLImageProcessor.from_pretrained(folder / "processor")
    return Processor(eyes, AutoTokenizer.from_pretrained(folder / "processor"))


@contextmanager
def _as_given(row: Row, asked: Asked) -> Iterator[None]:
    """Let a pipeline take pictures at the sizes that they have, and show them to its reader as the
    family does; of itself it would make each of them a megapixel."""
    if row.module is None:
        yield
        return
    module: Any = import_module(row.module)
    own = module.calculate_dimensions
    module.calculate_dimensions = _sizes(asked.family, asked.shown, module)
    try:
        yield
    finally:
        module.calculate_dimensions = own


def _sizes(
    family: Family, shown: Sequence[Image.Image], module: Any
) -> Callable[[int, float], tuple[int, ...]]:
    """What stands in for its own arithmetic: width and height for an area and a shape."""
    glance, named = family.glance, vars(module).get("CONDITION_IMAGE_SIZE")
    given = {one.width / one.height: one.size for one in shown}

    def sizes(area: int, ratio: float) -> tuple[int, ...]:
        width, height = given[ratio]
        if named is None:
            return width, height, 0
        if area == named and glance is not None:
            height, width = glance(height, width)
        return width, height

    return sizes


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
