"""Take over latents that sd-scripts keeps beside pictures, once they are seen to be the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from scumble.data import images, npz, packing
from scumble.data.cache import Missing, Store, value
from scumble.errors import FileError
from scumble.events import Warned
from scumble.families import weights
from scumble.families.eyes import Eyes
from scumble.hardware.device import Place

SAMPLES = 3
"""Pictures that are encoded again and compared before any latents are taken over."""


def adopt(
    model: weights.Model, place: Place, store: Store, wanted: Sequence[Missing], precision: str
) -> Iterator[Warned]:
    """Copy what agrees into our shards, so that the files beside the pictures may go; tells of it.

    Nothing is taken over when one of SAMPLES disagrees (see `npz.agrees`), or when there are no
    more than these. Ask what is missing again afterwards.
    """
    there = sorted((one for one in wanted if _is_there(one)), key=lambda one: one.key)
    if not there and len(wanted) > SAMPLES:
        yield Warned(
            text=f"{store.kind}: beside none of {len(wanted)} pictures lie latents of sd-scripts "
            "that are newer and of the size trained at; all are encoded."
        )
    if len(there) <= SAMPLES:
        return
    eyes = Eyes(model, place, precision)
    for one in there[:SAMPLES]:
        if not _agrees(eyes, one):
            yield Warned(
                text=f"{store.kind}: the latents beside {one.file} are not those that this "
                "autoencoder makes of it; none are taken over, all are encoded."
            )
            return
    count = 0
    with store.writer({"latents": packing.KEPT[precision]}) as writer:
        for one in there:
            if (found := _theirs(one)) is None:
                continue
            kept = packing.packed({"latents": torch.from_numpy(found)}, precision)["latents"]
            if bool(kept.isfinite().all()):  # fp16 ends at 65,504
                writer.add(one.key, [value(kept)])
                count += 1
    yield Warned(
        text=f"{store.kind}: latents of {count} pictures are taken over from sd-scripts; "
        f"{SAMPLES} of them were encoded again and agree."
    )


def _is_there(one: Missing) -> bool:
    match one.file:
        case Path():
            return npz.there(one.file, one.view)
        case _:
            return False


def _theirs(one: Missing) -> np.ndarray | None:
    assert isinstance(one.file, Path)
    return npz.latents(one.file, one.view)


def _agrees(eyes: Eyes, one: Missing) -> bool:
    theirs = _theirs(one)
    if theirs is None:
        return False
    try:
        raw = images.pixels(one.file, one.view)[None]
    except FileError:  # it is named when its turn comes to be encoded
        return False
    (mine,) = eyes.entries(raw)
    return npz.agrees(mine["latents"].float().numpy(), theirs, eyes.spread(raw)[0].numpy())
