"""All that can be wrong with pairs: names and sizes of all, then the pixels of some."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from scumble import dice
from scumble.data.pairs.copies import copied
from scumble.data.pairs.opening import upright
from scumble.data.pairs.pixels import Comparison, compared
from scumble.data.pairs.report import Finding, Looked, Report, in_order
from scumble.data.pairs.shapes import ill_shaped, same_shape
from scumble.data.pairs.sides import Pair, Sides, paired
from scumble.data.pairs.swaps import ways
from scumble.errors import FileError

MOVED = 2.0
"""Pixels of the target by which a partner may lie beside it."""

ALIKE = 4.5
"""Levels of 255: no block of 16 x 16 pixels of such a pair differs more; JPEG alone makes 4."""


@dataclass(frozen=True, slots=True)
class Look:
    """Which pairs are decoded."""

    sample: int | None = 200
    """So many, drawn; None: all."""

    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pair and what its pixels tell, or why they cannot."""

    pair: Pair
    told: Comparison | None
    error: FileError | None = None


def doctor(sides: Sides, look: Look | None) -> Report:
    """Everything that is to be said of a set's pairs; without `look`, none is decoded."""
    names = paired(sides)
    references = [one for one in names.pairs if one.side is not sides.mask]
    findings = [*names.findings, *ill_shaped(names.pairs), *copied(sides, references)]
    looked, seen = None, []
    if look is not None and references:
        chosen = _drawn(references, look)
        started = time.perf_counter()
        seen = _seen(chosen)
        seconds = time.perf_counter() - started
        looked = Looked(pairs=len(chosen), of=len(references), seconds=seconds)
    found = ways(references, [(one.pair, one.told.more) for one in seen if one.told is not None])
    findings = [*_cleared(findings, seen), *found.findings]
    known = found.along | {one.files for one in findings if one.kind in ("copied", "swapped")}
    findings += (fault for one in seen for fault in _faults(one, known))
    return Report(
        targets=len(sides.targets.images),
        pairs=len(names.pairs),
        counts=names.counts,
        findings=in_order(findings),
        hints=names.hints,
        directions=found.told,
        looked=looked,
    )


def _drawn(pairs: Sequence[Pair], look: Look) -> list[Pair]:
    """In the order of the pairs; the same for a seed, whatever they are called."""
    if look.sample is None or look.sample >= len(pairs):
        return list(pairs)
    places = dice.shuffled(len(pairs), look.seed, "pairs")[: look.sample]
    return [pairs[place] for place in sorted(places.tolist())]


def _seen(pairs: Sequence[Pair]) -> list[_Seen]:
    """Several at a time: decoding and Fourier transforms let other threads go on."""
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, from any thread
        return list(pool.map(_compared, pairs))


def _compared(pair: Pair) -> _Seen:
    try:
        return _Seen(pair, compared(upright(pair.target), upright(pair.other)))
    except FileError as error:
        return _Seen(pair, None, error)


def _cleared(findings: Sequence[Finding], seen: Sequence[_Seen]) -> list[Finding]:
    """With those pairs taken back of which only a tag differs: decoded, they lie on each other."""
    placed = {
        one.pair.files
        for one in seen
        if one.told is not None and one.told.shift is not None and one.told.shift.length <= MOVED
    }
    return [
        replace(one, kind="tag") if one.kind == "turned" and one.files in placed else one
        for one in findings
    ]


def _faults(seen: _Seen, told: Collection[tuple[str, ...]]) -> list[Finding]:
    """What is wrong with the pixels of one pair; of those `told`, it is known how they differ."""
    pair, comparison = seen.pair, seen.told
    found = [_unreadable(pair, seen.error)] if seen.error is not None else []
    if comparison is None:
        return found
    if pair.files not in told:
        found += _alike(pair, comparison)
    return found + _moved(pair, comparison)


def _unreadable(pair: Pair, error: FileError) -> Finding:
    culprit = pair.other if error.where == str(pair.other.file) else pair.target
    return Finding(
        kind="unreadable",
        side=pair.side.name,
        id=culprit.id,
        said=error.problem,
        files=(str(culprit.file),),
    )


def _alike(pair: Pair, told: Comparison) -> list[Finding]:
    if told.difference > ALIKE:
        return []
    if told.difference == 0:
        return [pair.finding("alike", "has the very pixels of its partner")]
    levels = f"{told.difference:.1f} levels of 255 where they differ most"
    return [pair.finding("alike", f"looks like its partner: {levels}")]


def _moved(pair: Pair, told: Comparison) -> list[Finding]:
    shift = told.shift
    if shift is None or shift.length <= MOVED or pair.side.loose:
        return []
    if not same_shape(pair.target, pair.other):
        return []
    across = f"{abs(shift.right):.1f} px {'right' if shift.right > 0 else 'left'}"
    down = f"{abs(shift.down):.1f} px {'down' if shift.down > 0 else 'up'}"
    words = " and ".join(
        word for word, size in ((across, shift.right), (down, shift.down)) if abs(size) >= 0.3
    )
    return [pair.finding("shifted", f"has a partner that lies {words} of its place")]
