"""Files of quantised layers in a cache, as its upkeep sees them; without torch.

Such a file is safetensors whose metadata hold what it was made from, and the CRC-32 of all that
comes after its list of tensors.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scumble.data.index import Columns

FOLDER = "quantised"
ABOUT, SUM = "scumble.quantised", "scumble.crc32"
"""In its metadata."""

LENGTH = 8  # bytes of the number that a safetensors file begins with
PIECE = 2**24  # bytes that are read at once


def columns(path: Path) -> Columns:
    """Every layer as an entry of its own, so far as keys and counts go; nothing lies where its
    columns say. OSError, ValueError, KeyError or TypeError for a file that is not whole."""
    told, start = _told(path)
    metadata = told.pop("__metadata__")
    count = _count(metadata)
    end = max(one["data_offsets"][1] for one in told.values())
    if path.stat().st_size != start + end:
        raise ValueError(path)
    return Columns(
        path=path,
        fields=(),
        starts=np.zeros(count + 1, np.int64),
        shapes=np.zeros((count, 0), np.int32),
        crc=np.zeros(count, np.uint32),
        keys=np.frombuffer(b"".join(_keys(path, count)), "S16"),
    )


def keys(path: Path) -> list[bytes]:
    """Those of its layers, of 16 bytes."""
    told, _ = _told(path)
    return _keys(path, _count(told["__metadata__"]))


def _count(metadata: Mapping[str, str]) -> int:
    return int(json.loads(metadata[ABOUT])["layers"])


def _keys(path: Path, count: int) -> list[bytes]:
    mark = bytes.fromhex(path.stem.rpartition("-")[2])
    return [mark + number.to_bytes(8, "little") for number in range(1, count + 1)]


def changed(path: Path) -> bool:
    """Whether its bytes are others than those that were written; OSError if it cannot be read."""
    told, start = _told(path)
    found = 0
    with path.open("rb") as stream:
        stream.seek(start)
        while piece := stream.read(PIECE):
            found = zlib.crc32(piece, found)
    return f"{found:08x}" != told["__metadata__"][SUM]


def _told(path: Path) -> tuple[dict[str, Any], int]:
    """Its list of tensors, and where these begin."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH), "little")
        if length > path.stat().st_size:
            raise ValueError(path)
        return json.loads(stream.read(length)), LENGTH + length
