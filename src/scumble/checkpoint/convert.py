"""An adapter file spelt anew for other tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scumble.adapters.keys import Keys
from scumble.adapters.layouts import LAYOUTS, Changes
from scumble.checkpoint import export, modelspec, peft_alphas
from scumble.errors import FileError, ScumbleError, gather

UNTRUE = (
    peft_alphas.CONFIG,
    "sshs_model_hash",
    "sshs_legacy_hash",
    "modelspec.hash_sha256",
    "modelspec.implementation",
)
"""Entries that are of the file that was read, whatever it holds: peft's settings, by which
diffusers would scale once more, hashes of its bytes, and whose names its layers have."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was made of a file."""

    told: export.Read
    """The file it was."""

    dtype: str
    tensors: int
    before: int
    """Bytes."""

    after: int
    metadata: tuple[str, ...]
    """Entries of the metadata that are not true of the new file, and so not in it."""


def converted(
    file: Path, out: Path, keys: Keys, *, layout: str, dtype: str | None, drop: bool
) -> Converted:
    """Write `out` in another layout, every part of the adapter in it, metadata kept.

    `dtype` None: as the file has it. What cannot be read is an error that leaves `out` alone, or,
    with `drop`, is left out.
    """
    _checked(file, out)
    told = export.read(file, keys)
    if (problem := told.unread()) and not (drop and told.changes):
        rest = "`--drop-unknown` writes the rest without it"
        raise FileError(file, problem, rest if told.changes else "there is nothing to convert")
    kind = dtype or next((one for one in told.stored if one in export.DTYPES), "float32")
    values = export.stored(told.changes, keys, layout=layout, dtype=kind)
    metadata = _metadata(told.metadata, told.changes, keys, layout)
    count = export.put(out, values, metadata, remedy="use `--dtype float32`")
    return Converted(
        told=told,
        dtype=kind,
        tensors=count,
        before=file.stat().st_size,
        after=out.stat().st_size,
        metadata=tuple(name for name in told.metadata if name not in metadata),
    )


def _checked(file: Path, out: Path) -> None:
    problems: list[ScumbleError] = []
    if out.suffix != export.SUFFIX:
        problems.append(FileError(out, "is no .safetensors file", "give OUT that ending"))
    if file.exists() and out.exists() and out.samefile(file):
        problems.append(FileError(out, "is the file that is read", "give OUT another name"))
    gather("this cannot be converted", problems)


def _metadata(was: Mapping[str, str], changes: Changes, keys: Keys, layout: str) -> dict[str, str]:
    """As it was, without what is not true of the new file, and with what its readers look for.

    Where the new file has alphas, the entries that tell rank and alpha tell those of its layers.
    """
    stamps = export.stamps(changes, keys)
    alphas = export.SIZES if LAYOUTS[layout].authors else ()
    kept = {name: one for name, one in was.items() if name not in (*UNTRUE, *alphas)}
    more = {n: one for n, one in stamps.items() if layout == "kohya" or (n in alphas and n in was)}
    return {**modelspec.told(was, layout), **more, **kept}
