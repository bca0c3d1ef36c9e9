"""Build a run from a job and let it happen. The only module that knows every room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from scumble import __version__
from scumble.adapters.attach import Adapters, attach, chosen
from scumble.caching import complete, served
from scumble.checkpoint import export, state, store
from scumble.checkpoint import folder as run_folder
from scumble.data.leases import leased
from scumble.data.library import Library
from scumble.data.manifest import samples
from scumble.disk import claimed, made
from scumble.errors import FileError, ScumbleError, leaves
from scumble.events import (
    Event,
    Exported,
    Failed,
    Finished,
    Previewed,
    Resumed,
    Saved,
    Started,
    Stopped,
    Warned,
)
from scumble.families import weights
from scumble.families.family import Entry, Knobs
from scumble.families.fingerprints import fingerprints
from scumble.hardware.blocks import Net, run_for
from scumble.observers.console import Console
from scumble.observers.grid import before_after
from scumble.observers.journal import Journal
from scumble.observers.report import Report
from scumble.preflight.plan import CHECKPOINTS, Plan, prepared
from scumble.spec.job import JobSpec
from scumble.spec.load import resolved
from scumble.trainer import optimizers
from scumble.trainer.draws import Drawer
from scumble.trainer.feeder import Feeder, Source
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.loop import train as steps_of
from scumble.trainer.signals import Signals
from scumble.trainer.step import Method
from scumble.validation import previews

Tell = Callable[[Event], None]
Asked = Sequence[tuple[previews.Request, Entry]]
INTERRUPTED = 130
AT_ONCE = "Stopped at once. What is saved and cached is whole; the same command goes on from there."


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it leaves to look at."""

    code: int
    files: tuple[Path, ...] = ()


def train(job: JobSpec, base: Path) -> Outcome:
    """Check, encode, train, preview, save and deliver; go on where an earlier run stopped."""
    folder = Path(job.output_dir).expanduser() / job.name
    store.clear(folder / CHECKPOINTS)
    plan = prepared(job, base)
    made(plan.folder, plan.cache)
    with ExitStack() as stack:
        stack.enter_context(claimed(plan.folder))
        stack.enter_context(leased(plan.cache, plan.shelves()))
        signals = stack.enter_context(Signals())
        console = Console()
        stack.callback(console.close)
        tell = telling([Journal(plan.folder), console, Report(plan.folder)])
        try:
            return _train(*complete(job, base, plan, tell), tell, signals)
        except KeyboardInterrupt:
            tell(Warned(text=AT_ONCE))
            return Outcome(INTERRUPTED)
        except (ScumbleError, ExceptionGroup) as problem:
            tell(Failed(problems=tuple(map(str, leaves(problem)))))
            raise


def telling(observers: Sequence[Tell]) -> Tell:
    """Tell every observer of an event; one that fails is left out from then on, and named."""
    listening = list(observers)

    def tell(event: Event) -> None:
        for observer in list(listening):
            try:
                observer(event)
            except Exception as error:
                listening.remove(observer)
                name = type(observer).__name__
                tell(Warned(text=f"{name} failed and is told nothing more: {error!r}"))

    return tell


def _train(plan: Plan, library: Library, tell: Tell, signals: Signals) -> Outcome:
    job, start = plan.job, perf_counter()
    steps, newest = job.training.steps, plan.newest
    after = newest.step if newest else 0
    run_folder.write_job(plan.folder, resolved(job))
    run_folder.write_manifest(plan.folder, _facts(plan), list(samples(library)))
    with library:
        asked = _asked(plan, library)  # before the feeder: a reader serves one thread
        feeder = Feeder(source(plan, library), first=after + 1, last=steps)
        parts = assembled(plan, asked, feeder, signals)
        if newest:
            _resume(parts, newest, plan.changed, tell)
        if after >= steps:
            tell(Warned(text=f"All {after} steps are taken; raise training.steps to go on."))
        for event in _opening(plan, parts, after):
            tell(event)
        signals.patient = True
        with feeder:
            for event in steps_of(parts, job.training, _dates(plan), after=after):
                tell(event)
                if isinstance(event, Stopped):
                    return Outcome(INTERRUPTED)
        signals.patient = False
    delivered = _delivered(plan, parts.adapters, max(after, steps), tell)
    tell(Finished(step=max(after, steps), seconds=perf_counter() - start))
    files = [plan.folder / "report.html", before_after(plan.folder), delivered]
    return Outcome(0, tuple(file for file in files if file is not None and file.exists()))


def source(plan: Plan, library: Library) -> Source:
    """Where the run's units come from."""
    return Source(
        order=plan.order,
        drawer=Drawer(plan.job.training.seed, plan.job.objective.times),
        read=served(plan, library),
        device=plan.place.device,
    )


def assembled(plan: Plan, asked: Asked, feeder: Feeder, signals: Signals) -> Parts:
    """Weights loaded, adapters attached, the optimizer made: in the order that never changes."""
    job, place = plan.job, plan.place
    denoiser = weights.loaded(plan.model, "denoiser", dtype=place.dtype, device=place.device)
    layers = chosen(denoiser, job.adapter.targets, plan.family.targets)
    adapters = attach(denoiser, layers, job.adapter, seed=job.training.seed)
    net = Net(denoiser, run_for(gradient_checkpointing=job.hardware.gradient_checkpointing))
    trained = adapters.parameters().values()
    optimizer = optimizers.made(job.training.optimizer, trained, job.training.learning_rate)
    method = Method(
        family=plan.family,
        net=net,
        place=place,
        knobs=Knobs(guidance=job.model.guidance),
        objective=job.objective,
    )
    return Parts(
        method=method,
        adapters=adapters,
        optimizer=optimizer,
        feed=feeder.step,
        preview=_previewing(plan, asked, net),
        save=_saving(plan, adapters, optimizer),
        stop=lambda: signals.asked,
    )


def _asked(plan: Plan, library: Library) -> Asked:
    """What previews are to show, and the texts as the network reads them."""
    if not plan.job.validation.every:
        return []
    wanted = previews.requests(plan.job.validation, plan.family)
    return [(one, library.texts.read(library.text_key(one.prompt))) for one in wanted]


def _previewing(plan: Plan, asked: Asked, net: Net) -> Callable[[int], Previewed]:
    job = plan.job
    painter = previews.Painter(plan.model, plan.place)

    def preview(step: int) -> Previewed:
        start = perf_counter()
        about = {
            "model": job.model.path,
            "flavour": job.model.flavour,
            "text_tokens": plan.tokens,
            "adapter": f"{job.name} at step {step}",
            "step": step,
            "precision": plan.place.precision,
        }
        folder = _samples(plan, step)
        made(folder)
        pictures = tuple(previews.painted(painter, net, asked, folder, about))
        return Previewed(
            step=step,
            pictures=pictures,
            prompts=tuple(one.prompt for one, _ in asked),
            seconds=perf_counter() - start,
        )

    return preview


def _saving(
    plan: Plan, adapters: Adapters, optimizer: torch.optim.Optimizer
) -> Callable[[int], Saved]:
    folder, parameters = plan.folder / CHECKPOINTS, adapters.parameters()

    def save(step: int) -> Saved:
        start = perf_counter()
        tensors, others = optimizers.state_of(optimizer, parameters)
        about = {"step": step, "scumble": __version__, "optimizer": others, "facts": plan.facts}
        saved = store.save(folder, step, state.files(parameters, tensors), about)
        removed = store.retain(folder, plan.job.saving.keep)
        return Saved(step=step, folder=saved, seconds=perf_counter() - start, removed=removed)

    return save


def _resume(parts: Parts, newest: store.Checkpoint, changed: tuple[str, ...], tell: Tell) -> None:
    weights_kept, moments = state.read(newest.folder)
    parameters = parts.adapters.parameters()
    state.put_back(parameters, weights_kept)
    optimizers.restore(parts.optimizer, parameters, moments, newest.state["optimizer"])
    restored = ("adapter", "optimizer", "step", "order of examples", "random draws")
    tell(Resumed(step=newest.step, restored=restored, changed=changed))
    for skipped in newest.skipped:
        tell(Warned(text=f"{skipped.name} is not whole and was passed over."))


def _dates(plan: Plan) -> Dates:
    every = plan.job.validation.every if plan.job.validation.prompts else 0
    return Dates(previews=every, saves=plan.job.saving.every)


def _opening(plan: Plan, parts: Parts, after: int) -> Iterator[Event]:
    """What comes before the first step: the announcement, and a preview that is still due."""
    job, place, dates = plan.job, plan.place, _dates(plan)
    yield Started(
        name=job.name,
        folder=plan.folder,
        after=after,
        steps=job.training.steps,
        preview_every=dates.previews,
        save_every=job.saving.every,
        keep=job.saving.keep,
        device=str(place.device),
        precision=place.precision,
        trained_parameters=plan.trained_parameters,
        examples=plan.examples_per_epoch,
        steps_per_epoch=plan.steps_per_epoch,
    )
    there = len(list(_samples(plan, after).glob("*.png")))
    due = dates.previews > 0 and (after == 0 or dates.preview(after, job.training.steps))
    if due and there < len(job.validation.prompts):
        yield parts.preview(after)


def _samples(plan: Plan, step: int) -> Path:
    return plan.folder / "samples" / f"step-{step:06d}"


def _facts(plan: Plan) -> dict[str, Any]:
    """What the manifest says of the machine and the base model."""
    files = [file for name in plan.family.parts for file in plan.model.files(name)]
    hashes = fingerprints(files) or {}
    place = plan.place
    return {
        "device": {"kind": place.device.type, "precision": place.precision},
        "model": {
            "path": plan.job.model.path,
            "files": {
                f"{Path(path).parent.name}/{Path(path).name}": digest
                for path, digest in hashes.items()
            },
        },
    }


def _delivered(plan: Plan, adapters: Adapters, step: int, tell: Tell) -> Path:
    """The file for other tools: written, read back, and the same as what was trained."""
    job, file = plan.job, plan.folder / f"{plan.job.name}.safetensors"
    path = job.model.path
    about = {
        "scumble.job": job.name,
        "scumble.rank": str(job.adapter.rank),
        "scumble.alpha": str(job.adapter.alpha or job.adapter.rank),
        "scumble.steps": str(step),
        "scumble.base_model": path if path.startswith("builtin:") else Path(path).name,
    }
    trained = adapters.tensors()
    count = export.write(file, trained, dtype=job.export.dtype, about=about)
    if not export.holds(file, trained, dtype=job.export.dtype):
        problem = "the file read back is not what was written"
        raise FileError(file, problem, "look at the disk, then run the same command again")
    if all(bool((one.up == 0).all()) for one in trained.values()):
        tell(Warned(text="The adapter changes nothing: every `up` is still zero."))
    size, layout = file.stat().st_size, job.export.layout
    tell(Exported(step=step, file=file, layout=layout, tensors=count, bytes=size))
    return file
