"""The examples of a job: their keys in the cache, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from scumble.data import held_pairs, mask_cache, shown
from scumble.data.cache import Missing, Store, hashed, picture_key, text_key
from scumble.data.looks import Look, looks
from scumble.data.picture_set import PictureSet
from scumble.data.saying import Glance, Saying, Spoken, saying

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
    glance: Glance | None = None
    """At what size the reader of texts is shown references; None: it is shown none."""

    shown: tuple[Look, ...] = ()
    """Pictures of no set, which previews show along; they are kept in any case."""

    copied: frozenset[str] = frozenset()
    """Held-out pairs whose first reference is kept as a copy of it would look."""

    held: Mapping[str, PictureSet] = field(default_factory=dict)
    """What is measured of the sets that hold pictures out."""

    keeps_pictures: bool = True
    keeps_texts: bool = True
    see: Callable[[Sequence[Missing]], list[Entry]] | None = None
    """Encodes pictures that are not kept, when their turn comes."""

    read: Callable[[Sequence[Saying]], list[Entry]] | None = None
    """Encodes texts that are not kept, when their turn comes."""

    reads: bool = True
    """Whether anything of a text is kept, or made once: not where all encoders are trained."""

    words: Callable[[Sequence[Saying]], list[Entry]] | None = None
    """Texts as numbers, for encoders that read them anew at every step."""

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        for store in (self.texts, self.masks, *self.pictures.values()):
            store.close()

    def saying(self, text: str, looks: Sequence[Look]) -> Saying:
        """A text, with the references it is read with if the family shows them to its reader."""
        plain = saying(text, looks, self.glance)
        pairs = zip(plain.sights, looks, strict=True) if plain.sights else ()
        return replace(plain, sights=tuple(_keyed(self, one, look) for one, look in pairs))

    def text_key(self, one: Saying) -> bytes:
        """Where a text's embeddings lie."""
        return text_key(self.text_recipe, one.text, [sight.key for sight in one.sights])

    def missing_texts(self, sayings: Sequence[Saying]) -> list[tuple[bytes, Saying]]:
        """Texts without an entry, with the key it will have."""
        keys = [self.text_key(one) for one in sayings]
        return [(keys[place], sayings[place]) for place in self.texts.missing(keys)]

    def missing_pictures(self) -> dict[str, list[Missing]]:
        """Pictures without an entry, by set; each key once."""
        found = {}
        for name in self.sets:
            kept = (look for one in both(self, name) for look in self.kept(one))
            wanted = [self.wanted(look) for look in kept if self.hash_of(look)]
            absent = self.pictures[name].missing([each.key for each in wanted])
            found[name] = [wanted[place] for place in absent]
        return found | _missing_shown(self)

    def kept(self, one: PictureSet) -> Iterator[Look]:
        """Every look that the cache holds for a run."""
        if not self.keeps(one):
            return
        for member, version in _versions(one, self.epochs[one.spec.id]):
            seen = looks(one, member, version)
            yield seen.target
            yield from (look for look in seen.references if look is not None)
        if self.copied and self.held.get(one.spec.id) is one:
            pairs = held_pairs.of_set(one)
            yield from (pair.copy for pair in pairs if pair.id in self.copied)

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


def _missing_shown(library: Library) -> dict[str, list[Missing]]:
    """Pictures of no set without an entry."""
    wanted = [library.wanted(look) for look in library.shown if library.hash_of(look)]
    if not wanted:
        return {}
    absent = library.pictures[shown.PLACE].missing([each.key for each in wanted])
    return {shown.PLACE: [wanted[place] for place in absent]}


def sayings(library: Library, spoken: Sequence[Spoken]) -> list[Saying]:
    """What a library says of each of these."""
    return [library.saying(text, looks) for text, looks in spoken]


def keeps_words(library: Library, one: PictureSet) -> bool:
    """Whether all that is told of a set lies in the cache: not where it is read with pictures that
    are new each time."""
    fresh = library.glance is not None and one.spec.references and one.spec.variants == "fresh"
    return library.keeps_texts and not fresh


def missing_masks(library: Library) -> list[mask_cache.Wanted]:
    """Masks without an entry; each key once."""
    wanted = [
        library.mask(one, look)
        for name in library.sets
        for one in both(library, name)
        for look in library.kept_masks(one)
        if library.hash_of(look)
    ]
    return [wanted[place] for place in library.masks.missing([each.key for each in wanted])]


def _keyed(library: Library, one: Missing, look: Look) -> Missing:
    """A sight with its key, which is nobody else's where its bytes were never read."""
    source = library.hash_of(look)
    known = source or hashed(b"unread", str(one.file).encode()).hex()
    key = picture_key(library.text_recipe, known, one.view)
    return replace(one, key=key, source=source or "")


def both(library: Library, name: str) -> Iterator[PictureSet]:
    """A set's pictures to train on, and those to measure."""
    yield library.sets[name]
    if name in library.held:
        yield library.held[name]


def _versions(one: PictureSet, epochs: int) -> Iterable[tuple[int, int]]:
    versions = one.versions(epochs)
    return ((member, version) for member in range(len(one.examples)) for version in versions)
