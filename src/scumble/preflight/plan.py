"""Everything a job needs, found and counted, or all that stands in its way at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from scumble import families
from scumble.adapters import shapes
from scumble.adapters.names import DENOISER
from scumble.checkpoint import folder as run_folder
from scumble.checkpoint import merging, store
from scumble.checkpoint.store import Checkpoint
from scumble.data import hashing, shown
from scumble.data.cache import Store
from scumble.data.example import Example
from scumble.data.held_out import Parted, measured
from scumble.data.inventory import SEEN, TEXTS
from scumble.data.library import Hashes, Library
from scumble.data.order import Order
from scumble.data.picture_set import PictureSet
from scumble.data.saying import Spoken
from scumble.data.scan import Scan
from scumble.errors import DiskError, JobError, ScumbleError, gather
from scumble.families import encoding, hub, weights
from scumble.families.family import Family
from scumble.families.fingerprints import fingerprints
from scumble.families.quantised import FOLDER
from scumble.families.reader import readers
from scumble.families.tensor_files import Shape
from scumble.hardware.device import Place, place_for
from scumble.launch import launched, shared
from scumble.observers import trackers
from scumble.preflight import (
    choosing,
    class_prompts,
    counting,
    mixture,
    objective_fit,
    quantising,
    showing,
    texts,
)
from scumble.preflight.located import located
from scumble.preflight.mixture import hashed
from scumble.preflight.texts import Texts
from scumble.spec.adapter import LoraSpec
from scumble.spec.job import JobSpec
from scumble.trainer import averages, optimizers

T = TypeVar("T")
CHECKPOINTS = "checkpoints"
TITLE = "this job cannot run"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job that can run: everything found and counted, nothing loaded; what the model still has
    on the hub is not fetched."""

    job: JobSpec
    folder: Path
    """The run's folder."""

    cache: Path
    family: Family
    model: weights.Model
    place: Place
    denoiser: nn.Module
    """Without weights."""

    layers: Mapping[str, Mapping[str, nn.Linear]]
    """What the adapter goes to, by part; none where the network's own weights are trained."""

    shapes: Mapping[str, shapes.Shape]
    """What each of these layers gets, by part."""

    remarks: tuple[str, ...]
    """What there is to say of them, in sentences."""

    trained: Mapping[str, Shape]
    """The shape of every tensor that is trained, by its name."""

    scans: tuple[Scan, ...]
    parted: tuple[Parted, ...]
    """One for each scan: what is trained on, and what is held out."""

    order: Order
    notes: tuple[tuple[str, str], ...]
    """What there is to say of a set's part in the mixture: its id, the rest of a sentence."""

    newest: Checkpoint | None
    """Where the run goes on."""

    facts: Mapping[str, Any]
    """Settings, base model and data, as the next start of this run will compare them."""

    changed: tuple[str, ...]
    """What differs from the start that wrote the checkpoint."""

    @cached_property
    def sets(self) -> tuple[PictureSet, ...]:
        """What is trained on of every set; nothing of those that are only measured."""
        return tuple(one.trained for one in self.parted)

    @property
    def trained_parameters(self) -> int:
        """Numbers that are learnt."""
        return sum(map(math.prod, self.trained.values()))

    @property
    def examples_per_epoch(self) -> int:
        """In the first epoch; of sets with shares, in all their first epochs together."""
        pools = range(len(self.order.pools))
        return sum(self.order.examples_in_epoch(0, pool) for pool in pools)

    @property
    def steps_per_epoch(self) -> float:
        """As many as the first epoch would take by itself."""
        pools = range(len(self.order.pools))
        units = sum(self.order.units_in_epoch(0, pool) for pool in pools)
        return units / self.job.training.units_per_step

    @cached_property
    def tokens(self) -> int:
        """Length of a text."""
        return self.model.tokens(self.job.model.text_tokens)

    @cached_property
    def asked(self) -> Texts:
        """Every caption that the run will tell."""
        steps, held = self.job.training.steps, measured(self.parted)
        seen = mixture.epochs(self.sets, self.order, steps) if self.family.glance else None
        return texts.wanted(self.sets, self.order, steps, held, seen)

    def texts(self) -> list[Spoken]:
        """Every text that is kept, once each, with the references it is read with: captions and
        prompts of previews."""
        if not readers(self.model):
            return []
        prompts = [
            *showing.spoken(self.job, self.family, self.parted),
            *class_prompts.spoken(self.job, self.family, self.parted),
        ]
        if self.family.glance is None:
            prompts = [(text, ()) for text, _ in prompts]
        captions = self.asked.texts if self.keeps_texts else ()
        return list(dict.fromkeys([*captions, *prompts]))

    @property
    def keeps_pictures(self) -> bool:
        """Whether encoded pictures are kept at all."""
        return self.job.cache.mode == "ahead"

    @property
    def keeps_texts(self) -> bool:
        """Whether encoded captions are kept: as far as their encoders stay as they are."""
        ahead = self.keeps_pictures and self.job.cache.texts == "ahead"
        return ahead and bool(readers(self.model))

    def shelves(self) -> list[str]:
        """The shelves of the cache that the job works with."""
        pictures = [f"pictures/{one.spec.id}" for one in self.sets]
        return [
            f"{_told(self.family)}/text",
            "masks/mask",
            f"{shown.FOLDER}/{shown.KIND}",
            *pictures,
            *(f"{FOLDER}/{part}" for part in self.model.quantising.parts),
        ]

    def hashes(self, *, read: bool) -> Hashes:
        """The hash of every picture's bytes; those never read are None unless `read`."""
        found = {
            place: known
            for one, scan in zip(self.parted, self.scans, strict=True)
            for place, known in hashed(one, scan, read=read).items()
        }
        named = showing.images(showing.of_job(self.job, self.family))
        # few, and kept in any case
        return {**found, shown.PLACE: hashing.hashed(None, named, read=True)}

    def library(self, recipes: encoding.Recipes, hashes: Hashes) -> Library:
        """The examples and where their entries lie."""
        return Library(
            sets={one.spec.id: one for one in self.sets},
            held={one.spec.id: one for one in measured(self.parted)},
            hashes=hashes,
            epochs=mixture.epochs(self.sets, self.order, self.job.training.steps),
            picture_recipe=recipes.picture,
            text_recipe=recipes.text,
            cell=self.family.pixels_per_latent,
            pictures={
                shown.PLACE: Store(self.cache / shown.FOLDER, shown.KIND),
                **{one.spec.id: Store(self.cache / "pictures", one.spec.id) for one in self.sets},
            },
            shown=tuple(chain.from_iterable(showing.of_job(self.job, self.family))),
            copied=frozenset(pair.id for pair in showing.scored(self.job, self.parted)),
            texts=Store(self.cache / _told(self.family), "text", self.place.dtype),
            glance=self.family.glance,
            masks=Store(self.cache / "masks", "mask"),
            keeps_pictures=self.keeps_pictures,
            keeps_texts=self.keeps_texts,
            reads=bool(readers(self.model)),
        )


def _told(family: Family) -> str:
    """Folder of the texts: those that are read with pictures have one of their own."""
    return TEXTS if family.glance is None else SEEN


class Problems:
    """Collects what is wrong, so that all of it can be told at once."""

    def __init__(self) -> None:
        self.found: list[ScumbleError] = []

    def attempt(self, make: Callable[[], T]) -> T | None:
        """What `make` makes, or None and one problem more."""
        try:
            return make()
        except ScumbleError as problem:
            self.found.append(problem)
        except ExceptionGroup as group:
            mine, other = group.split(ScumbleError)
            if other is not None or mine is None:
                raise
            self.found.extend(one for one in mine.exceptions if isinstance(one, ScumbleError))
        return None


def prepared(job: JobSpec, base: Path, *, weigh: bool = True) -> Plan:
    """The plan of a job, or an ExceptionGroup of all that stands in its way.

    `weigh` reads the denoiser's files once to know them again; `scumble check` does without.
    Weights are not fetched here: `fetching.fetched` does, once all else is in order.
    """
    all_of_it = Problems()
    attempt = all_of_it.attempt
    told = attempt(lambda: mixture.chosen(located(job, base)))
    gather(TITLE, all_of_it.found)
    assert told
    job, notes = told
    folder = Path(job.output_dir).expanduser() / job.name
    writable = attempt(lambda: _writable(folder) and _writable(job.cache_folder))
    place = attempt(lambda: place_for(job.hardware))
    for check in _checks(job):
        attempt(check)
    family = attempt(lambda: families.find(job.model.family, job.model.flavour))
    model = attempt(lambda: _model(family, job, base)) if family else None
    newest = attempt(lambda: store.newest(folder / CHECKPOINTS)) if writable else None
    chosen = attempt(lambda: choosing.chosen(model, job, fresh=newest is None)) if model else None
    if family and place:
        attempt(lambda: choosing.movable(job, place, chosen.trained) if chosen else None)
        attempt(lambda: quantising.checked(job.model, job.adapter, family, place))
    all_of_it.found += _refused(job, family) if family else []
    scans = attempt(lambda: mixture.scans(job, job.cache_folder if writable else None))
    gather(TITLE, all_of_it.found)
    assert model and chosen and scans and place
    job, parted, order = counting.mixed(job, scans, model.family)
    facts = _facts(job, model, parted, newest, read=weigh or newest is not None)
    return Plan(
        job=job,
        folder=folder,
        cache=job.cache_folder,
        family=model.family,
        model=model,
        place=place,
        denoiser=chosen.denoiser,
        layers=chosen.layers,
        shapes=chosen.shapes,
        remarks=_remarks(job, model, chosen, place),
        trained=chosen.trained,
        scans=scans,
        parted=parted,
        order=order,
        notes=(*notes, *mixture.told(job, parted)),
        newest=newest,
        facts=facts,
        changed=_changed(job, newest, facts) if newest else (),
    )


def _refused(job: JobSpec, family: Family) -> list[ScumbleError]:
    """What this family cannot do."""
    return [*showing.check(job, family), *mixture.refused(job, family)]


def _remarks(
    job: JobSpec, model: weights.Model, chosen: choosing.Chosen, place: Place
) -> tuple[str, ...]:
    """What there is to say of a job that can run."""
    return (
        *chosen.remarks,
        *class_prompts.remarks(job, model.family),
        *quantising.remarks(model, place, chosen.denoiser),
        *objective_fit.remarks(job),
    )


def _checks(job: JobSpec) -> tuple[Callable[[], None], ...]:
    """What can be refused by itself."""
    return (
        lambda: trackers.checked(job.tracking),
        lambda: optimizers.checked(job.training.optimizer),
        lambda: averages.checked(job.training),
        lambda: objective_fit.checked(job),
        lambda: shared(job.training.units_per_step, launched().world),
    )


def _changed(job: JobSpec, newest: Checkpoint, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs from the start that wrote the checkpoint; an error where that cannot be."""
    then = newest.state["facts"]
    changed = run_folder.changes(then, facts)
    run_folder.refuse_fixed(changed, newest.step)
    if any(path.startswith(run_folder.OPTIONS) for path, _, _ in changed):
        optimizers.checked_again(run_folder.options(then), job.training.optimizer)
    return run_folder.sentences(changed, job)


def _facts(
    job: JobSpec,
    model: weights.Model,
    sets: Sequence[Parted],
    newest: Checkpoint | None,
    *,
    read: bool,
) -> dict[str, Any]:
    """Everything that decides what a run computes; a hash where it would be long.

    Without `read`, weights that were never hashed are not read for it. Those that are still on the
    hub count as what they were, until they are here.
    """
    facts, then = run_folder.settings(job), newest.state["facts"] if newest else {}
    for part in model.family.parts:
        name = "base_model" if part == "denoiser" else f"weights.{part}"
        hashes, marks = fingerprints(model.files(part), read=read), model.marks(part, read=read)
        if hashes and marks is not None:
            facts[name] = _short([*sorted(hashes.values()), *marks])
        elif name in then:
            facts[name] = then[name]
    for number, one in enumerate(sets):
        rows = [_row(example) for example in one.trained.examples]
        facts[f"data.{number}.pictures"] = f"{len(rows)} pictures ({_short(rows)})"
        if one.held:
            which = f"{len(one.held)} pictures ({_short(one.held)})"
            facts[f"data.{number}.pictures held out"] = which
    return facts


def _row(example: Example) -> tuple[object, ...]:
    """What makes an example another one."""
    images = (example.target, *example.references, example.mask)
    return tuple(
        image and (image.id, image.size_bytes, image.mtime_ns, image.captions) for image in images
    )


def _short(value: object) -> str:
    return blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _writable(folder: Path) -> bool:
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        remedy = "choose another folder, or move the file away"
        raise DiskError(folder, f"{there} is a file where a folder should be", remedy)
    if not os.access(there, os.W_OK):
        raise DiskError(folder, f"{there} cannot be written to", "choose another `output_dir`")
    return True


def _model(family: Family, job: JobSpec, base: Path) -> weights.Model:
    model = weights.opened(family, job.model, base, fetch=False)
    hub.fits(model.absent)
    if not family.guidance_embedded and job.model.guidance != 1.0:
        problem = f"{family.name} {family.flavour} takes no guidance"
        raise JobError("model.guidance", problem, "leave it out")
    if job.model.text_mask and family.text_length is not None:
        problem = f"{family.name} reads texts without padding, so there is none to hide"
        raise JobError("model.text_mask", problem, "leave it out")
    model = merging.with_merged(model, job.model, base)
    model = weights.kept_in(model, job.cache_folder / FOLDER)
    parts = job.adapter.parts if isinstance(job.adapter, LoraSpec) else ()
    return replace(model, trained=tuple(part for part in parts if part != DENOISER))
