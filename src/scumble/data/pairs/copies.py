"""Files that are the same byte for byte, between targets and references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from scumble.data.example import Image
from scumble.data.pairs.names import some
from scumble.data.pairs.report import Finding
from scumble.data.pairs.sides import Pair, Sides

ENDS = 1 << 14
"""Bytes at each end that are compared before whole files are read."""


def copied(sides: Sides, pairs: Sequence[Pair]) -> list[Finding]:
    """Pairs whose two files are the same, and targets that are the reference of another.

    Only files of equal size are opened, and only those with equal ends are read whole.
    """
    partners = {(id(one.target), id(one.other)): one for one in pairs}
    references = {id(image): side for side in sides.references for image in side.images}
    findings: list[Finding] = []
    for group in _alike(sides):
        others = [image for image in group if id(image) in references]
        for target in (image for image in group if id(image) not in references):
            own = [partners.get((id(target), id(other))) for other in others]
            for pair in filter(None, own):
                findings.append(pair.finding("copied", "is the same file as its reference"))
            strange = [image.id for image, pair in zip(others, own, strict=True) if pair is None]
            if strange and not any(own):
                findings.append(_crossed(target, strange, references[id(others[0])].name))
    return findings


def _crossed(target: Image, strange: Sequence[str], side: str) -> Finding:
    return Finding(
        kind="crossed",
        side=side,
        id=target.id,
        said=f"is the same file as the reference of another: {some(strange)}",
        files=(str(target.file),),
    )


def _alike(sides: Sides) -> Iterable[list[Image]]:
    """Groups of images of equal bytes, with a target and a reference in each."""
    targets = {id(image) for image in sides.targets.images}
    images = [*sides.targets.images, *(image for one in sides.references for image in one.images)]
    groups = [images]
    for law in (_size_bytes, _ends, _whole):
        groups = [part for group in groups for part in _parted(group, law, targets)]
    return groups


def _parted(
    group: list[Image], law: Callable[[Image], object], targets: set[int]
) -> list[list[Image]]:
    """What the law tells apart; only parts in which both are."""
    parts: dict[object, list[Image]] = defaultdict(list)
    for image in group:
        parts[law(image)].append(image)
    return [
        part for part in parts.values() if 0 < sum(id(one) in targets for one in part) < len(part)
    ]


def _size_bytes(image: Image) -> int:
    return image.size_bytes


def _ends(image: Image) -> object:
    """The hash of both ends, or of everything where the source tells it."""
    match image.file:
        case Path() as path:
            return _read(path, image.size_bytes, whole=False)
        case _:
            return image.source or id(image)


def _whole(image: Image) -> object:
    match image.file:
        case Path() as path:
            return _read(path, image.size_bytes, whole=True)
        case _:
            return image.source or id(image)


def _read(path: Path, size_bytes: int, *, whole: bool) -> object:
    """A file that cannot be read is like no other."""
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as stream:
            _fed(digest, stream, size_bytes, whole=whole)
    except OSError:
        return path
    return digest.digest()


def _fed(digest: blake2b, stream: BinaryIO, size_bytes: int, *, whole: bool) -> None:
    if whole or size_bytes <= 2 * ENDS:
        while part := stream.read(1 << 20):
            digest.update(part)
        return
    digest.update(stream.read(ENDS))
    stream.seek(size_bytes - ENDS)
    digest.update(stream.read(ENDS))
