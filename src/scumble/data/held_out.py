"""Pictures that are kept from training to be measured: which they are, and how they are shown.

Which ones follows from a seed and the pictures' names alone, so every start and every machine keeps
the same ones, and new pictures move few of them. They are always shown in one way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scumble import dice
from scumble.data.captions import tags
from scumble.data.example import Example, Image
from scumble.data.picture_set import PictureSet, drawing
from scumble.data.plans import Row, Unit
from scumble.data.shelving import Shelves
from scumble.spec.captions import CaptionEdits
from scumble.spec.dataset import DatasetSpec
from scumble.spec.validation import HeldOutSpec

SHOWN = Row(member=0, epoch=0, turn=0)
"""The turn at which captions and references of such pictures are drawn, where there is a choice."""


@dataclass(frozen=True, kw_only=True)
class Parted:
    """A set as it is trained on, and what is kept from that."""

    trained: PictureSet
    measured: PictureSet
    """Perhaps fewer than are held out: `validation.held_out` has a limit, or measures nothing."""

    held: tuple[str, ...]
    """All that are held out of this set, sorted."""

    elsewhere: tuple[str, ...] = ()
    """Those that another set measures, and that are not trained on for this reason."""


def count(pictures: int, share: float) -> int:
    """How many are held out: the nearest whole number, but at least one, and not the last one."""
    if share in (0.0, 1.0) or pictures < 2:
        return pictures if share == 1.0 else 0
    return min(max(1, math.floor(pictures * share + 0.5)), pictures - 1)


def drawn(spec: DatasetSpec, ids: Sequence[str], seed: int) -> frozenset[str]:
    """The ids that are held out, of all that a set has; `seed` is the job's.

    The set's own name is no part of the draw: sets that show one folder at several sizes hold out
    the same pictures.
    """
    return _lots(ids, count(len(ids), spec.held_out), seed_of(spec, seed), "held out")


def seed_of(spec: DatasetSpec, seed: int) -> int:
    """What decides which pictures of a set are held out."""
    return seed if spec.held_out_seed is None else spec.held_out_seed


def _lots(ids: Collection[str], wanted: int, seed: int, what: str) -> frozenset[str]:
    ordered = sorted(ids, key=lambda id: (dice.word(seed, what, id, bits=64), id))
    return frozenset(ordered[:wanted])


def parted(sets: Sequence[PictureSet], wanted: HeldOutSpec, seed: int) -> tuple[Parted, ...]:
    """Every set with its held-out pictures taken out.

    A picture that one set holds out is trained on by no other: sets may share files.
    """
    held = [drawn(one.spec, [each.id for each in one.examples], seed) for one in sets]
    files = {
        str(each.target.file)
        for one, ids in zip(sets, held, strict=True)
        for each in (one.examples if ids else ())
        if each.id in ids
    }
    return tuple(
        _parted(one, ids, files, wanted, seed) for one, ids in zip(sets, held, strict=True)
    )


def measured(found: Iterable[Parted]) -> tuple[PictureSet, ...]:
    """What is measured, of the sets that have such pictures."""
    return tuple(one.measured for one in found if one.measured.examples)


def _parted(
    one: PictureSet, ids: frozenset[str], files: Collection[str], wanted: HeldOutSpec, seed: int
) -> Parted:
    if not files:
        return Parted(trained=one, measured=_part(one, _none), held=())
    elsewhere = {
        each.id for each in one.examples if each.id not in ids and str(each.target.file) in files
    }
    asked = 0 if wanted.every == 0 else wanted.limit or len(ids)
    chosen = _lots(ids, asked, wanted.seed, "limit")
    return Parted(
        trained=_part(one, lambda id: id not in ids and id not in elsewhere),
        measured=_still(_part(one, lambda id: id in chosen), seed_of(one.spec, seed)),
        held=tuple(sorted(ids)),
        elsewhere=tuple(sorted(elsewhere)),
    )


def _none(_: str) -> bool:
    return False


def _part(one: PictureSet, there: Callable[[str], bool]) -> PictureSet:
    """Some of a set's examples, with the cuts that they have among all of them."""
    kept = [n for n, example in enumerate(one.examples) if there(example.id)]
    return replace(
        one,
        examples=tuple(one.examples[n] for n in kept),
        frames=tuple(one.frames[n] for n in kept),
    )


def _still(one: PictureSet, seed: int) -> PictureSet:
    """A set of which nothing is drawn anew: one version, not mirrored, one caption."""
    spec = one.spec
    changes = {
        "flip": False,
        "colour": False,
        "variants": 1,
        "repeats": 1,
        "caption_dropout": 1.0 if spec.caption_dropout == 1 else 0.0,
        "caption_edits": _fixed(spec.caption_edits),
    }
    frames = one.frames
    if one.framer.random:  # of which `seed` decides, so that another seed of training moves none
        targets = [example.target for example in one.examples]
        frames = tuple(
            one.framer.frame(each.width, each.height, drawing(seed, spec.id, each.id, 0))
            for each in targets
        )
    return replace(
        one,
        spec=spec.model_copy(update=changes),
        examples=tuple(_plain(example, spec) for example in one.examples),
        frames=frames,
        seed=seed,
    )


def _fixed(edits: CaptionEdits) -> CaptionEdits:
    """The edits without what changes from time to time; wildcards are filled once."""
    silent = edits.dropout_every_epochs == 1
    changes: dict[str, object] = {
        "dropout_every_epochs": 1 if silent else 0,
        "shuffle": False,
        "tag_dropout": 0.0,
        "warmup_minimum": 1,
        # marks between tags are taken out only where tags move: a warm-up of no step moves none
        "warmup_steps": 1e-9 if tags.move(edits) else 0.0,
        "variants": None,
    }
    return edits.model_copy(update=changes)


def _plain(example: Example, spec: DatasetSpec) -> Example:
    """With the first of all that may be said of it."""
    references: list[Image | None] = []
    said = False
    for image in example.references:
        own = () if image is None else image.captions[:1]
        if said and spec.reference_sampling == "combined":
            own = ()
        said = said or bool(own)
        references.append(image and replace(image, captions=own))
    target = replace(example.target, captions=example.target.captions[:1])
    return replace(example, target=target, references=tuple(references))


def caption(one: PictureSet, member: int) -> str:
    """What is told of a measured picture, at any time."""
    return one.caption(replace(SHOWN, member=member), 1)


def units(one: PictureSet) -> Iterator[Unit]:
    """All measured pictures of a set, those of one size together, in the order of their ids."""
    for shelf in Shelves(one)(0):
        members = [int(member) for member in shelf.members]
        for first in range(0, len(members), one.batch):
            rows = [replace(SHOWN, member=each) for each in members[first : first + one.batch]]
            yield Unit(one.spec.id, tuple(rows))
