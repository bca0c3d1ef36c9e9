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
from scumble.data.held_out import Parted, parted
from scumble.data.looks import collections
from scumble.data.order import Order
from scumble.data.picture_set import PictureSet
from scumble.data.scan import Scan, problems, scanned
from scumble.data.shelving import Shelves
from scumble.data.sizes import limits
from scumble.data.telling import noted
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
    yield from _shown(one, family)
    for setting, problem, remedy in filters.check(one.caption_edits):
        yield JobError(f"{where}.caption_edits.{setting}", problem, remedy)
    for setting, problem, remedy in limits.check(one.sizing, one.resolution, step):
        yield JobError(f"{where}.{setting}", problem, remedy)
    for number, each in enumerate(one.references):
        if each.fit == "loose":
            sizing, resolution = each.sizing or one.sizing, each.resolution or one.resolution
            for setting, problem, remedy in limits.check(sizing, resolution, step):
                yield JobError(f"{where}.references.{number}.{setting}", problem, remedy)


def _shown(one: DatasetSpec, family: Family) -> Iterator[JobError]:
    """More references than the family takes, or fewer than it needs."""
    where, named = f"data.{one.id}", f"{family.name} {family.flavour}"
    asked = len(one.references) if one.reference_sampling == "combined" else 1
    if one.references and not family.references:
        remedy = "leave them out, or choose a flavour that is shown pictures, such as kontext"
        yield JobError(f"{where}.references", f"{named} takes no references", remedy)
    elif one.references and asked > family.references:
        most = "one reference" if family.references == 1 else f"{family.references} references"
        drawn = "set `reference_sampling: random`, which shows one at a time"
        remedy = f"leave some out, {drawn}, or choose a flavour that takes more"
        yield JobError(f"{where}.references", f"{named} takes {most}, not {asked}", remedy)
    if not family.references_needed:
        return
    needs = f"{named} needs a reference for every picture"
    if not one.references:
        remedy = "give this set `references`, or choose a flavour that trains without them"
        yield JobError(f"{where}.references", f"{needs}, and this set has none", remedy)
    elif one.unpaired == "fewer":
        problem = f"{needs}, and `fewer` keeps those that have none"
        yield JobError(f"{where}.unpaired", problem, "set `unpaired: skip`, or leave it out")


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


def divided(job: JobSpec, scans: Sequence[Scan], family: Family) -> tuple[Parted, ...]:
    """Every set, cut to size, its held-out pictures apart."""
    whole = [
        PictureSet.of(spec, scan.examples, job.training, step=family.pixels_per_step)
        for spec, scan in zip(job.data, scans, strict=True)
    ]
    return parted(whole, job.validation.held_out, job.training.seed)


def sets(job: JobSpec, scans: Sequence[Scan], family: Family) -> tuple[PictureSet, ...]:
    """What is trained on of every set; nothing of those that are only measured."""
    return tuple(one.trained for one in divided(job, scans, family))


def hashed(one: Parted, scan: Scan, *, read: bool) -> dict[str, dict[str, str | None]]:
    """The hash of every picture's bytes, by collection and id; unread ones None unless `read`."""
    both = zip(collections(one.trained), collections(one.measured), strict=True)
    return {
        place: hashing.hashed(scan.ledgers.get(place), [*images, *more], read=read)
        for (place, images), (_, more) in both
    }


def order(job: JobSpec, sets: Sequence[PictureSet]) -> Order:
    """Who comes when. JobError if at some time no set has anything to show."""
    training = job.training
    if not any(one.examples and not one.spec.regularisation for one in sets):
        problem = "every picture is held out, and none is left to train on"
        raise JobError("data", problem, "lower `held_out` of a set, or add another one")
    made = Order(
        mixing.pools(_parts(sets)), seed=training.seed, units_per_step=training.units_per_step
    )
    empty = made.empty_epoch(training.steps)
    if empty is not None:
        problem = f"no set has a batch for epoch {empty + 1}"
        remedy = "change `start_epoch`, `start_step`, `end_epoch` or `short` of a set"
        raise JobError("data", problem, remedy)
    return made


def epochs(sets: Sequence[PictureSet], order: Order, steps: int) -> dict[str, int]:
    """How many epochs of each set so many steps come to; none of those that are only measured."""
    several = len(order.pools) > 1
    seen = [one.spec.id for one in sets if one.examples]
    return {one.spec.id: 0 for one in sets} | {
        name: order.epochs(steps, number if several else 0) for number, name in enumerate(seen)
    }


def notes(job: JobSpec, sets: Sequence[PictureSet]) -> list[Note]:
    """What there is to say of the mixture."""
    said = [
        (one.spec.id, f"`caption_edits.{name}` changes nothing as the other settings are")
        for one in sets
        for name in idle(one.spec.caption_edits)
    ]
    return [*mixing.notes(_parts(sets)), *said]


def told(job: JobSpec, found: Sequence[Parted]) -> list[Note]:
    """What there is to say of the mixture, and of pictures that are held out."""
    apart = [(one.trained.spec.id, text) for one in found for text in _apart(one, job)]
    return [*notes(job, [one.trained for one in found]), *apart]


def _apart(one: Parted, job: JobSpec) -> Iterator[str]:
    spec, wanted, chosen = one.trained.spec, job.validation.held_out, one.measured.examples
    if spec.held_out > 0 and not one.held:
        yield "has one picture, which is trained on: `held_out` takes none away"
    elif one.held and wanted.every == 0:
        yield "holds pictures out that are never measured (`validation.held_out.every: 0`)"
    elif len(chosen) < len(one.held):
        of = f"{len(chosen):,} of {len(one.held):,}"
        yield f"has {of} held-out pictures measured (`validation.held_out.limit`)"
    if one.elsewhere:
        said = noted(one.elsewhere, "is held out by another set and not trained on here")
        yield f"shares files with another set: {said}"
    if spec.held_out == 1 and (vain := _vain(spec)):
        yield f"is only measured: {', '.join(f'`{name}`' for name in vain)} changes nothing"


def _vain(spec: DatasetSpec) -> list[str]:
    """Settings of training that a set which is only measured has been given."""
    names = (
        "flip", "colour", "variants", "repeats", "probability", "start_epoch", "end_epoch",
        "start_step", "short", "loss_weight",
    )  # fmt: skip
    fields = type(spec).model_fields
    return [name for name in names if dict(spec)[name] != fields[name].default]


def _parts(sets: Sequence[PictureSet]) -> list[mixing.Part]:
    return [
        mixing.Part(
            spec=one.spec,
            count=len(one.examples),
            shelves=Shelves(one),
            steady=not one.framer.varies,
        )
        for one in sets
        if one.examples
    ]
