"""Which readable pictures of a set are used: stages, each of which leaves some out and says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from math import inf
from typing import NamedTuple

from scumble import dice
from scumble.data.captions.reading import kind
from scumble.data.collection import Collection, untold
from scumble.data.companions import Companions
from scumble.data.example import Image
from scumble.data.sizes.limits import too_small
from scumble.data.telling import Bad
from scumble.spec.dataset import DatasetSpec

Sifted = tuple[list[Image], list[Bad]]
"""Those that are left, and those that are not."""


class Said(NamedTuple):
    """The rest of a sentence about pictures that a setting leaves out, and the way out."""

    reason: str
    remedy: str


CAPTIONLESS = "has no caption"
CAPTION_REMEDIES = {
    "textfile": "put NAME{ending} beside each NAME.png, or set `prompt` for those without",
    "filename": "put words into the names, or set `prompt` for those without",
    "prompt": "write something in `prompt`",
    "column": "fill the column, name another in `caption_column`, or set `prompt`",
}
WORDLESS = "has a text file of which nothing is left as a caption"
WORDLESS_REMEDY = "write something in it, or look at `caption_edits`"


def different(images: Sequence[Image], copies: Mapping[str, str]) -> Sifted:
    """Without those that are copies of others."""
    said = Said("has the bytes of another and is left out", "set `duplicates: keep`")
    return _sifted(images, copies.keys(), said, lambda one: f"as {copies[one.id]}")


def large(images: Sequence[Image], spec: DatasetSpec) -> Sifted:
    """Those that are large enough for the set, and for its law of sizes."""
    side, law = f"`minimum_side: {spec.minimum_side}`", "`sizing.minimum_image_size`"
    small = {one.id for one in images if min(one.width, one.height) < spec.minimum_side}
    sizes = {(one.width, one.height) for one in images}
    short = {size for size in sizes if too_small(spec.sizing, *size)}
    smaller = {one.id for one in images if short and (one.width, one.height) in short} - small
    images, out = _sifted(
        images, small, Said(f"is smaller than {side} and left out", "lower `minimum_side`"), _size
    )
    images, more = _sifted(
        images, smaller, Said(f"is smaller than {law} and left out", f"lower {law}"), _size
    )
    return images, out + more


def shaped(images: Sequence[Image], spec: DatasetSpec) -> Sifted:
    """Those that are neither too tall nor too wide."""
    least, most = spec.minimum_aspect or 0.0, spec.maximum_aspect or inf
    tall = {one.id for one in images if one.width < least * one.height}
    wide = {one.id for one in images if one.width > most * one.height}
    images, out = _sifted(
        images,
        tall,
        Said(f"is taller than `minimum_aspect: {least:g}` and left out", "lower `minimum_aspect`"),
        _size,
    )
    images, more = _sifted(
        images,
        wide,
        Said(f"is wider than `maximum_aspect: {most:g}` and left out", "raise `maximum_aspect`"),
        _size,
    )
    return images, out + more


def captioned(
    images: Sequence[Image], spec: DatasetSpec, targets: Collection, beside: Companions
) -> Sifted:
    """Those of which something is said. Texts that cannot be read are faults."""
    mute = {one.id: one for one in untold(targets)}
    kept: list[Image] = []
    out: list[Bad] = []
    for image in images:
        if mute and image.id in mute:
            out.append(mute[image.id])
        elif image.captions or _spoken_for(image.id, spec, beside):
            kept.append(image)
        else:
            out.append(_silent(image.id, spec, has_text=image.id in targets.texts))
    return kept, out


def limited(images: Sequence[Image], spec: DatasetSpec, limit: int, seed: int) -> Sifted:
    """So many of them, drawn so that new pictures change little of what is drawn."""
    if len(images) <= limit:
        return list(images), []
    lots = {one.id: dice.word(seed, "limit", spec.id, one.id, bits=64) for one in images}
    last = sorted(lots.values())[limit - 1]
    said = Said(f"is more than `limit: {limit}` and left out", "raise `limit`")
    more = {id for id, lot in lots.items() if lot > last}
    return _sifted(images, more, said, lambda _: "")


def _sifted(
    images: Sequence[Image], ids: Set[str], said: Said, detail: Callable[[Image], str]
) -> Sifted:
    """Without those of these ids."""
    if not ids:
        return list(images), []
    kept = [one for one in images if one.id not in ids]
    gone = [one for one in images if one.id in ids]
    return kept, [Bad(one.id, said.reason, said.remedy, detail(one), "setting") for one in gone]


def _size(image: Image) -> str:
    return f"{image.width}x{image.height}"


def _spoken_for(id: str, spec: DatasetSpec, beside: Companions) -> bool:
    """Whether texts of the references take the place of the target's, whichever is shown."""
    partners = [one.partner(id) for one in beside.references if one is not None]
    said = [bool(one.captions) for one in partners if one is not None]
    made = any(one is None for one in beside.references)
    if spec.reference_sampling == "combined":
        return any(said)
    return bool(said) and all(said) and not made


def _silent(id: str, spec: DatasetSpec, *, has_text: bool) -> Bad:
    if has_text:
        return Bad(id, WORDLESS, WORDLESS_REMEDY)
    remedy = CAPTION_REMEDIES[kind(spec)].format(ending=spec.caption_ending)
    return Bad(id, CAPTIONLESS, remedy)
