"""What was used together, example by example: target, references, mask and texts."""

from __future__ import annotations

from collections.abc import Iterator

from scumble.data.library import Library, both
from scumble.data.looks import Look, looks
from scumble.data.picture_set import PictureSet


def samples(library: Library) -> Iterator[dict[str, object]]:
    """One row per example, as it is shown first; `held_out` are those that are only measured."""
    for name, trained in library.sets.items():
        for one in both(library, name):
            for member in range(len(one.examples)):
                yield _row(library, one, member) | {"held_out": one is not trained}


def _row(library: Library, one: PictureSet, member: int) -> dict[str, object]:
    name, example = one.spec.id, one.examples[member]
    seen, there = looks(one, member, 0), one.there(member)
    return {
        "set": name,
        "picture": example.id,
        "blake2b": library.hashes[name][example.id],
        "frame": seen.target.view.frame.row(),
        "references": [_named(look) for look in seen.references if look is not None],
        "mask": None if seen.mask is None else _named(seen.mask),
        "captions": list(one.texts(member, there)),
    }


def _named(look: Look) -> str:
    made = look.view.degraded
    return f"{look.place}/{look.image.id}" + (f" ({made.spec.kind})" if made else "")
