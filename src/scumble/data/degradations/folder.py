"""A folder of degraded pictures, for whoever wants to look at them or use them elsewhere.

An index in the folder says what each picture was made from and how, so that nothing is made
twice, nothing made otherwise is mixed in, and no file of anyone else's is written over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scumble import dice, disk
from scumble.data import parallel, twins, whole
from scumble.data.degradations import degraded, edges, steps
from scumble.data.sources.record import File, Found
from scumble.errors import FileError, JobError, ScumbleError
from scumble.spec.degradation import DegradationSpec

INDEX = "degraded.json"
FORMAT = 1
Ending = Literal["png", "webp", "jpg"]
SAVED: dict[Ending, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {"compress_level": 3}),
    "webp": ("WEBP", {"lossless": True, "method": 2}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which pictures are degraded, how, and where to."""

    set: str
    """Part of the key of all draws."""

    root: Path | None
    """The folder the pictures lie in; None if they lie in no folder of this machine."""

    pictures: tuple[Found, ...]
    spec: DegradationSpec
    target: Path
    seed: int = 0
    variants: int = 1
    """With more than one, each has a folder of its own, so that all pair by name."""

    ending: Ending = "png"
    again: bool = False
    """Make those anew that are there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the index."""

    source: str
    size_bytes: int
    mtime_ns: int
    variant: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One picture to be made."""

    source: File
    target: Path
    spec: DegradationSpec
    key: int
    ending: Ending


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an order."""

    made: int
    kept: int
    failed: tuple[ScumbleError, ...]
    """One for each picture that could not be read; all others were made."""


def fulfilled(
    order: Order, processes: int, tell: Callable[[int, int], None] = lambda done, of: None
) -> Outcome:
    """Make what is missing. Each file appears whole or not at all; a killed run goes on.

    `tell` hears how many of how many are done. JobError or FileError before anything is written,
    DiskError when nothing more can be.
    """
    _check(order)
    told, rows = _told(order), _rows(order)
    known = {name: Row(**row) for name, row in told["pictures"].items()}
    todo = _todo(order, rows, known, told["made"])
    for name in todo:  # before the index says that they are what they are not yet
        with disk.told(order.target / name):
            (order.target / name).unlink(missing_ok=True)
    disk.write_whole(order.target / INDEX, _index(order, known | rows))
    errands = _errands(order, rows, todo)
    lent = any(not isinstance(one.source, Path) for one in errands)
    failed: list[ScumbleError] = []
    for done, problem in enumerate(parallel.each(_made, errands, 1 if lent else processes), 1):
        if problem is not None:
            failed.append(FileError(*problem))
        tell(done, len(todo))
    return Outcome(made=len(todo) - len(failed), kept=len(rows) - len(todo), failed=tuple(failed))


def key(seed: int, set: str, id: str, variant: int) -> int:
    """What seeds the draws of one version of one picture."""
    return dice.word(seed, "degrade", set, id, variant, bits=64)


def _name(id: str, variant: int, order: Order) -> str:
    folder = f"variant-{variant}/" if order.variants > 1 else ""
    return f"{folder}{twins.stem(id)}.{order.ending}"


def _check(order: Order) -> None:
    """Refuse what would end badly."""
    if order.root is not None:
        twins.apart(order.root, order.target)
    if any(step.kind == "canny" for step in steps(order.spec)):
        edges.demanded()
    twins.alone(one.id for one in order.pictures)


def _rows(order: Order) -> dict[str, Row]:
    """All that the folder should hold, by names below it."""
    return {
        _name(one.id, variant, order): Row(
            source=one.id, size_bytes=one.size_bytes, mtime_ns=one.mtime_ns, variant=variant
        )
        for variant in range(1, order.variants + 1)
        for one in order.pictures
    }


def _todo(
    order: Order, rows: dict[str, Row], known: dict[str, Row], made: dict[str, Any]
) -> list[str]:
    """Names of what is to be made; JobError if that would mix or destroy."""
    there = {name for name in rows if (order.target / name).exists()}
    foreign = sorted(there - known.keys())
    if foreign:
        problem = f"{len(foreign)} files there were made by someone else, first {foreign[0]}"
        raise JobError(order.target, problem, "name another folder")
    if there and not order.again and made != _recipe(order):
        problem = f"{len(there)} pictures there were made with other settings (see {INDEX})"
        raise JobError(order.target, problem, "add --again, or name another folder")
    _alone(order, known)
    if order.again:
        return list(rows)
    return [name for name in rows if name not in there or known[name] != rows[name]]


def _alone(order: Order, known: dict[str, Row]) -> None:
    """JobError if a picture is there with another ending, or in another folder for its variant:
    nobody could say which of the two belongs to its target.
    """
    sources = {one.id for one in order.pictures}
    second = [
        name
        for name, row in sorted(known.items())
        if row.source in sources
        and name != _name(row.source, row.variant, order)
        and (order.target / name).exists()
    ]
    if second:
        problem = f"{len(second)} pictures there have another ending or folder, first {second[0]}"
        raise JobError(order.target, problem, "ask for the same as before, or name another folder")


def _errands(order: Order, rows: dict[str, Row], todo: list[str]) -> list[Errand]:
    sources = {one.id: one.file for one in order.pictures}
    return [
        Errand(
            source=sources[rows[name].source],
            target=order.target / name,
            spec=order.spec,
            key=key(order.seed, order.set, rows[name].source, rows[name].variant),
            ending=order.ending,
        )
        for name in todo
    ]


def _made(errand: Errand) -> tuple[str, str, str] | None:
    """Make one picture; what a user should know if it cannot be read."""
    random = np.random.Generator(np.random.Philox(key=errand.key))
    try:
        picture = whole.upright(errand.source)
    except FileError as error:
        return error.where, error.problem, error.remedy
    format, options = SAVED[errand.ending]
    stream = BytesIO()
    degraded(picture, errand.spec, random).save(stream, format, **options)
    disk.write_whole(errand.target, stream.getvalue())
    return None


def _recipe(order: Order) -> dict[str, Any]:
    """All that decides the pixels besides the picture."""
    return {"set": order.set, "seed": order.seed, "settings": order.spec.model_dump(mode="json")}


def _index(order: Order, rows: dict[str, Row]) -> bytes:
    pictures = {name: asdict(row) for name, row in sorted(rows.items())}
    told = {"format": FORMAT, "made": _recipe(order), "pictures": pictures}
    text = json.dumps(told, indent=1, ensure_ascii=False)
    return text.encode(errors="backslashreplace") + b"\n"  # a name may hold bytes that are no text


def _told(order: Order) -> dict[str, Any]:
    """What the index in the folder says; FileError if it is none of ours."""
    file = order.target / INDEX
    if not file.exists():
        return {"format": FORMAT, "made": {}, "pictures": {}}
    try:
        told = json.loads(file.read_bytes())
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}")
        for row in told["pictures"].values():
            Row(**row)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is not an index of degraded pictures ({error})"
        raise FileError(file, problem, "move it away, or name another folder") from None
    return told
