"""Fill the cache: pictures through the autoencoder, texts through their encoders.

Each part is loaded when its entries are missing and gone again before the next one comes. What was
written stays, whatever ends this; the next start goes on from there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from types import TracebackType

import numpy as np
from torch import Tensor

from scumble.data import cache, packing
from scumble.data.cache import Missing, Store, value
from scumble.data.saying import Saying
from scumble.data.shards import Writer
from scumble.errors import FileError, gather
from scumble.events import Encoded, Warned
from scumble.families import opening, weights
from scumble.families.eyes import Eyes, finite
from scumble.families.family import Entry, Tools
from scumble.families.fingerprints import fingerprints
from scumble.families.opening import Unreadable
from scumble.families.reader import TEXTS, Dress, Reader, readers
from scumble.hardware.device import Place
from scumble.hardware.quantisers.table import made_by
from scumble.spec.saving import CacheSpec

AREA = 1024 * 1024  # pixels that go through the autoencoder together, at least one picture
EYES = 2  # threads that open pictures while the autoencoder works
NAMED = 5  # unreadable pictures that one warning names

WORDS = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
"""The files of a tokenizer, sorted; weights may lie beside them."""


@dataclass(frozen=True)
class Recipes:
    """What all cached pictures, and all texts, have in common, by name."""

    pictures: Mapping[str, str]
    texts: Mapping[str, str]

    @cached_property
    def picture(self) -> bytes:
        """Stands for all of it in the keys of pictures."""
        return _stands_for("picture", self.pictures)

    @cached_property
    def text(self) -> bytes:
        """Stands for all of it in the keys of texts."""
        return _stands_for("text", self.texts)


def recipes(
    model: weights.Model, place: Place, tokens: int, kept: CacheSpec, *, read: bool
) -> Recipes | None:
    """From the encoders' files and the precisions; None when a file would have to be hashed."""
    hashes = [_files(model, name, read=read) for name in ("autoencoder", *readers(model))]
    if not all(hashes):
        return None
    shared = {
        "family": model.family.name,
        "precision": place.precision,
        "code version": str(cache.VERSION),
    }
    spoken = {name: digest for one in hashes[1:] for name, digest in (one or {}).items()}
    if model.masked:  # nothing is said of padding that is seen: older caches stay what they are
        spoken["padding"] = "hidden"
    if model.family.glance is not None:  # flavours frame texts and pictures in other words
        spoken["flavour"] = model.family.flavour
    return Recipes(
        {**shared, "kept as": kept.picture_dtype, **(hashes[0] or {})},
        {
            **shared,
            "kept as": packing.precision(kept.text_dtype, place.dtype),
            "text length": str(tokens),
            **spoken,
        },
    )


def _stands_for(kind: str, parts: Mapping[str, str]) -> bytes:
    return cache.recipe(kind, *(f"{name}: {part}" for name, part in sorted(parts.items())))


def _files(model: weights.Model, name: str, *, read: bool) -> dict[str, str] | None:
    """Hashes of everything that decides what a part makes; None while it cannot be known."""
    source = model.parts[name]
    if source.absent:
        return None
    files = {f"{name} weights": source.files}
    if source.tokenizer is not None:
        words = (source.tokenizer / file for file in WORDS)
        files[f"{name} tokenizer"] = tuple(file for file in words if file.is_file())
    found = fingerprints([file for group in files.values() for file in group], read=read)
    marks = model.marks(name, read=read)
    if found is None or marks is None:
        return None
    config = json.dumps(source.config, sort_keys=True).encode()
    hashes = {
        what: cache.hashed(*(found[str(file)].encode() for file in group)).hex()
        for what, group in files.items()
    }
    others = {f"{name} merged": ", ".join(marks)} if marks else {}
    if quantiser := model.quantising.parts.get(name):
        others[f"{name} quantiser"] = f"{quantiser} ({made_by(quantiser)})"
    return {f"{name} config": cache.hashed(config).hex(), **hashes, **others}


def picture_bytes(model: weights.Model, kept: CacheSpec, size: tuple[int, int]) -> int:
    """What the entry of a picture trained at that height and width takes of the disk."""
    family = model.family
    rows, columns = (side // family.pixels_per_latent for side in size)
    shape = (family.latent_channels, rows, columns)
    return packing.entry_bytes({"latents": shape}, kept.picture_dtype)


def text_bytes(
    model: weights.Model, place: Place, tokens: int, kept: CacheSpec, saying: Saying | None = None
) -> int:
    """What the entry of a text takes of the disk; about, where texts have lengths of their own.

    Without one, of a text that is as long as can be.
    """
    family, still = model.family, readers(model)
    if saying is not None and family.text_length is not None:
        tokens = family.text_length(saying.text, saying.sizes, tokens)
    shapes = {
        name: shape(model.configs, tokens)
        for name, shape in family.text_fields.items()
        if family.text_parts[name] in still
    }
    total = packing.entry_bytes(shapes, packing.precision(kept.text_dtype, place.dtype))
    return total + packing.SHAPE_BYTES + tokens if model.masked else total


def part_of(key: bytes, part: tuple[int, int]) -> bool:
    """Whether an entry falls to process i of n: each key to one of them, about evenly.

    The same on every machine. Two processes that make the same entry all the same do no harm:
    readers take the one in the first shard by name.
    """
    own, count = part
    return int.from_bytes(key[:8], "little") % count == own


def batches(wanted: Sequence[Missing]) -> list[list[Missing]]:
    """Pictures of one size together, as many as `AREA` holds."""
    cut = []
    for size, group in groupby(sorted(wanted, key=_size), _size):
        same = list(group)
        count = max(1, AREA // math.prod(size))
        cut += [same[start : start + count] for start in range(0, len(same), count)]
    return cut


def _size(one: Missing) -> tuple[int, int]:
    return one.view.frame.size


class _Written:
    """Entries of one kind on their way to the disk: the writer is made for what comes first."""

    def __init__(self, store: Store, kind: str, total: int) -> None:
        self.total = total
        self._store, self._kind, self._done = store, kind, 0
        self._begun = time.perf_counter()
        self._writer: Writer | None = None

    def add(self, key: bytes, entry: Mapping[str, Tensor]) -> None:
        if self._writer is None:
            self._writer = self._store.writer({name: one.dtype for name, one in entry.items()})
        self._writer.add(key, [value(one) for one in entry.values()])
        self._done += 1

    def event(self) -> Encoded:
        return Encoded(
            kind=self._kind,
            done=self._done,
            total=self.total,
            seconds=time.perf_counter() - self._begun,
            bytes=self._writer.bytes_written if self._writer else 0,
        )

    def __enter__(self) -> _Written:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)


def encode_pictures(
    model: weights.Model,
    place: Place,
    store: Store,
    wanted: Sequence[Missing],
    precision: str,
    bad: list[Unreadable] | None = None,
) -> Iterator[Encoded | Warned]:
    """Write the missing pictures' entries. Opening runs ahead of encoding by one batch.

    Pictures that cannot be decoded end nothing: the others are written first. Then they stand in
    `bad`, or, without such a list, in the ExceptionGroup of FileErrors that is raised.
    """
    if not wanted:
        return
    eyes, found = Eyes(model, place, precision), [] if bad is None else bad
    with ThreadPoolExecutor(EYES) as pool, _Written(store, "pictures", len(wanted)) as written:
        for batch, raw, unread in _opened_ahead(pool, batches(wanted)):
            found += unread
            written.total -= len(unread)
            for one, entry in zip(batch, eyes.entries(raw) if batch else [], strict=True):
                finite(entry, str(one.file), place)
                written.add(one.key, entry)
            yield from map(_warned, eyes.notes())
            yield written.event()
    if bad is None:
        refuse(found)


def refuse(bad: Sequence[Unreadable]) -> None:
    """Raise an ExceptionGroup that names all of these pictures, if there are any."""
    gather("pictures cannot be decoded", [error for _, error in bad])


def left_out(bad: Sequence[Unreadable], dataset: str) -> Iterator[Warned]:
    """What to tell of pictures that are left out with `skip_bad`; nothing if there are none."""
    if bad:
        pictures = "picture" if len(bad) == 1 else "pictures"
        named = "; ".join(f"{error.where} {error.problem}" for _, error in bad[:NAMED])
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        yield _warned(f"{dataset}: {len(bad)} {pictures} left out: {named}{more}.")


Opened = tuple[list[Missing], np.ndarray, list[Unreadable]]


def _opened_ahead(pool: ThreadPoolExecutor, groups: Sequence[list[Missing]]) -> Iterator[Opened]:
    """Those of each batch that can be decoded, their pixels, and the others."""

    def begin(batch: list[Missing]) -> list[Future[np.ndarray]]:
        return [pool.submit(opening.seen, one) for one in batch]

    ahead = begin(groups[0])
    for number, batch in enumerate(groups):
        now, ahead = ahead, begin(groups[number + 1]) if number + 1 < len(groups) else []
        yield _decoded(batch, now)


def _decoded(batch: Sequence[Missing], opening: Sequence[Future[np.ndarray]]) -> Opened:
    good: list[Missing] = []
    raw: list[np.ndarray] = []
    bad: list[Unreadable] = []
    for one, future in zip(batch, opening, strict=True):
        try:
            raw.append(future.result())
            good.append(one)
        except FileError as error:
            bad.append((one, error))
    return good, np.stack(raw) if raw else np.empty(0), bad


def encode_texts(
    make: Callable[[], Reader],
    store: Store,
    wanted: Sequence[tuple[bytes, Saying]],
    bad: list[Unreadable] | None = None,
) -> Iterator[Encoded | Warned]:
    """Write the missing texts' entries; texts that are too long are counted and cut.

    The reader is made when there is something to read. Texts that are read with a picture which
    cannot be decoded have no entry: see `encode_pictures`.
    """
    if not wanted:
        return
    reader = make()
    sayings, found = [one for _, one in wanted], [] if bad is None else bad
    if cut := reader.too_long([one.text for one in sayings]):
        yield _warned(
            f"{len(cut)} texts are longer than {reader.tokens} tokens and are cut there, first"
            f" '{cut[0][:60]}'; `model.text_tokens` sets the length."
        )
    with _Written(store, "texts", len(wanted)) as written:
        for number, entry in enumerate(reader.tried(sayings, found), 1):
            if entry is None:
                written.total -= 1
            else:
                written.add(wanted[number - 1][0], entry)
            yield from map(_warned, reader.notes())
            if number % TEXTS == 0 or number == len(wanted):
                yield written.event()
    if bad is None:
        refuse(found)


def read_texts(
    model: weights.Model,
    tools: Tools,
    place: Place,
    sayings: Sequence[Saying],
    tokens: int,
    dress: Dress | None = None,
) -> Iterator[Entry]:
    """Each text's entry, in the place's precision; the encoders are gone when this ends.

    `dress` may put adapters into the encoders before they read.
    """
    reader = Reader(model, place, tokens, packing.precision("auto", place.dtype), tools)
    if dress is not None:
        reader.dress(dress)
    for entry in reader.entries(sayings):
        yield {name: one.to(place.device) for name, one in entry.items()}


def _warned(text: str) -> Warned:
    return Warned(text=text)
