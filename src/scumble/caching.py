"""Put everything into the cache that a plan asks for, and open what a run reads from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from scumble.data import asked, images, ledger, mask_cache, origins, packing
from scumble.data.batch import Batch
from scumble.data.cache import Missing
from scumble.data.inventory import FOLDERS
from scumble.data.library import Library
from scumble.data.looks import collections
from scumble.data.order import Unit
from scumble.data.picture_set import PictureSet
from scumble.data.serving import batches
from scumble.data.shards import sweep
from scumble.errors import FileError, gather
from scumble.events import Event, Scanned
from scumble.families import encoding
from scumble.families.encoding import Unreadable
from scumble.families.eyes import Eyes
from scumble.families.filling import Filling, fill
from scumble.families.reader import Reader
from scumble.preflight.plan import Plan, prepared
from scumble.spec.job import JobSpec

Tell = Callable[[Event], None]


def complete(job: JobSpec, base: Path, plan: Plan, tell: Tell) -> tuple[Plan, Library]:
    """The plan and a library that holds all it asks for.

    Where `skip_bad` lets pictures go that cannot be decoded, they are remembered as such, and the
    job is planned anew without them: the next start sees the same pictures.
    """
    while True:
        for one, scan in zip(plan.sets, plan.scans, strict=True):
            funnel = scan.funnel | {"in a bucket": len(one.frames)}
            tell(Scanned(dataset=one.spec.id, funnel=funnel))
        bad: dict[str, list[Unreadable]] = {}
        library = _filled(plan, tell, bad)
        found = [one for unread in bad.values() for one in unread]
        if not found:
            return plan, _watched(plan, library)
        unreached = [error for _, error in found if isinstance(error, images.Unreached)]
        gather("pictures cannot be read", [*unreached])
        _forget(plan, [one.id for one, _ in found])
        plan = prepared(job, base)


def served(plan: Plan, library: Library) -> Callable[[Unit, int], list[Batch]]:
    """The batches of a unit at a step.

    A picture that shows only then that it cannot be decoded ends the run; where `skip_bad` lets it
    go, it is remembered, and the next start does without it.
    """

    def read(unit: Unit, step: int) -> list[Batch]:
        one = library.sets[unit.dataset]
        try:
            return batches(library, unit, step)
        except images.Unreached:
            raise
        except FileError as error:
            pictures = list(_behind(one, error)) if one.spec.skip_bad else []
            if not pictures:
                raise
            _forget(plan, pictures)
            remedy = "start again: `skip_bad` leaves it out from now on"
            raise FileError(error.where, error.problem, remedy) from error

    return read


def _behind(one: PictureSet, error: FileError) -> Iterator[str]:
    """The pictures of a set that an error speaks of, named like `SET/cat.png`."""
    for place, pictures in collections(one):
        yield from (f"{place}/{each.id}" for each in pictures if str(each.file) == error.where)


def _forget(plan: Plan, pictures: Sequence[str]) -> None:
    """Remember of these, named like `SET/cat.png`, that they cannot be decoded."""
    spoilt: dict[str, list[str]] = {}
    for name in pictures:
        place, id = name.split("/", 1)
        spoilt.setdefault(place, []).append(id)
    for scan in plan.scans:
        for place, file in scan.ledgers.items():
            if file is not None and place in spoilt:
                ledger.spoil(file, spoilt[place], images.DAMAGED)


def encoded(plan: Plan, tell: Tell) -> Library:
    """The plan's examples, every entry that a run will ask for in the cache."""
    return _watched(plan, _filled(plan, tell, {}))


def _filled(plan: Plan, tell: Tell, bad: dict[str, list[Unreadable]]) -> Library:
    """As `encoded`, without encoders; of sets with `skip_bad`, pictures and masks that cannot be
    decoded stand in `bad`. Where masks do, the pictures have to wait: there will be others."""
    kept = plan.job.cache
    for kind in FOLDERS:
        sweep(plan.cache / kind)
    recipes = encoding.recipes(plan.model, plan.place, plan.tokens, kept, read=True)
    assert recipes is not None
    library = plan.library(recipes, plan.hashes(read=plan.keeps_pictures))
    for event in _masks(library, bad):
        tell(event)
    if any(bad.values()):
        return library
    filling = Filling(model=plan.model, place=plan.place, tokens=plan.tokens, kept=kept)
    news = False
    for event in fill(filling, library, plan.texts(), bad):
        news = True
        tell(event)
    if news:
        _remember(plan, library, recipes)
    return library


def _masks(library: Library, bad: dict[str, list[Unreadable]]) -> Iterator[Event]:
    """Make the masks that are missing; those of sets without `skip_bad` are raised by `fill`."""
    found: list[tuple[mask_cache.Wanted, FileError]] = []
    yield from mask_cache.filled(library.masks, library.missing_masks(), found)
    for name, one in library.sets.items():
        if one.spec.skip_bad:
            places = {place for place, _ in collections(one)}
            unread = [
                (Missing(mask.key, look.image.file, look.view, f"{look.place}/{look.image.id}"), e)
                for mask, e in found
                if (look := mask.look).place in places
            ]
            yield from encoding.left_out(unread, name)
            bad.setdefault(name, []).extend(unread)


def _remember(plan: Plan, library: Library, recipes: encoding.Recipes) -> None:
    """What made the entries of every set, for `scumble cache explain`."""
    for one, scan in zip(plan.sets, plan.scans, strict=True):
        made_of = asked.record(library, one.spec.id, recipes.pictures, recipes.texts)
        origins.write(origins.at(plan.cache, one.spec.id, scan.root), made_of)


def _watched(plan: Plan, library: Library) -> Library:
    """With encoders that stay loaded, where something is not kept."""
    kept, model, place = plan.job.cache, plan.model, plan.place
    fresh = any(one.spec.variants == "fresh" for one in plan.sets)
    if fresh or not plan.keeps_pictures:
        library = replace(library, see=Eyes(model, place, kept.picture_dtype).see)
    if not plan.keeps_texts:
        precision = packing.precision(kept.text_dtype, place.dtype)
        library = replace(library, read=Reader(model, place, plan.tokens, precision).read)
    return library
