"""The examples of a job: their keys in the cache, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from scumble.data import mask_cache
from scumble.data.cache import Missing, Store, picture_key, text_key
from scumble.data.looks import Look, looks
from scumble.data.picture_set import PictureSet

Entry = dict[str, Tensor]
Hashes = Mapping[str, Mapping[str, str | None]]
"""The hash of every picture's bytes, by collection and id; None where they were never read."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """All sets of a job, and where their encoded entries lie."""

    sets: Mapping[str, PictureSet]
    """What is trained on."""

    hashes: Hashes
    epochs: Mapping[str, int]
    """How many epochs of each set the run sees."""

    picture_recipe: bytes
    text_recipe: bytes
    cell: int
    """Pixels a side that one latent stands for."""

    pictures: Mapping[str, Store]
    """By set."""

    texts: Store
    masks: Store
    held: Mapping[str, PictureSet] = field(default_factory=dict)
    """What is measured of the sets that hold pictures out."""

    keeps_pictures: bool = True
    keeps_texts: bool = True
    see: Callable[[Sequence[Missing]], list[Entry]] | None = None
    """Encodes pictures that are not kept, when their turn comes."""

    read: Callable[[Sequence[str]], list[Entry]] | None = None
    """Encodes texts that are not kept, when their turn comes."""

    words: Callable[[Sequence[str]], list[Entry]] | None = None
    """Texts as numbers, for encoders that read them anew at every step."""

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        for store in (self.texts, self.masks, *self.pictures.values()):
            store.close()

    def text_key(self, text: str) -> bytes:
        """Where a text's embeddings lie."""
        return text_key(self.text_recipe, text)

    def missing_texts(self, texts: Sequence[str]) -> list[tuple[bytes, str]]:
        """Texts without an entry, with the key it will have."""
        keys = [self.text_key(text) for text in texts]
        return [(keys[place], texts[place]) for place in self.texts.missing(keys)]

    def missing_pictures(self) -> dict[str, list[Missing]]:
        """Pictures without an entry, by set; each key once."""
        found = {}
        for name in self.sets:
            kept = (look for one in both(self, name) for look in self.kept(one))
            wanted = [self.wanted(look) for look in kept if self.hash_of(look)]
            absent = self.pictures[name].missing([each.key for each in wanted])
            found[name] = [wanted[place] for place in absent]
        return found

    def missing_masks(self) -> list[mask_cache.Wanted]:
        """Masks without an entry; each key once."""
        wanted = [
            self.mask(one, look)
            for name in self.sets
            for one in both(self, name)
            for look in self.kept_masks(one)
            if self.hash_of(look)
        ]
        return [wanted[place] for place in self.masks.missing([each.key for each in wanted])]

    def kept(self, one: PictureSet) -> Iterator[Look]:
        """Every look that the cache holds for a run."""
        if not self.keeps(one):
            return
        for member, version in _versions(one, self.epochs[one.spec.id]):
            seen = looks(one, member, version)
            yield seen.target
            yield from (look for look in seen.references if look is not None)

    def kept_masks(self, one: PictureSet) -> Iterator[Look]:
        """Every look of a mask that the cache holds for a run."""
        if one.spec.mask is None or not self.keeps(one):
            return
        for member, version in _versions(one, self.epochs[one.spec.id]):
            mask = looks(one, member, version).mask
            if mask is not None:
                yield mask

    def keeps(self, one: PictureSet) -> bool:
        """Whether a set's pictures lie in the cache."""
        return self.keeps_pictures and one.spec.variants != "fresh"

    def hash_of(self, look: Look) -> str | None:
        """Of its file's bytes."""
        return self.hashes[look.place][look.image.id]

    def wanted(self, look: Look) -> Missing:
        """What an entry is made from, and its key, which means nothing where no hash is known."""
        source = self.hash_of(look) or "00" * 16
        key = picture_key(self.picture_recipe, source, look.view)
        id = f"{look.place}/{look.image.id}"
        return Missing(key, look.image.file, look.view, id, source)

    def mask(self, one: PictureSet, look: Look) -> mask_cache.Wanted:
        """What a mask's entry is made from, and its key."""
        assert one.spec.mask is not None
        return mask_cache.wanted(look, one.spec.mask, self.hash_of(look) or "00" * 16, self.cell)


def both(library: Library, name: str) -> Iterator[PictureSet]:
    """A set's pictures to train on, and those to measure."""
    yield library.sets[name]
    if name in library.held:
        yield library.held[name]


def _versions(one: PictureSet, epochs: int) -> Iterable[tuple[int, int]]:
    versions = one.versions(epochs)
    return ((member, version) for member in range(len(one.examples)) for version in versions)
