"""Which bytes of which files the tensors of a part are made of.

Files spell and pack a network in several ways: with a prefix, with fused layers, as fp8 numbers
with a scale beside them. All of that is settled here from the files' headers, without reading a
weight; `Reading.read` then gives one tensor of ours at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from scumble.errors import FileError
from scumble.families.family import Part
from scumble.families.recognising import by_names
from scumble.families.spelling import Cut
from scumble.families.tensor_files import PLAIN, Shape, Span, Stored, header, pieces, read
from scumble.families.widening import widened

SCALES = (".scale_weight", ".weight_scale")
"""What stands beside an fp8 weight, in ComfyUI's older and newer files: weight = fp8 * scale."""

RECIPE = ".comfy_quant"
"""JSON beside a quantised layer of ComfyUI's newer files, that says how."""

FORMATS = ("float8_e4m3fn", "float8_e5m2")

PIECE = 4 * 2**20  # bytes of a tensor that are held as stored while it is widened

BESIDE = ("scaled_fp8", "*.scaled_fp8", "*.scale_input", "*.input_scale", f"*{RECIPE}")
"""What else fp8 files hold: a marker, and scales of what goes into a layer, which only 8-bit
products need."""


@dataclass(frozen=True)
class Spot:
    """A stored tensor and its file."""

    file: Path
    stored: Stored


@dataclass(frozen=True)
class Reading:
    """One of our tensors: these rows of a stored one, times a scale if it has one."""

    key: str
    """What the file calls the stored one."""

    spot: Spot
    spans: tuple[Span, ...]
    scale: Spot | None = None

    @property
    def shape(self) -> Shape:
        """Of the tensor that is read."""
        if not self.spot.stored.shape:
            return ()
        rows = sum(end - start for start, end in self.spans)
        return (rows, *self.spot.stored.shape[1:])

    @property
    def start(self) -> int:
        """Where it lies among the tensors of its file: the stored one's first byte, then rows."""
        return self.spot.stored.start + self.spans[0][0]

    def read(self, stream: FileIO, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The tensor, from the opened file; scales are multiplied in float32.

        What becomes another kind of number on the CPU is read in pieces, so that no more of it
        than PIECE is held twice.
        """
        file, stored = self.spot.file, self.spot.stored
        same = self.scale is None and stored.dtype == dtype
        if same or not stored.shape or device.type == "cuda":
            return self._at_once(stream, device).to(dtype).to(device)
        some = pieces(file, stream, stored, self.spans, PIECE)
        out = torch.empty(self.shape, dtype=dtype)
        return widened(some, out, self._scales()).to(device)

    def _at_once(self, stream: FileIO, device: torch.device) -> Tensor:
        """As it is stored, or scaled; narrow numbers travel faster to a card, and widen faster
        there."""
        raw = read(self.spot.file, stream, self.spot.stored, self.spans)
        if device.type == "cuda":
            raw = raw.to(device)
        scales = self._scales()
        return raw if scales is None else raw.float().mul_(scales.to(raw.device))

    def _scales(self) -> Tensor | None:
        """One number, or one for each row that is read, against the shape of these rows."""
        if self.scale is None:
            return None
        beside = self.scale
        one = math.prod(beside.stored.shape) == 1
        with beside.file.open("rb", buffering=0) as stream:
            found = read(beside.file, stream, beside.stored, ((0, 1),) if one else self.spans)
        return found.float().reshape(-1, *(1 for _ in self.shape[1:]))


def readings(part: Part, files: Iterable[Path], prefix: str) -> dict[str, Reading]:
    """How each of our tensors is read, by our names; FileError for what cannot be read here."""
    spots = {
        name.removeprefix(prefix): Spot(file, stored)
        for file in files
        for name, stored in header(file).items()
        if name.startswith(prefix)
    }
    scales, idle = _scales(spots), (*part.idle, *BESIDE)
    wanted = {
        name: spot
        for name, spot in spots.items()
        if not name.endswith(SCALES) and not any(fnmatchcase(name, one) for one in idle)
    }
    _refuse_quantised(wanted, spots)
    found: dict[str, Reading] = {}
    shared = {same[0] for same in part.ties}
    for name, cuts in _cuts(part, wanted).items():
        for cut in cuts:
            reading = Reading(name, wanted[name], cut.spans, scales.get(name))
            ours = canonical(part, cut.name)
            if ours in found and ours not in shared:
                problem = f"it holds {ours} twice, as '{found[ours].key}' and as '{name}'"
                remedy = "use a file with one of them; nothing tells which is meant"
                raise FileError(wanted[name].file, problem, remedy)
            found.setdefault(ours, reading)
    return found


def canonical(part: Part, name: str) -> str:
    """The one name of a tensor that has several: in older files, or because layers share it."""
    for theirs, ours in part.aliases:
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
    return next((same[0] for same in part.ties if name in same), name)


def _cuts(part: Part, spots: Mapping[str, Spot]) -> Mapping[str, tuple[Cut, ...]]:
    try:
        return part.cuts({name: spot.stored.shape for name, spot in spots.items()})
    except ValueError as error:
        file = next(iter(spots.values())).file
        raise FileError(file, str(error), "is this the model that the job names?") from None


def _scales(spots: Mapping[str, Spot]) -> dict[str, Spot]:
    """The scales, by the name of the weight that each belongs to."""
    found = {}
    for name, spot in spots.items():
        for ending in SCALES:
            if name.endswith(ending):
                weight = f"{name.removesuffix(ending)}.weight"
                _fits(weight, name, spot, spots)
                found[weight] = spot
    return found


def _fits(weight: str, name: str, scale: Spot, spots: Mapping[str, Spot]) -> None:
    """FileError unless there is one number for all of the weight, or one for each of its rows."""
    rows = spots[weight].stored.rows if weight in spots else 1
    count = math.prod(scale.stored.shape)
    as_many = count == 1 or count == rows == scale.stored.rows
    if not (as_many and scale.stored.dtype.is_floating_point):
        problem = f"{name} holds {count} scales for the {rows} rows of {weight}"
        raise FileError(scale.file, f"{problem}, which is not read here", PLAIN)


def _refuse_quantised(wanted: Mapping[str, Spot], spots: Mapping[str, Spot]) -> None:
    """FileError for weights that are packed in other ways than fp8 numbers."""
    for name, spot in spots.items():
        if name.endswith(RECIPE) and (kind := _format(spot)) not in FORMATS:
            layer = name.removesuffix(RECIPE)
            raise FileError(spot.file, f"{layer} is quantised as {kind}, which is not read", PLAIN)
    packed = [name for name, spot in wanted.items() if not spot.stored.dtype.is_floating_point]
    if packed:
        file, what = wanted[packed[0]].file, by_names(spots)
        problem = f"it seems to be {what}; {packed[0]} holds no floating-point numbers"
        raise FileError(file, problem, PLAIN)


def _format(spot: Spot) -> str:
    with spot.file.open("rb", buffering=0) as stream:
        raw = read(spot.file, stream, spot.stored, ((0, spot.stored.rows),))
    try:
        return str(json.loads(bytes(raw.flatten().tolist()))["format"])
    except (ValueError, TypeError, KeyError):
        return "something unknown"
