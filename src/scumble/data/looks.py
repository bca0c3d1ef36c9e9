"""What is seen of an example: target, references and mask, each a file and what is done to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scumble import dice
from scumble.data import augment
from scumble.data.companions import mask_place, reference_place
from scumble.data.example import Example, Image
from scumble.data.picture_set import PictureSet, drawing
from scumble.data.sizes.frame import at_size, strict
from scumble.data.view import Degraded, View


@dataclass(frozen=True, slots=True)
class Look:
    """A picture as it is shown."""

    place: str
    """Which collection it lies in: the set, `SET.REFERENCE` or `SET.mask`."""

    image: Image
    view: View


@dataclass(frozen=True, slots=True)
class Looks:
    """All that is seen of an example in one version."""

    target: Look
    references: tuple[Look | None, ...]
    """In the order of the set's references; None where this example has none."""

    mask: Look | None


def looks(one: PictureSet, member: int, version: int) -> Looks:
    """What is seen of an example in a version.

    References and masks are mirrored as their target is, and references coloured, whatever their
    size, so that all stay one scene.
    """
    example, (drawn, mirrored) = one.examples[member], one.parted(version)
    key = (one.seed, one.spec.id, example.id, drawn)
    if mirrored is None:
        mirrored = one.spec.flip and augment.flipped(*key)
    colours = augment.colours(*key) if one.spec.colour else None
    view = View(one.frame(member, version), one.spec.interpolation, mirrored, colours)
    references = tuple(
        _reference(one, number, member, drawn, view) for number in range(len(one.loose))
    )
    target = Look(one.spec.id, example.target, view)
    return Looks(target, references, _mask(one, example, view))


def collections(one: PictureSet) -> Iterator[tuple[str, list[Image]]]:
    """All pictures of a set by the collection they lie in, named as `Look.place` does."""
    yield one.spec.id, [example.target for example in one.examples]
    for number in range(len(one.spec.references)):
        images = [example.references[number] for example in one.examples]
        yield reference_place(one.spec, number), [image for image in images if image]
    masks = [example.mask for example in one.examples]
    yield mask_place(one.spec), [mask for mask in masks if mask]


def _reference(one: PictureSet, number: int, member: int, drawn: int, view: View) -> Look | None:
    """A reference in the same version as its target, whose view that is."""
    spec, example = one.spec.references[number], one.examples[member]
    image, degraded = example.references[number], None
    own = place = reference_place(one.spec, number)
    if image is None and spec.degrade is not None:
        key = dice.word(one.seed, "degrade", own, example.id, drawn)
        image, degraded = example.target, Degraded(spec.degrade, spec.at, key)
        place = one.spec.id
    if image is None:
        return None
    cutter = one.loose[number]
    if cutter is None:
        frame = strict(view.frame, image.width, image.height)
    else:
        draw = drawing(one.seed, own, example.id, drawn)
        frame = cutter.frame(image.width, image.height, draw)
    frame = at_size(frame, one.packed(number, frame.size))
    return Look(place, image, replace(view, frame=frame, degraded=degraded))


def _mask(one: PictureSet, example: Example, view: View) -> Look | None:
    if one.spec.mask is not None and one.spec.mask.alpha:
        return Look(one.spec.id, example.target, replace(view, colours=None))
    if example.mask is None:
        return None
    frame = strict(view.frame, example.mask.width, example.mask.height)
    return Look(mask_place(one.spec), example.mask, replace(view, frame=frame, colours=None))
