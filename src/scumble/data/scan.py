"""Which pictures of a set can be learnt from, and what became of every other one.

Headers are read in parallel, and only those of files that the ledger does not know.
"""

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scumble.data import captions, images, ledger
from scumble.data.example import Example
from scumble.data.ledger import Ledger, Row
from scumble.data.sources.folder import ENDINGS, Found, Listing, listing, namesakes
from scumble.errors import FileError, ScumbleError
from scumble.spec.dataset import FolderSpec

NAMED = 3
"""So many pictures are named in a message; the rest are counted."""

CAPTIONLESS = "has no caption"
CAPTION_REMEDIES = {
    "textfile": "put NAME.txt beside each",
    "filename": "put words into the names",
    "prompt": "write something in `prompt`",
}
PLURALS = {"is": "are", "has": "have", "shares": "share"}
"""The first words of all that is said of a picture, for when there are many."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A picture that is there but cannot be learnt from."""

    path: Path
    reason: str
    """The rest of a sentence about it, the same for all pictures with this fault."""

    remedy: str


@dataclass(frozen=True, kw_only=True)
class Scan:
    """All that is known of a set before a picture is decoded."""

    folder: Path
    """Absolute."""

    examples: tuple[Example, ...]
    """What can be learnt from, sorted by id."""

    funnel: dict[str, int]
    """Pictures left after each stage, in order: found, readable, large enough, captioned."""

    bad: tuple[Bad, ...]
    notes: tuple[str, ...]


def scanned(spec: FolderSpec, base: Path, cache: Path | None) -> Scan:
    """Look at a set, whose folder is relative to `base`, and remember it in the cache folder.

    FileError if the folder cannot be walked, DiskError if the ledger cannot be written.
    """
    folder = (base / Path(spec.folder).expanduser()).resolve()
    listed = listing(folder)
    rows = _remembered(listed, ledger.at(cache, spec.id, folder) if cache else None)
    bad = [
        Bad(one.path, problem, images.REMEDIES[problem])
        for one in listed.pictures
        if (problem := rows[one.id].problem) is not None
    ]
    readable = [one for one in listed.pictures if rows[one.id].problem is None]
    large = [one for one in readable if _shorter_side(rows[one.id]) >= spec.minimum_side]
    small = [one.id for one in readable if _shorter_side(rows[one.id]) < spec.minimum_side]
    examples, captionless = _captioned(spec, large, rows)
    bad += captionless
    notes = _notes_on_files(spec, listed) + _notes_on_pictures(large, rows)
    if small:
        said = f"is smaller than `minimum_side: {spec.minimum_side}` and left out"
        notes.append(_counted(small, said))
    if spec.skip_bad:
        notes += [f"left out: {_counted(ids, why)}" for why, _, ids in _faults(bad, folder)]
    return Scan(
        folder=folder,
        examples=tuple(examples),
        funnel={
            "found": len(listed.pictures),
            "readable": len(readable),
            "large enough": len(large),
            "captioned": len(examples),
        },
        bad=tuple(bad),
        notes=tuple(notes),
    )


def problems(scan: Scan, spec: FolderSpec, number: int) -> list[ScumbleError]:
    """Why a set, the `number`th of the job from 0, cannot be used: one error per kind of fault."""
    where, total = f"data.{spec.id}", scan.funnel["found"]
    if total == 0:
        endings = ", ".join(sorted(ending[1:] for ending in ENDINGS))
        problem = f"there are no pictures in {scan.folder} (looked for {endings})"
        remedy = f"put some there, or correct `folder` of set {number + 1}"
        return [FileError(where, "; ".join([problem, *scan.notes]), remedy)]
    if scan.bad and not spec.skip_bad:
        return [
            FileError(where, _counted(ids, why, of=total), f"{remedy}, or set `skip_bad: true`")
            for why, remedy, ids in _faults(scan.bad, scan.folder)
        ]
    if not scan.examples:
        left = ", ".join(f"{count} {stage}" for stage, count in scan.funnel.items())
        return [FileError(where, f"no picture is left: {left}", _way_out(scan, spec))]
    return []


def _way_out(scan: Scan, spec: FolderSpec) -> str:
    """What would let pictures through the stage that stopped the last of them."""
    if scan.funnel["readable"] == 0:
        return scan.bad[0].remedy
    return "lower `minimum_side`" if scan.funnel["large enough"] == 0 else scan.bad[-1].remedy


def _remembered(listed: Listing, file: Path | None) -> Ledger:
    """A row for each picture, read where it is new; the ledger is written if it changed.

    What cannot be opened is not remembered: the drive may be back before the file changes.
    """
    known = ledger.read(file) if file else {}
    same = {
        one.id: row
        for one in listed.pictures
        if (row := known.get(one.id)) is not None
        and row.is_of(one.size_bytes, one.mtime_ns)
        and (row.problem is None or row.problem in images.REMEDIES)
    }
    rows = same | _read([one for one in listed.pictures if one.id not in same])
    lasting = {id: row for id, row in rows.items() if row.problem != images.CLOSED}
    if file and lasting != known:
        ledger.write(file, lasting)
    return rows


def _read(pictures: Sequence[Found]) -> Ledger:
    """Headers, many at a time, for a slow drive answers many questions as fast as one."""
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, from any thread
        headers = list(pool.map(images.header, [one.path for one in pictures]))
    return {
        one.id: Row(one.size_bytes, one.mtime_ns, told.width, told.height, told.note, told.problem)
        for one, told in zip(pictures, headers, strict=True)
    }


def _captioned(
    spec: FolderSpec, pictures: Iterable[Found], rows: Ledger
) -> tuple[list[Example], list[Bad]]:
    """The pictures of which something is said, and those of which nothing is or can be read."""
    examples, bad = [], []
    for one in pictures:
        try:
            text = captions.caption(spec, one.path, one.id)
        except FileError as error:
            bad.append(Bad(one.path, error.problem, error.remedy))
            continue
        if text is None:
            bad.append(Bad(one.path, CAPTIONLESS, CAPTION_REMEDIES[spec.captions]))
        else:
            examples.append(_example(spec.id, one, rows[one.id], text))
    return examples, bad


def _example(dataset: str, found: Found, row: Row, caption: str) -> Example:
    return Example(
        dataset=dataset,
        id=found.id,
        path=found.path,
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        width=row.width,
        height=row.height,
        caption=caption,
    )


def _shorter_side(row: Row) -> int:
    return min(row.width, row.height)


def _notes_on_files(spec: FolderSpec, listed: Listing) -> list[str]:
    """What the names alone give cause to say."""
    notes = []
    if listed.unsupported:
        kinds = ", ".join(f"{count} {ending}" for ending, count in listed.unsupported.items())
        notes.append(f"files of kinds that are not read: {kinds}")
    twins = namesakes(listed.pictures)
    if twins and spec.captions != "prompt":
        pictures = [id for ids in twins for id in ids]
        notes.append(_counted(pictures, "shares name and caption with another"))
    return notes


def _notes_on_pictures(pictures: Iterable[Found], rows: Ledger) -> list[str]:
    """What the headers of the pictures that are used give cause to say."""
    groups: dict[str, list[str]] = {}
    for one in pictures:
        note = rows[one.id].note
        if note is not None:
            groups.setdefault(note, []).append(one.id)
    return [_counted(ids, note) for note, ids in groups.items()]


def _faults(bad: Iterable[Bad], folder: Path) -> list[tuple[str, str, list[str]]]:
    """Each reason with its remedy and the ids it holds for, in the order they came up."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in bad:
        id = one.path.relative_to(folder).as_posix()
        groups.setdefault((one.reason, one.remedy), []).append(id)
    return [(reason, remedy, ids) for (reason, remedy), ids in groups.items()]


def _counted(ids: Sequence[str], said: str, *, of: int | None = None) -> str:
    """As "3 of 120 pictures have no caption, first a.png, b.png, c.png"."""
    verb, rest = said.split(" ", 1)
    total = f"{len(ids)} of {of}" if of else f"{len(ids)}"
    noun = "picture" if (of or len(ids)) == 1 else "pictures"
    if len(ids) == 1:
        return f"{total} {noun} {verb} {rest}: {ids[0]}"
    return f"{total} {noun} {PLURALS.get(verb, verb)} {rest}, first {', '.join(ids[:NAMED])}"
