"""What can be said of a LyCORIS file without running a model: one verdict for each question.

Forms that depend on the layer's weights leave marks of their own parts, so that nothing has to be
known of the model: of DoRA the change before its magnitude and the magnitude, of a rotation R - I.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from scumble.adapters.keys import Keys
from scumble.adapters.lora import LoraTensors
from scumble.adapters.lycoris.forms import DORA, Form, scale
from scumble.adapters.lycoris.formulas import matrix
from scumble.adapters.lycoris.rotations import departures
from scumble.adapters.lycoris.spelling import spelt
from scumble.adapters.names import DENOISER
from scumble.checkpoint import export, lycoris, proof, verdicts
from scumble.checkpoint.lycoris import Forms, Read, unfit
from scumble.checkpoint.proof import ENTRY, PAIRS, Difference, Mark, Name
from scumble.checkpoint.verdicts import NAMED, Base, usable
from scumble.errors import FileError
from scumble.events import State, Verdict

STRENGTH = "strength"
NATIVE = "diffusers"
"""The layout of a job that stands for LyCORIS' own keys, whose layers are diffusers'."""


@dataclass(frozen=True)
class Look:
    """What was seen of a file; `forms` is None where the file could not be read."""

    verdicts: tuple[Verdict, ...]
    forms: Forms | None

    @property
    def fits(self) -> bool:
        """Whether the model it was held against can be asked with it."""
        return self.forms is not None and usable(self.verdicts)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An adapter to be delivered."""

    forms: Forms
    keys: Keys
    dtype: str
    about: Mapping[str, str]


def written(file: Path, kept: Kept, layout: str) -> int:
    """Write the file in a layout and hold it to what was to be written; how many tensors it has.

    Layouts other than the native one are those of plain LoRA.
    """
    if layout == NATIVE:
        count = lycoris.write(file, kept.forms, dtype=kept.dtype, about=kept.about)
        same = lycoris.holds(file, kept.forms, dtype=kept.dtype)
    else:
        told = {"layout": layout, "dtype": kept.dtype}
        changes = {DENOISER: {n: _lora(form) for n, form in kept.forms.items()}}
        count = export.write(file, changes, kept.keys, about=kept.about, **told)
        same = export.holds(file, changes, kept.keys, **told)
    if not same:
        problem = "the file read back is not what was written"
        raise FileError(file, problem, "look at the disk, then run the same command again")
    return count


def _lora(form: Form) -> LoraTensors:
    down, up = form["lora_down.weight"], form["lora_up.weight"]
    return LoraTensors(down, up, float(len(down)) if form.alpha is None else form.alpha)


def seen(file: Path, base: Base) -> tuple[Verdict, ...]:
    """The verdicts on a delivered file; one of plain LoRA is read as such."""
    return (looked if lycoris.is_one(file) else verdicts.looked)(file, base).verdicts


def marks(told: Forms) -> dict[str, str]:
    """The metadata entry that stands for what was trained."""
    return proof.written(taken(told))


def taken(told: Forms) -> dict[Name, Mark]:
    """What stands for each layer's parts, by LAYER or LAYER:PART."""
    return {
        (DENOISER, name): mark(name, part)
        for layer, form in told.items()
        for name, part in _parts(layer, form)
    }


def mark(name: str, part: Tensor) -> Mark:
    """What stands for a matrix under that name; see `proof.mark`."""
    wide = part.detach().float()
    norm = float(wide.norm())
    if norm == 0 or not math.isfinite(norm):
        return Mark(norm, torch.zeros(PAIRS))
    left = proof.signs(wide.shape[0], DENOISER, name, "u").to(wide.device)
    right = proof.signs(wide.shape[1], DENOISER, name, "v").to(wide.device)
    return Mark(norm, ((left @ wide) * right).sum(1).cpu() / norm)


def _parts(layer: str, form: Form) -> Iterator[tuple[str, Tensor]]:
    """Matrices that together are all of a form, with their names."""
    match form.algo:
        case "diag-oft" | "boft":
            yield f"{layer}:turn", departures(form).flatten(0, -2)
            if "rescale" in form.tensors:
                yield f"{layer}:rescale", form["rescale"].float() - 1
        case "ia3":
            yield f"{layer}:{'input' if form.on_input else 'answer'}", form["weight"][:, None]
        case "glora":
            for one in ("a", "b"):
                up, down = (form[f"{one}{side}.weight"].float() for side in (1, 2))
                yield f"{layer}:{one}", up @ down * scale(form)
        case _:
            yield layer, matrix(form)
            if form.decomposed:
                yield f"{layer}:magnitude", form[DORA]
            if "diff_b" in form.tensors:
                yield f"{layer}:bias", form["diff_b"][:, None]


def looked(file: Path, base: Base) -> Look:
    """All verdicts that need no model run; a file that cannot be read has but one."""
    try:
        read = lycoris.read(file, base.keys)
    except FileError as error:
        return Look((_verdict("file", "failed", error.problem),), None)
    here = taken(read.forms)
    words = f"a whole safetensors file, {len(read.keys)} tensors in {lycoris.LAYOUT}' own keys"
    told = [
        _verdict("file", "ok", words),
        _finite(read),
        _keys(read, base),
        _whole(read),
        *_fitting(read, base),
        _norm(read, here),
        *_as_trained(read, here),
    ]
    return Look(tuple(told), read.forms)


def _finite(read: Read) -> Verdict:
    if read.not_finite:
        words = f"{len(read.not_finite)} of {len(read.keys)} tensors hold values that are no finite"
        return _verdict("finite", "failed", f"{words} numbers: {_listed(read.not_finite)}")
    return _verdict("finite", "ok", "every value is a finite number")


def _keys(read: Read, base: Base) -> Verdict:
    known = len(read.keys) - len(read.strangers)
    if not read.strangers:
        return _verdict("keys", "ok", f"{known} of {known} keys map onto the model's layers")
    candidates = sorted(_every_key(read, base) - set(read.keys))
    told = [f"'{key}'{_meant(key, candidates)}" for key in read.strangers[:NAMED]]
    more = f" and {len(read.strangers) - NAMED} more" if len(read.strangers) > NAMED else ""
    text = f"{known} of {len(read.keys)} keys map onto the model's layers, not {', '.join(told)}"
    return _verdict("keys", "failed", text + more)


def _every_key(read: Read, base: Base) -> set[str]:
    """What the file's forms would be called on each of the model's layers."""
    kinds = {frozenset(one.tensors): one for one in read.forms.values()}.values()
    layers = [n for n in base.shapes.get(DENOISER, {}) if base.keys[DENOISER].by_ours(n)]
    return {key for one in kinds for layer in layers for key in spelt({layer: one})}


def _meant(key: str, candidates: Sequence[str]) -> str:
    near = get_close_matches(key, candidates, n=1, cutoff=0.85)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _whole(read: Read) -> Verdict:
    if read.faults or not read.forms:
        told = "; ".join(read.faults[:NAMED]) or "it holds no layer that could be used"
        more = f"; and {len(read.faults) - NAMED} more" if len(read.faults) > NAMED else ""
        return _verdict("whole", "failed", told + more)
    counted = ", ".join(f"{count} of {name}" for name, count in counts(read.forms).items())
    return _verdict(
        "whole", "ok", f"{len(read.forms)} layers, each with all its tensors: {counted}"
    )


def counts(told: Forms) -> dict[str, int]:
    """How many layers have which algorithm, the most common first."""
    found: dict[str, int] = {}
    for form in told.values():
        name = f"{form.algo} with a magnitude (DoRA)" if form.decomposed else form.algo
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _fitting(read: Read, base: Base) -> Iterator[Verdict]:
    """Whether it is of the family, and whether every layer has its shape."""
    wrong, total = unfit(read.forms, base.shapes.get(DENOISER, {})), len(read.forms)
    if not total or 2 * len(wrong) > total:
        first = f": {wrong[0]}" if wrong else ""
        yield _verdict("family", "failed", f"made for another model than {base.told}{first}")
    else:
        yield _verdict("family", "ok", f"made for {base.told}")
    if wrong:
        yield _verdict("shapes", "failed", f"{len(wrong)} of {total} layers do not fit: {wrong[0]}")
    elif total:
        yield _verdict("shapes", "ok", f"{total} of {total} layers have the model's shapes")


def _norm(read: Read, here: Mapping[Name, Mark]) -> Verdict:
    """How large the change is; layers that do nothing among others are somebody's mistake."""
    moved: dict[str, float] = {}
    for (_, name), one in here.items():
        layer, _, part = name.partition(":")
        share = 0.0 if part == "magnitude" else one.norm
        moved[layer] = math.hypot(moved.get(layer, 0.0), share)
    # of a layer with a magnitude of its own, zeros may have been trained all the same
    zero = [n for n, size in moved.items() if size == 0 and not read.forms[n].decomposed]
    if moved and len(zero) == len(moved):
        return _verdict("norm", "failed", "every change is zero: it does nothing")
    if zero:
        state: State = "remark" if ENTRY in read.metadata else "failed"
        text = f"{len(zero)} of {len(moved)} layers are zero: {_listed(zero)}"
        return _verdict("norm", state, text)
    if not moved:
        return _verdict("norm", "failed", "there is no change to measure")
    return _verdict("norm", "ok", f"size of the change: {math.hypot(*moved.values()):.4g}")


def _as_trained(read: Read, here: Mapping[Name, Mark]) -> Iterator[Verdict]:
    """Strength and weights, against what the file says was trained."""
    if ENTRY not in read.metadata:
        text = "nothing in the file says how strong it was trained"
        yield _verdict("alpha", "unknown", text)
        text = "nothing in the file says what was trained: swapped layers could not be seen"
        yield _verdict("layers", "unknown", text)
        return
    try:
        wanted = proof.unpacked(read.metadata[ENTRY])
    except ValueError as error:
        yield _verdict("alpha", "unknown", str(error))
        yield _verdict("layers", "failed", str(error))
        return
    found = list(_differences(here, wanted))
    strength = [one for one in found if one.kind == STRENGTH]
    others = [one for one in found if one.kind != STRENGTH]
    yield _of_marks("alpha", strength, "every layer is as strong as it was trained")
    yield _of_marks("layers", others, "every layer holds what was trained for it")


def _differences(here: Mapping[Name, Mark], wanted: Mapping[Name, Mark]) -> Iterator[Difference]:
    for name in dict.fromkeys([*wanted, *here]):
        if name not in here:
            yield Difference(*name, "missing", "is missing")
        elif name not in wanted:
            yield Difference(*name, "added", "was not trained")
        elif not here[name].same(wanted[name]):
            yield _difference(name, here[name], wanted[name])


def _difference(name: Name, here: Mark, trained: Mark) -> Difference:
    if here.norm == 0:
        return Difference(*name, "zero", "is zero, and was not when it was trained")
    if trained.norm > 0 and here.agrees(trained):
        text = f"is {here.norm / trained.norm:.3g} times as strong as it was trained"
        return Difference(*name, STRENGTH, text)
    return Difference(*name, "other", "holds other weights than those that were trained")


def _of_marks(name: str, differences: Sequence[Difference], good: str) -> Verdict:
    if not differences:
        return _verdict(name, "ok", good)
    told = [f"'{one.layer}' {one.text}" for one in differences[:NAMED]]
    more = f"; and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
    return _verdict(name, "failed", "; ".join(told) + more)


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more
