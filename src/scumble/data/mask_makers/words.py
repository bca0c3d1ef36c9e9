"""Masks of what is told in words: CLIPSeg, or Grounding DINO with Segment Anything.

Models are loaded from safetensors only, from a folder or the hub (never where `HF_HUB_OFFLINE`
is set). Lueddecke and Ecker 2022; Liu et al. 2023; Kirillov et al. 2023.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from scumble.data.mask_makers.makers import Words
from scumble.data.masks import Grey
from scumble.errors import FileError, JobError

if TYPE_CHECKING:
    import torch

Finder = Callable[[Image.Image], Grey]
DETECTOR, SEGMENTER, CUTTER = "grounding-dino", "clipseg", "sam"
SAM = "facebook/sam-vit-base"


def finder(words: Words) -> Finder:
    """The loaded networks, as a function of a picture. FileError or JobError if they cannot be."""
    device = _device(words.device)
    kind = _kind(words.model)
    if kind == SEGMENTER and words.sam is not None:
        problem = f"'{words.model}' cuts out what it finds by itself"
        raise JobError("--sam", problem, f"leave it out, or name a {DETECTOR} --model")
    if kind == SEGMENTER:
        return _clipseg(words, device)
    if kind == DETECTOR and words.sam is not None:
        return _detector(words, words.sam, device)
    if kind == DETECTOR:
        problem = "Grounding DINO finds boxes only"
        raise JobError("--model", problem, "add --sam with a Segment Anything model")
    problem = f"'{words.model}' is a model of the kind '{kind}'"
    raise JobError("--model", problem, f"name one of the kind {SEGMENTER} or {DETECTOR}")


def _device(name: str) -> torch.device:
    """JobError unless torch can work there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise JobError("--device", f"'{name}' cannot be used", "say auto, cpu or cuda") from None
    return torch.device(name)


def _clipseg(words: Words, device: torch.device) -> Finder:
    import torch
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

    with _loading(words.model):
        tools: Any = CLIPSegProcessor.from_pretrained(words.model)
        network: Any = CLIPSegForImageSegmentation.from_pretrained(
            words.model, use_safetensors=True
        )
    network = network.to(device).eval()

    def find(picture: Image.Image) -> Grey:
        many = len(words.texts)
        given = tools(
            text=list(words.texts), images=[picture] * many, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = network(**given.to(device)).logits
        sure = logits.reshape(many, *logits.shape[-2:]).float().sigmoid().cpu().numpy()
        return np.maximum.reduce([_cut(one, picture.size, words.threshold) for one in sure])

    return find


def _detector(words: Words, sam: str, device: torch.device) -> Finder:
    import torch
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    with _loading(words.model):
        tools: Any = GroundingDinoProcessor.from_pretrained(words.model)
        network: Any = GroundingDinoForObjectDetection.from_pretrained(
            words.model, use_safetensors=True
        )
    network, cutter = network.to(device).eval(), _cutter(sam, device)
    # one sentence for each thing, in small letters, as the network was trained
    asked = " ".join(f"{text.strip().lower().rstrip('.')}." for text in words.texts)

    def find(picture: Image.Image) -> Grey:
        given = tools(images=picture, text=asked, return_tensors="pt").to(device)
        with torch.inference_mode():
            answer = network(**given)
        (found,) = tools.post_process_grounded_object_detection(
            answer,
            given["input_ids"],
            threshold=words.threshold,
            text_threshold=words.threshold,
            target_sizes=[(picture.height, picture.width)],
        )
        return cutter(picture, found["boxes"].cpu().tolist())

    return find


def _cutter(sam: str, device: torch.device) -> Callable[[Image.Image, list[list[float]]], Grey]:
    """What Segment Anything sees in boxes of pixels (left, top, right, bottom)."""
    import torch
    from transformers import SamModel, SamProcessor

    if (kind := _kind(sam)) != CUTTER:
        problem = f"'{sam}' is a model of the kind '{kind}'"
        raise JobError("--sam", problem, f"name one of the kind {CUTTER}, such as {SAM}")
    with _loading(sam):
        tools: Any = SamProcessor.from_pretrained(sam)
        network: Any = SamModel.from_pretrained(sam, use_safetensors=True)
    network = network.to(device).eval()

    def cut(picture: Image.Image, boxes: list[list[float]]) -> Grey:
        if not boxes:
            return np.zeros((picture.height, picture.width), np.uint8)
        given = tools(picture, input_boxes=[boxes], return_tensors="pt")
        with torch.inference_mode():
            answer = network(
                pixel_values=given["pixel_values"].to(device),
                input_boxes=given["input_boxes"].float().to(device),  # float64 on some versions
                multimask_output=False,
            )
        (masks,) = tools.image_processor.post_process_masks(
            answer.pred_masks.cpu(), given["original_sizes"], given["reshaped_input_sizes"]
        )
        return masks.any(0).any(0).numpy().astype(np.uint8) * 255

    return cut


def _cut(sure: np.ndarray, size: tuple[int, int], threshold: float) -> Grey:
    """A small map of certainty as a mask of the picture's size, smooth along its edges."""
    large = Image.fromarray(sure.astype(np.float32)).resize(size, Resampling.BILINEAR)
    return np.where(np.asarray(large) >= threshold, 255, 0).astype(np.uint8)


def _kind(model: str) -> str:
    """What its configuration calls a model."""
    from transformers import PretrainedConfig

    with _loading(model):
        settings, _ = PretrainedConfig.get_config_dict(model)
    return str(settings.get("model_type", "unknown"))


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """FileError for a model that cannot be loaded; without the library's remarks and bars."""
    from transformers.utils import logging as remarks

    hub = logging.getLogger("huggingface_hub")  # tells of every attempt to connect
    level, bars, told = remarks.get_verbosity(), remarks.is_progress_bar_enabled(), hub.level
    remarks.set_verbosity(logging.ERROR)
    hub.setLevel(logging.ERROR)
    remarks.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        remedy = "name a folder in the layout of transformers with a .safetensors file, or connect"
        raise FileError(model, f"the model cannot be loaded ({said})", remedy) from error
    finally:
        remarks.set_verbosity(level)
        hub.setLevel(told)
        if bars:
            remarks.enable_progress_bar()
