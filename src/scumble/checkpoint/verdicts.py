"""What can be said of an adapter file without running a model: one verdict for each question.

Asked of any file from any tool: is it whole, finite, known by its keys, of this family and size, of
some effect, and as strong as it says? What a file says nothing about is `unknown`, not passed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch

from scumble.adapters import foreign, layouts
from scumble.adapters.keys import Keys
from scumble.adapters.layouts import ALPHA, LAYOUTS, Changes
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export, proof
from scumble.checkpoint.proof import Difference, Mark
from scumble.errors import FileError
from scumble.events import State, Verdict

Shapes = Mapping[str, Mapping[str, tuple[int, int]]]
"""(outputs, inputs) of every linear layer, by part and layer."""

NAMED = 3
FAR_ABOVE_ONE = 4.0
"""A larger scale than adapters are trained with."""

FUSED = (1, 3, 4)
"""Into how many of ours a fused layer may have been split, its alpha with it or not."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that a file is held against."""

    keys: Keys
    shapes: Shapes
    told: str
    """Which one, in words."""


@dataclass(frozen=True)
class Look:
    """What was seen of a file; `changes` is None where the file could not be read."""

    verdicts: tuple[Verdict, ...]
    changes: Changes | None

    @property
    def fits(self) -> bool:
        """Whether the model they were held against can be asked with the changes in it."""
        return self.changes is not None and usable(self.verdicts)


def usable(verdicts: Iterable[Verdict]) -> bool:
    """Whether nothing was found for which a model could not be asked with a file."""
    bad = {one.name for one in verdicts if one.state == "failed"}
    return not bad & {"file", "finite", "whole", "family", "shapes"}


@dataclass(frozen=True)
class _Raw:
    """The tensors as they are spelt."""

    keys: tuple[str, ...]
    not_finite: tuple[str, ...]
    alphas: bool


def looked(file: Path, base: Base) -> Look:
    """All verdicts that need no model run; a file that cannot be read has but one."""
    try:
        read = export.read(file, base.keys)
        raw = _raw(file)
    except FileError as error:
        return Look((Verdict(name="file", state="failed", text=error.problem),), None)
    taken = proof.taken(read.changes)
    words = f"a whole safetensors file, {len(raw.keys)} tensors in {read.layout} layout"
    verdicts = [
        _verdict("file", "ok", words),
        _finite(raw),
        _keys(raw, read.strangers, read.layout, base),
        _whole(read.faults, len(taken)),
        *_fitting(raw, read.changes, base, read.layout),
        _norm(taken, read.metadata),
        *_as_trained(read, taken, raw, base.keys),
    ]
    return Look(tuple(verdicts), read.changes)


def misfits(changes: Changes, shapes: Shapes) -> list[str]:
    """What of an adapter has no place in a model, a sentence each."""
    found = []
    for part, layers in changes.items():
        for layer, told in layers.items():
            here = (len(told.up), told.down.shape[1])
            there = shapes.get(part, {}).get(layer)
            if there is None:
                found.append(f"there is no layer '{layer}'")
            elif here != there:
                found.append(f"'{layer}' is {_size(here)} in the file, {_size(there)} in the model")
    return found


def _finite(raw: _Raw) -> Verdict:
    if raw.not_finite:
        words = f"{_count(raw.not_finite, raw.keys)} hold values that are no finite numbers"
        return _verdict("finite", "failed", f"{words}: {_listed(raw.not_finite)}")
    return _verdict("finite", "ok", "every value is a finite number")


def _keys(raw: _Raw, strangers: Sequence[str], layout: str, base: Base) -> Verdict:
    known = len(raw.keys) - len(strangers)
    if not strangers and known:
        return _verdict("keys", "ok", f"{known} of {known} keys map onto the model's layers")
    candidates = sorted(_every_key(layout, base) - set(raw.keys))
    told = [f"'{key}'{_meant(key, candidates)}" for key in strangers[:NAMED]]
    more = f" and {len(strangers) - NAMED} more" if len(strangers) > NAMED else ""
    text = f"{known} of {len(raw.keys)} keys map onto the model's layers, not {', '.join(told)}"
    return _verdict("keys", "failed", text + more)


def _meant(key: str, candidates: Sequence[str]) -> str:
    """The key that somebody may have wanted to write, of those that the file lacks."""
    near = get_close_matches(key, candidates, n=1, cutoff=0.85)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _every_key(layout: str, base: Base) -> set[str]:
    """All that an adapter of every layer would be spelt with; in any layout, if ours is none."""
    changes = {
        part: {
            layer: LoraTensors(torch.zeros(1, inputs), torch.zeros(outputs, 1), 1.0)
            for layer, (outputs, inputs) in shapes.items()
            if base.keys[part].by_ours(layer)
        }
        for part, shapes in base.shapes.items()
    }
    known = [layout] if layout in LAYOUTS else list(LAYOUTS)
    return {key for one in known for key in layouts.spelt(changes, one, base.keys)}


def _whole(faults: Sequence[str], layers: int) -> Verdict:
    if faults or not layers:
        told = "; ".join(faults[:NAMED]) or "it holds no layer that could be used"
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        return _verdict("whole", "failed", told + more)
    return _verdict("whole", "ok", f"{layers} layers, each with all its tensors")


def _fitting(raw: _Raw, changes: Changes, base: Base, layout: str) -> Iterator[Verdict]:
    """Whether it is of the family, and whether every layer has its shape."""
    wrong, total = misfits(changes, base.shapes), sum(map(len, changes.values()))
    guess = foreign.seems(raw.keys, _every_key(layout, base))
    if guess or not total or 2 * len(wrong) > total:
        seems = f"; it seems to be {guess}" if guess else ""
        first = f": {wrong[0]}" if wrong else ""
        yield _verdict("family", "failed", f"made for another model than {base.told}{first}{seems}")
    else:
        yield _verdict("family", "ok", f"made for {base.told}")
    if wrong:
        yield _verdict("shapes", "failed", f"{len(wrong)} of {total} layers do not fit: {wrong[0]}")
    elif total:
        yield _verdict("shapes", "ok", f"{total} of {total} layers have the model's shapes")


def _norm(taken: Mapping[proof.Name, Mark], metadata: Mapping[str, str]) -> Verdict:
    """How large the change is; zeros among layers that are none are somebody's mistake."""
    said = []
    for part in dict.fromkeys(part for part, _ in taken):
        norms = [one.norm for (of, _), one in taken.items() if of == part]
        whole = math.hypot(*norms)
        if whole == 0:
            return _verdict(
                "norm", "failed", f"every change of the {part} is zero: it does nothing"
            )
        said.append(f"{part} {whole:.4g}")
    zero = [layer for (_, layer), one in taken.items() if one.norm == 0]
    if zero and proof.ENTRY in metadata:
        text = f"{len(zero)} of {len(taken)} layers are zero: {_listed(zero)}"
        return _verdict("norm", "remark", text)
    if zero:
        text = f"{len(zero)} of {len(taken)} layers are zero, the others are not: {_listed(zero)}"
        return _verdict("norm", "failed", text)
    if not said:
        return _verdict("norm", "failed", "there is no change to measure")
    return _verdict("norm", "ok", f"size of the change: {', '.join(said)}")


def _as_trained(
    read: export.Read, taken: Mapping[proof.Name, Mark], raw: _Raw, keys: Keys
) -> Iterator[Verdict]:
    """Strength and weights, against what the file says was trained."""
    try:
        differences = proof.compared(read.changes, read.metadata, taken)
    except ValueError as error:
        yield _verdict("alpha", "unknown", str(error))
        yield _verdict("layers", "failed", str(error))
        return
    if differences is None:
        yield _told_alpha(read.changes, read.metadata, raw, keys)
        text = "nothing in the file says what was trained: swapped layers could not be seen"
        yield _verdict("layers", "unknown", text)
        return
    strength = [one for one in differences if one.kind == "strength"]
    others = [one for one in differences if one.kind != "strength"]
    yield _of_marks("alpha", strength, "every layer is as strong as it was trained")
    yield _of_marks("layers", others, "every layer holds what was trained for it")


def _of_marks(name: str, differences: Sequence[Difference], good: str) -> Verdict:
    if not differences:
        return _verdict(name, "ok", good)
    told = [f"'{one.layer}' {one.text}" for one in differences[:NAMED]]
    more = f"; and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
    return _verdict(name, "failed", "; ".join(told) + more)


def _told_alpha(changes: Changes, metadata: Mapping[str, str], raw: _Raw, keys: Keys) -> Verdict:
    """Alpha against the metadata that sd-scripts writes; without it, only how large it is.

    Layers outside the blocks may have their scale in the numbers; see `layouts.authored`.
    """
    each = {name: one for layers in changes.values() for name, one in layers.items()}
    scales = [abs(one.alpha) / len(one.down) for one in each.values()]
    told = _number(metadata.get("ss_network_alpha"))
    if told is not None and raw.alphas:
        rank = _number(metadata.get("ss_network_dim")) or math.nan
        apart = {n for part, layers in changes.items() for n in layers if _apart(keys, part, n)}
        folded = {n for n in apart if each[n].alpha == len(each[n].down)}
        other = [n for n in each if n not in folded and not _agrees(each[n], told, rank)]
        if other:
            text = f"its metadata says alpha {told:g}, {len(other)} of {len(each)} layers do not"
            first = each[other[0]]
            return _verdict("alpha", "failed", f"{text}: '{other[0]}' has {first.alpha:g}")
        return _verdict("alpha", "ok", f"alpha {told:g}, as its metadata says")
    low, high = min(scales, default=0.0), max(scales, default=0.0)
    words = f"alpha / rank is {'' if low == high else f'{low:.3g} to '}{high:.3g}"
    if high > FAR_ABOVE_ONE:
        return _verdict("alpha", "remark", f"{words}, far above 1")
    text = f"nothing in the file says how strong it was trained; {words}"
    return _verdict("alpha", "unknown", text)


def _apart(keys: Keys, part: str, layer: str) -> bool:
    """Whether a layer stands outside the numbered blocks."""
    found = keys[part].by_ours(layer)
    return found is not None and not found[0].numbers


def _agrees(one: LoraTensors, alpha: float, rank: float) -> bool:
    """Whether a layer has that alpha or that scale, alone or as a part of a fused layer."""
    scale = one.alpha / len(one.down)
    return any(
        math.isclose(one.alpha * parts, alpha, rel_tol=0.01)
        or math.isclose(scale * parts, alpha / rank, rel_tol=0.01)
        for parts in FUSED
    )


def _number(text: str | None) -> float | None:
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _raw(file: Path) -> _Raw:
    """One look at every tensor as it is spelt; FileError where the file is not whole."""
    found, _ = export.contents(file)
    bad = tuple(key for key, tensor in found.items() if not export.finite(tensor))
    return _Raw(tuple(found), bad, any(key.endswith(ALPHA) for key in found))


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)


def _count(some: Sequence[str], of: Sequence[str]) -> str:
    return f"{len(some)} of {len(of)} tensors"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"
