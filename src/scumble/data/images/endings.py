"""Whether a file has its end, as far as that shows without decoding it."""

from io import SEEK_CUR, SEEK_END
from typing import BinaryIO, Literal

from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

TAIL_BYTES = 1 << 16
FILLER_BYTES = 512
"""So many zeros at the end were reserved by a copy that never came to an end."""

TIFF = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
PNG, JPEG, JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9"
EXIF_BYTES = 1 << 20  # that much of a block is read; a broken one may claim to be endless

Verdict = Literal["whole", "doubtful", "cut short"]


def verdict(file: BinaryIO) -> Verdict:
    """What the first and last bytes say; `doubtful` files have to be decoded to be sure."""
    size_bytes = file.seek(0, SEEK_END)
    file.seek(max(0, size_bytes - TAIL_BYTES))
    tail = file.read()
    kept = tail.rstrip(b"\0")
    filled = len(tail) - len(kept) >= FILLER_BYTES
    file.seek(0)
    start = file.read(12)
    if start.startswith(JPEG):
        return _jpeg_verdict(file, kept, filled=filled)
    if start.startswith(PNG):
        ends = png_walk(file)[0]
    elif start[4:8] == b"ftyp":
        ends = _boxes_fit(file, size_bytes)
    elif start.startswith(b"RIFF"):
        ends = int.from_bytes(start[4:8], "little") + 8 <= size_bytes
    elif start.startswith(b"BM"):
        ends = 0 < int.from_bytes(start[2:6], "little") <= size_bytes
    else:
        ends = kept.endswith(b";") if start.startswith(b"GIF8") else start[:4] not in TIFF
    return "whole" if ends and not filled else "doubtful"


def png_walk(file: BinaryIO) -> tuple[bool, bytes]:
    """Whether a PNG's chunks lead to its end, and its EXIF block, which may lie behind the pixels.

    Any other file has neither.
    """
    file.seek(0)
    exif = b""
    if file.read(8) != PNG:
        return False, exif
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND":
            return True, exif
        if kind == b"eXIf":
            exif = file.read(min(length, EXIF_BYTES))
            length -= len(exif)
        file.seek(length + 4, SEEK_CUR)
    return False, exif


def strips_fit(image: ImageFile, file: BinaryIO) -> bool:
    """Whether a TIFF's pixels lie within the file; it says where they are, but has no end mark."""
    if not isinstance(image, TiffImageFile):
        return False
    starts, lengths = (
        image.tag_v2.get(strips, image.tag_v2.get(tiles, ()))
        for strips, tiles in ((273, 324), (279, 325))
    )
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    return bool(ends) and max(ends) <= file.seek(0, SEEK_END)


def _jpeg_verdict(file: BinaryIO, kept: bytes, *, filled: bool) -> Verdict:
    """The end mark should stand last, but some cameras write more behind it.

    Pillow takes zeros for grey: with nothing but them behind the data, it would not complain.
    """
    if not kept:
        file.seek(0)
        kept = file.read().rstrip(b"\0")
    if kept.rstrip(b" \r\n\t").endswith(JPEG_END):
        return "whole"
    return "cut short" if filled and JPEG_END not in kept else "doubtful"


def _boxes_fit(file: BinaryIO, size_bytes: int) -> bool:
    """Whether the boxes an AVIF is made of end where the file does."""
    place = 0
    while place < size_bytes:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 0:
            return True
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        place += max(length, 8)
    return place == size_bytes
