"""What a run keeps of its network's answers, so that a fresh process can ask the same again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scumble.data.picture_set import PictureSet
from scumble.data.saying import Saying
from scumble.disk import made
from scumble.events import Weights
from scumble.families.family import Entry
from scumble.families.quantised import FOLDER
from scumble.families.reader import worded
from scumble.observers import pictures
from scumble.preflight.plan import Plan
from scumble.trainer.loop import Parts
from scumble.trainer.step import Method, told_now
from scumble.validation import probes
from scumble.validation.previews import Request, Sitting
from scumble.validation.probes import Kit, Probes

Asked = Sequence[Sitting]

PROMPT = "a photograph of a cat"
"""What encoders that are trained are asked to read where the job makes no previews."""


def keep(
    plan: Plan, parts: Parts, asked: Asked, base: Path, step: int, which: Weights = "raw"
) -> None:
    """What the network answers now, with these weights in it, at a few points, and what it answers
    without the adapter."""
    family, place, method = plan.family, plan.place, parts.method
    points = _points(plan, asked)
    with parts.adapters.off():
        read = told_now(method, points.text) if method.encoders else None
        before = replace(points, text=read or points.text)
        plain = probes.velocities(family, method.net, place, before)
    points = replace(points, text=told_now(method, points.text), plain=read)
    trained = probes.velocities(family, method.net, place, points)
    folder = plan.folder / probes.FOLDER
    made(folder)
    about = _kit_about(plan, asked, base, step, which)
    preview = _preview(method, asked[0]) if asked else probes.Preview()
    kit = Kit(probes=points, trained=trained, base=plain, about=about, preview=preview)
    probes.write(folder / probes.kept_as(which), kit)


def _points(plan: Plan, asked: Asked) -> Probes:
    """Where the network is asked: with the first preview's text and references, else with made-up
    ones, and as many references as an example of the job shows."""
    family, own = plan.family, asked[0].references if asked else ()
    if asked:
        request, text = asked[0].request, asked[0].text
        size, guidance = (request.height, request.width), request.guidance
    else:
        shapes = {n: one(plan.model.configs, plan.tokens) for n, one in family.text_fields.items()}
        text, size = probes.made_up(shapes, plan.place) | _words(plan), probes.SIZE
        guidance = family.preview_guidance
    shown = own or probes.beside(family, size, max(map(_most_shown, plan.sets)))
    return probes.about_text(family, text, size, guidance, shown)


def _words(plan: Plan) -> Entry:
    """Of a made-up text, what encoders that are trained read."""
    model = plan.model
    return worded(model, plan.tokens)([Saying(PROMPT)])[0] if model.trained else {}


def _preview(method: Method, sitting: Sitting) -> probes.Preview:
    """What it takes to paint it again, besides its text."""
    references = tuple(one.float().cpu() for one in sitting.references)
    return probes.Preview(
        references=references, negative=told_now(method, sitting.without) if sitting.without else {}
    )


def _most_shown(one: PictureSet) -> int:
    """How many references an example of the set shows at once, at the most."""
    most = max((len(one.there(member)) for member in range(len(one.examples))), default=0)
    return most if one.spec.reference_sampling == "combined" else min(1, most)


def _kit_about(plan: Plan, asked: Asked, base: Path, step: int, which: Weights) -> dict[str, Any]:
    model = plan.job.model.model_copy(update={"text_tokens": plan.tokens})
    request = asked[0].request if asked else None
    picture = pictured(plan, request, step, which) if request else None
    return {
        "model": model.model_dump(mode="json"),
        "base": str(base.resolve()),
        "quantised layers": str((plan.cache / FOLDER).resolve()),
        "device": str(plan.place.device),
        "precision": plan.place.precision,
        "dtype": plan.job.export.dtype,
        "step": step,
        "request": asdict(request) if request else None,
        "prompt": request.prompt if request else PROMPT,
        "picture": picture.relative_to(plan.folder).as_posix() if picture else None,
    }


def pictured(plan: Plan, request: Request, step: int, which: Weights = "raw") -> Path | None:
    """The run's own picture of a request at a step, told by its sidecar: a job may have changed
    what is painted since an earlier start."""
    averaged = {"weights": which} if plan.job.training.ema is not None else {}
    made_so = {
        **asdict(request),
        "step": step,
        "text_tokens": plan.tokens,
        "text_mask": plan.model.masked,
        "precision": plan.place.precision,
        **averaged,
    }
    return pictures.made_as(pictures.samples(plan.folder, step), made_so)
