"""One of several pictures that stand side by side in one file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO

from scumble.data.sources.memory import Memory
from scumble.data.sources.record import File, Found, Lent, opened

KEPT_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""What PNG holds as it is; anything else becomes RGB."""


def cut(found: Found, slices: int, which: int) -> Found:
    """The record of one of `slices` parts, from 0 at the left; the record itself if it is whole.

    Its bytes are made anew each time it is opened, which costs a decoding: the part is a PNG
    without compression. Parts of one picture have the same id, so that they pair.
    """
    if slices == 1:
        return found
    mark = f"{which}/{slices}"
    sort = blake2b(f"{found.mtime_ns} {mark}".encode(), digest_size=7).digest()
    return replace(
        found,
        id=str(PurePosixPath(found.id).with_suffix(".png")),
        file=Lent(f"{found.file} (part {mark})", partial(part, found.file, slices, which)),
        mtime_ns=int.from_bytes(sort, "little"),
        source=_mixed(found.source, mark),
    )


def part(file: File, slices: int, which: int) -> BinaryIO:
    """The bytes of one part, all parts being as wide; OSError if it cannot be cut out."""
    from PIL import Image, ImageOps

    from scumble.data.images import FORMATS, MAX_PIXELS

    with opened(file) as stream, Image.open(stream, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise OSError(f"has more than {MAX_PIXELS:,} pixels")
        upright = ImageOps.exif_transpose(picture)
        if upright.mode not in KEPT_MODES:
            upright = upright.convert("RGB")
        width = upright.width // slices
        if width == 0:
            raise OSError(f"is too narrow for {slices} parts")
        one = upright.crop((which * width, 0, (which + 1) * width, upright.height))
        held = BytesIO()
        one.save(held, "PNG", compress_level=0)
    return Memory(f"{file} (part {which}/{slices})", held.getvalue())


def _mixed(source: str | None, mark: str) -> str | None:
    if source is None:
        return None
    return blake2b(f"{source} {mark}".encode(), digest_size=16).hexdigest()
