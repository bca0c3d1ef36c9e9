"""Put everything into the cache that a plan asks for, and open what a run reads from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from scumble.data import asked, images, ledger, mask_cache, origins, packing, serving
from scumble.data.batch import Batch
from scumble.data.held_out import units
from scumble.data.inventory import FOLDERS
from scumble.data.library import Entry, Library, both, missing_masks
from scumble.data.looks import collections
from scumble.data.order import Unit
from scumble.data.picture_set import PictureSet
from scumble.data.serving import batches
from scumble.data.shards import sweep
from scumble.errors import DiskError, FileError, gather
from scumble.events import Event, Scanned, Warned
from scumble.families import encoding
from scumble.families.encoding import Unreadable
from scumble.families.eyes import Eyes
from scumble.families.filling import Filling, ahead, fill, fill_masks, room
from scumble.families.reader import Reader, worded
from scumble.observers.sentences import size
from scumble.preflight import measures, staying
from scumble.preflight.fetching import fetched
from scumble.preflight.plan import Plan, prepared
from scumble.spec.job import JobSpec

Tell = Callable[[Event], None]
T = TypeVar("T")


def complete(job: JobSpec, base: Path, plan: Plan, tell: Tell) -> tuple[Plan, Library]:
    """The plan and a library that holds all it asks for.

    Where `skip_bad` lets pictures go that cannot be decoded, they are remembered as such, and the
    job is planned anew without them: the next start sees the same pictures.
    """
    plan = fetched(job, base, plan, tell)
    while True:
        for number, one in enumerate(plan.sets):
            tell(Scanned(dataset=one.spec.id, funnel=measures.funnel(plan, number)))
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
        with _forgetting(plan, library.sets[unit.dataset]):
            return batches(library, unit, step)

    return read


def measured(plan: Plan, library: Library) -> Iterator[Batch]:
    """Batches of all pictures that are held out, in the order of their sets and ids.

    They are read anew each time, through readers of their own: another thread may be reading what
    is trained on.
    """
    with apart(library) as own:
        for one in own.held.values():
            for unit in units(one):
                with _forgetting(plan, one):
                    made = serving.measured(own, unit)
                yield from made


def apart(library: Library) -> Library:
    """The same through readers of its own, for another thread than that of the feeder."""
    return replace(
        library,
        pictures={name: replace(store) for name, store in library.pictures.items()},
        texts=replace(library.texts),
        masks=replace(library.masks),
    )


@contextmanager
def _forgetting(plan: Plan, one: PictureSet) -> Iterator[None]:
    """Where a set lets bad pictures go, remember one that shows only now that it is bad."""
    try:
        yield
    except images.Unreached:
        raise
    except FileError as error:
        pictures = list(_behind(one, error)) if one.spec.skip_bad else []
        if not pictures:
            raise
        _forget(plan, pictures)
        remedy = "start again: `skip_bad` leaves it out from now on"
        raise FileError(error.where, error.problem, remedy) from error


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
    library = plan.library(
        recipes, plan.hashes(read=plan.keeps_pictures or bool(plan.family.glance))
    )
    for event in fill_masks(library, missing_masks(library), bad):
        tell(event)
    if any(bad.values()):
        return library
    filling = Filling(model=plan.model, place=plan.place, tokens=plan.tokens, kept=kept)
    missing, news = ahead(library, plan.texts()), False
    fits(room(filling, library, missing), plan.cache)
    for event in fill(filling, library, missing, bad):
        news = True
        tell(event)
    if news:
        _remember(plan, library, recipes)
    for event in _idle_masks(library):
        tell(event)
    for event in _leaks(library):
        tell(event)
    return library


def _leaks(library: Library) -> Iterator[Event]:
    """Name held-out pictures whose very bytes are trained on under another name."""
    trained: dict[str, str] = {}
    for name, one in library.sets.items():
        hashes = library.hashes[name]
        trained |= {hash: f"{name}/{e.id}" for e in one.examples if (hash := hashes[e.id])}
    found = [
        f"{name}/{example.id} as {trained[hash]}"
        for name, one in library.held.items()
        for example in one.examples
        if (hash := library.hashes[name][example.id]) in trained
    ]
    if found:
        one = len(found) == 1
        many = "A held-out picture is" if one else f"{len(found):,} held-out pictures are"
        yield Warned(
            text=f"{many} trained on under another name ({', '.join(found[:3])}): the held-out"
            " loss is too low by that; `duplicates: skip` leaves copies of one set out."
        )


def fits(needed: int, cache: Path) -> None:
    """DiskError when the disk has not so many bytes for what is still to be encoded."""
    free = shutil.disk_usage(cache).free
    if needed > free:
        problem = f"what is to be encoded takes {size(needed)}, and {size(free)} are free"
        remedy = (
            "free some space, set `cache.folder`, or keep less: `cache.text_dtype: fp8`, "
            "`cache.picture_dtype: bf16`, `cache.mode: on_demand`"
        )
        raise DiskError(cache, problem, remedy)


def _idle_masks(library: Library) -> Iterator[Event]:
    """Name masks that leave nothing to learn, and transparency that is not there; where that is so
    for a whole set, it is an error."""
    problems = []
    for name in library.sets:
        spec, every = library.sets[name].spec.mask, both(library, name)
        wanted = [library.mask(one, look) for one in every for look in library.kept_masks(one)]
        idle = mask_cache.idle(library.masks, wanted)
        if spec is None or not idle:
            continue
        ids = list(dict.fromkeys(mask.look.image.id for mask in idle))
        if spec.alpha:
            said = "have no transparent part, so all of it counts, or nothing else"
            remedy = "leave `mask` out, or give them transparency"
        else:
            said = "have a mask that is black all over, so nothing of them is learnt"
            remedy = "look at the masks; `mask.invert: true` swaps black and white"
        if len(idle) == len(wanted):
            problems.append(FileError(f"data.{name}.mask", f"all pictures {said}", remedy))
        else:
            yield Warned(text=f"{name}: {len(ids)} pictures {said}, first {', '.join(ids[:3])}.")
    gather("masks change nothing", problems)


def _remember(plan: Plan, library: Library, recipes: encoding.Recipes) -> None:
    """What made the entries of every set, for `scumble cache explain`."""
    for one, scan in zip(plan.sets, plan.scans, strict=True):
        made_of = asked.record(library, one.spec.id, recipes.pictures, recipes.texts)
        origins.write(origins.at(plan.cache, one.spec.id, scan.root), made_of)


def _watched(plan: Plan, library: Library) -> Library:
    """With encoders that stay loaded, where something is not kept."""
    kept, model, place = plan.job.cache, plan.model, plan.place
    turn = Lock()
    if staying.sees(plan):
        library = replace(library, see=_in_turn(turn, Eyes(model, place, kept.picture_dtype).see))
    if model.trained:
        library = replace(library, words=worded(model, plan.tokens))
    if staying.reads(plan):
        precision = packing.precision(kept.text_dtype, place.dtype)
        reader = Reader(model, place, plan.tokens, precision)
        library = replace(library, read=_in_turn(turn, reader.read))
    return library


def _in_turn(turn: Lock, act: Callable[[Sequence[T]], list[Entry]]) -> Callable[[Any], list[Entry]]:
    """The same for several threads: the feeder's, and the one that measures."""

    def one_by_one(wanted: Sequence[T]) -> list[Entry]:
        with turn:
            return act(wanted)

    return one_by_one
