"""The finished adapter as files for other tools, and the proof that they are what was trained."""

from __future__ import annotations

import gc
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from scumble.adapters.layouts import Changes
from scumble.checkpoint import bases, export, proof, verdicts
from scumble.checkpoint.bases import DENOISER
from scumble.disk import made
from scumble.errors import FileError, gather
from scumble.events import Event, Exported, Proven, Proving, Verdict, Warned
from scumble.families.family import Entry
from scumble.observers import pictures
from scumble.preflight.plan import Plan
from scumble.trainer import optimizers
from scumble.trainer.loop import Parts
from scumble.validation import probes
from scumble.validation.previews import Request
from scumble.validation.probes import Kit

Tell = Callable[[Event], None]
Asked = Sequence[tuple[Request, Entry]]
LINES = 12
"""Last lines of a process that died, as they are told."""

SIZE = (256, 256)
"""Height and width of the pictures that are asked about where the job makes none."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a run leaves for others, not yet proven."""

    folder: Path
    files: tuple[Path, ...]
    fresh: bool
    """Whether a process of its own is to prove them; if not, it has been done."""


def delivered(
    plan: Plan, parts: Parts, asked: Asked, base: Path, step: int, tell: Tell
) -> Delivery:
    """Write the files, look at each in this process, and keep what a fresh one needs to prove them.

    `base` is where a relative `model.path` starts. FileError when a file is not what was trained.
    """
    job, fresh = plan.job, plan.job.export.proof == "fresh_process"
    with optimizers.shown(parts.optimizer, parts.adapters.parameters()):
        changes = {DENOISER: parts.adapters.tensors()}
        about = _about(plan, step) | proof.marks(changes)
        files = tuple(
            _written(plan, changes, name, about, step, tell) for name in job.export.layouts
        )
        if fresh:
            _keep_kit(plan, parts, asked, base, step)
    return Delivery(folder=plan.folder, files=files, fresh=fresh)


def proven(delivery: Delivery, tell: Tell) -> None:
    """Have a fresh process prove each file; FileError when one is not what was trained.

    What the run has loaded must be out of reach by then: its memory is given back first.
    """
    if not delivery.fresh:
        return
    tell(Proving(files=delivery.files))
    _give_memory_back()
    try:
        found = _told_by_a_fresh_process(delivery.folder, delivery.files)
    except KeyboardInterrupt:
        names = ", ".join(file.name for file in delivery.files)
        tell(Warned(text=f"The proof was cut short of {names}."))
        raise
    for one in found:
        _tell(one, tell)
    refuse(found)


def _tell(one: Proven, tell: Tell) -> None:
    """Tell a proof, and what of it is worth a word of its own."""
    tell(one)
    for verdict in one.verdicts:
        if verdict.state == "remark":
            tell(Warned(text=f"{one.file.name}: {verdict.text}."))


def refuse(found: Sequence[Proven]) -> None:
    """Raise what proofs have found wanting, each thing by its name."""
    remedy = "do not use this file; it stays, as do the checkpoints and the report"
    gather(
        "the files are not what was trained",
        [
            FileError(one.file, f"not proven, {bad.name}: {bad.text}", remedy)
            for one in found
            for bad in one.failed
        ],
    )


def pictured(plan: Plan, request: Request, step: int) -> Path | None:
    """The run's own picture of a request at a step, told by its sidecar: a job may have changed
    what is painted since an earlier start."""
    made_so = {
        **asdict(request),
        "step": step,
        "text_tokens": plan.tokens,
        "precision": plan.place.precision,
    }
    return pictures.made_as(pictures.samples(plan.folder, step), made_so)


def _about(plan: Plan, step: int) -> dict[str, str]:
    job = plan.job
    path = job.model.parts.get(DENOISER) or str(job.model.path)
    return {
        "scumble.job": job.name,
        "scumble.family": plan.family.name,
        "scumble.flavour": plan.family.flavour,
        "scumble.rank": str(job.adapter.rank),
        "scumble.alpha": str(job.adapter.alpha or job.adapter.rank),
        "scumble.steps": str(step),
        "scumble.base_model": path if path.startswith("builtin:") else Path(path).name,
    }


def _written(
    plan: Plan, changes: Changes, layout: str, about: Mapping[str, str], step: int, tell: Tell
) -> Path:
    """One layout's file, read back and looked at in this process."""
    job, keys, start = plan.job, plan.family.keys, time.perf_counter()
    first = layout == job.export.layouts[0]
    file = plan.folder / f"{job.name}{'' if first else f'.{layout}'}.safetensors"
    dtype = job.export.dtype
    count = export.write(file, changes, keys, layout=layout, dtype=dtype, about=about)
    if not export.holds(file, changes, keys, layout=layout, dtype=dtype):
        problem = "the file read back is not what was written"
        raise FileError(file, problem, "look at the disk, then run the same command again")
    size = file.stat().st_size
    tell(Exported(step=step, file=file, layout=layout, tensors=count, bytes=size))
    layers = plan.model.family.name + " " + plan.family.flavour
    look = verdicts.looked(file, bases.of_layers(plan.family, plan.layers, layers))
    here = Proven(
        file=file,
        verdicts=look.verdicts,
        fresh_process=False,
        seconds=time.perf_counter() - start,
    )
    if here.failed or job.export.proof == "in_process":
        _tell(here, tell)
    refuse([here])
    return file


def _keep_kit(plan: Plan, parts: Parts, asked: Asked, base: Path, step: int) -> None:
    """What the network answers now, at a few points, with the adapter and without."""
    family, place, net = plan.family, plan.place, parts.method.net
    if asked:
        request, text = asked[0]
        size = (request.height, request.width)
        points = probes.about_text(family, text, size, request.guidance)
    else:
        shapes = {n: one(plan.model.configs, plan.tokens) for n, one in family.text_fields.items()}
        points = probes.made(family, shapes, place, SIZE)
    trained = probes.velocities(family, net, place, points)
    with parts.adapters.off():
        plain = probes.velocities(family, net, place, points)
    folder = plan.folder / probes.FOLDER
    made(folder)
    kit = Kit(probes=points, trained=trained, base=plain, about=_kit_about(plan, asked, base, step))
    probes.write(folder / probes.FILE, kit)


def _kit_about(plan: Plan, asked: Asked, base: Path, step: int) -> dict[str, Any]:
    model = plan.job.model.model_copy(update={"text_tokens": plan.tokens})
    request = asked[0][0] if asked else None
    picture = pictured(plan, request, step) if request else None
    return {
        "model": model.model_dump(mode="json"),
        "base": str(base.resolve()),
        "device": str(plan.place.device),
        "precision": plan.place.precision,
        "dtype": plan.job.export.dtype,
        "step": step,
        "request": asdict(request) if request else None,
        "picture": picture.relative_to(plan.folder).as_posix() if picture else None,
    }


def _give_memory_back() -> None:
    """What nobody holds any more goes back to the system, so that the next process has it."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _told_by_a_fresh_process(folder: Path, files: Sequence[Path]) -> list[Proven]:
    """What `scumble adapter verify` says of the files; FileError when it dies without a word."""
    command = [sys.executable, "-P", "-m", "scumble.cli.alone", "adapter", "verify", "--json"]
    kept = folder.resolve()
    command += ["--run", str(kept), "--pictures", str(kept / probes.FOLDER), "--"]
    command += [str(file.resolve()) for file in files]
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    here = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",  # all that the run has loaded is on this machine
    }
    start = time.perf_counter()
    try:
        done = _ended(command, here)
    except OSError as error:
        problem = f"not proven: no process could be started for it ({error})"
        raise FileError(files[0], problem, _later(files[0])) from error
    seconds = time.perf_counter() - start
    try:
        lines = done.stdout.decode(errors="replace").splitlines()
        rows = json.loads(next(line for line in reversed(lines) if line.startswith("{")))["files"]
        named = zip(files, rows, strict=True)
        return [_proven(file, row, seconds / len(files)) for file, row in named]
    except (ValueError, StopIteration, KeyError, TypeError):
        raise _silent(files[0], done) from None


def _ended(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """What a process printed until its end, which comes with that of this one at the latest."""
    theirs, ours = os.pipe()
    try:
        with subprocess.Popen(
            command,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        ) as process:
            try:
                printed, errors = process.communicate()
            finally:
                process.kill()  # one that has ended hears nothing of it
                process.wait()
    finally:
        os.close(theirs)
        os.close(ours)
    return subprocess.CompletedProcess(command, process.returncode, printed, errors)


def _proven(file: Path, row: Mapping[str, Any], seconds: float) -> Proven:
    return Proven(
        file=file,
        verdicts=tuple(
            Verdict(name=one["name"], state=one["state"], text=one["text"])
            for one in row["verdicts"]
        ),
        fresh_process=True,
        seconds=seconds,
        pictures=tuple(Path(one) for one in row["pictures"]),
    )


def _silent(file: Path, done: subprocess.CompletedProcess[bytes]) -> FileError:
    """A process that was to prove a file and did not live to say anything."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()[-LINES:]
    ended = f"ended with {done.returncode}"
    if done.returncode < 0:
        name = {one.value: one.name for one in signal.Signals}.get(-done.returncode, "a signal")
        ended = f"was killed by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"
    last = f"; its last lines: {' | '.join(lines)}" if lines else ""
    problem = f"not proven: the fresh process {ended}{last}"
    return FileError(file, problem, _later(file))


def _later(file: Path) -> str:
    """How a proof is made up for."""
    here, folder = shlex.quote(str(file.resolve())), shlex.quote(str(file.resolve().parent))
    return f"the file stays; `scumble adapter verify {here} --run {folder}` tries again"
