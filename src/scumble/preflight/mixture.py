"""The sets of a job as they are mixed: which there are, what is wrong with them, in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from scumble.data import hashing, mixing
from scumble.data.captions import filters
from scumble.data.captions.edits import idle
from scumble.data.companions import mask_place, reference_place
from scumble.data.expand import expanded
from scumble.data.looks import collections
from scumble.data.order import Order
from scumble.data.picture_set import PictureSet
from scumble.data.scan import Scan, problems, scanned
from scumble.data.shelving import Shelves
from scumble.data.sizes import limits
from scumble.errors import JobError, ScumbleError, gather
from scumble.families.family import Family
from scumble.spec.dataset import DatasetSpec
from scumble.spec.job import JobSpec

Note = tuple[str, str]


def chosen(job: JobSpec) -> tuple[JobSpec, tuple[Note, ...]]:
    """The located job with the sets that are used, those in folders named like `10_cat` each by
    itself, and what was left out on the way."""
    found: list[DatasetSpec] = []
    notes: list[Note] = []
    for one in job.data:
        if one.disabled:
            notes.append((one.id, "is disabled"))
        elif one.repeats_in_names:
            sets, said = expanded(one, Path())
            found += sets
            notes += [(one.id, text) for text in said]
        else:
            found.append(one)
    return job.model_copy(update={"data": tuple(found)}), tuple(notes)


def refused(job: JobSpec, family: Family) -> list[ScumbleError]:
    """What of the sets this family cannot do, or nobody could."""
    found = [problem for one in job.data for problem in _refused(one, family)]
    return [*found, *_called_alike(job.data)]


def _called_alike(sets: Sequence[DatasetSpec]) -> Iterator[JobError]:
    """Two collections of one name would take each other's pictures out of the cache."""
    named = [(place, where) for one in sets for place, where in _places(one)]
    counts = Counter(place for place, _ in named)
    twice = {place: where for place, where in reversed(named) if where and counts[place] > 1}
    for place, where in twice.items():
        problem = f"'{place}' is the name of other pictures of this job, too"
        yield JobError(f"data.{where}.id", problem, "choose another `id`")


def _places(one: DatasetSpec) -> Iterator[tuple[str, str]]:
    """The names of a set's collections, and what has the `id` that they come from; "" for masks,
    which have none."""
    yield one.id, one.id
    for number in range(len(one.references)):
        yield reference_place(one, number), f"{one.id}.references.{number}"
    if one.mask is not None and not one.mask.alpha:
        yield mask_place(one), ""


def _refused(one: DatasetSpec, family: Family) -> Iterator[ScumbleError]:
    where, step = f"data.{one.id}", family.pixels_per_step
    asked = len(one.references) if one.reference_sampling == "combined" else 1
    if one.references and asked > family.references:
        takes = f"takes {family.references or 'no'} references"
        remedy = "leave some out, or choose a flavour that is shown pictures, such as kontext"
        yield JobError(f"{where}.references", f"{family.name} {family.flavour} {takes}", remedy)
    for setting, problem, remedy in filters.check(one.caption_edits):
        yield JobError(f"{where}.caption_edits.{setting}", problem, remedy)
    for setting, problem, remedy in limits.check(one.sizing, one.resolution, step):
        yield JobError(f"{where}.{setting}", problem, remedy)
    for number, each in enumerate(one.references):
        if each.fit == "loose":
            sizing, resolution = each.sizing or one.sizing, each.resolution or one.resolution
            for setting, problem, remedy in limits.check(sizing, resolution, step):
                yield JobError(f"{where}.references.{number}.{setting}", problem, remedy)


def scans(job: JobSpec, cache: Path | None) -> tuple[Scan, ...]:
    """Every set of a located job, looked at; an ExceptionGroup of all that is wrong."""
    found: list[ScumbleError] = []
    looked_at = []
    for number, spec in enumerate(job.data):
        try:
            scan = scanned(spec, Path(), cache, seed=job.training.seed)
        except ScumbleError as problem:
            found.append(problem)
            continue
        found.extend(problems(scan, spec, number))
        looked_at.append(scan)
    gather("the data cannot be used", found)
    return tuple(looked_at)


def sets(job: JobSpec, scans: Sequence[Scan], family: Family) -> tuple[PictureSet, ...]:
    """Every set, cut to size."""
    return tuple(
        PictureSet.of(spec, scan.examples, job.training, step=family.pixels_per_step)
        for spec, scan in zip(job.data, scans, strict=True)
    )


def hashed(one: PictureSet, scan: Scan, *, read: bool) -> dict[str, dict[str, str | None]]:
    """The hash of every picture's bytes, by collection and id; unread ones None unless `read`."""
    return {
        place: hashing.hashed(scan.ledgers.get(place), images, read=read)
        for place, images in collections(one)
    }


def order(job: JobSpec, sets: Sequence[PictureSet]) -> Order:
    """Who comes when. JobError if at some time no set has anything to show."""
    training = job.training
    made = Order(
        mixing.pools(_parts(sets)), seed=training.seed, units_per_step=training.units_per_step
    )
    empty = made.empty_epoch(training.steps)
    if empty is not None:
        problem = f"no set has a batch for epoch {empty + 1}"
        remedy = "change `start_epoch`, `start_step`, `end_epoch` or `short` of a set"
        raise JobError("data", problem, remedy)
    return made


def notes(job: JobSpec, sets: Sequence[PictureSet]) -> list[Note]:
    """What there is to say of the mixture."""
    said = [
        (one.spec.id, f"`caption_edits.{name}` changes nothing as the other settings are")
        for one in sets
        for name in idle(one.spec.caption_edits)
    ]
    return [*mixing.notes(_parts(sets)), *said]


def _parts(sets: Sequence[PictureSet]) -> list[mixing.Part]:
    return [
        mixing.Part(
            spec=one.spec,
            count=len(one.examples),
            shelves=Shelves(one),
            steady=not one.framer.varies,
        )
        for one in sets
    ]
