"""Everything that a run will ask for, put into the cache; the same for a run and for a build."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scumble.data import mask_cache, packing
from scumble.data.cache import Missing
from scumble.data.images import Unreached
from scumble.data.library import Library, missing_masks, sayings
from scumble.data.looks import collections
from scumble.data.saying import Saying, Spoken
from scumble.errors import FileError, ScumbleError, gather
from scumble.events import Encoded, Warned
from scumble.families import encoding, weights
from scumble.families.adopting import adopt
from scumble.families.encoding import part_of
from scumble.families.opening import Unreadable
from scumble.families.reader import Reader
from scumble.hardware.device import Place
from scumble.spec.saving import CacheSpec


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How the cache is filled."""

    model: weights.Model
    place: Place
    tokens: int
    kept: CacheSpec

    def reader(self) -> Reader:
        """Loaded text encoders, which give entries as they are kept."""
        precision = packing.precision(self.kept.text_dtype, self.place.dtype)
        return Reader(self.model, self.place, self.tokens, precision)


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is still to be made."""

    pictures: Mapping[str, Sequence[Missing]]
    """By set."""

    masks: Sequence[mask_cache.Wanted]
    texts: Sequence[tuple[bytes, Saying]]
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


def ahead(library: Library, texts: Sequence[Spoken]) -> Ahead:
    """What is missing; pictures that were never hashed count as missing nothing."""
    return Ahead(
        pictures=library.missing_pictures(),
        masks=missing_masks(library),
        texts=library.missing_texts(sayings(library, texts)),
    )


def room(filling: Filling, library: Library, missing: Ahead) -> int:
    """Bytes of the disk that what is missing will take, known from its shapes."""
    model, kept = filling.model, filling.kept
    pictures = [one for group in missing.pictures.values() for one in group]
    cells = [math.prod(one.look.view.frame.size) // library.cell**2 for one in missing.masks]
    total = sum(encoding.picture_bytes(model, kept, one.view.frame.size) for one in pictures)
    total += sum(packing.entry_bytes({"mask": (count,)}, "fp32") for count in cells)
    place, tokens = filling.place, filling.tokens
    texts = (encoding.text_bytes(model, place, tokens, kept, one) for _, one in missing.texts)
    return total + sum(texts)


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
    unseen: list[Unreadable] = []
    yield from encoding.encode_texts(filling.reader, library.texts, missing.texts, unseen)
    yield from fill_masks(library, missing.masks, {} if bad is None else bad)
    refused: list[ScumbleError] = []
    for name, own in missing.pictures.items():
        unread: list[Unreadable] = []
        yield from _pictures(filling, library, name, own, unread)
        skipped = []
        if name in library.sets and library.sets[name].spec.skip_bad:
            skipped = [row for row in unread if not isinstance(row[1], Unreached)]
        yield from encoding.left_out(skipped, name)
        if bad is not None and skipped:
            bad.setdefault(name, []).extend(skipped)
        refused += [row[1] for row in unread if row not in skipped]
    refused += _unseen(library, unseen, {} if bad is None else bad, refused)
    gather("pictures cannot be decoded", refused)


def _unseen(
    library: Library,
    unseen: Sequence[Unreadable],
    bad: dict[str, list[Unreadable]],
    refused: Sequence[ScumbleError],
) -> list[ScumbleError]:
    """Errors of references that a text is read with, each once; of those that may be left out,
    none, but they are put into `bad`. What was found while pictures were encoded is not told again.
    """
    files = {error.where for error in refused}
    files |= {row[1].where for rows in bad.values() for row in rows}
    found = {row[1].where: row for row in unseen if row[1].where not in files}
    problems: list[ScumbleError] = []
    for one, error in found.values():
        place = one.id.split("/", 1)[0]
        named = [n for n, each in library.sets.items() if place in dict(collections(each))]
        skips = [n for n in named if library.sets[n].spec.skip_bad]
        if skips and type(error) is not Unreached:
            bad.setdefault(skips[0], []).append((one, error))
        else:
            problems.append(error)
    return problems


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
    if name in library.sets and library.sets[name].spec.adopt == "sd-scripts":
        yield from adopt(model, place, store, own, precision)
        own = [own[number] for number in store.missing([one.key for one in own])]
    yield from encoding.encode_pictures(model, place, store, own, precision, unread)
