"""Batches of a unit's examples: read from the cache, or encoded when their turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.data import mask_cache
from scumble.data.batch import Batch, stacked
from scumble.data.library import Entry, Library, keeps_words
from scumble.data.looks import Look, looks
from scumble.data.order import Row, Unit
from scumble.data.picture_set import PictureSet
from scumble.data.saying import Saying


@dataclass(frozen=True, slots=True)
class Shown:
    """One example as it goes into a batch."""

    slot: int
    member: int
    target: Look
    latents: Tensor
    references: tuple[Tensor, ...]
    mask: Tensor | None
    words: Saying

    @property
    def kind(self) -> tuple[object, ...]:
        """What examples of one batch have in common."""
        return (self.mask is None, *(one.shape for one in self.references))


def batches(library: Library, unit: Unit, step: int) -> list[Batch]:
    """A unit's examples at a step: one batch for each number and size of references."""
    return _batches(library, library.sets[unit.dataset], unit, step)


def measured(library: Library, unit: Unit) -> list[Batch]:
    """The same of pictures that are held out."""
    return _batches(library, library.held[unit.dataset], unit, 1)


def _batches(library: Library, one: PictureSet, unit: Unit, step: int) -> list[Batch]:
    groups: dict[tuple[object, ...], list[Shown]] = {}
    for slot, row in enumerate(unit.rows):
        shown = _shown(library, one, slot, row, step)
        groups.setdefault(shown.kind, []).append(shown)
    return [_batch(library, one, group) for group in groups.values()]


def _shown(library: Library, one: PictureSet, slot: int, row: Row, step: int) -> Shown:
    seen = looks(one, row.member, one.version(row))
    chosen = [seen.references[number] for number in one.shown(row)]
    references = [look for look in chosen if look is not None]
    asked = [seen.target, *references]
    latents = [entry["latents"].float() for entry in _latents(library, one, asked)]
    return Shown(
        slot=slot,
        member=row.member,
        target=seen.target,
        latents=latents[0],
        references=tuple(latents[1:]),
        mask=None if seen.mask is None else _mask(library, one, seen.mask),
        words=library.saying(one.caption(row, step), references),
    )


def _latents(library: Library, one: PictureSet, asked: Sequence[Look]) -> list[Entry]:
    wanted = [library.wanted(look) for look in asked]
    if library.keeps(one):
        store = library.pictures[one.spec.id]
        return [store.read(each.key) for each in wanted]
    assert library.see is not None
    return library.see(wanted)


def _mask(library: Library, one: PictureSet, look: Look) -> Tensor:
    wanted = library.mask(one, look)
    if library.keeps(one):
        return library.masks.read(wanted.key)[mask_cache.FIELD]
    return mask_cache.made(wanted)


def _words(library: Library, one: PictureSet, sayings: Sequence[Saying]) -> list[Entry]:
    if keeps_words(library, one):
        return [read(library, each) for each in sayings]
    assert library.read is not None
    return _with_words(library, sayings, library.read(sayings))


def read(library: Library, saying: Saying) -> Entry:
    """What is kept of a text, and the numbers that encoders in training read."""
    kept = library.texts.read(library.text_key(saying)) if library.reads else {}
    return _with_words(library, [saying], [kept])[0]


def _with_words(
    library: Library, sayings: Sequence[Saying], entries: Sequence[Entry]
) -> list[Entry]:
    if library.words is None:
        return list(entries)
    words = library.words(sayings)
    return [{**one, **each} for one, each in zip(entries, words, strict=True)]


def _batch(library: Library, one: PictureSet, group: Sequence[Shown]) -> Batch:
    words = _words(library, one, [each.words for each in group])
    masks = [each.mask for each in group if each.mask is not None]
    return Batch(
        latents=torch.stack([each.latents for each in group]),
        words=stacked(words),
        frames=torch.tensor([each.target.view.frame.row() for each in group]),
        weights=torch.tensor([_weight(one, each.member) for each in group]),
        slots=tuple(each.slot for each in group),
        ids=tuple(f"{one.spec.id}/{each.target.image.id}" for each in group),
        captions=tuple(each.words.text for each in group),
        references=tuple(
            torch.stack(column) for column in zip(*(each.references for each in group), strict=True)
        ),
        masks=_weighed(one, torch.stack(masks)) if masks else None,
        masks_heeded=1.0 if one.spec.mask is None else one.spec.mask.probability,
        teach=torch.ones(len(group), dtype=torch.bool) if one.spec.prior_preservation else None,
        time_offset=one.spec.time_offset,
    )


def _weighed(one: PictureSet, masks: Tensor) -> Tensor:
    """Masks as they count: each divided by its mean where the job says so, if it is not black."""
    if one.spec.mask is None or not one.spec.mask.normalise:
        return masks
    means = masks.mean((1, 2, 3), keepdim=True)
    return masks / torch.where(means == 0, 1.0, means)


def _weight(one: PictureSet, member: int) -> float:
    """Factor on an example's loss."""
    mask = one.spec.mask
    masked = mask is not None and (mask.alpha or one.examples[member].mask is not None)
    return one.spec.loss_weight * (mask.weight if mask is not None and masked else 1.0)
