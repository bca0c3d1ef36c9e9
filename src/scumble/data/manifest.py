"""What was used together, example by example: target, references, mask and texts."""

from __future__ import annotations

from collections.abc import Iterator

from scumble.data.library import Library
from scumble.data.looks import Look, looks


def samples(library: Library) -> Iterator[dict[str, object]]:
    """One row per example, as it is shown first."""
    for name, one in library.sets.items():
        for member, example in enumerate(one.examples):
            seen, there = looks(one, member, 0), one.there(member)
            yield {
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
