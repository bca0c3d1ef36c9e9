"""Build a run from a job and let it happen. The only module that knows every room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from scumble import outputs
from scumble.assembly import assembled, resume, source
from scumble.caching import complete
from scumble.checkpoint import folder as run_folder
from scumble.checkpoint import store
from scumble.comparing import Comparing
from scumble.data.leases import leased
from scumble.data.library import Library
from scumble.data.manifest import samples
from scumble.delivery import Delivery, as_delivered, delivered, proven
from scumble.disk import claimed, made
from scumble.drifting import Drifting
from scumble.errors import DiskError, ScumbleError, leaves
from scumble.events import (
    Event,
    Failed,
    Finished,
    Interrupted,
    Started,
    Stopped,
    Warned,
)
from scumble.families.fingerprints import fingerprints
from scumble.hardware import parallel
from scumble.hardware.parallel import Crew, Elsewhere
from scumble.hardware.quantisers.table import made_by
from scumble.launch import launched
from scumble.measuring import Measuring
from scumble.observers import trackers
from scumble.observers.console import Console
from scumble.observers.grid import before_after
from scumble.observers.journal import Journal
from scumble.observers.report import Report
from scumble.preflight import measures, pace, showing
from scumble.preflight.forecast import tokens_per_unit
from scumble.preflight.plan import CHECKPOINTS, Plan, prepared
from scumble.questions import pictured
from scumble.sittings import sittings
from scumble.spec.averaging import previewed
from scumble.spec.job import JobSpec
from scumble.spec.load import resolved
from scumble.trainer import optimizers
from scumble.trainer.feeder import Feeder
from scumble.trainer.guard import watched
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.loop import train as steps_of
from scumble.trainer.signals import Signals
from scumble.validation import previews

Tell = Callable[[Event], None]
Asked = Sequence[previews.Sitting]
INTERRUPTED = 130


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it leaves to look at."""

    code: int
    files: tuple[Path, ...] = ()


def train(job: JobSpec, base: Path) -> Outcome:
    """Check, encode, train, preview, save and deliver; go on where an earlier run stopped.

    Where a launcher has started several processes, each is in here, and the first leads.
    """
    entered = monotonic()
    crew = parallel.joined(launched(), job.hardware)
    return _led(job, base, entered, crew) if crew.leads else _followed(job, base, crew)


def _led(job: JobSpec, base: Path, entered: float, crew: Crew) -> Outcome:
    """The run, by the process that tells and writes."""
    folder = Path(job.output_dir).expanduser() / job.name
    store.clear(folder / CHECKPOINTS)
    outputs.begun(job, base)
    plan = prepared(job, base)
    outputs.refused(plan)
    made(plan.folder, plan.cache)
    with ExitStack() as stack:
        stack.enter_context(claimed(plan.folder))
        stack.enter_context(leased(plan.cache, plan.shelves()))
        signals = stack.enter_context(Signals())
        console = Console()
        stack.callback(console.close)
        guard = pace.guard(plan, tokens_per_unit(plan), entered)
        following = trackers.opened(job, plan.folder, resolved(job))
        journal, report = Journal(plan.folder), Report(plan.folder)
        tell = telling([journal, console, report, guard, *following, *outputs.samples(plan)])
        stack.callback(_end, following, tell)
        tell = watched(tell, guard.news, *(one.news for one in following))
        try:
            return _train(job, base, plan, tell, signals, crew)
        except KeyboardInterrupt:
            tell(Interrupted())
            return Outcome(INTERRUPTED)
        except Exception as problem:
            if _cut_short(problem, signals):
                tell(Interrupted())
                return Outcome(INTERRUPTED)
            tell(Failed(problems=tuple(map(_words, leaves(problem)))))
            raise


def _cut_short(problem: Exception, signals: Signals) -> bool:
    """Whether the other processes are gone because all were told to stop."""
    match problem:
        case Elsewhere():
            return signals.asked is not None
        case _:
            return False


def _followed(job: JobSpec, base: Path, crew: Crew) -> Outcome:
    """A share of every step, by a process that neither tells nor writes.

    What goes wrong here, the one that leads is told, and tells; a fault of this program keeps its
    traceback.
    """
    with Signals() as signals:
        try:
            crew.meet()  # all that is to be encoded is in the cache
            stopped = _taken(job, base, crew, signals)
        except KeyboardInterrupt:
            return Outcome(INTERRUPTED)
        except Exception as problem:
            if not all(isinstance(one, ScumbleError) for one in leaves(problem)):
                raise
            return Outcome(INTERRUPTED if _cut_short(problem, signals) else 2)
    return Outcome(INTERRUPTED if stopped else 0)


def _taken(job: JobSpec, base: Path, crew: Crew, signals: Signals) -> bool:
    """Take this process's share of the steps; whether a signal has ended them."""
    with ExitStack() as stack:
        with crew.guarded():
            plan, library = complete(job, base, prepared(job, base), _nobody)
            stack.enter_context(library)
            after = plan.newest.step if plan.newest else 0
            last = plan.job.training.steps
            feeder = Feeder(source(plan, library, crew), first=after + 1, last=last)
            parts = assembled(plan, [], feeder, signals, crew)
            if plan.newest:
                resume(parts, plan.newest, (), _nobody)
        signals.patient = True
        crew.meet(seen=_seen(plan))
        with feeder:
            stopped = _stopped(
                steps_of(parts, plan.job.training, _dates(plan), after=after), _nobody
            )
        crew.leave()
    return stopped


def _nobody(event: Event) -> None:
    """Tell nobody."""


def _seen(plan: Plan) -> str:
    """Stands for what all processes must have found alike, lest each trains something else."""
    after = plan.newest.step if plan.newest else 0
    return repr((after, sorted((name, str(fact)) for name, fact in plan.facts.items())))


def _words(error: BaseException) -> str:
    match error:
        case ScumbleError():
            return str(error)
        case _:
            return f"{type(error).__name__}: {error}"


def _end(following: Sequence[trackers.Tracker], tell: Tell) -> None:
    for text in trackers.closed(following):
        tell(Warned(text=text))


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


def _train(
    job: JobSpec, base: Path, plan: Plan, tell: Tell, signals: Signals, crew: Crew
) -> Outcome:
    """Train, deliver, and have the files proven once the run's memory is given back."""
    start, steps = perf_counter(), plan.job.training.steps
    delivery = _delivered(*complete(job, base, plan, tell), base, tell, signals, crew)
    if delivery is None:
        return Outcome(INTERRUPTED)
    copies = outputs.copied(plan, delivery.files)
    proven(delivery, tell)
    step = max(plan.newest.step if plan.newest else 0, steps)
    sheet = _before_after(plan.folder, tell)
    tell(Finished(step=step, seconds=perf_counter() - start))
    files = [plan.folder / "report.html", sheet, *copies, *delivery.files]
    return Outcome(0, tuple(file for file in files if file is not None and file.exists()))


def _before_after(folder: Path, tell: Tell) -> Path | None:
    """The picture of what training has done; no run fails for want of it."""
    try:
        return before_after(folder)
    except DiskError as error:
        tell(Warned(text=f"The picture of before and after was not written: {error}."))
        return None


def _delivered(
    plan: Plan,
    library: Library,
    base: Path,
    tell: Tell,
    signals: Signals,
    crew: Crew = parallel.ALONE,
) -> Delivery | None:
    """Take the steps and write the files; None when a signal ended it.

    All that is loaded for it is let go of when this returns.
    """
    crew.meet()  # all that is to be encoded is in the cache
    job = plan.job
    steps, newest = job.training.steps, plan.newest
    after = newest.step if newest else 0
    run_folder.write_job(plan.folder, resolved(job))
    run_folder.write_manifest(plan.folder, _facts(plan), list(samples(library)))
    with library:
        asked = sittings(plan, library)  # before the feeder: a reader serves one thread
        feeder = Feeder(source(plan, library, crew), first=after + 1, last=steps)
        parts = assembled(plan, asked, feeder, signals, crew)
        if newest:
            resume(parts, newest, plan.changed, tell)
        parts, dates = _begun(plan, library, parts, asked, tell), _dates(plan)
        signals.patient = True
        crew.meet(seen=_seen(plan))
        with feeder:
            write = partial(as_delivered, plan, parts)
            taken = steps_of(parts, job.training, dates, after=after)
            if _stopped(outputs.beside(plan, taken, write, parts.save), tell):
                crew.leave()
                return None
        crew.leave()
        signals.patient = False
    return delivered(plan, parts, asked, base, max(after, steps), tell)


def _begun(plan: Plan, library: Library, parts: Parts, asked: Asked, tell: Tell) -> Parts:
    """What comes before the first step; the parts with all that is measured between steps."""
    after, dates = plan.newest.step if plan.newest else 0, _dates(plan)
    if after >= plan.job.training.steps:
        words = f"All {after} steps are taken; what they led to is delivered and proven again"
        tell(Warned(text=f"{words} (raise training.steps to go on)."))
    measuring, comparing = Measuring(plan, library, parts), Comparing(plan, library, parts)
    drifting = Drifting(plan, library, parts)
    parts = replace(parts, measure=measuring, compare=comparing, drift=drifting)
    begun = _opening(plan, parts, asked, after)
    looked = (one.opening(after, dates) for one in (measuring, comparing, drifting))
    for event in chain(begun, *looked):
        tell(event)
    for text in (*plan.remarks, *optimizers.advice(plan.job.training)):
        tell(Warned(text=text))
    return parts


def _stopped(events: Iterable[Event], tell: Tell) -> bool:
    """Tell of these until they end, or until a signal has ended them."""
    for event in events:
        tell(event)
        if isinstance(event, Stopped):
            return True
    return False


def _dates(plan: Plan) -> Dates:
    job, pairs = plan.job, showing.scored(plan.job, plan.parted)
    return Dates(
        previews=showing.every(job, plan.parted),
        saves=job.saving.every,
        measures=measures.every(plan),
        compares=job.validation.pairs.every if pairs else None,
        drifts=measures.drift_every(plan),
    )


def _opening(plan: Plan, parts: Parts, asked: Asked, after: int) -> Iterator[Event]:
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
        measure_every=dates.measures,
        score_every=dates.compares,
        drift_every=dates.drifts,
    )
    final = after >= job.training.steps
    due = dates.previews > 0 and (after == 0 or final or dates.preview(after, job.training.steps))
    kinds = previewed(job.training.ema)
    there = (pictured(plan, one.request, after, which) for which in kinds for one in asked)
    if due and any(file is None for file in there):
        yield parts.preview(after)


def _facts(plan: Plan) -> dict[str, Any]:
    """What the manifest says of the machine and the base model."""
    files = {file for name in plan.family.parts for file in plan.model.files(name)}
    hashes = fingerprints(sorted(files)) or {}
    place = plan.place
    return {
        "device": {"kind": place.device.type, "precision": place.precision},
        "model": {
            "path": plan.job.model.path,
            "quantised": {
                part: f"{one} ({made_by(one)})" for part, one in plan.model.quantising.parts.items()
            },
            "parts": {name: source.told for name, source in plan.model.parts.items()},
            "files": {
                f"{Path(path).parent.name}/{Path(path).name}": digest
                for path, digest in hashes.items()
            },
        },
    }
