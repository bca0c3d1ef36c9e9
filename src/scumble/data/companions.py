"""What belongs to the targets of a set: its references and masks, looked at and paired by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from scumble.data.captions.reading import alternatives, kind
from scumble.data.collection import Collection, collected, untold
from scumble.data.example import Image
from scumble.data.pairs.matching import Matching, Odd, matched
from scumble.data.sources.record import Where
from scumble.data.telling import Bad
from scumble.errors import JobError
from scumble.spec.dataset import DatasetSpec
from scumble.spec.sources import HubSource, SourceSpec, TableSource

SPARE = "belongs to no picture of the set"
SPARE_REMEDY = "give both the same name, or take these away"


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A reference or the masks of a set, and which target each belongs to."""

    place: str
    """Names the collection: `cat.before`, `cat.mask`."""

    words: str
    """How messages call one of them: "reference `before`", "mask"."""

    root: str
    matching: Matching
    """Between all pictures on both sides, whether they can be read or not."""

    partners: Mapping[str, str]
    """By the target's id."""

    odd: Mapping[str, Odd]
    """Targets without a partner, by their ids, and why."""

    images: Mapping[str, Image]
    """Those that can be used, with captions of their own, by their own ids."""

    bad: Mapping[str, Bad]
    """Those that cannot, by their own ids."""

    spare: tuple[Bad, ...]
    """Those that no target takes, and records that lead nowhere."""

    count: int
    """How many there are, of whatever kind."""

    notes: tuple[str, ...]
    ledger: Path | None

    def partner(self, target: str) -> Image | None:
        """What belongs to a target, if it is there and can be used."""
        return self.images.get(self.partners.get(target, ""))


@dataclass(frozen=True, kw_only=True)
class Companions:
    """All pairings of a set."""

    references: tuple[Pairing | None, ...]
    """In the order of the set's references; None for those that are made on the way."""

    mask: Pairing | None
    """None: there are no masks, or they lie in the pictures themselves."""

    def all(self) -> tuple[Pairing, ...]:
        """Those that there are."""
        return tuple(one for one in (*self.references, self.mask) if one is not None)


def where(spec: DatasetSpec) -> Where:
    """Where the targets of a set are."""
    return Where(
        id=spec.id,
        folder=spec.folder,
        source=spec.source,
        subfolders=spec.subfolders,
        text_ending=spec.caption_ending if kind(spec) == "textfile" else None,
        by_row=any(one.column is not None for one in (*spec.references, spec.mask) if one),
    )


def companions(
    spec: DatasetSpec, base: Path, cache: Path | None, targets: Collection
) -> Companions:
    """Everything that belongs to the targets of a set. ScumbleError as for `collected`."""
    return Companions(
        references=tuple(
            _reference(spec, number, base, cache, targets) for number in range(len(spec.references))
        ),
        mask=_mask(spec, base, cache, targets),
    )


def reference_place(spec: DatasetSpec, number: int) -> str:
    """Names the collection of a reference."""
    return f"{spec.id}.{_name(spec, number)}"


def mask_place(spec: DatasetSpec) -> str:
    """Names the collection of the masks."""
    return f"{spec.id}.mask"


def _name(spec: DatasetSpec, number: int) -> str:
    return spec.references[number].id or str(number + 1)


def _reference(
    spec: DatasetSpec, number: int, base: Path, cache: Path | None, targets: Collection
) -> Pairing | None:
    one, place = spec.references[number], reference_place(spec, number)
    folder, source = one.folder, one.source
    if one.degrade is not None:
        if one.write_to is None or not (base / Path(one.write_to).expanduser()).is_dir():
            return None
        folder = one.write_to
    if one.column is not None:
        source = _column(spec.source, one.column, f"data.{spec.id}.references.{number}.column")
    asked = Where(
        id=place,
        folder=folder,
        source=source,
        text_ending=spec.caption_ending if one.captions == "textfile" else None,
        by_row=one.column is not None,
    )
    said = None if one.captions is None else partial(alternatives, one)
    seen = collected(asked, base, cache, part=(one.slice, one.slices), said=said)
    return _paired(asked, _name(spec, number), targets, seen)


def _mask(spec: DatasetSpec, base: Path, cache: Path | None, targets: Collection) -> Pairing | None:
    one = spec.mask
    if one is None or one.alpha:
        return None
    place, source = mask_place(spec), one.source
    if one.column is not None:
        source = _column(spec.source, one.column, f"data.{spec.id}.mask.column")
    asked = Where(id=place, folder=one.folder, source=source, by_row=one.column is not None)
    return _paired(asked, None, targets, collected(asked, base, cache))


def _column(source: SourceSpec | None, column: str, setting: str) -> SourceSpec:
    """The set's own source, read for the pictures of another column."""
    match source:
        case HubSource():
            changes: dict[str, object] = {"image_column": column, "slices": 1, "slice": 0}
            return source.model_copy(update=changes)
        case TableSource():
            return source.model_copy(update={"image_column": column})
        case _:
            problem = "there are no columns: the set comes from neither a table nor a dataset"
            raise JobError(setting, problem, "set `folder` instead, or `source.kind: table`")


def _paired(asked: Where, name: str | None, targets: Collection, others: Collection) -> Pairing:
    """`name` is that of a reference; None for masks."""
    matching = matched(targets.ids, others.ids)
    pairs = zip(targets.ids, matching.partners, strict=True)
    there, mute = frozenset(others.ids), {one.id: one for one in untold(others)}
    return Pairing(
        place=asked.id,
        words="mask" if name is None else f"reference `{name}`",
        root=others.root,
        matching=matching,
        partners={id: others.ids[number] for id, number in pairs if number is not None},
        odd={one.id: one for one in (*matching.lonely, *matching.ambiguous)},
        images={image.id: image for image in others.images if image.id not in mute},
        bad={one.id: one for one in others.bad if one.id in there} | mute,
        spare=(
            *(Bad(one.id, SPARE, SPARE_REMEDY, one.reason, "pairing") for one in matching.spare),
            *(replace(one, cause="pairing") for one in others.bad if one.id not in there),
        ),
        count=len(others.ids) + others.absent,
        notes=others.notes,
        ledger=others.ledger,
    )
