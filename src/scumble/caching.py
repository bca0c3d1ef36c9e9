"""Put everything into the cache that a plan asks for, and open what a run reads from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from scumble.data import asked, images, ledger, origins, packing
from scumble.data.inventory import FOLDERS
from scumble.data.library import Library
from scumble.data.shards import sweep
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
        library = encoded(plan, tell, bad)
        if not any(bad.values()):
            return plan, library
        _forget(plan, [one.id for found in bad.values() for one, _ in found])
        plan = prepared(job, base)


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


def encoded(plan: Plan, tell: Tell, bad: dict[str, list[Unreadable]] | None = None) -> Library:
    """The plan's examples, every entry that a run will ask for in the cache; of sets with
    `skip_bad`, pictures that cannot be decoded stand in `bad`."""
    kept = plan.job.cache
    for kind in FOLDERS:
        sweep(plan.cache / kind)
    recipes = encoding.recipes(plan.model, plan.place, plan.tokens, kept, read=True)
    assert recipes is not None
    library = plan.library(recipes, plan.hashes(read=plan.keeps_pictures))
    filling = Filling(model=plan.model, place=plan.place, tokens=plan.tokens, kept=kept)
    news = False
    for event in fill(filling, library, plan.texts(), bad):
        news = True
        tell(event)
    if news:
        _remember(plan, library, recipes)
    return _watched(plan, library)


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
