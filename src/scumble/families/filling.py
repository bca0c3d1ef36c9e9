"""Everything that a run will ask for, put into the cache; the same for a run and for a build."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scumble.data import mask_cache, packing
from scumble.data.cache import Missing
from scumble.data.images import Unreached
from scumble.data.library import Library
from scumble.data.looks import collections
from scumble.errors import FileError, ScumbleError, gather
from scumble.events import Encoded, Warned
from scumble.families import encoding, weights
from scumble.families.adopting import adopt
from scumble.families.encoding import Unreadable, part_of
from scumble.hardware.device import Place
from scumble.spec.saving import CacheSpec


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How the cache is filled."""

    model: weights.Model
    place: Place
    tokens: int
    kept: CacheSpec


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is still to be made."""

    pictures: Mapping[str, Sequence[Missing]]
    """By set."""

    masks: Sequence[mask_cache.Wanted]
    texts: Sequence[tuple[bytes, str]]
    """Keys and texts."""

    def counts(self) -> dict[str, int]:
        """How many of each kind, by its name in the singular."""
        pictures = sum(map(len, self.pictures.values()))
        return {"picture": pictures, "mask": len(self.masks), "text": len(self.texts)}

    @property
    def entries(self) -> int:
        """All of them."""
        return sum(self.counts().values())

    def part(self, part: tuple[int, int]) -> Ahead:
        """What falls to process i of n."""
        own = {
            name: [one for one in missing if part_of(one.key, part)]
            for name, missing in self.pictures.items()
        }
        masks = [one for one in self.masks if part_of(one.key, part)]
        texts = [row for row in self.texts if part_of(row[0], part)]
        return Ahead(pictures=own, masks=masks, texts=texts)


def ahead(library: Library, texts: Sequence[str]) -> Ahead:
    """What is missing; pictures that were never hashed count as missing nothing."""
    return Ahead(
        pictures=library.missing_pictures(),
        masks=library.missing_masks(),
        texts=library.missing_texts(texts),
    )


def room(filling: Filling, library: Library, missing: Ahead) -> int:
    """Bytes of the disk that what is missing will take, known from its shapes."""
    model, kept = filling.model, filling.kept
    pictures = [one for group in missing.pictures.values() for one in group]
    cells = [math.prod(one.look.view.frame.size) // library.cell**2 for one in missing.masks]
    total = sum(encoding.picture_bytes(model, kept, one.view.frame.size) for one in pictures)
    total += sum(packing.entry_bytes({"mask": (count,)}, "fp32") for count in cells)
    each = encoding.text_bytes(model, filling.place, filling.tokens, kept)
    return total + len(missing.texts) * each


def fill(
    filling: Filling,
    library: Library,
    missing: Ahead,
    bad: dict[str, list[Unreadable]] | None = None,
) -> Iterator[Encoded | Warned]:
    """Make what is missing: texts, masks, then the pictures of one set after another.

    Pictures that cannot be decoded stop nothing. At the end, those of sets with `skip_bad` are told
    and put into `bad` by set, to be left out for good; the others are raised as one ExceptionGroup,
    and so are those for which a disk or a network is to blame.
    """
    yield from encoding.encode_texts(
        filling.model,
        filling.place,
        library.texts,
        missing.texts,
        filling.tokens,
        filling.kept.text_dtype,
    )
    yield from fill_masks(library, missing.masks, {} if bad is None else bad)
    refused: list[ScumbleError] = []
    for name, own in missing.pictures.items():
        unread: list[Unreadable] = []
        yield from _pictures(filling, library, name, own, unread)
        skipped = []
        if library.sets[name].spec.skip_bad:
            skipped = [row for row in unread if not isinstance(row[1], Unreached)]
        yield from encoding.left_out(skipped, name)
        if bad is not None and skipped:
            bad.setdefault(name, []).extend(skipped)
        refused += [row[1] for row in unread if row not in skipped]
    gather("pictures cannot be decoded", refused)


def fill_masks(
    library: Library, wanted: Sequence[mask_cache.Wanted], bad: dict[str, list[Unreadable]]
) -> Iterator[Encoded | Warned]:
    """Make these masks; those that cannot be decoded are treated as pictures are by `fill`."""
    found: list[tuple[mask_cache.Wanted, FileError]] = []
    yield from mask_cache.filled(library.masks, wanted, found)
    refused: list[ScumbleError] = []
    for name, one in library.sets.items():
        places = {place for place, _ in collections(one)}
        unread = [(library.wanted(mask.look), e) for mask, e in found if mask.look.place in places]
        if not one.spec.skip_bad:
            refused += [error for _, error in unread]
            continue
        yield from encoding.left_out(unread, name)
        bad.setdefault(name, []).extend(unread)
    gather("masks cannot be decoded", refused)


def _pictures(
    filling: Filling,
    library: Library,
    name: str,
    own: Sequence[Missing],
    unread: list[Unreadable],
) -> Iterator[Encoded | Warned]:
    """Of one set, taken over from another trainer where the job says so."""
    model, place, precision = filling.model, filling.place, filling.kept.picture_dtype
    store = library.pictures[name]
    if library.sets[name].spec.adopt == "sd-scripts":
        yield from adopt(model, place, store, own, precision)
        own = [own[number] for number in store.missing([one.key for one in own])]
    yield from encoding.encode_pictures(model, place, store, own, precision, unread)
