"""All pictures of one place, looked at but not decoded: targets, references and masks alike.

Headers and text files are read in parallel, and only those that the ledger does not know.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from scumble.data import images, ledger
from scumble.data.captions.reading import decoded
from scumble.data.example import Image
from scumble.data.ledger import Ledger, Row, Text
from scumble.data.overlapped import overlapped
from scumble.data.sources.listing import listed
from scumble.data.sources.record import Beside, Found, Listing, Where, opened
from scumble.data.sources.slices import cut
from scumble.data.telling import Bad, noted

SAVED_SECONDS = 30.0
"""What was read is written that often, so that who stops a long scan loses little."""

TEXT_BYTES = 1 << 20
"""A longer text file is taken for a mistake."""

TEXT_CLOSED = "has a caption that cannot be opened"
TEXT_FOREIGN = "has a caption that is not UTF-8"
TEXT_LONG = "has a caption of more than a megabyte"

TEXT_REMEDIES = {
    TEXT_CLOSED: "check the permissions of its text file",
    TEXT_FOREIGN: "save its text file again as UTF-8",
    TEXT_LONG: "put only its caption into its text file",
}
Said = Callable[[Found, str | None], tuple[str, ...]]
"""All that may be said of a record, of whose text file this is the content."""

ABSENT_REMEDY = "mend these records, or take them out"


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What is known of the pictures of a set, a reference or a mask."""

    root: str
    """The folder, the bucket, the table: for messages."""

    ids: tuple[str, ...]
    """Of all pictures that are there, readable or not, sorted."""

    images: tuple[Image, ...]
    """The readable ones, sorted by id, with captions if these were asked for."""

    texts: Mapping[str, Text]
    """The text files of those that have one, readable or not."""

    bad: tuple[Bad, ...]
    """Pictures that cannot be read, and records that lead to none."""

    absent: int
    """How many records lead to no picture."""

    notes: tuple[str, ...]
    ledger: Path | None
    """Where what was read is remembered; None without a cache."""


def collected(
    where: Where,
    base: Path,
    cache: Path | None,
    *,
    part: tuple[int, int] = (0, 1),
    said: Said | None = None,
) -> Collection:
    """List a place and look at every picture that is not remembered in the cache folder.

    Part 0 of 2 is the left half of pictures side by side in one file. What `said` makes of a
    record and the content of its text file are the captions of its picture. ScumbleError if the
    place cannot be reached, DiskError if the ledger cannot be written.
    """
    listing = listed(where, base, cache)
    (which, slices), found = part, listing.pictures
    if slices > 1:
        parts = (cut(one, slices, which) for one in found)
        found = tuple(sorted(parts, key=lambda one: one.id))
    mark = f"{which}/{slices}" if slices > 1 else ""
    file = ledger.at(cache, where, listing.root, mark) if cache else None
    book = _remembered(found, file)
    rows, texts = book.pictures, book.texts
    readable = [one for one in found if rows[one.id].problem is None]
    return Collection(
        root=listing.root,
        ids=tuple(one.id for one in found),
        images=tuple(_image(one, rows[one.id], texts.get(one.id), said) for one in readable),
        texts=texts,
        bad=(*_unreadable(found, rows), *_absent(listing)),
        absent=len(listing.absent),
        notes=(*_notes_on_files(listing), *_notes_on_pictures(readable, rows)),
        ledger=file,
    )


def untold(seen: Collection) -> Iterator[Bad]:
    """Readable pictures whose text files are not."""
    unread = {id: text.problem for id, text in seen.texts.items() if text.problem is not None}
    for image in seen.images if unread else ():
        problem = unread.get(image.id)
        if problem is not None:
            yield Bad(image.id, problem, TEXT_REMEDIES[problem])


def _image(one: Found, row: Row, text: Text | None, said: Said | None) -> Image:
    content = None if text is None else text.content
    return Image(
        id=one.id,
        file=one.file,
        size_bytes=one.size_bytes,
        mtime_ns=one.mtime_ns,
        width=row.width,
        height=row.height,
        source=one.source or row.source,
        captions=() if said is None else said(one, content),
    )


def _remembered(found: Sequence[Found], file: Path | None) -> Ledger:
    """A row for each picture and each text, read where it is new.

    What cannot be opened is not remembered: the drive may be back before the file changes.
    """
    known = ledger.read(file) if file else Ledger()
    pictures, texts = _same_pictures(found, known), _same_texts(found, known)
    new = [
        one
        for one in found
        if one.id not in pictures or (one.beside is not None and one.id not in texts)
    ]
    shrunk = len(pictures) < len(known.pictures) or len(texts) < len(known.texts)
    try:
        _complete(pictures, texts, new, file)
    finally:
        if file and (new or shrunk) and (lasting := _lasting(pictures, texts)) != known:
            ledger.write(file, lasting)
    return Ledger(pictures, texts)


def _complete(
    pictures: dict[str, Row], texts: dict[str, Text], new: Sequence[Found], file: Path | None
) -> None:
    """Put what is new into both, and into the file now and then."""
    last = time.monotonic()
    with closing(_read(new, frozenset(pictures), frozenset(texts))) as chunks:
        for rows, said in chunks:
            pictures |= rows
            texts |= said
            if file and time.monotonic() - last > SAVED_SECONDS:
                ledger.write(file, _lasting(pictures, texts))
                last = time.monotonic()


def _lasting(pictures: Mapping[str, Row], texts: Mapping[str, Text]) -> Ledger:
    return Ledger(
        {id: row for id, row in pictures.items() if row.problem != images.CLOSED},
        {id: text for id, text in texts.items() if text.problem != TEXT_CLOSED},
    )


def _same_pictures(found: Sequence[Found], known: Ledger) -> dict[str, Row]:
    """The rows that speak of pictures as they are now, in words of this release."""
    rows, remedies = known.pictures, images.REMEDIES
    return {
        one.id: row
        for one in found
        if (row := rows.get(one.id)) is not None
        and row.size_bytes == one.size_bytes
        and row.mtime_ns == one.mtime_ns
        and (row.problem is None or row.problem in remedies)
    }


def _same_texts(found: Sequence[Found], known: Ledger) -> dict[str, Text]:
    texts = known.texts
    return {
        one.id: text
        for one in found
        if one.beside is not None
        and (text := texts.get(one.id)) is not None
        and text.size_bytes == one.beside.size_bytes
        and text.mtime_ns == one.beside.mtime_ns
        and (text.problem is None or text.problem in TEXT_REMEDIES)
    }


Rows = tuple[dict[str, Row], dict[str, Text]]


def _read(
    found: Sequence[Found], pictures: frozenset[str], texts: frozenset[str]
) -> Generator[Rows, None, None]:
    """Headers and texts of pictures that are not among those known, some at a time."""

    def some(chunk: Sequence[Found]) -> Rows:
        return (
            {one.id: _row(one) for one in chunk if one.id not in pictures},
            {
                one.id: _text(one.beside)
                for one in chunk
                if one.beside is not None and one.id not in texts
            },
        )

    with warnings.catch_warnings(), closing(overlapped(some, found)) as made:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, from any thread
        yield from made


def _row(one: Found) -> Row:
    told = images.header(one.file)
    return Row(one.size_bytes, one.mtime_ns, told.width, told.height, told.note, told.problem)


def _text(beside: Beside) -> Text:
    content, problem = None, None
    try:
        with opened(beside.file) as stream:
            data = stream.read(TEXT_BYTES + 1)
        if len(data) > TEXT_BYTES:
            problem = TEXT_LONG
        else:
            content = decoded(data)
    except OSError:
        problem = TEXT_CLOSED
    except UnicodeDecodeError:
        problem = TEXT_FOREIGN
    return Text(beside.size_bytes, beside.mtime_ns, content, problem)


def _unreadable(found: Sequence[Found], rows: Mapping[str, Row]) -> Iterator[Bad]:
    for one in found:
        problem = rows[one.id].problem
        if problem is not None:
            yield Bad(one.id, problem, images.REMEDIES[problem])


def _absent(listing: Listing) -> Iterator[Bad]:
    for id, reason in listing.absent:
        yield Bad(id, reason, ABSENT_REMEDY)


def _notes_on_files(listing: Listing) -> Iterator[str]:
    if listing.unsupported:
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in listing.unsupported.items())
        yield f"files of kinds that are not read: {kinds}"


def _notes_on_pictures(found: Sequence[Found], rows: Mapping[str, Row]) -> Iterator[str]:
    """What the headers of readable pictures give cause to say."""
    groups: dict[str, list[str]] = {}
    for one in found:
        note = rows[one.id].note
        if note is not None:
            groups.setdefault(note, []).append(one.id)
    for note, ids in groups.items():
        yield noted(ids, note)
