"""An autoencoder that is kept loaded and turns pictures into entries, whatever room there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from scumble.data import images, packing
from scumble.data.cache import Missing
from scumble.errors import JobError, NotFinite
from scumble.families import room, weights
from scumble.families.family import Entry
from scumble.hardware.device import Place

Raw = UInt8[np.ndarray, "batch height width 3"]


def to_pixels(raw: np.ndarray, place: Place) -> Tensor:
    """Bytes [batch, height, width, 3] as numbers from -1 to 1, channels first, on the device."""
    return torch.from_numpy(raw).to(place.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


class Eyes:
    """Sees pictures. Not for two threads at once; holds the autoencoder as long as it is held."""

    def __init__(self, model: weights.Model, place: Place, precision: str) -> None:
        """`precision` is what entries are kept in; see `packing.packed`."""
        self._model = model
        self._place = place
        self._precision = precision
        self._room = room.Room(place.device)
        part = weights.loaded(model, "autoencoder", dtype=place.dtype, device=place.device)
        self._modules: dict[str, nn.Module] = {"autoencoder": part}

    def see(self, wanted: Sequence[Missing]) -> list[Entry]:
        """What the cache would give back for these pictures, in their order; on the CPU.

        Each picture is opened and encoded by itself, so that its entry does not depend on what it
        comes with, and equal pictures are equal at every turn. The cached entry was made in a
        batch, and differs in the last bits of float32 (1e-6 on the CPU), which now and then tips
        the rounding to what is kept: one step of bf16 or fp16. FileError if one cannot be decoded.
        """
        return [packing.unpacked(self._one(each)) for each in wanted]

    def entries(self, raw: Raw) -> list[Entry]:
        """Pictures of one size as they are kept, on the CPU; JobError when one has no room."""
        height, width = raw.shape[1:3]
        seen: list[Entry] = []
        while len(seen) < len(raw):
            count = self._room.count(len(raw) - len(seen), height * width)
            some = raw[len(seen) : len(seen) + count]
            seen += self._alone(some) if count == 1 else self._together(some)
        return seen

    def notes(self) -> list[str]:
        """What happened that a user should know, each thing once."""
        taken, self._room.notes = self._room.notes, []
        return taken

    def spread(self, raw: Raw) -> Tensor:
        """Standard deviation of the latents that the autoencoder allows, in their scale; 0 of one
        that is not of Stable Diffusion's kind, beside whose pictures nobody keeps any."""
        module: Any = self._modules["autoencoder"]
        if "scaling_factor" not in module.config:
            return torch.zeros(len(raw), 1, 1, 1)
        with torch.no_grad(), self._place.autocast():
            pixels = to_pixels(raw, self._place).to(module.dtype)
            allowed = module.encode(pixels).latent_dist.std.float()
        return (allowed * module.config.scaling_factor).cpu()

    def _one(self, wanted: Missing) -> Entry:
        (entry,) = self.entries(images.pixels(wanted.file, wanted.view)[None])
        finite(entry, str(wanted.file), self._place)
        return entry

    def _together(self, raw: Raw) -> list[Entry]:
        """None of them if they do not fit; then fewer are tried next."""
        try:
            return self._seen(raw, self._place)
        except (RuntimeError, MemoryError) as error:
            if not room.exhausted(error):
                raise
        self._room.too_many(len(raw), raw.shape[1] * raw.shape[2])
        room.released(self._place.device)
        return []

    def _alone(self, raw: Raw) -> list[Entry]:
        """One picture, in the best way that works."""
        size = (raw.shape[1], raw.shape[2])
        for way in self._room.ways(size[0] * size[1]):
            try:
                if (entries := self._in_a_way(raw, size, way)) is not None:
                    return entries
            except (RuntimeError, MemoryError) as error:
                if not room.exhausted(error):
                    raise
            self._room.too_large(way, size)
            room.released(self._place.device)
        problem = f"there is no memory to encode a picture of {size[1]}x{size[0]}, even in tiles"
        raise JobError("hardware", problem, "lower `resolution`, or stop other programs")

    def _in_a_way(self, raw: Raw, size: tuple[int, int], way: str) -> list[Entry] | None:
        """None if this autoencoder knows no tiles."""
        module, cell = self._modules["autoencoder"], self._model.family.pixels_per_latent
        if way == room.WHOLE:
            return self._seen(raw, self._place)
        with room.tiles(module, size, cell) as can:
            if way == room.TILED:
                return self._seen(raw, self._place) if can else None
            elsewhere = Place(torch.device("cpu"), self._place.dtype)
            try:
                module.to(elsewhere.device)
                return self._seen(raw, elsewhere)
            finally:
                module.to(self._place.device)

    def _seen(self, raw: Raw, place: Place) -> list[Entry]:
        with torch.no_grad(), place.autocast():
            seen = self._model.family.see(self._modules, to_pixels(raw, place))
        kept = [packing.packed(entry, self._precision) for entry in seen]
        return [{name: one.cpu() for name, one in entry.items()} for entry in kept]


def finite(kept: Entry, of: str, place: Place) -> None:
    """NotFinite for an entry that is no number: it would spoil every run that reads it."""
    if not all(bool(tensor.isfinite().all()) for tensor in packing.unpacked(kept).values()):
        problem = f"encoding it in {place.precision} gives values that are not finite"
        remedy = "use `hardware.precision: fp32` and keep no fp16, or look at the weights"
        raise NotFinite(of, problem, remedy)
