"""The sides of a set: what its folders and sources hold, by header alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scumble.data.collection import collected
from scumble.data.pairs.matching import Odd
from scumble.data.pairs.sides import Side, Sides
from scumble.data.sources.record import Where
from scumble.spec.dataset import DatasetSpec
from scumble.spec.references import MaskSpec


def of_set(one: DatasetSpec, base: Path, cache: Path) -> Sides:
    """What a job's set pairs by name; paths start in `base`.

    References from a column and made ones are left out: these cannot miss their targets.
    """
    place = Where(id=one.id, folder=one.folder, source=one.source, subfolders=one.subfolders)
    return Sides(
        targets=side(place, base, cache),
        references=tuple(_references(one, base, cache)),
        mask=_mask(one.mask, one.id, base, cache) if one.mask else None,
    )


def of_folders(
    targets: Path, references: Sequence[Path], masks: Path | None, *, loose: bool = False
) -> Sides:
    """Folders without a job."""

    def folder(name: str, path: Path, *, loose: bool = False) -> Side:
        return side(Where(id=name, folder=str(path)), Path(), None, loose=loose)

    numbers = [f"references {n}" for n in range(1, len(references) + 1)]
    names = numbers if len(references) > 1 else ["references"]
    return Sides(
        targets=folder("targets", targets),
        references=tuple(
            folder(name, path, loose=loose)
            for name, path in zip(names, references, strict=bool(references))
        ),
        mask=folder("masks", masks) if masks else None,
    )


def side(
    where: Where, base: Path, cache: Path | None, *, loose: bool = False, optional: bool = False
) -> Side:
    """All pictures of one place; ScumbleError if it cannot be reached."""
    found = collected(where, base, cache)
    return Side(
        name=where.id,
        root=found.root,
        images=found.images,
        bad=tuple(Odd(one.id, one.reason) for one in found.bad),
        notes=found.notes,
        loose=loose,
        optional=optional,
    )


def _references(one: DatasetSpec, base: Path, cache: Path) -> Iterator[Side]:
    for number, each in enumerate(one.references, start=1):
        if each.folder is None and each.source is None:
            continue
        name = f"{one.id}.{each.id or f'references.{number}'}"
        place = Where(id=name, folder=each.folder, source=each.source)
        loose, optional = each.fit == "loose", one.unpaired != "error"
        yield side(place, base, cache, loose=loose, optional=optional)


def _mask(mask: MaskSpec, name: str, base: Path, cache: Path) -> Side | None:
    if mask.folder is None and mask.source is None:
        return None
    place = Where(id=f"{name}.mask", folder=mask.folder, source=mask.source)
    return side(place, base, cache, optional=mask.missing != "error")
