"""Pictures that are there twice: found by their bytes, of which only suspects are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scumble.data.example import Image
from scumble.data.hashing import hashed


@dataclass(frozen=True, slots=True)
class Told:
    """Pictures with what their bytes tell."""

    images: tuple[Image, ...]
    """All, in their order; those that were read know their hash."""

    copies: Mapping[str, str]
    """Pictures with the bytes of an earlier one, and that one, by their ids."""


def told(images: Sequence[Image], ledger: Path | None) -> Told:
    """Look for pictures of the same bytes.

    Only those of which another has the same size in bytes and in pixels are read, once; their
    hashes are remembered in the ledger. FileError when one has changed meanwhile.
    """
    suspects = _alike(images)
    hashes = hashed(ledger, suspects, read=True)
    first: dict[str | None, str] = {}
    copies: dict[str, str] = {}
    for image in suspects:
        original = first.setdefault(hashes[image.id], image.id)
        if original != image.id:
            copies[image.id] = original
    if any(image.source is None for image in suspects):
        images = [replace(one, source=hashes.get(one.id, one.source)) for one in images]
    return Told(tuple(images), copies)


def _alike(images: Sequence[Image]) -> list[Image]:
    """Those that could be the same as another, in their order."""
    sizes = Counter([image.size_bytes for image in images])
    if len(sizes) == len(images):
        return []
    facts = [(image.size_bytes, image.width, image.height) for image in images]
    same = Counter(facts)
    return [image for image, fact in zip(images, facts, strict=True) if same[fact] > 1]
