"""Adapters worked into the weights of a model, for tools that read no adapters.

Files go out as they came in: names, order, number types and every byte that no adapter changes.
They are read and written some rows at a time, so the model's size does not matter.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from scumble.adapters.layouts import Changes
from scumble.adapters.lora import LoraTensors
from scumble.adapters.names import DENOISER
from scumble.checkpoint import in_pieces, low_rank, on_disk
from scumble.checkpoint.combine import MERGED_FROM, RECIPE, Summand, about
from scumble.checkpoint.late import Late, late
from scumble.checkpoint.lycoris import unfit
from scumble.checkpoint.on_disk import OnDisk
from scumble.disk import make_folder, signature, sync, told
from scumble.errors import FileError, ScumbleError, gather
from scumble.families.family import Family
from scumble.families.readings import BESIDE, PIECE, SCALES, Reading, Spot
from scumble.families.tensor_files import Span, Stored, header, pieces
from scumble.families.tensor_files import read as read_rows

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
INDEX = ".safetensors.index.json"
UNTRUE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")


Laid = Mapping[Path, Mapping[str, list[tuple[Reading, LoraTensors | Late]]]]
"""By file and key, which of our layers stand in that tensor, and where."""


@dataclass(frozen=True)
class Into:
    """A model's file or folder, and where the changed one is put."""

    model: Path
    out: Path


@dataclass(frozen=True)
class Merged:
    """What was written at one place."""

    out: Path
    layers: Mapping[str, int]
    """Layers that were changed, by part."""

    size_bytes: int
    widened: bool
    """Whether fp8 numbers became wider ones."""


@dataclass(frozen=True)
class _Job:
    """One place with its networks and their changes, by the keys of its files."""

    into: Into
    networks: Sequence[OnDisk]
    dtype: torch.dtype | None
    device: str
    metadata: Mapping[str, str]
    changes: Mapping[str, Laid] = field(default_factory=dict)
    """By part."""


def merged(
    family: Family,
    places: Sequence[Into],
    summands: Sequence[Summand],
    changes: Changes,
    *,
    dtype: str | None,
    device: str = "cpu",
) -> Iterator[Merged]:
    """Write every place's model with the changes in it; `changes` are the summands', summed, and
    forms are worked in one after another.

    ExceptionGroup, before anything is written, of all that does not fit. `dtype` None: every
    number stays what it is.
    """
    problems = list[ScumbleError]()
    jobs = []
    for into in places:
        problems += _bad_place(into, places)
        try:
            networks = on_disk.within(family, on_disk.told(into.model))
        except FileError as error:
            problems.append(error)
            continue
        kind = None if dtype is None else DTYPES[dtype]
        jobs.append(_Job(into, networks, kind, device, about(summands, into.out.stem)))
    if not problems:
        problems += _misfits(jobs, changes, [one.file for one in summands])
        problems += _misformed(jobs, summands)
    gather("this cannot be merged", problems)
    for job in jobs:
        yield _written(_with(job, changes, summands))


def _bad_place(into: Into, places: Sequence[Into]) -> Iterator[FileError]:
    out = into.out
    if sum(other.out == out for other in places) > 1:
        yield FileError(out, "is named twice", "give every model a place of its own")
    if out.is_dir() or (into.model.is_dir() and out.exists()):
        yield FileError(out, "is there already", "give another name, or move it away")
    elif out.exists() and into.model.exists() and out.samefile(into.model):
        yield FileError(out, "is the file that is read", "give another name")
    if into.model.is_file() and out.suffix != ".safetensors":
        yield FileError(out, "is no .safetensors file", "give it that ending, as the model has it")


def _misfits(
    jobs: Sequence[_Job], changes: Changes, files: Sequence[Path]
) -> Iterator[ScumbleError]:
    """Layers without a place, parts that were not given or given twice, numbers too narrow."""
    given = Counter(one.part for job in jobs for one in job.networks)
    what = files[0] if len(files) == 1 else "the adapters"
    for part, layers in changes.items():
        if not given[part]:
            problem = f"{len(layers)} layers are for the {part}, which is not among the models"
            yield FileError(what, problem, "name its file too, or leave the part out")
        elif given[part] > 1:
            yield FileError(what, f"{given[part]} models have a {part}", "name one at a time")
    for job in jobs:
        for one in job.networks:
            yield from _unfit(one, changes.get(one.part, {}), job)
            if changes.get(one.part):
                yield from _too_narrow(one, job)


def _too_narrow(one: OnDisk, job: _Job) -> Iterator[FileError]:
    if one.narrow and job.dtype is None:
        problem = f"the weights of its {one.part} are fp8, too coarse for a change"
        remedy = "give a wider dtype, such as bfloat16, or merge into the bf16 file"
        yield FileError(job.into.model, problem, remedy)


def _misformed(jobs: Sequence[_Job], summands: Sequence[Summand]) -> Iterator[FileError]:
    """The same of adapters in LyCORIS' forms, which are the denoiser's."""
    worn = [one for one in summands if one.forms]
    theirs = [(job, one) for job in jobs for one in job.networks if one.part == DENOISER]
    for summand in worn:
        if len(theirs) != 1:
            told = "is not among the models" if not theirs else "is among them more than once"
            remedy = "name the file of one denoiser"
            yield FileError(summand.file, f"it is for the denoiser, which {told}", remedy)
        for _, one in theirs:
            sizes = {name: reading.shape for name, reading in one.layers()}
            shapes = {name: (size[0], size[1]) for name, size in sizes.items()}
            if wrong := unfit(summand.forms, shapes):
                remedy = "this adapter was made for another model"
                yield FileError(summand.file, wrong[0], remedy)
    for job, one in theirs if worn else []:
        yield from _too_narrow(one, job)


def _unfit(one: OnDisk, layers: Mapping[str, LoraTensors], job: _Job) -> Iterator[FileError]:
    lost = []
    for name, change in layers.items():
        reading, here = one.of_layer(name), (len(change.up), change.down.shape[1])
        if reading is None:
            lost.append(f"there is no layer '{name}'")
        elif reading.shape != here:
            lost.append(f"'{name}' is {reading.shape} there and {here} in the adapter")
    if lost:
        more = f" (and {len(lost) - 1} more layers like it)" if len(lost) > 1 else ""
        problem, remedy = f"{lost[0]}{more}", "this adapter was made for another model"
        yield FileError(job.into.model, problem, remedy)


def _with(job: _Job, changes: Changes, summands: Sequence[Summand]) -> _Job:
    """The same with every change laid upon the tensors that it changes."""
    laid: dict[str, dict[Path, dict[str, list[tuple[Reading, LoraTensors | Late]]]]] = {}
    for one in job.networks:
        for name, change in changes.get(one.part, {}).items():
            reading = one.of_layer(name)
            assert reading is not None
            by_key = laid.setdefault(one.part, {}).setdefault(reading.spot.file, {})
            by_key.setdefault(one.prefix + reading.key, []).append((reading, change))
        for reading, made in late(one, summands, job.device):
            by_key = laid.setdefault(one.part, {}).setdefault(reading.spot.file, {})
            by_key.setdefault(one.prefix + reading.key, []).append((reading, made))
    return _Job(job.into, job.networks, job.dtype, job.device, job.metadata, laid)


def _written(job: _Job) -> Merged:
    into = job.into
    if into.model.is_dir():
        with _folder_beside(into.out) as partial:
            size = _copied(job, partial)
    else:
        files = job.networks[0].files
        outs = [into.out] if len(files) == 1 else _shard_names(into.out, len(files))
        size = sum(_file(job, file, out) for file, out in zip(files, outs, strict=True))
    layers = {part: _count(files) for part, files in job.changes.items()}
    return Merged(into.out, layers, size, any(one.narrow for one in job.networks))


def _count(files: Laid) -> int:
    readings = [one for keys in files.values() for each in keys.values() for one, _ in each]
    return sum(len(one.shape) > 1 for one in readings)  # biases are of the same layers


def _shard_names(out: Path, count: int) -> list[Path]:
    return [
        out.with_name(f"{out.stem}-{at:05d}-of-{count:05d}.safetensors")
        for at in range(1, count + 1)
    ]


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A hidden folder that gets its name when all of it is there."""
    partial = out.with_name(f".{out.name}.{signature()}")
    with told(out):
        make_folder(partial)
        try:
            yield partial
            partial.replace(out)
            sync(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _copied(job: _Job, partial: Path) -> int:
    """The model's folder, with the changed files in place of their own; other weights as they are.

    Copies of a hub's folder are files, not links into its cache.
    """
    root, size = job.into.model, 0
    changed = {file for one in job.networks for file in one.files if _touched(job, one)}
    for folder, _, names in os.walk(root, followlinks=True):
        make_folder(partial / Path(folder).relative_to(root))
        for place in (Path(folder) / name for name in sorted(names)):
            target = partial / place.relative_to(root)
            if place in changed:
                size += _file(job, place, target)
            else:
                shutil.copyfile(place, target)
                size += target.stat().st_size
    for index in partial.rglob(f"*{INDEX}"):
        _retold(index)
    return size


def _touched(job: _Job, one: OnDisk) -> bool:
    return one.part in job.changes or job.dtype is not None


def _retold(index: Path) -> None:
    """An index of shards with the names and sizes that its files have now."""
    listed = json.loads(index.read_text(encoding="utf-8"))
    files = sorted({str(name) for name in listed["weight_map"].values()})
    heads = {name: header(index.parent / name) for name in files}
    listed["weight_map"] = {key: name for name, head in heads.items() for key in head}
    total = sum(one.bytes for head in heads.values() for one in head.values())
    listed["metadata"] = {**listed.get("metadata", {}), "total_size": total}
    index.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _file(job: _Job, file: Path, out: Path) -> int:
    """One file anew; return its bytes."""
    mine = {
        one.prefix + reading.key: reading
        for one in job.networks
        for reading in one.readings.values()
        if reading.spot.file == file
    }
    laid = {key: each for part in job.changes.values() for key, each in part.get(file, {}).items()}
    kept = sorted(header(file).items(), key=lambda one: one[1].start)
    scaled = any(one.narrow for one in job.networks) and job.dtype is not None
    planned = [
        _planned(job, file, (key, stored), mine.get(key), laid.get(key, []))
        for key, stored in kept
        if not (scaled and _of_fp8(key))
    ]
    was = {name: one for name, one in on_disk.metadata(file).items() if name not in UNTRUE}
    more = {name: job.metadata[name] for name in (MERGED_FROM, RECIPE)} if laid else {}
    return in_pieces.write(out, planned, {"format": "pt", **was, **more})


def _of_fp8(key: str) -> bool:
    """Whether a tensor is a scale or a mark of fp8 numbers that are none any more."""
    return any(fnmatchcase(key, one) for one in (*BESIDE, *(f"*{end}" for end in SCALES)))


def _planned(
    job: _Job,
    file: Path,
    told: tuple[str, Stored],
    reading: Reading | None,
    laid: Sequence[tuple[Reading, LoraTensors | Late]],
) -> in_pieces.Planned:
    """How a stored tensor goes into the new file."""
    key, stored = told
    mine = reading is not None and stored.dtype.is_floating_point and job.dtype is not None
    kind = job.dtype if mine and job.dtype is not None else stored.dtype
    scale = reading.scale if reading is not None and mine else None

    def rows() -> Iterator[Tensor]:
        ready = [(one, _ready(told)) for one, told in laid]
        with file.open("rb", buffering=0) as stream:
            begin = 0
            for piece in pieces(file, stream, stored, ((0, stored.rows),), PIECE):
                if kind == stored.dtype and not laid and scale is None:
                    yield piece
                    continue
                window = (begin, begin := begin + len(piece) if stored.shape else 1)
                wide = piece.to(job.device).float()
                if scale is not None:
                    wide *= _scales(scale, window).to(job.device)
                for one, told in ready:
                    _add(wide, window, one.spans, told)
                yield wide.to(kind).cpu()

    return in_pieces.Planned(key, kind, stored.shape, rows)


def _scales(scale: Spot, window: Span) -> Tensor:
    """The one number of all rows, or those of these rows, as a column."""
    one = scale.stored.rows == 1 and torch.Size(scale.stored.shape).numel() == 1
    with scale.file.open("rb", buffering=0) as stream:
        found = read_rows(scale.file, stream, scale.stored, ((0, 1) if one else window,))
    return found.float().reshape(-1, 1)


def _ready(told: LoraTensors | Late) -> tuple[Tensor, Tensor | None]:
    """A change whose rows can be taken: times `down`, where there is one."""
    if isinstance(told, LoraTensors):
        down, up = low_rank.scaled(told)
        return up, down
    return told(), None


def _add(
    wide: Tensor, window: Span, spans: Iterable[Span], told: tuple[Tensor, Tensor | None]
) -> None:
    """Those rows of a change that lie in a window of the stored tensor."""
    up, down = told
    ours = 0
    for start, end in spans:
        low, high = max(start, window[0]), min(end, window[1])
        if low < high:
            mine = up[ours + low - start : ours + high - start].to(wide)
            made = mine if down is None else mine @ down.to(wide)
            wide[low - window[0] : high - window[0]] += made
        ours += end - start
