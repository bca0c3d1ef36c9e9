"""Several of our layers as one of the authors', and apart again; no change is altered by it.

The up matrix of a fused layer has the rows of all its parts. Parts with one down matrix share its
columns; the others stand block by block on the diagonal, so that each sees its own down only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from scumble.adapters.keys import Row
from scumble.adapters.lora import LoraTensors

Group = tuple[list[int], Tensor]
"""Parts that look at the same columns, and which these are."""


def fits(parts: Mapping[int, LoraTensors], row: Row) -> bool:
    """Whether parts can be those of one layer: as many inputs, rows in the row's proportions."""
    inputs = {one.down.shape[1] for one in parts.values()}
    units = {len(one.up) / row.shares[place] for place, one in parts.items()}
    return len(inputs) == 1 and len(units) == 1 and all(unit.is_integer() for unit in units)


def fused(parts: Mapping[int, LoraTensors], row: Row) -> LoraTensors:
    """The authors' layer that changes as its parts do; those that are missing get rows of zeros.

    The rank is the sum over different downs. Where scales differ, they go into the up matrix.
    """
    assert fits(parts, row)
    if len(row.ours) == 1:
        return _turned(parts[0], row)
    leading = max(parts.values(), key=lambda one: abs(_scale(one)))
    whole = _scale(leading)
    ups = {
        place: times(one.up, _scale(one) / whole if whole else 1.0) for place, one in parts.items()
    }
    shared = _shared(parts)
    down = torch.cat([one for one, _ in shared]) if len(shared) > 1 else shared[0][0]
    first = next(iter(ups))
    rows = _bounds(row, len(ups[first]) // row.shares[first])
    kind = reduce(torch.promote_types, (one.dtype for one in ups.values()))
    up = torch.zeros(rows[-1][1], len(down), dtype=kind, device=down.device)
    column = 0
    for one, places in shared:
        for place in places:
            up[slice(*rows[place]), column : column + len(one)] = ups[place]
        column += len(one)
    return LoraTensors(down, up, leading.alpha * (len(down) / len(leading.down)))


def parted(told: LoraTensors, row: Row) -> dict[int, LoraTensors] | None:
    """Our layers by their place, each with no more rank than it uses; None where rows do not fit.

    A part whose rows are all zero was not trained and is left out, unless all are.
    """
    unit, rest = divmod(len(told.up), sum(row.shares))
    if rest or (row.swapped and len(told.up) % 2):
        return None
    if len(row.ours) == 1:
        return {0: _turned(told, row)}
    pieces = [told.up[slice(*bounds)] for bounds in _bounds(row, unit)]
    made = {}
    for places, columns in _groups(pieces):
        every = columns is None
        down = told.down if every else told.down[columns]
        alpha = told.alpha * (len(down) / len(told.down))
        for place in places:
            up = pieces[place] if every else pieces[place][:, columns]
            made[place] = LoraTensors(down, up, alpha)
    return dict(sorted(made.items()))


def times(tensor: Tensor, factor: float) -> Tensor:
    """The tensor itself for a factor of 1, else the product in float32 at least."""
    return tensor if factor == 1 else tensor.to(_wide(tensor.dtype)) * factor


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _scale(told: LoraTensors) -> float:
    return told.alpha / len(told.down)


def _bounds(row: Row, unit: int) -> list[tuple[int, int]]:
    return list(pairwise(accumulate((share * unit for share in row.shares), initial=0)))


def _turned(told: LoraTensors, row: Row) -> LoraTensors:
    """With the halves of the rows in the other order, where the row says so: its own inverse."""
    if not row.swapped:
        return told
    first, second = told.up.chunk(2)
    return LoraTensors(told.down, torch.cat([second, first]), told.alpha)


def _shared(parts: Mapping[int, LoraTensors]) -> list[tuple[Tensor, list[int]]]:
    """Every different down matrix with the places that have it."""
    found: list[tuple[Tensor, list[int]]] = []
    for place, told in sorted(parts.items()):
        for down, places in found:
            if _same(down, told.down):
                places.append(place)
                break
        else:
            found.append((told.down, [place]))
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    known = not (one.is_meta or other.is_meta)
    return known and one.dtype == other.dtype and torch.equal(one, other)


def _groups(pieces: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor | None]]:
    """Parts that share columns, with their columns; None: all of them."""
    dense = list(range(len(pieces)))
    if pieces[0].is_meta:
        yield dense, None
        return
    apart: list[Group] = []
    for place, piece in enumerate(pieces):
        columns = piece.ne(0).any(dim=0)
        if columns.any():
            apart = _joined(apart, ([place], columns))
    for places, columns in apart:
        yield places, None if columns.all() else columns
    if not apart:
        yield dense, None


def _joined(groups: Sequence[Group], new: Group) -> list[Group]:
    """The groups with a new one, which takes in those that have a column with it."""
    places, columns = new
    apart = []
    for others, taken in groups:
        if (taken & columns).any():
            places, columns = others + places, taken | columns
        else:
            apart.append((others, taken))
    return [*apart, (places, columns)]
