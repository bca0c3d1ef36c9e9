"""One picture to learn from, as far as it is known without decoding it."""

from __future__ import annotations

from dataclasses import dataclass

from scumble.data.sources.record import File


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A picture that can be decoded: a target, a reference or a mask."""

    id: str
    """Path relative to the set's folder, with forward slashes; unique within the set."""

    file: File
    size_bytes: int
    mtime_ns: int
    width: int
    """Pixels across, once the picture stands upright."""

    height: int
    source: str | None = None
    """Hash of its bytes in hex, where the source vouches for them."""

    captions: tuple[str, ...] = ()
    """What may be said of it, each a text of its own; a reference may have none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A target with all that belongs to it."""

    target: Image
    references: tuple[Image | None, ...] = ()
    """One for each of the set's references, in their order; None where this target has none, and
    for those that are made from the target."""

    mask: Image | None = None
    """None: the picture counts as a whole, or its own transparency is the mask."""

    @property
    def id(self) -> str:
        """Of the target."""
        return self.target.id
