"""What `scumble check` tells: the funnel, the counts, and what disk and time a job will take."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scumble.adapters.shapes import ranks
from scumble.data import mixing, packing, shown
from scumble.data.cache import Store
from scumble.data.library import Library, both, sayings
from scumble.data.looks import Look
from scumble.data.picture_set import PictureSet
from scumble.data.saying import Saying
from scumble.data.sizes import frame as buckets_of
from scumble.families import encoding
from scumble.preflight import (
    fetching,
    forecast,
    measures,
    quantising,
    reference_sizes,
    showing,
    staying,
)
from scumble.preflight.plan import Plan, prepared
from scumble.spec.job import JobSpec
from scumble.trainer import optimizers

Size = tuple[int, int]
Entry = bytes | tuple[str, str, str]
"""What tells entries apart: the key, or where bytes were never read, the picture and its view."""

LOST = 0.2  # share of a picture's area that may be cut away before it is worth a word
DROPPED = 0.05  # share of a set that may be left out before it is worth a warning


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
    epochs_are_alike: bool
    """False where sets come and go, or have epochs of their own."""

    steps: int
    cached_entries: int
    missing_entries: int
    cache_bytes: int
    """Bytes the missing entries will take."""

    run_bytes: int
    """Bytes of checkpoints, previews and the delivered files at their most."""

    free_bytes: int
    memory: str | None = None
    """What a network whose own weights are trained holds on the device, in words."""

    average: str | None = None
    """What a moving average of the weights takes, in words."""

    absent: str | None = None
    """What will be fetched from the hub first."""

    held_out: str | None = None
    """How many pictures are measured instead of trained on, how often, and at what cost."""

    compared: str | None = None
    """How many held-out pairs are compared with copies of their input, how often, at what cost."""

    drift: str | None = None
    """On how many class prompts it is measured how far the base model moves, how often, at what
    cost."""

    seconds: float | None
    """Forecast of the training time; None when nothing is known about this machine."""

    measured: str | None = None
    """The day on which this machine last ran such a job, where the forecast is taken from that;
    otherwise it is rough."""

    ranks: dict[int, int] = field(default_factory=dict)
    """How many layers have an adapter of which rank, the highest first; none without one."""

    warnings: tuple[str, ...]


def survey(job: JobSpec, base: Path) -> Survey:
    """What `scumble check` tells."""
    plan = prepared(job, base, weigh=False)
    job = plan.job
    cached, missing, cache_bytes = _cache(plan)
    cache_bytes += quantising.to_keep(plan.model, plan.place)
    free = shutil.disk_usage(_existing(plan.folder)).free
    run_bytes, expected = forecast.run_bytes(plan), forecast.expected(plan)
    warnings = []
    if cache_bytes + run_bytes > free:
        need = (cache_bytes + run_bytes) / 1e9
        warnings.append(f"The disk has {free / 1e9:.1f} GB free and about {need:.1f} are needed.")
    warnings += _dropped(plan)
    warnings += _mixed(plan)
    warnings += _loaded(plan)
    warnings += reference_sizes.remarks(plan)
    warnings += [*plan.remarks, *forecast.heavy(plan), *optimizers.advice(job.training)]
    kept = forecast.state_bytes(plan)
    warnings += optimizers.weight(job.training.optimizer, kept, plan.trained_parameters)
    warnings += _going_on(plan)
    return Survey(
        sets=tuple(_set_survey(plan, number) for number in range(len(plan.sets))),
        device=str(plan.place.device),
        precision=plan.place.precision,
        trained_parameters=plan.trained_parameters,
        ranks=ranks(plan.shapes.values()),
        examples_per_epoch=plan.examples_per_epoch,
        steps_per_epoch=plan.steps_per_epoch,
        epochs_are_alike=_alike(plan),
        steps=job.training.steps,
        cached_entries=cached,
        missing_entries=missing,
        cache_bytes=cache_bytes,
        run_bytes=run_bytes,
        free_bytes=free,
        memory=forecast.memory(plan),
        average=forecast.average(plan),
        absent=fetching.sentence(plan.model),
        held_out=measures.sentence(plan),
        drift=measures.drift_sentence(plan),
        compared=showing.sentence(job, plan.family, plan.parted),
        seconds=expected.seconds,
        measured=expected.measured,
        warnings=tuple(warnings),
    )


def _going_on(plan: Plan) -> list[str]:
    """Where a run goes on, and what changed in its job since."""
    if plan.newest is None:
        return []
    changed = "; ".join(plan.changed) or "nothing"
    return [f"This run goes on after step {plan.newest.step}; changed: {changed}."]


def _existing(folder: Path) -> Path:
    there = folder.absolute()
    return next(place for place in (there, *there.parents) if place.exists())


def _alike(plan: Plan) -> bool:
    pools = plan.order.pools
    return len(pools) == 1 and pools[0].steady and pools[0].settled == (0, 0)


def _dropped(plan: Plan) -> list[str]:
    """Sets of which a part is left out that one would not want to miss."""
    said = []
    for number, one in enumerate(plan.sets):
        funnel = measures.funnel(plan, number)
        found, left = funnel["found"], funnel["in a bucket"]
        if one.spec.limit is None and found - left > DROPPED * found:
            share = (found - left) / found
            said.append(
                f"{found - left:,} of {found:,} pictures of {one.spec.id} ({share:.0%}) are left"
                " out; `scumble data scan` says which and why."
            )
    return said


def _mixed(plan: Plan) -> list[str]:
    """What becomes of batches that cannot be full."""
    said = []
    steps = plan.job.training.steps
    for shelf in plan.order.never_seen(steps):
        size = "x".join(map(str, reversed(shelf.size[:2])))
        count = len(shelf.members)
        which = (
            f"picture of {shelf.dataset} at {size} is"
            if count == 1
            else (f"pictures of {shelf.dataset} at {size} are")
        )
        few = f"fewer than a batch of {shelf.batch} (`short: drop`)"
        said.append(f"{count} {which} never seen: {few}.")
    shelves = [one for pool in range(len(plan.order.pools)) for one in plan.order.shelves(0, pool)]
    small = [one for one in shelves if one.rows < one.batch and one.short == "keep"]
    if small:
        have = "sizes have" if len(small) > 1 else "size has"
        names = ", ".join(dict.fromkeys(shelf.dataset for shelf in small))
        said.append(f"{len(small)} {have} fewer pictures than a batch ({names}).")
    return said


def _loaded(plan: Plan) -> list[str]:
    """Which encoders stay in memory while training, and which captions cannot be told apart."""
    said = staying.sentences(plan)
    if plan.keeps_texts and plan.asked.walked:
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
        funnel=measures.funnel(plan, number),
        buckets=dict(counts.most_common()),
        captions=len(_said(one)),
        passes=_passes(one),
        notes=(
            *notes,
            *_notes_on_cuts(one),
            *reference_sizes.notes(one),
            *_notes_on_start(plan, one),
        ),
    )


def _passes(one: PictureSet) -> str:
    if not one.examples:
        return "never: it is only measured"
    return f"{one.spec.repeats}" if one.spec.share is None else f"share {one.spec.share:g}"


def _said(one: PictureSet) -> set[str]:
    """What may be told of the examples, before edits: by references where these have texts."""
    numbers = range(len(one.examples))
    return {text for member in numbers for text in one.texts(member, one.there(member))}


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
    recipes = None  # weights that are not here have made nothing that can be known
    if not plan.model.absent:
        recipes = encoding.recipes(plan.model, plan.place, plan.tokens, kept, read=False)
    unknown = encoding.Recipes({}, {})
    library = plan.library(recipes or unknown, plan.hashes(read=False))
    texts = sayings(library, plan.texts())
    no_text = texts if recipes is None else [one for _, one in library.missing_texts(texts)]
    total, lacking = len(texts), len(no_text)
    room = _texts_room(plan, no_text)
    masks: dict[Entry, Size] = {}
    for name, looks in _kept(library):
        wanted = _entries(library, looks, lambda look: library.wanted(look).key)
        sizes = _lacking(library.pictures[name], wanted)
        total, lacking = total + len(wanted), lacking + len(sizes)
        room += _room(sizes, lambda size: encoding.picture_bytes(plan.model, kept, size))
    for one in (one for name in library.sets for one in both(library, name)):
        key = partial(_mask_key, library, one)
        masks |= _entries(library, library.kept_masks(one), key)
    sizes = _lacking(library.masks, masks)
    room += _room(sizes, lambda size: _mask_bytes(size, library.cell))
    return total + len(masks) - lacking - len(sizes), lacking + len(sizes), room


def _kept(library: Library) -> Iterator[tuple[str, Iterable[Look]]]:
    """All pictures that are kept, by where."""
    for name in library.sets:
        yield name, (look for one in both(library, name) for look in library.kept(one))
    yield shown.PLACE, library.shown


def _texts_room(plan: Plan, texts: Sequence[Saying]) -> int:
    model, place, kept = plan.model, plan.place, plan.job.cache
    if plan.family.text_length is None:
        return len(texts) * encoding.text_bytes(model, place, plan.tokens, kept)
    return sum(encoding.text_bytes(model, place, plan.tokens, kept, one) for one in texts)


def _entries(
    library: Library, looks: Iterable[Look], key: Callable[[Look], bytes]
) -> dict[Entry, Size]:
    """The trained size of every entry, each once: equal versions of a picture share theirs."""
    found: dict[Entry, Size] = {}
    for look in looks:
        unread = library.hash_of(look) is None
        entry = (str(look.image.file), look.image.id, look.view.facts()) if unread else key(look)
        found[entry] = look.view.frame.size
    return found


def _lacking(store: Store, wanted: Mapping[Entry, Size]) -> list[Size]:
    """The sizes of those that are not there; what was never read is not."""
    keys = [entry for entry in wanted if isinstance(entry, bytes)]
    absent = {keys[place] for place in store.missing(keys)}
    return [size for e, size in wanted.items() if e in absent or not isinstance(e, bytes)]


def _room(sizes: Iterable[Size], each: Callable[[Size], int]) -> int:
    return sum(count * each(size) for size, count in Counter(sizes).items())


def _mask_key(library: Library, one: PictureSet, look: Look) -> bytes:
    return library.mask(one, look).key


def _mask_bytes(size: Size, cell: int) -> int:
    return packing.entry_bytes({"mask": (1, size[0] // cell, size[1] // cell)}, "fp32")
