"""What kind of picture some bytes begin, for those that have no name."""

HEAD_BYTES = 16
"""So many first bytes tell the kind."""


def ending_of(head: bytes) -> str:
    """The usual ending, with its dot, or an empty text if these bytes begin no picture we read."""
    for begins, ending in BEGINNINGS:
        if head.startswith(begins):
            return ending
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp" and head[8:12] in {b"avif", b"avis"}:
        return ".avif"
    return ""


BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"II+\0", ".tif"),
    (b"MM\0+", ".tif"),
)
