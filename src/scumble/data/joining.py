"""A target with its references and its mask as one example, or why it cannot be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scumble.data.companions import Companions, Pairing
from scumble.data.example import Example, Image
from scumble.data.telling import Bad, Cause
from scumble.spec.dataset import DatasetSpec
from scumble.spec.references import MaskSpec, ReferenceSpec

ALIKE = 0.01
"""So much may the shapes of a target and what lies on it pixel by pixel differ."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What became of targets."""

    examples: tuple[Example, ...]
    out: tuple[Bad, ...]
    without: tuple[Bad, ...]
    """Targets that are used although something is missing."""


def joined(targets: Sequence[Image], spec: DatasetSpec, beside: Companions) -> Joined:
    """Every target with what belongs to it; the first thing amiss leaves a target out."""
    if not beside.all():
        none = (None,) * len(spec.references)
        examples = tuple(Example(target=target, references=none) for target in targets)
        return Joined(examples=examples, out=(), without=())
    made = [_example(target, spec, beside) for target in targets]
    return Joined(
        examples=tuple(example for example, _ in made if example is not None),
        out=tuple(bad[-1] for example, bad in made if example is None),
        without=tuple(one for example, bad in made if example is not None for one in bad),
    )


def _example(
    target: Image, spec: DatasetSpec, beside: Companions
) -> tuple[Example | None, list[Bad]]:
    """The example and what it lacks; or None, and last of all what keeps it from being one."""
    missing: list[Bad] = []
    images: list[Image | None] = []
    for one, pairing in zip(spec.references, beside.references, strict=True):
        match None if pairing is None else _reference(target, pairing, one, spec):
            case Bad(cause="setting") as lack if spec.unpaired == "fewer":
                missing.append(lack)
                images.append(None)
            case Bad() as bad:
                return None, [bad]
            case found:
                images.append(found)
    mask = None
    if beside.mask is not None and spec.mask is not None:
        match _mask(target, beside.mask, spec.mask):
            case Bad(cause="setting") as lack:
                missing.append(lack)
            case Bad() as bad:
                return None, [bad]
            case found:
                mask = found
    return Example(target=target, references=tuple(images), mask=mask), missing


def _reference(
    target: Image, pairing: Pairing, one: ReferenceSpec, spec: DatasetSpec
) -> Image | Bad | None:
    """What a target is shown with; None if that is made on the way."""
    made = one.degrade is not None
    if target.id not in pairing.partners:
        return None if made else _lonely(target, pairing, spec)
    image = _usable(target, pairing)
    match image:
        case Image() if one.fit == "strict" and differ(target, image):
            cause: Cause = "setting" if spec.unpaired == "skip" else "fault"
            remedy = "cut both alike, or set `fit: loose` for it"
            if made:
                remedy = "delete what was made of another picture, and make it again"
            reason = f"has another shape than its {pairing.words}"
            return Bad(target.id, reason, remedy, _shapes(target, image), cause)
        case _:
            return image


def _lonely(target: Image, pairing: Pairing, spec: DatasetSpec) -> Bad:
    detail, absent = pairing.odd[target.id].reason, f"has no {pairing.words} in {pairing.root}"
    match spec.unpaired:
        case "error":
            remedy = "give both the same name, or set `unpaired: skip` or `fewer`"
            return Bad(target.id, absent, remedy, detail, "pairing")
        case "skip":
            reason = f"{absent}, and is left out"
        case "fewer":
            reason = f"{absent}, and is shown without"
    return Bad(target.id, reason, "give both the same name", detail, "setting")


def _mask(target: Image, pairing: Pairing, spec: MaskSpec) -> Image | Bad:
    if target.id not in pairing.partners:
        return _bare(target, pairing, spec)
    image = _usable(target, pairing)
    match image:
        case Image() if differ(target, image):
            remedy, reason = "make both alike", "has another shape than its mask"
            return Bad(target.id, reason, remedy, _shapes(target, image))
        case _:
            return image


def _bare(target: Image, pairing: Pairing, spec: MaskSpec) -> Bad:
    """A picture without a mask; where there may be one for it, that is a fault in any case."""
    detail, reason = pairing.odd[target.id].reason, f"has no mask in {pairing.root}"
    if any(one.id == target.id for one in pairing.matching.ambiguous):
        return Bad(target.id, reason, "leave one mask for each name", detail, "pairing")
    if spec.missing == "whole":
        return Bad(target.id, f"{reason}, and counts as a whole", "", "", "setting")
    remedy = "give both the same name, or set `mask.missing: whole`"
    return Bad(target.id, reason, remedy, detail, "pairing")


def _usable(target: Image, pairing: Pairing) -> Image | Bad:
    id = pairing.partners[target.id]
    if id in pairing.images:
        return pairing.images[id]
    bad = pairing.bad[id]
    return Bad(target.id, f"has a {pairing.words} that {bad.reason}", bad.remedy, id)


def differ(one: Image, other: Image) -> bool:
    """Whether two shapes are further apart than rounding to whole pixels makes them."""
    across, down = one.width * other.height, other.width * one.height
    apart = abs(across - down)
    if apart <= ALIKE * max(across, down):
        return False
    rounding = max(one.width, one.height, other.width, other.height)
    return apart > rounding


def _shapes(one: Image, other: Image) -> str:
    return f"{one.width}x{one.height} against {other.width}x{other.height}"
