"""How a network's layers are called by its authors, and by diffusers, whose names are ours.

Tables and look-ups over names; no tensor is touched here. One table serves reading published
weights, training, the layouts of adapter files, and their proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

HOLE = "{}"
JOINTS = (".", "_")
"""What stands between the words of a name: dots in modules, underscores in some files."""


@dataclass(frozen=True)
class Row:
    """One layer of the authors and the layers that diffusers makes of it; `{}` is a number."""

    theirs: str
    ours: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    """Rows of the weight that each of ours takes, in units of the smallest."""

    swapped: bool = False
    """Whether the two halves of its rows stand in the other order in ours."""


@dataclass(frozen=True)
class Spot:
    """A row with its numbers filled in."""

    row: Row
    numbers: tuple[str, ...]

    @property
    def theirs(self) -> str:
        """The authors' layer."""
        return self.row.theirs.format(*self.numbers)

    @property
    def ours(self) -> tuple[str, ...]:
        """Our layers, in the order of their rows."""
        return tuple(one.format(*self.numbers) for one in self.row.ours)


@dataclass(frozen=True, kw_only=True)
class Network:
    """The names of one network's layers."""

    rows: tuple[Row, ...]
    """Linear layers: each has `.weight` and may have `.bias`."""

    tensors: tuple[tuple[str, str], ...] = ()
    """Tensors that are no layers: theirs and ours, in full."""

    prefixes: Mapping[str, str] = field(default_factory=dict)
    """What a key of this network begins with in an adapter file, by layout."""

    also: Mapping[str, str] = field(default_factory=dict)
    """Other beginnings that are read, never written, and who writes them."""

    kohya: Mapping[str, str] = field(default_factory=dict)
    """What the metadata of a kohya file says of this network."""

    def by_ours(self, layer: str, *, joint: str = ".") -> tuple[Spot, int] | None:
        """Where one of our layers stands: the spot, and its place among the spot's layers.

        `joint` is what stands where we write a dot.
        """
        for pattern, row, place in self._ours[joint]:
            if match := pattern.fullmatch(layer):
                return Spot(row, match.groups()), place
        return None

    def by_theirs(self, layer: str, *, joint: str = ".") -> Spot | None:
        """The spot of an authors' layer; `joint` is what stands where they write a dot."""
        for pattern, row in self._theirs[joint]:
            if match := pattern.fullmatch(layer):
                return Spot(row, match.groups())
        return None

    @cached_property
    def _ours(self) -> dict[str, list[tuple[re.Pattern[str], Row, int]]]:
        places = [(row, at, one) for row in self.rows for at, one in enumerate(row.ours)]
        return {
            joint: [(_pattern(one, joint), row, at) for row, at, one in places] for joint in JOINTS
        }

    @cached_property
    def _theirs(self) -> dict[str, list[tuple[re.Pattern[str], Row]]]:
        return {
            joint: [(_pattern(row.theirs, joint), row) for row in self.rows] for joint in JOINTS
        }


Keys = Mapping[str, Network]
"""A family's networks by the name of the part."""


def _pattern(template: str, joint: str) -> re.Pattern[str]:
    told = re.escape(template.replace(".", joint))
    return re.compile(told.replace(re.escape(HOLE), r"(0|[1-9][0-9]*)"))
