"""What can be said of a file that holds a whole network, whoever wrote it.

Files of ours carry marks: for each tensor its norm and a few projections of it (`proof.Mark`), so
that a tensor that is missing, zeroed, swapped or of another network is named without the base.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from scumble.checkpoint import proof
from scumble.checkpoint.export import DTYPES, finite
from scumble.checkpoint.network import DENOISER
from scumble.checkpoint.proof import Mark, Name
from scumble.errors import ScumbleError, leaves
from scumble.events import State, Verdict
from scumble.families import weights
from scumble.families.family import Family
from scumble.families.readings import Reading, readings
from scumble.spec.model import ModelSpec

NAMED = 3
PATTERN_BAR = {False: 0.01, True: 0.25}
"""How far a projection may be off: rounding to 16 bits moves it by 0.001, to 8 bits by 0.03."""

ROUNDING = "rounding"
"""A verdict that needs what was trained, before it was rounded to what is stored."""

LITTLE = 0.9
"""Share of a change below which rounding has swallowed some of it."""


@dataclass
class Seen:
    """What one pass over a file's tensors finds."""

    marks: dict[Name, Mark] = field(default_factory=dict)
    not_finite: list[str] = field(default_factory=list)
    apart: float = 0.0
    """Squared distance from the base model."""

    whole: float = 0.0
    """Squared norm of what the base model has there."""


def opened(family: Family, file: Path) -> weights.Model:
    """A file's denoiser, as `model.parts` takes it; ScumbleErrors for what is none."""
    spec = ModelSpec(family=family.name, flavour=family.flavour, parts={DENOISER: str(file)})
    return weights.opened(family, spec, Path(), parts=[DENOISER])


def placed(model: weights.Model, file: Path) -> weights.Model:
    """A model with the file's denoiser for its own; nothing is added to that one any more."""
    kept = [{n: one for n, one in m.changes.items() if n != DENOISER} for m in model.merged]
    both = zip(model.merged, kept, strict=True)
    return replace(
        model,
        parts={**model.parts, **opened(model.family, file).parts},
        merged=tuple(replace(one, changes=changes) for one, changes in both),
    )


def stored(model: weights.Model) -> dict[str, Reading]:
    """How each tensor of a denoiser is read, in the order in which they lie on the disk."""
    source = model.parts[DENOISER]
    found = readings(model.family.parts[DENOISER], source.files, source.prefix)
    return dict(sorted(found.items(), key=lambda one: (one[1].spot.file, one[1].start)))


def value(reading: Reading) -> Tensor:
    """One of them, in float32."""
    with reading.spot.file.open("rb", buffering=0) as stream:
        return reading.read(stream, dtype=torch.float32, device=torch.device("cpu"))


def marks(trained: Mapping[str, Tensor], dtype: str) -> dict[str, str]:
    """The metadata entry that stands for a network as it is stored."""
    told = {(DENOISER, n): mark(n, one.to(DTYPES[dtype])) for n, one in trained.items()}
    return proof.written(told)


def mark(name: str, value: Tensor) -> Mark:
    """What stands for a tensor under that name; a vector is a matrix of one column."""
    rows = value.detach().float().reshape(len(value) if value.ndim else 1, -1)
    norm = float(torch.linalg.vector_norm(rows))
    if norm == 0 or not math.isfinite(norm):
        return Mark(norm, torch.zeros(proof.PAIRS))
    left = proof.signs(rows.shape[0], DENOISER, name, "u").to(rows.device)
    right = proof.signs(rows.shape[1], DENOISER, name, "v").to(rows.device)
    return Mark(norm, ((left @ rows) * right).sum(1).cpu() / norm)


def looked(family: Family, file: Path, base: weights.Model | None = None) -> list[Verdict]:
    """All verdicts that need no network run; against a base model where there is one."""
    try:
        model = opened(family, file)
        weights.compared(model, DENOISER, weights.skeleton(model, DENOISER))
        verdicts, beside = _fitting(model, base)
        seen = _seen(model, beside)
    except (ScumbleError, ExceptionGroup) as error:
        return [_verdict("file", "failed", _told(error))]
    called, count = family.parts[DENOISER].loose.called, len(seen.marks)
    words = f"no adapter, but {called} as a whole: {count} tensors, each in its place"
    verdicts = [_verdict("file", "ok", words), _finite(seen), *verdicts, _as_stored(model, seen)]
    return verdicts if beside is None else [*verdicts, _moved(seen)]


def _seen(model: weights.Model, beside: Mapping[str, Reading] | None) -> Seen:
    seen = Seen()
    for name, reading in stored(model).items():
        here = value(reading)
        seen.marks[DENOISER, name] = mark(name, here)
        if not finite(here):
            seen.not_finite.append(name)
        if beside is not None:
            there = value(beside[name])
            seen.whole += float(there.square().sum(dtype=torch.float64))
            seen.apart += float(here.sub_(there).square_().sum(dtype=torch.float64))
    return seen


def _told(error: Exception) -> str:
    said = []
    for one in leaves(error):
        match one:
            case ScumbleError(problem=problem):
                said.append(problem)
            case _:
                raise one
    return "; ".join(said)


def _finite(seen: Seen) -> Verdict:
    if seen.not_finite:
        words = f"{len(seen.not_finite)} of {len(seen.marks)} tensors hold values that are no"
        return _verdict("finite", "failed", f"{words} finite numbers: {_listed(seen.not_finite)}")
    return _verdict("finite", "ok", "every value is a finite number")


def _fitting(
    model: weights.Model, base: weights.Model | None
) -> tuple[list[Verdict], Mapping[str, Reading] | None]:
    """Whether it is of the base's size; and the base's tensors, where it is."""
    if base is None:
        return [], None
    here, there = stored(model), stored(base)
    wrong = [n for n in here if n not in there or here[n].shape != there[n].shape]
    told = base.parts[DENOISER].told
    if wrong or here.keys() != there.keys():
        first = (wrong or sorted(there.keys() - here.keys()))[0]
        words = f"a network of another size than {told}: '{first}' differs"
        return [_verdict("shapes", "failed", words)], None
    words = f"every tensor has the shape that it has in {told}"
    return [_verdict("shapes", "ok", words)], there


def _as_stored(model: weights.Model, seen: Seen) -> Verdict:
    """Whether it still holds what was delivered, as far as the file says what that was."""
    file = model.files(DENOISER)[0]
    with safe_open(file, "pt") as opened_file:
        packed = (opened_file.metadata() or {}).get(proof.ENTRY)
    if packed is None:
        text = "nothing in the file says what was trained: other weights could not be seen"
        return _verdict("layers", "unknown", text)
    try:
        wanted = proof.unpacked(packed)
    except ValueError as error:
        return _verdict("layers", "failed", str(error))
    narrow = any(one.spot.stored.dtype.itemsize < 2 for one in stored(model).values())
    told = [f"'{one}' {text}" for one, text in _differences(seen.marks, wanted, narrow)]
    if not told:
        return _verdict("layers", "ok", "every tensor holds what was delivered")
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return _verdict("layers", "failed", "; ".join(told[:NAMED]) + more)


def _differences(
    here: Mapping[Name, Mark], wanted: Mapping[Name, Mark], narrow: bool
) -> Iterator[tuple[str, str]]:
    for (part, name), one in wanted.items():
        found = here.get((part, name))
        if found is None:
            yield name, "is missing"
        elif found.norm == 0 and one.norm > 0:
            yield name, "is zero, and was not when it was delivered"
        elif float((found.pattern - one.pattern).abs().max()) > PATTERN_BAR[narrow]:
            yield name, "holds other weights than those that were delivered"
        elif not math.isclose(found.norm, one.norm, rel_tol=proof.STRENGTH_TOLERANCE):
            yield name, f"is {found.norm / one.norm:.3g} times what was delivered"


def _moved(seen: Seen) -> Verdict:
    if seen.apart == 0:
        words = "it holds the base model's own weights: nothing was learnt"
        return _verdict("norm", "failed", words)
    share = math.sqrt(seen.apart / seen.whole) if seen.whole else math.inf
    return _verdict("norm", "ok", f"its weights are {100 * share:.2g} % away from the base model's")


def kept(trained: Mapping[str, Tensor], base: Mapping[str, Tensor], dtype: str) -> Verdict:
    """Whether what was learnt is still there once it is rounded to what is stored."""
    learnt = left = 0.0
    for name, one in trained.items():
        there = base[name].float()
        change = one.detach().cpu().float() - there
        stored_so = one.detach().cpu().to(DTYPES[dtype]).float() - there.to(DTYPES[dtype]).float()
        learnt += float(change.square().sum(dtype=torch.float64))
        left += float((change * stored_so).sum(dtype=torch.float64))
    if learnt == 0:
        return _verdict(ROUNDING, "failed", "no weight was moved by training")
    share = left / learnt
    words = f"as {dtype}, {100 * share:.4g} % of what was learnt is stored"
    if share < LITTLE:
        words += ": the rest is lost to rounding; `export.dtype: float32` keeps it"
        return _verdict(ROUNDING, "remark", words)
    return _verdict(ROUNDING, "ok", words)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)
