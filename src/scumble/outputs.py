"""What users of other tools look for in their output folder, beside the run's own folder.

SimpleTuner's: the finished file. Those of sd-scripts: files of epochs and steps with the weights
that would be delivered, the finished file, states, samples. Only what this run has written itself
is ever replaced or taken away.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scumble.checkpoint import kohya_memory, kohya_states
from scumble.checkpoint.export import DTYPES
from scumble.checkpoint.kohya_names import Dates, Due
from scumble.disk import beside as hidden_beside
from scumble.disk import make_folder, told
from scumble.errors import DiskError, FileError, gather
from scumble.events import Event, Exported, Previewed, Saved, StepDone
from scumble.preflight import kohya_run, simpletuner_run
from scumble.preflight.plan import CHECKPOINTS, TITLE, Plan
from scumble.spec.job import JobSpec
from scumble.spec.origin import OriginSpec

Tell = Callable[[Event], None]
Write = Callable[[Path, int, int], int]
"""Writes the weights as they stand, given the step and the epoch; how many tensors that are."""

RESUMED = "--resume"
SAMPLES = "sample"


def begun(job: JobSpec, base: Path) -> None:
    """Put the state that `--resume` names among the run's checkpoints. FileError if it is none."""
    origin = job.origin
    if origin is None or not kohya_run.is_of(job) or not origin.settings.get("resume"):
        return
    place = base / Path(str(origin.settings["resume"])).expanduser()
    run = Path(job.output_dir).expanduser() / job.name
    if place.resolve() != run.resolve():
        kohya_states.adopted(place, run / CHECKPOINTS)


def refused(plan: Plan) -> None:
    """Raise, before training, for files that would be written over and for a disk too small."""
    if simpletuner_run.is_of(plan.job):
        _written_before(plan)
    if plan.job.origin is None or not kohya_run.is_of(plan.job):
        return
    folder, dates, memory = _folder(plan.job.origin), kohya_run.dates(plan), kohya_run.memory(plan)
    kohya_states.tidied(folder, memory.written.__contains__)
    after = plan.newest.step if plan.newest else 0
    coming = dates.all(after)
    names = [dates.final, *(one.file for one in coming)]
    names += [name for name in (dates.final_state, *(one.state for one in coming)) if name]
    foreign = [name for name in names if _is_foreign(folder / name, memory)]
    remedy = "move it away, or choose another --output_name"
    problem = "is there already, and this run has not written it"
    problems = [FileError(folder / name, problem, remedy) for name in foreign]
    gather(TITLE, [*problems, *_room(plan, folder, coming)])


def _written_before(plan: Plan) -> None:
    """Raise for the finished file of another run."""
    place = simpletuner_run.finished(plan.job)
    if place is not None and _is_foreign(place, kohya_run.memory(plan)):
        problem = "is there already, and this run has not written it"
        raise FileError(place, problem, "move it away, or choose another output_dir")


def _is_foreign(place: Path, memory: kohya_memory.Memory) -> bool:
    return place.exists() and not memory.owns(place)


def _room(plan: Plan, folder: Path, coming: Sequence[Due]) -> list[DiskError]:
    """Whether the files that will lie there together fit on the disk; states cost nothing."""
    each = plan.trained_parameters * DTYPES[plan.job.export.dtype].itemsize
    gone = {one.gone for one in coming}
    needed = each * (1 + sum(one.file not in gone for one in coming))
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed <= free:
        return []
    problem = f"the files of this run take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    remedy = "free some space, save less often, or keep fewer with --save_last_n_epochs"
    return [DiskError(folder, problem, remedy)]


def beside(
    plan: Plan, events: Iterable[Event], write: Write, save: Callable[[int], Saved]
) -> Iterator[Event]:
    """The events of a training, with files written where sd-scripts would write them.

    A state is made of the checkpoint of its step: the loop's own, else one that `save` writes.
    """
    if plan.job.origin is None or not kohya_run.is_of(plan.job):
        yield from events
        return
    dates = kohya_run.dates(plan)
    folder, every = _folder(plan.job.origin), plan.job.saving.every
    for event in events:
        yield event
        match event:
            case StepDone(step=step):
                for due in dates.after(step):
                    yield _file(plan, folder, due, step, write)
                saved = step == dates.steps or (every > 0 and step % every == 0)
                if not saved and any(due.state for due in dates.after(step)):
                    own = save(step)
                    yield own
                    _states(plan, folder, dates, own)
            case Saved():
                _states(plan, folder, dates, event)
            case _:
                pass


def _file(plan: Plan, folder: Path, due: Due, step: int, write: Write) -> Exported:
    place = folder / due.file
    _note(plan, place, kohya_memory.begun)
    tensors = write(place, step, due.epoch)
    _note(plan, place, kohya_memory.noted)
    if due.gone is not None:
        _take_away(plan, folder / due.gone)
    return Exported(
        step=step,
        file=place,
        layout=plan.job.export.layouts[0],
        tensors=tensors,
        bytes=place.stat().st_size,
    )


def _states(plan: Plan, folder: Path, dates: Dates, saved: Saved) -> None:
    """The folders that are due with a checkpoint, and those that go then."""
    step, epoch = saved.step, dates.epoch_in_progress(saved.step)
    due = list(dates.after(step))
    names = [one.state for one in due]
    if step == dates.steps:
        names.append(dates.final_state)
    for place in (folder / name for name in names if name):
        _note(plan, place, kohya_memory.begun)
        kohya_states.kept(saved.folder, place, epoch=epoch, step=step)
        _note(plan, place, kohya_memory.noted)
    for old in (folder / one.state_gone for one in due if one.state_gone):
        _take_away(plan, old)


def copied(plan: Plan, files: Sequence[Path]) -> tuple[Path, ...]:
    """Delivered files once more, where users of the job's other tool look for them; none for other
    jobs."""
    places = simpletuner_run.places(plan, files)
    if plan.job.origin is not None and kohya_run.is_of(plan.job) and files:
        places = {_folder(plan.job.origin) / kohya_run.dates(plan).final: files[0]}
    for place, file in places.items():
        _note(plan, place, kohya_memory.begun)
        _copy(file, place)
        _note(plan, place, kohya_memory.noted)
    return tuple(places)


def _copy(file: Path, place: Path) -> None:
    """Whole or not at all."""
    with hidden_beside(place) as partial:
        shutil.copyfile(file, partial)
        with partial.open("r+b") as stream:
            os.fsync(stream.fileno())


def _note(
    plan: Plan,
    place: Path,
    change: Callable[[kohya_memory.Memory, Path], kohya_memory.Memory],
) -> None:
    kohya_memory.write(plan.folder, change(kohya_run.memory(plan), place))


def _take_away(plan: Plan, place: Path) -> None:
    """Remove what this run has written and nobody has changed since; all else stays."""
    if place.exists() and kohya_run.memory(plan).owns(place):
        kohya_states.removed(place)
        _note(plan, place, kohya_memory.forgotten)


def _folder(origin: OriginSpec) -> Path:
    return Path(origin.output_dir or "outputs").expanduser()


@dataclass(frozen=True)
class Samples:
    """Hears of previews and puts copies of them where sd-scripts puts its samples."""

    plan: Plan
    origin: OriginSpec

    def __call__(self, event: Event) -> None:
        """Copy the pictures of a preview; what else happens is of no interest."""
        match event:
            case Previewed(step=step, pictures=pictures, weights=weights):
                when = time.strftime("%Y%m%d%H%M%S")
                each = len(pictures) // max(1, len(set(weights)))
                for number, picture in enumerate(pictures):
                    name = self._name(step, number % each, when)
                    averaged = picture.name.endswith(".ema.png")
                    self._copy(picture, name.replace(".png", "_ema.png") if averaged else name)
            case _:
                pass

    def _copy(self, picture: Path, name: str) -> None:
        folder = _folder(self.origin) / SAMPLES
        with told(folder):
            make_folder(folder)
        _copy(picture, folder / name)

    def _name(self, step: int, number: int, when: str) -> str:
        dates = kohya_run.dates(self.plan)
        epoch, rest = divmod(step, dates.steps_per_epoch)
        by_epoch = bool(self.origin.settings.get("sample_every_n_epochs")) and rest == 0
        count = f"e{epoch:06d}" if by_epoch else f"{step:06d}"
        prefix = f"{self.origin.output_name}_" if self.origin.output_name else ""
        asked = self.plan.job.validation.asked  # held-out pairs come after them
        seed = asked[number].seed if number < len(asked) else None
        ending = "" if seed is None else f"_{seed}"
        return f"{prefix}{count}_{number:02d}_{when}{ending}.png"


def samples(plan: Plan) -> tuple[Tell, ...]:
    """Who copies previews; nobody for other jobs."""
    if plan.job.origin is None or not kohya_run.is_of(plan.job):
        return ()
    return (Samples(plan, plan.job.origin),)
