"""What the model will see of a set, before anything is trained: its sizes as a table, and examples
with the very pixels and texts of training, as cards for a contact sheet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from scumble import dice
from scumble.data import images, mask_cache, masks
from scumble.data.looks import Look, Looks, looks
from scumble.data.order import Order, Row, Shelf
from scumble.data.picture_set import PictureSet
from scumble.data.sheet import Card, Section, reduced
from scumble.data.sizes.frame import Frame, enlarged, lost
from scumble.errors import ScumbleError

MUCH = 0.25
"""A picture that loses more of its area is marked."""

TINT = np.array([200.0, 30.0, 30.0], dtype=np.float32)
"""Laid over what a mask takes out of the loss, so that it cannot be mistaken for the picture."""

TIMES = 3
"""So many captions of an example are shown."""

HEAD = ("width x height", "references", "pictures", "batches", "cut away", "most", "enlarged")

Shown = tuple[UInt8[np.ndarray, "_ _ 3"], str]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which examples are to be shown."""

    count: int
    """Of each set."""

    epoch: int
    """From 0."""

    first_steps: tuple[int, ...]
    """With which step that epoch begins, and each of those after it for which captions are
    shown."""


def sections(sets: Sequence[PictureSet], order: Order, *, count: int, epoch: int) -> list[Section]:
    """All sets of a job as they are in an epoch, from 0, with so many examples of each.

    JobError if an epoch before is empty, as for `Order.empty_epoch`.
    """
    found = []
    names = [pool.name for pool in order.pools]
    for one in sets:
        pool = names.index(one.spec.id) if one.spec.id in names else 0
        steps = tuple(_first_steps(one, order, epoch, pool))
        shelves = _shelves(one, order, epoch, pool)
        found.append(section(one, shelves, Asked(count=count, epoch=epoch, first_steps=steps)))
    return found


def section(one: PictureSet, shelves: Sequence[Shelf], asked: Asked) -> Section:
    """A set as it is in an epoch, in which it has these shelves; a picture that cannot be decoded
    becomes a card that says so.
    """
    if not shelves:
        return Section(title=f"{one.spec.id}: not seen in epoch {asked.epoch + 1}")
    examples, batches = (
        sum(n) for n in zip(*((s.examples, s.units) for s in shelves), strict=True)
    )
    title = f"{one.spec.id}: {len(one.examples):,} pictures; epoch {asked.epoch + 1} has "
    title += f"{examples:,} examples in {batches:,} batches"
    frames = [_frames(one, shelf, asked.epoch) for shelf in shelves]
    losses = [np.array([lost(frame) for frame in each]) for each in frames]
    rows = [_row(*known) for known in zip(shelves, frames, losses, strict=True)]
    chosen = _chosen(one, shelves, losses, asked.count)
    cards = [_card(one, shelf, place, asked) for shelf, place in chosen]
    return Section(title=title, rows=(HEAD, *rows), cards=tuple(cards))


def overlay(
    picture: UInt8[np.ndarray, "height width 3"], mask: Float32[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture, dark red where the mask is 0 and as it is where the mask is 1."""
    left_out = (picture * np.float32(0.3) + TINT * np.float32(0.4)).astype(np.float32)
    mixed = mask[..., None] * picture + (1 - mask[..., None]) * left_out
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _shelves(one: PictureSet, order: Order, epoch: int, pool: int) -> list[Shelf]:
    return [shelf for shelf in order.shelves(epoch, pool) if shelf.dataset == one.spec.id]


def _first_steps(one: PictureSet, order: Order, epoch: int, pool: int) -> Iterator[int]:
    """Where an epoch begins and those after it, as long as the set is seen in them."""
    for later in range(TIMES):
        if not _shelves(one, order, epoch + later, pool):
            return
        yield order.first_step_of_epoch(epoch + later, pool)


def _frames(one: PictureSet, shelf: Shelf, epoch: int) -> list[Frame]:
    """How each of the shelf's members is cut in the epoch."""
    members = np.asarray(shelf.members).tolist()
    return [one.frame(member, one.version(Row(member, epoch, 0))) for member in members]


def _row(shelf: Shelf, frames: Sequence[Frame], losses: np.ndarray) -> tuple[str, ...]:
    sizes = [_size(shelf.size[place : place + 2]) for place in range(0, len(shelf.size), 2)]
    larger = sum(map(enlarged, frames))
    return (
        sizes[0],
        ", ".join(sizes[1:]),
        f"{np.count_nonzero(shelf.counts):,}",
        f"{shelf.units:,}",
        f"{losses.mean():.1%}",
        f"{losses.max():.1%}",
        f"{larger:,}" if larger else "",
    )


def _chosen(
    one: PictureSet, shelves: Sequence[Shelf], losses: Sequence[np.ndarray], count: int
) -> Iterator[tuple[Shelf, int]]:
    """Shelves and places in them, some of each size in turn: first the one that loses most, then
    whatever the seed draws.
    """
    ranked = []
    for shelf, cut in zip(shelves, losses, strict=True):
        drawn = dice.shuffled(len(cut), one.seed, "proof", one.spec.id, *shelf.size)
        drawn = drawn[shelf.counts[drawn] > 0]
        worst = drawn[np.argsort(-cut[drawn], kind="stable")[:1]]
        ranked.append([*worst.tolist(), *drawn[~np.isin(drawn, worst)].tolist()])
    largest = sorted(range(len(shelves)), key=lambda n: -len(ranked[n]))
    rounds = (
        (shelves[n], ranked[n][turn])
        for turn in range(max(map(len, ranked)))
        for n in largest
        if turn < len(ranked[n])
    )
    for _, found in zip(range(count), rounds, strict=False):
        yield found


def _card(one: PictureSet, shelf: Shelf, place: int, asked: Asked) -> Card:
    row = Row(int(shelf.members[place]), asked.epoch, 0)
    seen = looks(one, row.member, one.version(row))
    view, passes = seen.target.view, int(shelf.counts[place])
    facts, cut = _facts(view.frame), lost(view.frame)
    facts += ", mirrored" if view.flipped else ""
    facts += ", colours changed" if view.colours is not None else ""
    facts += f"; {passes} times in the epoch" if passes > 1 else ""
    problem, pictures = "", []
    try:
        pictures = list(_pictures(one, row, seen))
    except ScumbleError as error:
        problem = str(error)
    return Card(
        title=f"{one.spec.id}/{seen.target.image.id}",
        pictures=tuple(picture for picture, _ in pictures),
        labels=tuple(label for _, label in pictures),
        lines=tuple(filter(None, (problem, facts, *_captions(one, row, passes, asked)))),
        alarm=bool(problem) or cut > MUCH,
    )


def _facts(frame: Frame) -> str:
    if frame.original == frame.size:
        return f"{_size(frame.original)}, taken as it is"
    told = f"{_size(frame.original)}, resized to {_size(frame.resized)}, {lost(frame):.1%} cut away"
    return f"{told}, enlarged" if enlarged(frame) else told


def _pictures(one: PictureSet, row: Row, seen: Looks) -> Iterator[Shown]:
    """Target, references and mask, decoded as for training, large ones reduced afterwards.

    FileError if one cannot be decoded.
    """
    target = _pixels(seen.target)
    yield reduced(target), f"target, {_size(target.shape)}"
    shown = one.shown(row)
    for number, look in enumerate(seen.references):
        if look is not None:
            absent = "" if number in shown else ", not in this epoch"
            picture = _pixels(look)
            yield reduced(picture), f"{_name(one, number)}, {_size(picture.shape)}{absent}"
    if seen.mask is not None and one.spec.mask is not None:
        mask = masks.values(mask_cache.pixels(seen.mask, one.spec.mask), one.spec.mask)
        yield reduced(overlay(target, mask)), f"mask, {mask.mean():.0%} of the loss counts"


def _pixels(look: Look) -> UInt8[np.ndarray, "height width 3"]:
    return images.pixels(look.image.file, look.view)


def _name(one: PictureSet, number: int) -> str:
    spec = one.spec.references[number]
    made = f", {spec.degrade.kind}" if spec.degrade is not None else ""
    return f"reference {spec.id or number + 1}{made}"


def _captions(one: PictureSet, row: Row, passes: int, asked: Asked) -> list[str]:
    """What is told of the example: first all its times in the epoch, then those in later ones."""
    most = len(asked.first_steps)
    rows = [(Row(row.member, row.epoch, turn), asked.first_steps[0]) for turn in range(passes)]
    rows += [
        (Row(row.member, row.epoch + later, 0), asked.first_steps[later])
        for later in range(1, most)
    ]
    told = [(each, one.caption(each, step)) for each, step in rows[:most]]
    if len({text for _, text in told}) == 1:
        return [f"caption: {told[0][1] or '(empty)'}"]
    return [
        f"epoch {each.epoch + 1}"
        + (f", time {each.turn + 1}" if passes > 1 else "")
        + f": {text or '(empty)'}"
        for each, text in told
    ]


def _size(shape: Sequence[int]) -> str:
    """Of height and width, as people say it."""
    return f"{shape[1]} x {shape[0]}"
