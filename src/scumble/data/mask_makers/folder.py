"""A folder of masks for a folder of pictures, with the same names, and how they came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from scumble import disk
from scumble.data import masks, parallel, twins, whole
from scumble.data.mask_makers import plain, words
from scumble.data.mask_makers.makers import Alpha, Backdrop, GrabCut, Maker, Words
from scumble.data.masks import Grey
from scumble.data.sheet import Card, png
from scumble.data.sources.record import File, Found
from scumble.errors import FileError, JobError, ScumbleError

NOTHING, EVERYTHING = 0.001, 0.999
"""Masks with a smaller or larger share of white are named: they are rarely meant."""

GREYS = frozenset({"1", "L", "LA", "I", "I;16", "F"})
"""Modes of what may be a mask, also one that was painted over."""

CARDS = 48
"""So many pictures are on a sheet: first those that are named, then some of all the others."""

SIDE = 192
TINT, TINTED = np.array([255, 0, 80], np.float32), 0.6
"""What an overlay shows where the loss does not count, and how much of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """What is done to every mask, in this order."""

    invert: bool = False
    grow: int = 0
    """Pixels of the picture; below 0 the white part shrinks."""

    blur: float = 0.0
    """Pixels of the picture."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which pictures get masks, how, and where to."""

    root: Path
    pictures: tuple[Found, ...]
    maker: Maker
    target: Path
    finish: Finish = Finish()
    again: bool = False
    """Make those anew that are there; else they are kept, as they may have been painted over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One mask that was made, or why not."""

    id: str
    share: float
    """Of white, from 0 to 1."""

    problem: tuple[str, str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One mask to be made."""

    id: str
    source: File
    target: Path
    finish: Finish


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an order; ids are sorted."""

    made: int
    kept: int
    empty: tuple[str, ...]
    """Masks that are black: nothing would be learnt from these pictures."""

    full: tuple[str, ...]
    """Masks that are white: they change nothing."""

    failed: tuple[ScumbleError, ...]


def fulfilled(
    order: Order, processes: int, tell: Callable[[int, int], None] = lambda done, of: None
) -> Outcome:
    """Make what is missing; each file appears whole or not at all, and a killed run goes on.

    JobError or FileError before anything is written, DiskError when nothing more can be.
    """
    twins.apart(order.root, order.target)
    twins.alone(one.id for one in order.pictures)
    _grey(order)
    errands = [
        Errand(
            id=one.id,
            source=one.file,
            target=target(order, one.id),
            finish=order.finish,
        )
        for one in order.pictures
        if order.again or not target(order, one.id).exists()
    ]
    done: list[Made] = []
    for one in _all_made(errands, order.maker, processes) if errands else ():
        done.append(one)
        tell(len(done), len(errands))
    return _outcome(sorted(done, key=lambda one: one.id), len(order.pictures) - len(errands))


def _grey(order: Order) -> None:
    """JobError if what is to be made anew is no mask, but a picture in colours."""
    files = (target(order, one.id) for one in order.pictures) if order.again else ()
    coloured = [file for file in files if file.exists() and not _is_grey(file)]
    if coloured:
        problem = f"{len(coloured)} files there are no grey masks, first {coloured[0].name}"
        raise JobError(order.target, problem, "name another folder, or move these away")


def _is_grey(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.mode in GREYS
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def target(order: Order, id: str) -> Path:
    """The file of a picture's mask."""
    return order.target / f"{twins.stem(id)}.png"


def sheet(order: Order, outcome: Outcome) -> Image.Image:
    """Picture, mask and both together: those that came out badly, and some of the others."""
    odd = {*outcome.empty, *outcome.full}
    there = [one for one in order.pictures if target(order, one.id).is_file()]
    marked = [one for one in there if one.id in odd][:CARDS]
    rest = [one for one in there if one.id not in odd]
    room = min(CARDS - len(marked), len(rest))
    some = [rest[place * len(rest) // room] for place in range(room)]
    cards = [_card(one, target(order, one.id), alarm=one.id in odd) for one in marked + some]
    return png(cards, side=SIDE)


def finished(mask: Grey, finish: Finish) -> Grey:
    """Inverted, grown, softened."""
    mask = 255 - mask if finish.invert else mask
    return masks.softened(masks.grown(mask, finish.grow), finish.blur)


def _all_made(errands: list[Errand], maker: Maker, processes: int) -> Iterator[Made]:
    """With networks one after the other, else many at a time."""
    match maker:
        case Words():
            find = words.finder(maker)
            yield from (_made(one, lambda file: find(whole.upright(file))) for one in errands)
        case GrabCut():
            plain.demanded()
            yield from parallel.each(partial(_made_plainly, maker), errands, processes)
        case Alpha() | Backdrop():
            yield from parallel.each(partial(_made_plainly, maker), errands, processes)


def _made_plainly(maker: Alpha | GrabCut | Backdrop, errand: Errand) -> Made:
    return _made(errand, lambda file: plain.drawn(maker, file))


def _made(errand: Errand, draw: Callable[[File], Grey]) -> Made:
    try:
        mask = finished(draw(errand.source), errand.finish)
    except FileError as error:
        told = (error.where, error.problem, error.remedy)
        return Made(id=errand.id, share=0.0, problem=told)
    stream = BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    disk.write_whole(errand.target, stream.getvalue())
    return Made(id=errand.id, share=float(mask.mean()) / 255)


def _outcome(done: list[Made], kept: int) -> Outcome:
    good = [one for one in done if one.problem is None]
    return Outcome(
        made=len(good),
        kept=kept,
        empty=tuple(one.id for one in good if one.share < NOTHING),
        full=tuple(one.id for one in good if one.share > EVERYTHING),
        failed=tuple(FileError(*one.problem) for one in done if one.problem is not None),
    )


def _card(found: Found, mask: Path, *, alarm: bool) -> Card:
    picture = whole.upright(found.file)
    picture.thumbnail((2 * SIDE, 2 * SIDE), Resampling.BOX)
    with Image.open(mask) as image:
        grey = image.convert("L").resize(picture.size, Resampling.BOX)
    shown, weight = np.asarray(picture), np.asarray(grey, np.float32)[..., None] / 255
    away = TINTED * (1 - weight)
    overlay = np.rint(shown * (1 - away) + TINT * away).astype(np.uint8)
    white = np.asarray(grey.convert("RGB"))
    share = float(weight.mean())
    said = "empty" if share < NOTHING else "all white" if share > EVERYTHING else ""
    return Card(
        title=found.id,
        pictures=(shown, white, overlay),
        labels=("picture", "mask", "overlay: red does not count"),
        lines=(" ".join(filter(None, [f"{share:.1%} counts", said and f"({said})"])),),
        alarm=alarm,
    )
