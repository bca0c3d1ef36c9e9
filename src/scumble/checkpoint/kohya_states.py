"""The state of a run in a folder of its own, named as sd-scripts names one, and gone on from.

A folder holds `train_state.json`, as sd-scripts writes it, and one of our checkpoints. Its files
are the run's own under a second name where the disk can do that: nobody ever changes them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from scumble.checkpoint import store
from scumble.checkpoint.store import Checkpoint
from scumble.disk import make_folder, orphaned, signature, sync, told
from scumble.errors import FileError

TOLD = "train_state.json"
CHECKPOINTS = "checkpoints"
ACCELERATE = ("optimizer.bin", "random_states_0.pkl", "scheduler.bin")
GONE = re.compile(r"\.(?P<name>.+)\.(?P<signed>\d+-[0-9a-f]{24})")


def kept(checkpoint: Path, place: Path, *, epoch: int, step: int) -> None:
    """Make the folder from a checkpoint, whole or not at all; one of that name is replaced."""

    def fill(partial: Path) -> None:
        inner = partial / checkpoint.name
        inner.mkdir()
        for file in sorted(checkpoint.iterdir()):
            _doubled(file, inner / file.name)
        sync(inner)
        state = {"current_epoch": epoch, "current_step": step}
        (partial / TOLD).write_text(json.dumps(state), encoding="utf-8")

    _made(place, fill)


def found(place: Path) -> Checkpoint:
    """The checkpoint that a state, a checkpoint or a run's folder holds; FileError where none is
    whole."""
    if not place.is_dir():
        raise FileError(place, "there is no such folder", "name a folder that ends in -state")
    if store.VISIBLE.fullmatch(place.name):
        return _of_step(place)
    for folder in (place, place / CHECKPOINTS):
        newest = store.newest(folder)
        if newest is not None:
            return newest
    if any((place / name).exists() for name in ACCELERATE):
        problem = "this is a state of sd-scripts itself, which cannot be read"
        remedy = "go on from its LoRA: --network_weights=FILE.safetensors --dim_from_weights"
        raise FileError(place, problem, remedy)
    raise FileError(place, "there is no whole state in it", "name a folder that ends in -state")


def _of_step(place: Path) -> Checkpoint:
    one = store.at(place)
    if one is None:
        raise FileError(place, "this checkpoint is not whole", "name an earlier one")
    return one


def adopted(place: Path, folder: Path) -> int | None:
    """Put a state among a run's checkpoints, unless it has got as far by itself; the step that it
    goes on from then, else None. FileError where there is no state."""
    asked = found(place)
    own = store.newest(folder)
    if own is not None and own.step >= asked.step:
        return None
    with told(folder):
        make_folder(folder)

    def fill(partial: Path) -> None:
        for file in sorted(asked.folder.iterdir()):
            _doubled(file, partial / file.name)

    _made(folder / f"step-{asked.step:06d}", fill)
    return asked.step


def tidied(folder: Path, owned: Callable[[str], bool]) -> None:
    """Take away what a killed writer left half-written under hidden names of these files."""
    for leftover in sorted(folder.glob(".*")) if folder.is_dir() else ():
        match = GONE.fullmatch(leftover.name)
        if match and owned(match["name"]) and orphaned(match["signed"]):
            _removed(leftover)


def removed(place: Path) -> None:
    """Take a file or a folder away, out of sight first."""
    with told(place):
        if place.is_dir():
            hidden = place.with_name(f".{place.name}.{signature()}")
            place.rename(hidden)
            _removed(hidden)
        else:
            place.unlink(missing_ok=True)


def _removed(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _made(place: Path, fill: Callable[[Path], None]) -> None:
    partial = place.with_name(f".{place.name}.{signature()}")
    with told(place):
        make_folder(place.parent)
        partial.mkdir()
        try:
            fill(partial)
            sync(partial)
            if place.exists():
                removed(place)
            partial.rename(place)
            sync(place.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _doubled(file: Path, place: Path) -> None:
    """The same file under a second name, or a copy where the disk has no such thing."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
