"""What `scumble check` tells: the funnel, the counts, and what disk and time a job will take."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scumble.data import mixing
from scumble.data.picture_set import PictureSet
from scumble.data.shelving import Shelves
from scumble.data.sizes import frame as buckets_of
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

    passes: str
    """How often each picture is seen in an epoch, or the set's share of all batches."""

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
    """Of the first epoch."""

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
    warnings += _mixed(plan)
    warnings += _loaded(plan)
    if plan.newest:
        changed = "; ".join(plan.changed) or "nothing"
        warnings.append(f"This run goes on after step {plan.newest.step}; changed: {changed}.")
    return Survey(
        sets=tuple(_set_survey(plan, number) for number in range(len(plan.sets))),
        device=str(plan.place.device),
        precision=plan.place.precision,
        trained_parameters=plan.trained_parameters,
        examples_per_epoch=plan.examples_per_epoch,
        steps_per_epoch=plan.steps_per_epoch,
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


def _mixed(plan: Plan) -> list[str]:
    """What becomes of batches that cannot be full."""
    said = []
    steps = plan.job.training.steps
    for shelf in plan.order.never_seen(steps):
        size = "x".join(map(str, reversed(shelf.size[:2])))
        said.append(
            f"{len(shelf.members)} pictures of {shelf.dataset} at {size} are never seen: they are"
            f" fewer than a batch of {shelf.batch} (`short: drop`)."
        )
    shelves = [shelf for one in plan.sets for shelf in Shelves(one)(0)]
    small = [shelf for shelf in shelves if shelf.rows < shelf.batch and shelf.short == "keep"]
    if small:
        said.append(f"{len(small)} sizes have fewer pictures than a batch.")
    return said


def _loaded(plan: Plan) -> list[str]:
    """Which encoders stay in memory while training, and which captions cannot be told apart."""
    said = []
    fresh = [one.spec.id for one in plan.sets if one.spec.variants == "fresh"]
    if not plan.keeps_pictures:
        said.append("The autoencoder stays loaded: nothing is kept (`cache.mode: on_demand`).")
    elif fresh:
        names = ", ".join(fresh)
        said.append(f"The autoencoder stays loaded for {names} (`variants: fresh`).")
    if not plan.keeps_texts:
        said.append("The text encoders stay loaded: captions are encoded when their turn comes.")
    elif plan.asked.walked:
        names = ", ".join(plan.asked.walked)
        said.append(
            f"Captions of {names} are new each time: {len(plan.asked.texts):,} different ones are"
            " kept; `caption_edits.variants` makes them fewer, `cache.texts: on_demand` keeps none."
        )
    return said


def _set_survey(plan: Plan, number: int) -> SetSurvey:
    one, scan = plan.sets[number], plan.scans[number]
    counts = Counter(f"{frame.size[1]}x{frame.size[0]}" for frame in one.frames)
    notes = [*scan.notes, *(text for name, text in plan.notes if name == one.spec.id)]
    return SetSurvey(
        id=one.spec.id,
        folder=scan.root,
        funnel=scan.funnel | {"in a bucket": len(one.frames)},
        buckets=dict(counts.most_common()),
        captions=len({text for example in one.examples for text in example.target.captions}),
        passes=f"{one.spec.repeats}" if one.spec.share is None else f"share {one.spec.share:g}",
        notes=(*notes, *_notes_on_cuts(one), *_notes_on_start(plan, one)),
    )


def _notes_on_cuts(one: PictureSet) -> list[str]:
    enlarged = sum(map(buckets_of.enlarged, one.frames))
    cut = sum(buckets_of.lost(frame) > LOST for frame in one.frames)
    notes = []
    if one.framer.random and one.spec.variants == 1:
        notes.append("each picture has one random cut for the whole run; more with `variants`")
    if enlarged:
        are = "pictures are" if enlarged > 1 else "picture is"
        notes.append(f"{enlarged} {are} smaller than trained at and will be enlarged")
    if cut:
        lose = "pictures lose" if cut > 1 else "picture loses"
        notes.append(f"{cut} {lose} more than {LOST:.0%} of the area to the crop")
    return notes


def _notes_on_start(plan: Plan, one: PictureSet) -> list[str]:
    """When a set that is not there from the beginning joins."""
    spec = one.spec
    if spec.start_epoch == 1 and spec.start_step == 0:
        return []
    joined = mixing.joins(spec, plan.order, plan.job.training.steps)
    if joined is None:
        return ["never joins within the steps of this run"]
    return [f"joins with epoch {joined[0]}, at step {joined[1]}"]


def _cache(plan: Plan) -> tuple[int, int, int]:
    """Entries there, entries missing, and the bytes these will take."""
    kept = plan.job.cache
    recipes = encoding.recipes(plan.model, plan.place, plan.tokens, kept, read=False)
    unknown = encoding.Recipes({}, {})
    library, texts = plan.library(recipes or unknown, plan.hashes(read=False)), plan.texts()
    wanted = [look for one in library.sets.values() for look in library.kept(one)]
    unread = [look for look in wanted if recipes is None or library.hash_of(look) is None]
    no_text = len(texts) if recipes is None else len(library.missing_texts(texts))
    missing = [] if recipes is None else library.missing_pictures().values()
    sizes = [look.view.frame.size for look in unread]
    sizes += [one.view.frame.size for group in missing for one in group]
    room = sum(encoding.picture_bytes(plan.model, kept, size) for size in sizes)
    room += no_text * encoding.text_bytes(plan.model, plan.place, plan.tokens, kept)
    total, lacking = len(texts) + len(wanted), no_text + len(sizes)
    return total - lacking, lacking, room
