"""Checkpoints in a folder: each is whole or does not count, whatever killed its writer.

A checkpoint is written under a hidden name and renamed when it is safe on disk. Whole means that
`state.json` can be read and that every file still has the hash it records.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from scumble.disk import disk_error, make_folder, orphaned, signature, stale, sync

STATE = "state.json"
VISIBLE = re.compile(r"step-(\d{6,})")
HIDDEN = re.compile(r"\.step-(\d{6,})\.(partial|old|gone)-(\d+-[0-9a-f]{24})")


Content = bytes | Iterator[bytes] | Callable[[Path], None]
"""A file as its bytes, as pieces of them, or as a function that writes it at the path it gets."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint."""

    step: int
    folder: Path
    state: dict[str, Any]
    """What `save` was given, once through JSON."""
    skipped: tuple[Path, ...] = ()
    """Newer ones that are not whole."""


def save(
    folder: Path,
    step: int,
    files: Mapping[str, Content],
    state: Mapping[str, Any],
) -> Path:
    """Write a checkpoint, safe on disk when this returns; one of the same step is replaced."""
    assert step >= 0 and "files" not in state
    assert all(Path(name).name == name != STATE for name in files)
    final = folder / f"step-{step:06d}"
    partial = _hidden(final, "partial")
    try:
        make_folder(folder)
        partial.mkdir()
        facts = {name: _write(partial / name, content) for name, content in files.items()}
        _write(partial / STATE, json.dumps({"files": facts, **state}, indent=1).encode())
        sync(partial)
        _publish(partial, final)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        trouble = _disk_trouble(error)
        if trouble is None:
            raise
        raise disk_error(folder, trouble) from error
    return final


def newest(folder: Path) -> Checkpoint | None:
    """The whole checkpoint of the highest step; reads all of it, to be sure.

    One that a killed `save` left whole under a hidden name counts where there is no better.
    """
    skipped: list[Path] = []
    for step, path in _candidates(folder):
        try:
            state = _read(path)
        except OSError:
            state = None
        if state is not None:
            return Checkpoint(step=step, folder=path, state=state, skipped=tuple(skipped))
        if VISIBLE.fullmatch(path.name):
            skipped.append(path)
    return None


def at(folder: Path) -> Checkpoint | None:
    """The checkpoint that a folder named like one is, or None where it is not whole."""
    match = VISIBLE.fullmatch(folder.name)
    state = _read(folder) if match else None
    if match is None or state is None:
        return None
    return Checkpoint(step=int(match[1]), folder=folder, state=state)


def retain(folder: Path, keep: int) -> tuple[str, ...]:
    """Remove checkpoints older than the `keep` newest; 0 keeps all. Says which went.

    Nothing goes before the newest has been read back, and none that is newer than that one.
    """
    found = newest(folder) if keep else None
    if found is None:
        return ()
    older = [path for step, path in _candidates(folder, hidden=False) if step < found.step]
    removed: list[str] = []
    for path in older[keep - 1 :]:
        with suppress(OSError):  # somebody looks into it: it goes next time
            _remove(path)
            removed.append(path.name)
    return tuple(removed)


def clear(folder: Path) -> tuple[str, ...]:
    """Tidy up after dead writers, for the start of a run; says which hidden names went.

    What they left whole takes its place if nothing whole stands there; the rest is removed.
    """
    leftovers = [p for _, p in _candidates(folder) if not VISIBLE.fullmatch(p.name)]
    leftovers += [p for p, match in _matches(folder, HIDDEN) if match[2] == "gone"]
    done: list[str] = []
    for path in leftovers:
        with suppress(OSError):  # unreadable just now: not ours to judge, so it stays
            match = HIDDEN.fullmatch(path.name)
            if match and (orphaned(match[3]) or stale(path)):
                _settle(path, folder / f"step-{match[1]}", gone=match[2] == "gone")
                done.append(path.name)
    return tuple(sorted(done))


def _settle(leftover: Path, final: Path, *, gone: bool) -> None:
    if gone or _read(leftover) is None or _read(final) is not None:
        shutil.rmtree(leftover)
        return
    if final.exists():
        _remove(final)
    leftover.rename(final)
    sync(final.parent)


def _publish(partial: Path, final: Path) -> None:
    """Between the two renames the old one is whole under its hidden name, and so is the new."""
    old = _hidden(final, "old") if final.exists() else None
    if old is not None:
        final.rename(old)
    try:
        partial.rename(final)
    except BaseException:
        if old is not None and not final.exists():
            old.rename(final)
        raise
    sync(final.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, content: Content) -> dict[str, object]:
    """What was handed over counts for the hash, not what the disk made of it."""
    made = _hash()
    if callable(content):
        content(path)
        made = None
    else:
        with path.open("wb") as file:
            for piece in [content] if isinstance(content, bytes) else content:
                made.update(piece)
                file.write(piece)
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        digest = (made or file_digest(file, _hash)).hexdigest()
        return {"blake2b": digest, "bytes": os.fstat(file.fileno()).st_size}


def _read(folder: Path) -> dict[str, Any] | None:
    """The state of a whole checkpoint; None where a file is missing or not what was written."""
    try:
        state = json.loads((folder / STATE).read_bytes())
        files = state.pop("files")
        facts = [(folder / name, fact["bytes"], fact["blake2b"]) for name, fact in files.items()]
        whole = all(path.stat().st_size == size for path, size, _ in facts)
        whole = whole and all(_digest(path) == digest for path, _, digest in facts)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return state if whole else None


def _candidates(folder: Path, *, hidden: bool = True) -> list[tuple[int, Path]]:
    """Highest step first; of one step the visible one, then what was written last."""
    found = [(int(match[1]), True, 0.0, path) for path, match in _matches(folder, VISIBLE)]
    for path, match in _matches(folder, HIDDEN) if hidden else ():
        if match[2] != "gone":
            with suppress(OSError):
                found.append((int(match[1]), False, path.stat().st_mtime, path))
    return [(step, path) for step, _, _, path in sorted(found, reverse=True)]


def _matches(folder: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    pairs = [(path, pattern.fullmatch(path.name)) for path in names]
    return [(path, match) for path, match in pairs if match]


def _remove(path: Path) -> None:
    """Out of sight first: a kill half-way must not leave half a checkpoint under its name."""
    gone = _hidden(path, "gone")
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _hidden(final: Path, role: str) -> Path:
    return final.with_name(f".{final.name}.{role}-{signature()}")


def _hash(content: bytes = b"") -> blake2b:
    return blake2b(content, digest_size=16)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, _hash).hexdigest()


def _disk_trouble(error: BaseException) -> OSError | None:
    """The system's complaint, also where safetensors has put it into words."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    if isinstance(error, SafetensorError) and number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return None
