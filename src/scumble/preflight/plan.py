"""Everything a job needs, found and counted, or all that stands in its way at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from scumble import families
from scumble.adapters import attach
from scumble.checkpoint import folder as run_folder
from scumble.checkpoint import store
from scumble.checkpoint.store import Checkpoint
from scumble.data.cache import Store
from scumble.data.library import Library, PictureSet, sources
from scumble.data.order import Order, Shelf
from scumble.data.scan import Scan, problems, scanned
from scumble.errors import DiskError, JobError, ScumbleError, gather
from scumble.families import encoding, weights
from scumble.families.family import Family
from scumble.families.fingerprints import fingerprints
from scumble.hardware.device import Place, place_for
from scumble.spec.job import JobSpec
from scumble.trainer import optimizers
from scumble.validation import previews

T = TypeVar("T")
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job that can run: everything found and counted, nothing loaded."""

    job: JobSpec
    folder: Path
    """The run's folder."""

    cache: Path
    family: Family
    model: weights.Model
    place: Place
    denoiser: nn.Module
    """Without weights."""

    layers: Mapping[str, nn.Linear]
    """What the adapter goes to."""

    scans: tuple[Scan, ...]
    sets: tuple[PictureSet, ...]
    shelves: tuple[Shelf, ...]
    order: Order
    newest: Checkpoint | None
    """Where the run goes on."""

    facts: Mapping[str, Any]
    """Settings, base model and data, as the next start of this run will compare them."""

    changed: tuple[str, ...]
    """What differs from the start that wrote the checkpoint."""

    @property
    def trained_parameters(self) -> int:
        """Numbers that the adapter adds."""
        sides = (sum(layer.weight.shape) for layer in self.layers.values())
        return self.job.adapter.rank * sum(sides)

    @property
    def tokens(self) -> int:
        """Length of a text."""
        return self.job.model.text_tokens or self.family.text_tokens

    def texts(self) -> list[str]:
        """Every text that will be asked for, once each."""
        captions = [text for one in self.sets for text in one.texts()]
        prompts = self.job.validation.prompts if self.job.validation.every else ()
        return list(dict.fromkeys([*captions, *prompts]))

    def sources(self, *, read: bool) -> dict[str, list[str | None]]:
        """The hash of every picture's bytes, by set; those never read are None unless `read`."""
        return {
            one.spec.id: sources(self.cache, scan.folder, one.spec.id, one.examples, read=read)
            for one, scan in zip(self.sets, self.scans, strict=True)
        }

    def library(
        self, recipes: encoding.Recipes, sources: Mapping[str, Sequence[str | None]]
    ) -> Library:
        """The examples and where their entries lie."""
        return Library(
            sets={one.spec.id: one for one in self.sets},
            shelves=self.shelves,
            sources=sources,
            picture_recipe=recipes.picture,
            text_recipe=recipes.text,
            pictures={
                one.spec.id: Store(self.cache / "pictures", one.spec.id) for one in self.sets
            },
            texts=Store(self.cache / "texts", "text"),
        )


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
    """
    job, all_of_it = located(job, base), Problems()
    attempt = all_of_it.attempt
    folder = Path(job.output_dir).expanduser() / job.name
    cache = _cache_folder(job)
    writable = attempt(lambda: _writable(folder) and _writable(cache))
    place = attempt(lambda: place_for(job.hardware))
    attempt(lambda: optimizers.checked(job.training.optimizer))
    family = attempt(lambda: families.find(job.model.family, job.model.flavour))
    model = attempt(lambda: _model(family, job, base)) if family else None
    network = attempt(lambda: _network(model, job)) if model else None
    if family:
        all_of_it.found.extend(previews.check(job.validation, family))
    scans = attempt(lambda: _scans(job, base, cache if writable else None))
    gather("this job cannot run", all_of_it.found)
    assert model and network and scans and place
    sets = _sets(job, scans, model.family)
    newest = store.newest(folder / CHECKPOINTS)
    facts = _facts(job, model, sets, read=weigh or newest is not None)
    changed = run_folder.changes(newest.state["facts"], facts) if newest else []
    run_folder.refuse_fixed(changed, newest.step if newest else 0)
    shelves = tuple(shelf for one in sets for shelf in one.shelves(job.training.batch_size))
    return Plan(
        job=job,
        folder=folder,
        cache=cache,
        family=model.family,
        model=model,
        place=place,
        denoiser=network[0],
        layers=network[1],
        scans=scans,
        sets=sets,
        shelves=shelves,
        order=Order(shelves, seed=job.training.seed),
        newest=newest,
        facts=facts,
        changed=run_folder.sentences(changed, job),
    )


def located(job: JobSpec, base: Path) -> JobSpec:
    """The job with what it reads as absolute paths, so that it means the same everywhere."""
    path = job.model.path
    if not path.startswith("builtin:"):
        path = str((base / Path(path).expanduser()).resolve())
    data = [
        one.model_copy(update={"folder": str((base / Path(one.folder).expanduser()).resolve())})
        for one in job.data
    ]
    model = job.model.model_copy(update={"path": path})
    return job.model_copy(update={"model": model, "data": tuple(data)})


def _facts(
    job: JobSpec, model: weights.Model, sets: Sequence[PictureSet], *, read: bool
) -> dict[str, Any]:
    """Everything that decides what a run computes; a hash where it would be long.

    Without `read`, weights that were never hashed are not read for it.
    """
    facts = run_folder.settings(job)
    hashes = fingerprints(model.files("denoiser"), read=read)
    if hashes is not None:
        facts["base_model"] = _short(sorted(hashes.values()))
    for number, one in enumerate(sets):
        rows = [(e.id, e.size_bytes, e.mtime_ns, e.caption) for e in one.examples]
        facts[f"data.{number}.pictures"] = f"{len(rows)} pictures ({_short(rows)})"
    return facts


def _short(value: object) -> str:
    return blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _sets(job: JobSpec, scans: Sequence[Scan], family: Family) -> tuple[PictureSet, ...]:
    step, seed = family.pixels_per_step, job.training.seed
    return tuple(
        PictureSet.of(spec, scan.examples, step=step, seed=seed)
        for spec, scan in zip(job.data, scans, strict=True)
    )


def _cache_folder(job: JobSpec) -> Path:
    told = job.cache.folder
    return Path(told).expanduser() if told else Path(job.output_dir).expanduser() / ".cache"


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
    model = weights.opened(family, job.model.path, base)
    embedded = bool(model.configs["denoiser"].get("guidance_embeds", False))
    if embedded != family.guidance_embedded:
        takes = "takes guidance" if embedded else "takes no guidance"
        remedy = f"{family.flavour} is not what lies in {job.model.path}"
        raise JobError("model.flavour", f"this transformer {takes}", remedy)
    if not embedded and job.model.guidance != 1.0:
        problem = f"{family.name} {family.flavour} takes no guidance"
        raise JobError("model.guidance", problem, "leave it out")
    return model


def _network(model: weights.Model, job: JobSpec) -> tuple[nn.Module, dict[str, nn.Linear]]:
    """The denoiser without weights, and its layers that the adapter goes to."""
    denoiser = weights.skeleton(model, "denoiser")
    weights.compared(model, "denoiser", denoiser)
    return denoiser, attach.chosen(denoiser, job.adapter.targets, model.family.targets)


def _scans(job: JobSpec, base: Path, cache: Path | None) -> tuple[Scan, ...]:
    found: list[ScumbleError] = []
    scans = []
    for number, spec in enumerate(job.data):
        try:
            scan = scanned(spec, base, cache)
        except ScumbleError as problem:
            found.append(problem)
            continue
        found.extend(problems(scan, spec, number))
        scans.append(scan)
    gather("the data cannot be used", found)
    return tuple(scans)
