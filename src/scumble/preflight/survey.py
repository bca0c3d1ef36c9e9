"""What `scumble check` tells: the funnel, the counts, and what disk and time a job will take."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scumble.data import buckets
from scumble.data.library import PictureSet
from scumble.data.scan import Scan
from scumble.families import encoding
from scumble.preflight import forecast
from scumble.preflight.plan import Plan, prepared
from scumble.spec.job import JobSpec

LOST = 0.2  # share of a picture's area that may be cut away before it is worth a word


@dataclass(frozen=True, kw_only=True)
class SetSurvey:
    """One data set as the job will use it."""

    id: str
    folder: str
    funnel: dict[str, int]
    """Pictures left after each stage, in order: found, readable, large enough, ..."""

    buckets: dict[str, int]
    """Pictures per trained size, as "512x384" (width x height), largest count first."""

    captions: int
    """Different texts."""

    passes: int
    notes: tuple[str, ...]
    """Whatever a careful user would want to know: enlarged pictures, area lost to crops."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A job, looked at as a whole."""

    sets: tuple[SetSurvey, ...]
    device: str
    precision: str
    trained_parameters: int
    examples_per_epoch: int
    steps_per_epoch: float
    steps: int
    cached_entries: int
    missing_entries: int
    cache_bytes: int
    """Bytes the missing entries will take."""

    run_bytes: int
    """Bytes of checkpoints, previews and the delivered file at their most."""

    free_bytes: int
    seconds: float | None
    """Rough forecast of the training time; None when nothing is known about this machine."""

    warnings: tuple[str, ...]


def survey(job: JobSpec, base: Path) -> Survey:
    """What `scumble check` tells."""
    plan = prepared(job, base, weigh=False)
    job = plan.job
    cached, missing, cache_bytes = _cache(plan)
    free = shutil.disk_usage(_existing(plan.folder)).free
    run_bytes = forecast.run_bytes(plan)
    warnings = []
    if cache_bytes + run_bytes > free:
        need = (cache_bytes + run_bytes) / 1e9
        warnings.append(f"The disk has {free / 1e9:.1f} GB free and about {need:.1f} are needed.")
    size = job.training.batch_size
    small = [shelf for shelf in plan.shelves if len(shelf.members) * shelf.passes < size]
    if small:
        warnings.append(f"{len(small)} sizes have fewer pictures than a batch of {size}.")
    if plan.newest:
        changed = "; ".join(plan.changed) or "nothing"
        warnings.append(f"This run goes on after step {plan.newest.step}; changed: {changed}.")
    examples = plan.order.examples_per_epoch
    return Survey(
        sets=tuple(map(_set_survey, plan.sets, plan.scans)),
        device=str(plan.place.device),
        precision=plan.place.precision,
        trained_parameters=plan.trained_parameters,
        examples_per_epoch=examples,
        steps_per_epoch=plan.order.units_per_epoch / job.training.units_per_step,
        steps=job.training.steps,
        cached_entries=cached,
        missing_entries=missing,
        cache_bytes=cache_bytes,
        run_bytes=run_bytes,
        free_bytes=free,
        seconds=forecast.seconds(plan),
        warnings=tuple(warnings),
    )


def _existing(folder: Path) -> Path:
    there = folder.absolute()
    return next(place for place in (there, *there.parents) if place.exists())


def _set_survey(one: PictureSet, scan: Scan) -> SetSurvey:
    counts = Counter(f"{frame.size[1]}x{frame.size[0]}" for frame in one.frames)
    enlarged = sum(buckets.enlarged(frame) for frame in one.frames)
    cut = sum(buckets.lost(frame) > LOST for frame in one.frames)
    notes = list(scan.notes)
    if one.spec.crop == "random" and one.spec.crops == 1:
        notes.append("each picture has one random cut for the whole run; more with `crops`")
    if enlarged:
        are = "pictures are" if enlarged > 1 else "picture is"
        notes.append(f"{enlarged} {are} smaller than trained at and will be enlarged")
    if cut:
        lose = "pictures lose" if cut > 1 else "picture loses"
        notes.append(f"{cut} {lose} more than {LOST:.0%} of the area to the crop")
    return SetSurvey(
        id=one.spec.id,
        folder=one.spec.folder,
        funnel=scan.funnel | {"in a bucket": len(one.frames)},
        buckets=dict(counts.most_common()),
        captions=len(set(one.texts())),
        passes=one.spec.repeats,
        notes=tuple(notes),
    )


def _cache(plan: Plan) -> tuple[int, int, int]:
    """Entries there, entries missing, and the bytes these will take."""
    texts, pictures = plan.texts(), sum(len(one.examples) * one.spec.crops for one in plan.sets)
    total = len(texts) + pictures
    recipes = encoding.recipes(plan.model, plan.place, plan.tokens, read=False)
    no_text, no_picture = len(texts), pictures
    if recipes is not None:
        library = plan.library(recipes, plan.sources(read=False))
        no_text = len(library.missing_texts(texts))
        no_picture = library.unread() + sum(map(len, library.missing_pictures().values()))
    text_bytes = plan.place.dtype.itemsize * sum(
        math.prod(shape(plan.model.configs, plan.tokens))
        for shape in plan.family.text_fields.values()
    )
    cells = [math.prod(frame.size) for one in plan.sets for frame in one.frames]
    latent = 4 * plan.family.latent_channels / plan.family.pixels_per_latent**2
    picture_bytes = latent * sum(cells) / len(cells)
    missing = no_text + no_picture
    return total - missing, missing, int(no_text * text_bytes + no_picture * picture_bytes)
