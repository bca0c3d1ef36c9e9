"""The published pipeline's word on an adapter file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from torch import nn

from scumble.adapters.layouts import Changes
from scumble.adapters.worn import put_on
from scumble.data.saying import Saying
from scumble.errors import JobError
from scumble.events import State, Verdict
from scumble.families import encoding, weights
from scumble.families.eyes import Eyes
from scumble.validation import invented, likeness, pipelines
from scumble.validation.previews import Request, Sitting
from scumble.validation.stage import DENOISER, PICTURE_BAR, Stage

PROMPT, SIDE, SEED = "a photograph of a cat", 512, 42
"""What is painted for a comparison with the published pipeline, where there is no run."""


def against_pipeline(stage: Stage, file: Path, changes: Changes) -> Iterator[Verdict]:
    """Whether the published pipeline loads each layer of the file, and paints what we paint.

    Edit models are shown invented pictures, whatever the run showed its own: a run keeps no
    pictures. The pipeline knows no mask of the text, so with `model.text_mask` both are painted
    without.
    """
    folder, request = _folder(stage), _request(stage)
    tokens = stage.model.tokens(stage.spec.text_tokens)
    shown = _shown(stage, request)
    sitting = _sitting(stage, request, shown, changes)
    ours = stage.worn(changes, lambda: stage.paint(sitting))
    stage.denoiser.to("cpu")  # two of them at once may be too many for a card
    asked = pipelines.Asked(family=stage.family, request=request, tokens=tokens, shown=shown)
    try:
        theirs = pipelines.seen(folder, file, asked, stage.place)
    except pipelines.Refused as error:
        words = f"the plain pipeline does not load this file: {error}"
        yield _verdict("pipeline keys", "failed", words)
        return
    finally:
        stage.denoiser.to(stage.place.device)
    yield _loaded(changes.get(DENOISER, {}).keys(), theirs.layers)
    like = likeness.psnr(ours, theirs.picture)
    bar = PICTURE_BAR[stage.place.precision == "bf16"]
    state: State = "ok" if like >= bar else "failed"
    words = f"its picture and ours: {likeness.decibels(like)}, at least {bar:.0f} dB"
    yield _verdict("pipeline picture", state, words)
    if stage.model.masked:
        words = "it cannot hide padding as `model.text_mask` does: both were painted without that"
        yield _verdict("pipeline text", "remark", words)


def _loaded(ours: Collection[str], theirs: Collection[str]) -> Verdict:
    """Whether the pipeline has found each layer of the file, and no other."""
    lost, more = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    if lost or more:
        text = f"the pipeline has {len(theirs)} of {len(ours)} layers; {(lost + more)[0]}"
        return _verdict("pipeline keys", "failed", f"{text} is on one side only")
    return _verdict("pipeline keys", "ok", f"the plain pipeline loads all {len(ours)} layers")


def _request(stage: Stage) -> Request:
    """What both paint: the run's preview, but that no pipeline is led away by less than 1."""
    family = stage.family
    found = stage.request or Request(
        prompt=PROMPT,
        width=SIDE,
        height=SIDE,
        steps=family.preview_steps,
        guidance=family.preview_guidance,
        scale=family.preview_scale,
        seed=SEED,
    )
    return replace(found, scale=max(1.0, found.scale), references=())


def _shown(stage: Stage, request: Request) -> tuple[Image.Image, ...]:
    """As many references as the pipeline is shown; every other one lies on its side."""
    row, glance = pipelines.ROWS[stage.family.pipeline], stage.family.glance
    size = (request.height, request.width)
    if row.as_glanced and glance is not None:
        size = glance(*size)
    sizes = (size, (size[1], size[0]))
    return tuple(invented.picture(number, sizes[number % 2]) for number in range(row.references))


def _sitting(
    stage: Stage, request: Request, shown: Sequence[Image.Image], changes: Changes
) -> Sitting:
    """A request as the pipeline understands it, by encoders changed by the file; they come and
    go."""
    model, place, glance = replace(stage.model, masked=False), stage.place, stage.family.glance

    def dress(part: str, module: nn.Module) -> None:
        put_on(module, changes.get(part, {}), model.family.parts[part].aliases, 1.0)

    sights = () if glance is None else tuple(invented.glanced(one, glance) for one in shown)
    said = [request.prompt, *([request.negative] if request.led else [])]
    sayings, tools = [Saying(text, sights) for text in said], weights.tools(model)
    tokens = model.tokens(stage.spec.text_tokens)
    text, *without = encoding.read_texts(model, tools, place, sayings, tokens, dress)
    seen = Eyes(model, place, "fp32").see([invented.missing(one) for one in shown])
    return Sitting(
        request=request,
        text=text,
        without=without[0] if without else None,
        references=tuple(one["latents"] for one in seen),
    )


def _folder(stage: Stage) -> Path:
    """The model's diffusers folder; JobError where it lies in single files."""
    if stage.family.pipeline not in pipelines.ROWS:
        named = f"{stage.family.name} {stage.family.flavour}"
        problem = f"there is no plain pipeline for {named}"
        raise JobError("--against diffusers", problem, "leave --against out")
    if stage.model.merged:
        problem = "the plain pipeline cannot load what `model.merged` adds"
        raise JobError("--against diffusers", problem, "leave --against out")
    if stage.model.quantising.parts:
        problem = "the plain pipeline computes with wide weights, not with `model.quantised`"
        raise JobError("--against diffusers", problem, "leave --against out")
    folders = {file.parent.parent for file in stage.model.files(DENOISER)}
    if len(folders) == 1 and (folder := folders.pop()) and (folder / "model_index.json").is_file():
        return folder
    remedy = "give --model FOLDER with a model_index.json, or builtin:NAME"
    raise JobError("--against diffusers", "the plain pipeline needs a diffusers folder", remedy)


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)
