"""One picture to learn from, as far as it is known without decoding it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A picture that will be used, and what is said of it."""

    dataset: str
    id: str
    """Path relative to the set's folder, with forward slashes; unique within the set."""

    path: Path
    size_bytes: int
    mtime_ns: int
    width: int
    """Pixels across, once the picture stands upright."""

    height: int
    caption: str
