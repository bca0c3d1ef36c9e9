"""Masks at the size of latents: made once from their pictures, kept like every other entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from scumble.data import images, masks
from scumble.data.cache import Store, picture_key, recipe, value
from scumble.data.looks import Look
from scumble.errors import FileError
from scumble.events import Encoded
from scumble.spec.references import MaskSpec

FIELD = "mask"
EACH = 64  # masks between two events


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mask, the key it has, and what its pixels become."""

    key: bytes
    look: Look
    spec: MaskSpec
    cell: int


def wanted(look: Look, spec: MaskSpec, source: str, cell: int) -> Wanted:
    """The mask of a picture (its hash in hex) whose latents stand for `cell` pixels a side."""
    facts: tuple[object, ...] = (spec.alpha, spec.invert, spec.grow, spec.blur, spec.minimum)
    if spec.binary:
        facts = (*facts, "binary")
    return Wanted(
        picture_key(recipe("mask", repr(facts), str(cell)), source, look.view), look, spec, cell
    )


def made(one: Wanted) -> Tensor:
    """What the loss of each latent is multiplied with, [1, height, width] from 0 to 1."""
    return torch.from_numpy(masks.weights(pixels(one.look, one.spec), one.spec, one.cell))[None]


def pixels(look: Look, spec: MaskSpec) -> masks.Grey:
    """A mask's picture in its view, from 0 to 255."""
    if spec.alpha:
        return images.alpha(look.image.file, look.view)
    read = images.lit if spec.binary else images.grey
    return read(look.image.file, look.view)


def idle(store: Store, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Masks in the store that do nothing good: black all over, transparency that is nowhere, or
    maps without a black place."""
    found = []
    for one in wanted:
        values = store.read(one.key)[FIELD]
        whole = (one.spec.alpha or one.spec.binary) and bool(values.min() == 1)
        if whole or bool(values.max() <= one.spec.minimum):
            found.append(one)
    store.close()
    return found


def filled(
    store: Store, missing: Sequence[Wanted], bad: list[tuple[Wanted, FileError]]
) -> Iterator[Encoded]:
    """Write the entries of these masks; those that cannot be decoded stand in `bad`."""
    if not missing:
        return
    start = perf_counter()
    with store.writer({FIELD: torch.float32}) as writer:
        for done, one in enumerate(missing, 1):
            try:
                writer.add(one.key, [value(made(one))])
            except FileError as error:
                bad.append((one, error))
            if done % EACH == 0 or done == len(missing):
                yield Encoded(
                    kind="masks",
                    done=done,
                    total=len(missing),
                    seconds=perf_counter() - start,
                    bytes=writer.bytes_written,
                )
