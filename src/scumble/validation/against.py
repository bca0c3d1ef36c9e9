"""The published pipeline's word on an adapter file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import nn

from scumble.adapters.layouts import Changes
from scumble.adapters.worn import put_on
from scumble.errors import JobError
from scumble.events import State, Verdict
from scumble.families import encoding, weights
from scumble.families.family import Entry
from scumble.validation import likeness, pipelines
from scumble.validation.previews import Request
from scumble.validation.stage import DENOISER, PICTURE_BAR, Stage

PROMPT, SIDE, SEED = "a photograph of a cat", 512, 42
"""What is painted for a comparison with the published pipeline, where there is no run."""


def against_pipeline(stage: Stage, file: Path, changes: Changes) -> Iterator[Verdict]:
    """Whether the published pipeline loads each layer of the file, and paints what we paint.

    It knows no mask of the text, so with `model.text_mask` both are painted without.
    """
    folder = _folder(stage)
    request = stage.request or Request(
        prompt=PROMPT,
        width=SIDE,
        height=SIDE,
        steps=stage.family.preview_steps,
        guidance=stage.family.preview_guidance,
        seed=SEED,
    )
    tokens = stage.model.tokens(stage.spec.text_tokens)
    entry = _text(stage, request.prompt, tokens, changes)
    ours = stage.worn(changes, lambda: stage.paint(request, entry))
    stage.denoiser.to("cpu")  # two of them at once may be too many for a card
    try:
        theirs = pipelines.seen(folder, file, request, tokens, stage.place)
    except pipelines.Refused as error:
        words = f"the plain pipeline does not load this file: {error}"
        yield _verdict("pipeline keys", "failed", words)
        return
    finally:
        stage.denoiser.to(stage.place.device)
    layers = changes.get(DENOISER, {}).keys()
    lost, more = sorted(layers - theirs.layers), sorted(theirs.layers - layers)
    if lost or more:
        text = f"the pipeline has {len(theirs.layers)} of {len(layers)} layers; {(lost + more)[0]}"
        yield _verdict("pipeline keys", "failed", f"{text} is on one side only")
    else:
        yield _verdict("pipeline keys", "ok", f"the plain pipeline loads all {len(layers)} layers")
    like = likeness.psnr(ours, theirs.picture)
    bar = PICTURE_BAR[stage.place.precision == "bf16"]
    state: State = "ok" if like >= bar else "failed"
    words = f"its picture and ours: {likeness.decibels(like)}, at least {bar:.0f} dB"
    yield _verdict("pipeline picture", state, words)
    if stage.model.masked:
        words = "it cannot hide padding as `model.text_mask` does: both were painted without that"
        yield _verdict("pipeline text", "remark", words)


def _text(stage: Stage, prompt: str, tokens: int, changes: Changes) -> Entry:
    """A prompt as the pipeline reads it, by encoders changed by the file; they come and go."""
    model = replace(stage.model, masked=False)

    def dress(part: str, module: nn.Module) -> None:
        put_on(module, changes.get(part, {}), model.family.parts[part].aliases, 1.0)

    tools = weights.tools(model)
    (entry,) = encoding.read_texts(model, tools, stage.place, [prompt], tokens, dress)
    return entry


def _folder(stage: Stage) -> Path:
    """The model's diffusers folder; JobError where it lies in single files."""
    if stage.model.merged:
        problem = "the plain pipeline cannot load what `model.merged` adds"
        raise JobError("--against diffusers", problem, "leave --against out")
    folders = {file.parent.parent for file in stage.model.files(DENOISER)}
    if len(folders) == 1 and (folder := folders.pop()) and (folder / "model_index.json").is_file():
        return folder
    remedy = "give --model FOLDER with a model_index.json, or builtin:NAME"
    raise JobError("--against diffusers", "the plain pipeline needs a diffusers folder", remedy)


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)
