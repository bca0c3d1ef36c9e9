"""Latents that sd-scripts keeps beside pictures, read and never written.

`cat.png` of 800 x 600 has `cat_0800x0600_flux.npz`; in it, `latents_64x96` are those of 64 rows
and 96 columns, scaled and shifted already as ours are. They are one random sample of what the
autoencoder allows, where ours are its middle.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from scumble.data.view import View

PIXELS_PER_LATENT = 8
CHANNELS = 16
"""Of the autoencoder whose files end in `_flux.npz`."""

NUMBER_BYTES = 8
HEADER_BYTES = 1 << 16
"""What a plain array takes at most; a larger one is not even unpacked."""

SLACK = 0.15
"""How far two ways to make a picture smaller may move latents, as a part of their own spread.

A guess on the safe side: a cut that is off by one latent moves those of photographs by more."""

SPREADS = 2.0
"""How far a sample may lie from the middle, in roots of the mean square: 1 is what it should be."""

NOT_OURS = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, MemoryError),
    *(BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, struct.error),
)
"""What a file can raise that is no archive of plain arrays, or an encrypted one; pickles are
refused with ValueError."""


def beside(picture: Path, view: View) -> Path:
    """Where another trainer would keep the latents of a picture."""
    height, width = view.frame.original
    return picture.with_name(f"{picture.stem}_{width:04d}x{height:04d}_flux.npz")


def there(picture: Path, view: View) -> bool:
    """Whether such a file lies there, newer than the picture, for a plain cut from the centre:
    what else was done to the picture is not said in it."""
    if not _plain(view):
        return False
    try:
        return beside(picture, view).stat().st_mtime_ns >= picture.stat().st_mtime_ns
    except OSError:
        return False


def latents(picture: Path, view: View) -> np.ndarray | None:
    """float32 [16, rows, columns] for that view; None where there are none of its size."""
    rows, columns = (side // PIXELS_PER_LATENT for side in view.frame.size)
    name = "latents_flipped" if view.flipped else "latents"
    if not there(picture, view):
        return None
    try:
        # Opened here, because NumPy leaves a torn archive open.
        with (
            beside(picture, view).open("rb") as stream,
            np.load(stream, allow_pickle=False) as arrays,
        ):
            held = f"{name}_{rows}x{columns}"
            packed = arrays.zip.getinfo(f"{held}.npy")
            if packed.file_size > HEADER_BYTES + CHANNELS * rows * columns * NUMBER_BYTES:
                return None
            found = np.asarray(arrays[held], dtype=np.float32)
    except NOT_OURS:
        return None
    fits = found.shape == (CHANNELS, rows, columns)
    return found if fits and bool(np.isfinite(found).all()) else None


def agrees(mine: np.ndarray, theirs: np.ndarray, spread: np.ndarray) -> bool:
    """Whether `theirs` can be a sample around `mine` with that standard deviation, all [c, h, w].

    The root mean square of the difference may be SPREADS times that of `spread` and SLACK times
    the standard deviation of `mine`, added as independent errors are. Latents of another picture,
    of another autoencoder or in another scale are off by about 1.4 times the latter.
    """
    if mine.shape != theirs.shape:
        return False
    sampled = SPREADS**2 * float(np.mean(np.square(spread, dtype=np.float64)))
    resampled = SLACK**2 * float(np.var(mine, dtype=np.float64))
    difference = np.subtract(theirs, mine, dtype=np.float64)
    return float(np.mean(np.square(difference))) <= sampled + resampled


def _plain(view: View) -> bool:
    frame = view.frame
    centred = all(
        abs(2 * corner - (resized - size)) <= 2
        for corner, resized, size in zip(frame.corner, frame.resized, frame.size, strict=True)
    )
    return centred and view.colours is None and view.degraded is None
