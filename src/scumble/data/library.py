"""The examples of a job: their sizes, their keys in the cache, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scumble import dice
from scumble.data import buckets, captions, ledger
from scumble.data.batch import Batch
from scumble.data.buckets import Frame
from scumble.data.cache import Store, picture_key, text_key
from scumble.data.example import Example
from scumble.data.order import Row, Shelf, Unit
from scumble.spec.dataset import DatasetSpec

EMPTY = ""
"""The text of an example whose caption is dropped; encoded once."""


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """One data set of a job, cut to size."""

    spec: DatasetSpec
    examples: tuple[Example, ...]
    frames: tuple[Frame, ...]
    """Each example's first cut; its other cuts have the same size."""

    step: int
    """Sides are multiples of this."""

    seed: int

    @classmethod
    def of(
        cls, spec: DatasetSpec, examples: Sequence[Example], *, step: int, seed: int
    ) -> PictureSet:
        """With every example's first cut."""
        frames = tuple(_cut(spec, example, 0, step=step, seed=seed) for example in examples)
        return cls(spec=spec, examples=tuple(examples), frames=frames, step=step, seed=seed)

    def frame(self, member: int, cut: int) -> Frame:
        """One of an example's cuts."""
        if cut == 0:
            return self.frames[member]
        return _cut(self.spec, self.examples[member], cut, step=self.step, seed=self.seed)

    def cut(self, row: Row) -> int:
        """Which cut an example shows at a turn."""
        if self.spec.crops == 1:
            return 0
        example = self.examples[row.member].id
        return dice.word(self.seed, "cut", self.spec.id, row.epoch, row.turn, example) % (
            self.spec.crops
        )

    def caption(self, row: Row) -> str:
        """An example's text at a turn: its caption, or nothing."""
        example, rate = self.examples[row.member], self.spec.caption_dropout
        key = (self.seed, self.spec.id, row.epoch, row.turn, example.id)
        return EMPTY if rate > 0 and captions.dropped(*key, rate) else example.caption

    def texts(self) -> Iterator[str]:
        """Every text that may be asked for."""
        if self.spec.caption_dropout > 0:
            yield EMPTY
        yield from (example.caption for example in self.examples)

    def shelves(self, batch: int) -> Iterator[Shelf]:
        """Examples of one size together, smaller sizes first."""
        for size in sorted({frame.size for frame in self.frames}):
            members = tuple(n for n, frame in enumerate(self.frames) if frame.size == size)
            yield Shelf(
                dataset=self.spec.id,
                size=size,
                members=members,
                batch=batch,
                passes=self.spec.repeats,
            )


def _cut(spec: DatasetSpec, example: Example, cut: int, *, step: int, seed: int) -> Frame:
    place = (0.5, 0.5)
    if spec.crop == "random":
        place = buckets.place(seed, spec.id, example.id, cut)
    return buckets.frame(example.width, example.height, spec, step, place=place)


def sources(
    cache: Path, folder: Path, dataset: str, examples: Sequence[Example], *, read: bool
) -> list[str | None]:
    """The hash of every example's bytes; a file is read once, and only if `read`.

    FileError when a file has changed since it was looked at.
    """
    file = ledger.at(cache, dataset, folder)
    known = ledger.read(file)
    if read:
        found = ledger.hashes(known, examples)
        if found != known:
            ledger.write(file, found)
        known = found
    rows = [(example, known.get(example.id)) for example in examples]
    return [
        row.source if row and row.is_of(example.size_bytes, example.mtime_ns) else None
        for example, row in rows
    ]


@dataclass(frozen=True, slots=True)
class Missing:
    """A cut of a picture that has no entry, and the key it will have."""

    key: bytes
    path: Path
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class Library:
    """All sets of a job, and where their encoded entries lie."""

    sets: Mapping[str, PictureSet]
    shelves: tuple[Shelf, ...]
    sources: Mapping[str, Sequence[str | None]]
    """The hash of every example's bytes, by set; None where they were never read."""

    picture_recipe: bytes
    text_recipe: bytes
    pictures: Mapping[str, Store]
    texts: Store

    def picture_key(self, dataset: str, member: int, cut: int) -> bytes:
        """Where an example's latents lie."""
        source = self.sources[dataset][member]
        assert source is not None, "a picture is hashed before its entry is asked for"
        return picture_key(self.picture_recipe, source, self.sets[dataset].frame(member, cut))

    def text_key(self, text: str) -> bytes:
        """Where a text's embeddings lie."""
        return text_key(self.text_recipe, text)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        for store in (self.texts, *self.pictures.values()):
            store.close()

    def missing_texts(self, texts: Sequence[str]) -> list[tuple[bytes, str]]:
        """Texts without an entry, with the key it will have."""
        keys = [self.text_key(text) for text in texts]
        return [(keys[place], texts[place]) for place in self.texts.missing(keys)]

    def missing_pictures(self) -> dict[str, list[Missing]]:
        """Cuts of pictures without an entry, by set; each key once."""
        return {name: self._missing_of(name) for name in self.sets}

    def _missing_of(self, dataset: str) -> list[Missing]:
        one = self.sets[dataset]
        known = [
            Missing(self.picture_key(dataset, member, cut), example.path, one.frame(member, cut))
            for member, example in enumerate(one.examples)
            if self.sources[dataset][member] is not None
            for cut in range(one.spec.crops)
        ]
        return [known[place] for place in self.pictures[dataset].missing([k.key for k in known])]

    def unread(self) -> int:
        """Pictures whose bytes were never hashed, and which therefore have no entry."""
        return sum(source is None for sources in self.sources.values() for source in sources)

    def samples(self) -> Iterator[dict[str, object]]:
        """One row per example, for the manifest."""
        for name, one in self.sets.items():
            hashes = self.sources[name]
            for example, frame, source in zip(one.examples, one.frames, hashes, strict=True):
                yield {
                    "set": name,
                    "picture": example.id,
                    "blake2b": source,
                    "frame": frame.row(),
                    "caption": example.caption,
                }

    def batch(self, unit: Unit) -> Batch:
        """A unit's examples, read from the cache."""
        dataset = self.shelves[unit.shelf].dataset
        place, rows = self.sets[dataset], unit.rows
        texts = tuple(place.caption(row) for row in rows)
        cuts = [place.cut(row) for row in rows]
        pictures = [
            self.pictures[dataset].read(self.picture_key(dataset, row.member, cut))
            for row, cut in zip(rows, cuts, strict=True)
        ]
        words = [self.texts.read(self.text_key(text)) for text in texts]
        frames = [place.frame(row.member, cut).row() for row, cut in zip(rows, cuts, strict=True)]
        return Batch(
            latents=torch.stack([picture["latents"].float() for picture in pictures]),
            words={name: torch.stack([word[name] for word in words]) for name in words[0]},
            frames=torch.tensor(frames),
            ids=tuple(f"{dataset}/{place.examples[row.member].id}" for row in rows),
            captions=texts,
        )
