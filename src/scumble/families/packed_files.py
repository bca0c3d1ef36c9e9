"""Quantised layers on disk: one safetensors file for a part, written tensor by tensor and whole."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from scumble.data import quantised
from scumble.disk import beside
from scumble.families.tensor_files import ABOUT as METADATA
from scumble.families.tensor_files import DTYPES, LENGTH, Stored, header, read

NAMES = {dtype: name for name, dtype in DTYPES.items()}

Layers = Mapping[str, Mapping[str, Tensor]]
"""By the layer's name: the plain tensors that are kept of it, by theirs."""


def write(file: Path, layers: Layers, about: str) -> None:
    """Write beside, then rename; at no time is more than one tensor copied. DiskError."""
    flat = {f"{layer}.{name}": one for layer, each in layers.items() for name, one in each.items()}
    ordered = sorted(flat.items(), key=lambda one: (-one[1].dtype.itemsize, one[0]))
    with beside(file) as partial, partial.open("wb") as stream:
        stream.write(_head(ordered, about, 0))
        found = 0
        for _, one in ordered:
            raw = _bytes(one)
            found = zlib.crc32(raw, found)
            stream.write(raw)
        stream.seek(0)
        stream.write(_head(ordered, about, found))  # as long as before
        stream.flush()
        os.fsync(stream.fileno())


def layers(file: Path, device: torch.device) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """What `write` was given, layer by layer, on the device; FileError for a file that is not
    whole."""
    places: dict[str, dict[str, Stored]] = {}
    for key, stored in header(file).items():
        layer, _, name = key.rpartition(".")
        places.setdefault(layer, {})[name] = stored
    with file.open("rb", buffering=0) as stream:
        for layer, each in places.items():
            yield layer, {name: _read(file, stream, one, device) for name, one in each.items()}


def _read(file: Path, stream: FileIO, stored: Stored, device: torch.device) -> Tensor:
    return read(file, stream, stored, ((0, stored.rows),)).to(device)


def _head(ordered: Iterable[tuple[str, Tensor]], about: str, found: int) -> bytes:
    """Length and list of the tensors, padded to eight bytes."""
    listed: dict[str, object] = {METADATA: {quantised.ABOUT: about, quantised.SUM: f"{found:08x}"}}
    start = 0
    for name, one in ordered:
        places = {"shape": list(one.shape), "data_offsets": [start, start + one.nbytes]}
        listed[name] = {"dtype": NAMES[one.dtype], **places}
        start += one.nbytes
    text = json.dumps(listed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    return len(text).to_bytes(LENGTH, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    whole = tensor.detach().cpu().contiguous().reshape(-1)
    return whole.view(torch.uint8).numpy().data
