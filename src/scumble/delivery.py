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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scumble import launch, questions
from scumble.adapters.full import FullWeights
from scumble.adapters.joint import Joint
from scumble.adapters.lycoris.worn import Lycoris
from scumble.checkpoint import (
    bases,
    export,
    lycoris,
    lycoris_proof,
    network,
    network_proof,
    proof,
    verdicts,
)
from scumble.checkpoint.bases import DENOISER
from scumble.errors import FileError, gather
from scumble.events import Event, Exported, Proven, Proving, Verdict, Warned, Weights
from scumble.preflight import kohya_run, simpletuner_run
from scumble.preflight.plan import Plan
from scumble.spec.adapter import FullSpec, LoraSpec
from scumble.spec.averaging import delivered as delivered_of
from scumble.spec.lycoris import LycorisSpec
from scumble.trainer import averages
from scumble.trainer.loop import Parts
from scumble.validation import probes
from scumble.validation.previews import Sitting

Tell = Callable[[Event], None]
Asked = Sequence[Sitting]
LINES = 12
"""Last lines of a process that died, as they are told."""


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

    Where an average is kept, the other weights have files of their own, after those that the job
    delivers. `base` is where a relative `model.path` starts. FileError when a file is not what was
    trained.
    """
    job, fresh = plan.job, plan.job.export.proof == "fresh_process"
    files: list[Path] = []
    for which in delivered_of(job.training.ema):
        with _shown(parts, which):
            about = _about(plan, step, which) | kohya_run.metadata(plan, step)
            write = _writer(plan, parts, about)
            for layout in job.export.layouts:
                files.append(_written(plan, write, (which, layout), step, tell))
            if fresh:
                questions.keep(plan, parts, asked, base, step, which)
    return Delivery(folder=plan.folder, files=tuple(files), fresh=fresh)


def _shown(parts: Parts, which: Weights) -> AbstractContextManager[None]:
    parameters, average = parts.adapters.parameters(), parts.care.average
    return averages.shown(parts.optimizer, parameters, average, which)


def as_delivered(plan: Plan, parts: Parts, file: Path, step: int, epoch: int) -> int:
    """Write the weights as they stand as a file like the delivered one, and look at it; how many
    tensors it holds. FileError when it is not what was trained."""
    start, which = time.perf_counter(), delivered_of(plan.job.training.ema)[0]
    about = _about(plan, step, which) | kohya_run.metadata(plan, step, epoch)
    with _shown(parts, which):
        count, seen = _writer(plan, parts, about)(file, plan.job.export.layouts[0])
    spent = time.perf_counter() - start
    refuse([Proven(file=file, verdicts=tuple(seen), fresh_process=False, seconds=spent)])
    return count


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
    _tell_remarks(one.file, one.verdicts, tell)


def _tell_remarks(file: Path, seen: Sequence[Verdict], tell: Tell) -> None:
    for verdict in seen:
        if verdict.state == "remark":
            tell(Warned(text=f"{file.name}: {verdict.text}."))


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


Write = Callable[[Path, str], tuple[int, Sequence[Verdict]]]
"""Writes a file in a layout and looks at it: how many tensors it has, and what is to be said."""


def _writer(plan: Plan, parts: Parts, about: Mapping[str, str]) -> Write:
    match parts.adapters:
        case FullWeights() as weights:
            return _networks(plan, weights, about)
        case Joint() as adapters:
            return _adapters(plan, adapters, about)
        case Lycoris() as adapters:
            return _lycoris(plan, adapters, about)
        case _:
            raise AssertionError("nothing else is trained")


def _about(plan: Plan, step: int, which: Weights) -> dict[str, str]:
    job = plan.job
    averaged = {probes.WEIGHTS: which} if job.training.ema is not None else {}
    path = job.model.parts.get(DENOISER) or str(job.model.path)
    return {
        "scumble.job": job.name,
        "scumble.family": plan.family.name,
        "scumble.flavour": plan.family.flavour,
        **_of_kind(plan),
        "scumble.steps": str(step),
        **averaged,
        "scumble.base_model": path if path.startswith("builtin:") else Path(path).name,
        **simpletuner_run.metadata(plan, step),
    }


def _of_kind(plan: Plan) -> dict[str, str]:
    match plan.job.adapter:
        case LoraSpec():
            slots = [one for shape in plan.shapes.values() for one in shape.slots.values()]
            told = {"rank": {one.rank for one in slots}, "alpha": {one.alpha for one in slots}}
            return {
                f"scumble.{n}": ", ".join(f"{v:g}" for v in sorted(each))
                for n, each in told.items()
            }
        case LycorisSpec(algo=algo, rank=rank, alpha=alpha, start=None):
            about = {"scumble.rank": f"{rank}", "scumble.alpha": f"{alpha or rank:g}"}
            return {"scumble.algorithm": algo, **about}
        case LycorisSpec():
            return {}
        case FullSpec(targets=targets):
            return {
                "scumble.targets": targets if isinstance(targets, str) else ", ".join(targets),
                "scumble.base": str(plan.facts.get("base_model", "")),
            }


def _adapters(plan: Plan, adapters: Joint, about: Mapping[str, str]) -> Write:
    """Files of an adapter."""
    changes = adapters.changes()
    keys, dtype, about = plan.family.keys, plan.job.export.dtype, {**about, **proof.marks(changes)}
    told = f"{plan.family.name} {plan.family.flavour}"
    spelt = {
        part: {plan.shapes[part].names.table(name): one for name, one in layers.items()}
        for part, layers in plan.layers.items()
    }

    def write(file: Path, layout: str) -> tuple[int, Sequence[Verdict]]:
        count = export.write(file, changes, keys, layout=layout, dtype=dtype, about=about)
        if not export.holds(file, changes, keys, layout=layout, dtype=dtype):
            problem = "the file read back is not what was written"
            raise FileError(file, problem, "look at the disk, then run the same command again")
        base = bases.of_layers(plan.family, spelt, told)
        return count, verdicts.looked(file, base).verdicts

    return write


def _lycoris(plan: Plan, adapters: Lycoris, about: Mapping[str, str]) -> Write:
    """Files of an adapter in LyCORIS' forms, and beside them what it is made from."""
    told, slots = adapters.forms(), adapters.told()
    settings = json.dumps(lycoris.config(slots), separators=(",", ":"))
    kept = lycoris_proof.Kept(
        forms=told,
        keys=plan.family.keys,
        dtype=plan.job.export.dtype,
        about={**about, lycoris.CONFIG: settings, **lycoris_proof.marks(told)},
    )
    names = adapters.names
    spelt = {DENOISER: {names.table(n): one for n, one in plan.layers[DENOISER].items()}}
    base = bases.of_layers(plan.family, spelt, f"{plan.family.name} {plan.family.flavour}")

    def write(file: Path, layout: str) -> tuple[int, Sequence[Verdict]]:
        count = lycoris_proof.written(file, kept, layout)
        lycoris.write_config(file.parent, slots)
        return count, lycoris_proof.seen(file, base)

    return write


def _networks(plan: Plan, weights: FullWeights, about: Mapping[str, str]) -> Write:
    """Files of the whole network, its trained weights and the others."""
    values, dtype = weights.model.state_dict(), plan.job.export.dtype
    config, keys = plan.model.configs[DENOISER], plan.family.keys[DENOISER]
    about = {**about, **network_proof.marks(values, dtype)}
    rounding = network_proof.kept(weights.parameters(), weights.base_values(), dtype)

    def write(file: Path, layout: str) -> tuple[int, Sequence[Verdict]]:
        tensors = network.laid(values, keys, layout=layout, dtype=dtype)
        count = network.write(file, tensors, config, about, layout)
        network.refuse_other(file, tensors)
        return count, [*network_proof.looked(plan.family, file), rounding]

    return write


def _named(plan: Plan, which: Weights, layout: str) -> Path:
    """Where a file is put; the plain name is that of the weights and the layout that are first."""
    job = plan.job
    other = "" if which == delivered_of(job.training.ema)[0] else f".{which}"
    style = "" if layout == job.export.layouts[0] else f".{layout}"
    return plan.folder / f"{job.name}{other}{style}.safetensors"


def _style(plan: Plan, layout: str) -> str:
    """Whose keys a file has: those of `diffusers` are the library's own for LyCORIS' forms."""
    own = plan.job.adapter.kind == "lycoris" and layout == lycoris_proof.NATIVE
    return lycoris.LAYOUT if own else layout


def _written(plan: Plan, write: Write, what: tuple[Weights, str], step: int, tell: Tell) -> Path:
    """The file of these weights in a layout, read back and looked at in this process."""
    job, start, (which, layout) = plan.job, time.perf_counter(), what
    file = _named(plan, which, layout)
    count, seen = write(file, layout)
    tell(
        Exported(
            step=step,
            file=file,
            layout=_style(plan, layout),
            tensors=count,
            bytes=file.stat().st_size,
            weights=which if job.training.ema is not None else None,
        )
    )
    here = Proven(
        file=file,
        verdicts=tuple(seen),
        fresh_process=False,
        seconds=time.perf_counter() - start,
    )
    if here.failed or job.export.proof == "in_process":
        _tell(here, tell)
    elif rounded := [one for one in here.verdicts if one.name == network_proof.ROUNDING]:
        # the fresh process has the rounded numbers alone, and cannot see what was lost
        _tell_remarks(file, rounded, tell)
    refuse([here])
    return file


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
    alone = {name: value for name, value in os.environ.items() if name not in launch.VARIABLES}
    here = alone | {
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
