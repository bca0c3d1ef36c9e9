"""What to do when a device has no room for what it is given: less at a time, in tiles, elsewhere.

Nothing here knows how much memory there is: it is tried, and what did not fit is remembered.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

WORDS = (
    "out of memory",  # CUDA and MPS, where the error has no class of its own
    "can't allocate memory",  # the allocator of the CPU
    "not enough memory",  # the same on Windows
    "ALLOC_FAILED",  # cuBLAS and cuDNN, which ask for room behind torch's back
)
WHOLE, TILED, ON_CPU = "whole", "in tiles", "on the CPU"
LARGEST_TILE = 512
SMALLEST_TILE = 64


def exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    match error:
        case torch.OutOfMemoryError() | MemoryError():
            return True
        case RuntimeError():
            return any(word in str(error) for word in WORDS)
        case _:
            return False


class Room:
    """What did not fit so far, in pixels; so that nothing is tried twice that cannot work."""

    def __init__(self, device: torch.device) -> None:
        self._together = math.inf
        self._alone: dict[str, float] = dict.fromkeys((WHOLE, TILED, ON_CPU), math.inf)
        if device.type == "cpu":
            self._alone[ON_CPU] = 0
        self.notes: list[str] = []
        """What a user should know, each thing once, until someone takes it."""

    def count(self, asked: int, area: int) -> int:
        """How many pictures of that many pixels go together, at most `asked`; at least one."""
        return max(1, int(min(asked, self._together // area)))

    def ways(self, area: int) -> list[str]:
        """What is left to try with one picture of that many pixels, best first."""
        return [way for way, failed in self._alone.items() if area < failed]

    def too_many(self, count: int, area: int) -> None:
        """So many pictures together did not fit: half of them from now on."""
        if self._together == math.inf:
            self.notes.append(
                f"{count} pictures together do not fit into memory; fewer are encoded at a time."
            )
        self._together = min(self._together, count // 2 * area)

    def too_large(self, way: str, size: tuple[int, int]) -> None:
        """One picture (height, width) did not fit in that way."""
        area = size[0] * size[1]
        left = [other for other in self.ways(area) if other != way]
        if self._alone[way] == math.inf and left:
            where = f"Pictures of {size[1]}x{size[0]} and more do not fit into memory {way}"
            self.notes.append(f"{where}; they are encoded {left[0]}, which {COSTS[left[0]]}.")
        self._alone[way] = min(area, self._alone[way])


COSTS = {
    TILED: "changes their latents a little where tiles meet",
    ON_CPU: "takes much longer",
}
"""What each way out costs, as the rest of a sentence."""


SQUARE = {"tile_sample_min_size": 1.0}
OBLONG = {
    "tile_sample_min_height": 1.0,
    "tile_sample_min_width": 1.0,
    "tile_sample_stride_height": 0.75,
    "tile_sample_stride_width": 0.75,
}
"""What autoencoders of diffusers call the sides of their tiles, and from one tile to the next, as
shares of a tile's side."""


@contextmanager
def tiles(autoencoder: nn.Module, size: tuple[int, int], cell: int) -> Iterator[bool]:
    """Have an autoencoder of diffusers work on a picture of that height and width in tiles.

    Yields whether it can. Tiles have half of the longer side, at most 512 pixels; `cell` pixels a
    side make one latent.
    """
    module: Any = autoencoder  # not ours: what it can is seen by its names
    told = next((one for one in (SQUARE, OBLONG) if all(hasattr(module, n) for n in one)), None)
    if told is None or not hasattr(module, "enable_tiling"):
        yield False
        return
    half = math.ceil(max(size) / 2 / SMALLEST_TILE) * SMALLEST_TILE
    side = max(SMALLEST_TILE, min(LARGEST_TILE, half))
    wanted = {"use_tiling": True} | {name: int(side * share) for name, share in told.items()}
    if told is SQUARE:
        wanted["tile_latent_min_size"] = side // cell
    before = {name: getattr(module, name) for name in wanted}
    vars(module).update(wanted)
    try:
        yield True
    finally:
        vars(module).update(before)


def released(device: torch.device) -> None:
    """Give back what a failed attempt held; the error must be gone by now, for it holds frames."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
