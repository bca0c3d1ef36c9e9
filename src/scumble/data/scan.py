"""Which examples a set has, and what became of every picture that is in none of them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scumble.data import held_out, sieve
from scumble.data.captions.reading import alternatives, kind
from scumble.data.collection import Collection, collected
from scumble.data.companions import (
    Companions,
    Pairing,
    companions,
    mask_place,
    reference_place,
    where,
)
from scumble.data.duplicates import told
from scumble.data.example import Example
from scumble.data.joining import Joined, joined
from scumble.data.pairs.names import shared_words
from scumble.data.sources.folder import ENDINGS
from scumble.data.telling import Bad, counted, grouped, noted
from scumble.errors import FileError, ScumbleError
from scumble.spec.dataset import DatasetSpec


@dataclass(frozen=True, kw_only=True)
class Scan:
    """All that is known of a set before a picture is decoded."""

    root: str
    """The folder, the bucket, the table."""

    examples: tuple[Example, ...]
    """What can be learnt from, sorted by id."""

    funnel: dict[str, int]
    """Pictures left after each stage, in order: found, readable, (different,) large enough,
    aspect ok, captioned, paired (, within `limit`)."""

    bad: tuple[Bad, ...]
    """Pictures that are in no example: faults, and what the job asked for."""

    notes: tuple[str, ...]
    pairings: tuple[Pairing, ...]
    """Of the references, then the masks, that lie in places of their own."""

    ledgers: Mapping[str, Path | None]
    """What is remembered of each collection: the set, `SET.REFERENCE`, `SET.mask`."""


def scanned(spec: DatasetSpec, base: Path, cache: Path | None, *, seed: int = 0) -> Scan:
    """Look at a set, whose paths are relative to `base`, and remember it in the cache folder.

    ScumbleError if a place cannot be reached, DiskError if a ledger cannot be written.
    """
    with _uncollected():
        return _scanned(spec, base, cache, seed)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for garbage in circles: there is none among a hundred thousand records,
    and looking at all of them again and again takes a third of a scan."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _scanned(spec: DatasetSpec, base: Path, cache: Path | None, seed: int) -> Scan:
    targets = collected(where(spec), base, cache, said=partial(alternatives, spec))
    beside = companions(spec, base, cache, targets)
    bytes_told = told(targets.images, targets.ledger)
    images, out, twins = list(bytes_told.images), list(targets.bad), bytes_told.copies
    funnel = {"found": len(targets.ids) + targets.absent, "readable": len(images)}
    if spec.duplicates == "skip":
        images, left = sieve.different(images, twins)
        out, funnel["different"] = out + left, len(images)
    images, left = sieve.large(images, spec)
    out, funnel["large enough"] = out + left, len(images)
    images, left = sieve.shaped(images, spec)
    out, funnel["aspect ok"] = out + left, len(images)
    images, left = sieve.captioned(images, spec, targets, beside)
    out, funnel["captioned"] = out + left, len(images)
    made = joined(images, spec, beside)
    out, funnel["paired"] = [*out, *made.out], len(made.examples)
    examples = made.examples
    if spec.limit is not None:
        examples, left = _limited(examples, spec, spec.limit, seed)
        out, funnel["within `limit`"] = out + left, len(examples)
    return Scan(
        root=targets.root,
        examples=examples,
        funnel=funnel,
        bad=tuple(out),
        notes=(
            *_notes(spec, _Seen(targets, beside, twins, made, out)),
            *_notes_on_held_out(spec, examples, seed),
        ),
        pairings=beside.all(),
        ledgers={spec.id: targets.ledger} | {one.place: one.ledger for one in beside.all()},
    )


def problems(scan: Scan, spec: DatasetSpec, number: int) -> list[ScumbleError]:
    """Why a set, the `number`th of the job from 0, cannot be used: one error per kind of fault."""
    place, total = f"data.{spec.id}", scan.funnel["found"]
    if total == 0:
        return [_nothing_found(scan, spec, number)]
    found = [
        FileError(place, counted(members, reason, of=total), _excused(remedy, members[0]))
        for reason, remedy, members in grouped(one for one in scan.bad if _stops(one, spec))
    ]
    found += _pairing_problems(scan, spec)
    if not found and not scan.examples:
        left = ", ".join(f"{count:,} {stage}" for stage, count in scan.funnel.items())
        found.append(FileError(place, f"no picture is left: {left}", scan.bad[-1].remedy))
    return list(found)


def _stops(one: Bad, spec: DatasetSpec) -> bool:
    """Whether a picture that is left out is a problem."""
    match one.cause:
        case "fault":
            return not spec.skip_bad
        case "pairing":
            return True
        case "setting":
            return False


def _excused(remedy: str, one: Bad) -> str:
    return f"{remedy}, or set `skip_bad: true`" if one.cause == "fault" else remedy


def _nothing_found(scan: Scan, spec: DatasetSpec, number: int) -> ScumbleError:
    problem = f"there are no pictures in {scan.root}"
    setting = "source" if spec.folder is None else "folder"
    if spec.folder is not None:
        endings = ", ".join(sorted(ending[1:] for ending in ENDINGS))
        problem = f"{problem} (looked for {endings})"
    remedy = f"put some there, or correct `{setting}` of set {number + 1}"
    return FileError(f"data.{spec.id}", "; ".join([problem, *scan.notes]), remedy)


def _pairing_problems(scan: Scan, spec: DatasetSpec) -> Iterator[FileError]:
    """What belongs to no picture, and what of the names keeps many from pairing."""
    for pairing in scan.pairings:
        if not _demands_all(pairing, spec):
            continue
        place = f"data.{pairing.place}"
        for reason, remedy, members in grouped(pairing.spare):
            said = counted(members, reason, of=pairing.count, noun=_noun(pairing, spec))
            yield FileError(
                place, f"{said} (in {pairing.root})", _spare_remedy(remedy, pairing, spec)
            )
        odd = pairing.matching
        lonely, spare = [one.id for one in odd.lonely], [one.id for one in odd.spare]
        hint = shared_words(lonely, spare) if lonely and spare else None
        if hint is not None:
            yield FileError(place, hint, "rename one side")


def _demands_all(pairing: Pairing, spec: DatasetSpec) -> bool:
    """Whether what is not used is a problem: always of masks, for they take much work to make."""
    if pairing.place == mask_place(spec):
        return True
    return spec.unpaired == "error" and pairing.place not in _written(spec)


def _written(spec: DatasetSpec) -> set[str]:
    """References that were made from the targets beforehand; those that lack are made anew."""
    made = [n for n, one in enumerate(spec.references) if one.degrade is not None]
    return {reference_place(spec, number) for number in made}


def _noun(pairing: Pairing, spec: DatasetSpec) -> str:
    return "mask" if pairing.place == mask_place(spec) else "reference"


def _spare_remedy(remedy: str, pairing: Pairing, spec: DatasetSpec) -> str:
    if pairing.place == mask_place(spec):
        return remedy
    return f"{remedy}, or set `unpaired: skip` or `fewer`"


def _limited(
    examples: Sequence[Example], spec: DatasetSpec, limit: int, seed: int
) -> tuple[tuple[Example, ...], list[Bad]]:
    images, out = sieve.limited([one.target for one in examples], spec, limit, seed)
    left = {image.id for image in images}
    return tuple(one for one in examples if one.id in left), out


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that notes are made from."""

    targets: Collection
    beside: Companions
    copies: Mapping[str, str]
    joined: Joined
    out: Sequence[Bad]


def _notes(spec: DatasetSpec, seen: _Seen) -> Iterator[str]:
    yield from seen.targets.notes
    for reason, _, members in grouped(seen.out):
        said = counted(members, reason)
        if members[0].cause == "setting":
            yield said
        elif not _stops(members[0], spec):
            yield f"left out: {said}"
    yield from _notes_on_names(spec, seen)
    for reason, _, members in grouped(seen.joined.without):
        yield counted(members, reason)
    for pairing in seen.beside.all():
        yield from _notes_on_pairing(pairing, spec)
    yield from _notes_on_mute_references(spec, seen.joined.examples)


def _notes_on_names(spec: DatasetSpec, seen: _Seen) -> Iterator[str]:
    """Pictures that are the same, or that share a caption by sharing a name."""
    if seen.copies and spec.duplicates == "keep":
        reason = "has the bytes of another"
        yield counted([Bad(a, reason, "", f"as {b}") for a, b in seen.copies.items()], reason)
    twins = _namesakes(seen.targets.ids) if kind(spec) == "textfile" else []
    if twins:
        yield noted(twins, "shares name and caption with another")


def _namesakes(ids: Sequence[str]) -> list[str]:
    """Those that differ from others only in their ending."""
    counts = Counter(id.rpartition(".")[0] for id in ids)
    if len(counts) == len(ids):
        return []
    return [id for id in ids if counts[id.rpartition(".")[0]] > 1]


def _notes_on_held_out(spec: DatasetSpec, examples: Sequence[Example], seed: int) -> Iterator[str]:
    held = held_out.drawn(spec, [one.id for one in examples], seed)
    if held:
        yield noted(sorted(held), "is held out: measured, not trained on")


def _notes_on_mute_references(spec: DatasetSpec, examples: Sequence[Example]) -> Iterator[str]:
    """References that should have a caption and have none are told as their target is."""
    for number, one in enumerate(spec.references):
        images = [example.references[number] for example in examples]
        mute = [image.id for image in images if image is not None and not image.captions]
        if one.captions is not None and mute:
            said = noted(mute, "has no caption of its own, and its target's is told instead")
            yield f"reference `{one.id or number + 1}`: {said}"


def _notes_on_pairing(pairing: Pairing, spec: DatasetSpec) -> Iterator[str]:
    for note in pairing.notes:
        yield f"{pairing.words}: {note}"
    if not _demands_all(pairing, spec):
        for reason, _, members in grouped(pairing.spare):
            said = counted(members, reason, of=pairing.count, noun=_noun(pairing, spec))
            yield f"{said} (in {pairing.root})"
    if pairing.place in _written(spec):
        made = f"{len(pairing.partners):,} of {len(pairing.matching.partners):,}"
        yield f"{pairing.words}: {made} are read from {pairing.root}, others made on the way"
