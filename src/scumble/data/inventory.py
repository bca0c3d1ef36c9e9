"""What a cache folder holds, shard by shard, and whether it is sound; without torch."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from scumble.data import quantised
from scumble.data.index import NOT_OURS, Columns, columns
from scumble.data.shards import DTYPES, HEADER_BYTES

TEXTS, SEEN = "texts", "conditioning_image_embeds"
"""Where texts lie that are read by themselves, and those that are read with pictures."""

FOLDERS = ("pictures", "masks", TEXTS, SEEN, "shown", quantised.FOLDER)
SHARD = re.compile(r"(\w[\w.-]*)-[0-9a-f]{16}\.safetensors")

GONE = "it does not open, or is not as long as it should be"
OTHERS = "its bytes are not those that were written"
CHANGED = "{} of {} entries are not what was written"
NOT_FINITE = "{} of {} entries have values that are not finite"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file of a cache."""

    path: Path
    shelf: str
    """Folder and kind: `pictures/cat`, `texts/text`."""

    bytes: int
    used: float
    """When it was written or last opened by a run, in seconds since 1970."""

    columns: Columns | None
    """None when it does not open."""

    @property
    def entries(self) -> int:
        """How many it holds."""
        return 0 if self.columns is None else len(self.columns.keys)


def shards(cache: Path) -> list[Shard]:
    """Every shard of a cache folder, by shelf and name; none if there is no such folder."""
    found = []
    for folder in FOLDERS:
        for path in sorted((cache / folder).glob("*.safetensors")):
            if match := SHARD.fullmatch(path.name):
                found.append(_looked_at(path, f"{folder}/{match[1]}"))
    return [one for one in found if one is not None]


def _looked_at(path: Path, shelf: str) -> Shard | None:
    try:
        facts = path.stat()
    except OSError:  # removed just now
        return None
    try:
        there = quantised.columns(path) if _is_quantised(shelf) else columns(path)
    except NOT_OURS:
        there = None
    return Shard(path=path, shelf=shelf, bytes=facts.st_size, used=facts.st_mtime, columns=there)


def _is_quantised(shelf: str) -> bool:
    return shelf.startswith(f"{quantised.FOLDER}/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """All shards of one kind."""

    name: str
    shards: int
    entries: int
    """Different ones."""

    bytes: int
    used: float
    """When the last of its shards was used."""

    idle_bytes: int
    """Of shards that no run has opened for as long as was asked."""


def shelves(found: Sequence[Shard], *, idle_before: float) -> list[Shelf]:
    """Sums by shelf, in the order of their names."""
    names = sorted({one.shelf for one in found})
    return [
        _shelf(name, [one for one in found if one.shelf == name], idle_before) for name in names
    ]


def _shelf(name: str, own: Sequence[Shard], idle_before: float) -> Shelf:
    keys = [one.columns.keys for one in own if one.columns is not None]
    return Shelf(
        name=name,
        shards=len(own),
        entries=len(np.unique(np.concatenate(keys))) if keys else 0,
        bytes=sum(one.bytes for one in own),
        used=max(one.used for one in own),
        idle_bytes=sum(one.bytes for one in own if one.used < idle_before),
    )


def fault(shard: Shard) -> str | None:
    """What is wrong with a shard whose every byte is read; None if nothing is.

    Memory is that of one entry. Numbers that are not finite are a fault too: no run should meet
    them, and none of ours are written.
    """
    if shard.columns is None:
        return GONE
    changed = spoilt = 0
    try:
        if _is_quantised(shard.shelf):
            return OTHERS if quantised.changed(shard.path) else None
        for row, body in enumerate(_bodies(shard.path, shard.columns)):
            if zlib.crc32(body) != int(shard.columns.crc[row]):
                changed += 1
            elif not _finite(body, shard.columns, row):
                spoilt += 1
    except OSError:
        return GONE
    if changed:
        return CHANGED.format(changed, shard.entries)
    return NOT_FINITE.format(spoilt, shard.entries) if spoilt else None


def _bodies(path: Path, columns: Columns) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        for size in np.diff(columns.starts).tolist():
            yield file.read(size)


def _finite(body: bytes, columns: Columns, row: int) -> bool:
    """Whether all numbers of an entry are; also false when its shapes do not fit its bytes."""
    start = 0
    for (_, dtype), shape in zip(columns.fields, columns.shapes[row].tolist(), strict=True):
        size = prod(side for side in shape if side >= 0) * DTYPES[dtype]
        part = body[start : start + size]
        start += size
        if len(part) != size or not _all_finite(part, dtype):
            return False
    return start == len(body)


def _all_finite(part: bytes, dtype: str) -> bool:
    """By the bits of the exponent, as NumPy knows neither bfloat16 nor float8."""
    match dtype:
        case "bfloat16":
            return not bool(((np.frombuffer(part, "<u2") & 0x7F80) == 0x7F80).any())
        case "float8_e4m3fn":
            return not bool(((np.frombuffer(part, "u1") & 0x7F) == 0x7F).any())
        case "float8_e5m2":
            return not bool(((np.frombuffer(part, "u1") & 0x7C) == 0x7C).any())
        case "float16" | "float32" | "float64":
            return bool(np.isfinite(np.frombuffer(part, f"<f{DTYPES[dtype]}")).all())
        case _:
            return True
