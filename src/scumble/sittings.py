"""What previews and comparisons are made from, read from the cache before the first step.

Nothing is encoded here but what a job keeps out of the cache on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from scumble.caching import apart
from scumble.caching import measured as batches
from scumble.data import images, serving, shown
from scumble.data.library import Entry, Library
from scumble.data.looks import Look
from scumble.families.family import stacked
from scumble.preflight import showing
from scumble.preflight.plan import Plan
from scumble.validation import previews
from scumble.validation.copying import Contest
from scumble.validation.previews import Cited, Request, Sitting
from scumble.validation.stitching import Beside


def sittings(plan: Plan, library: Library) -> list[Sitting]:
    """Everything that a preview paints: what the job asks for, then held-out pairs."""
    if not showing.every(plan.job, plan.parted):
        return []
    return [*_requested(plan, library), *_paired(plan, library)]


def contests(plan: Plan, library: Library) -> Iterator[Contest]:
    """All held-out pairs that are scored, those of one size together; read anew each time."""
    pairs = {pair.id: pair for pair in showing.scored(plan.job, plan.parted)}
    with apart(library) as own:
        for batch in batches(plan, library):
            known = [pairs[id] for id in batch.ids if id in pairs]
            if len(known) < len(batch.ids):
                continue  # of another set, or pictures that show nothing along
            without = [_away(plan, own, pair.references) for pair in known]
            yield Contest(
                batch=batch,
                copies=torch.stack([_latents(own, pair.one.spec.id, pair.copy) for pair in known]),
                without=stacked([one for one in without if one]) if all(without) else None,
            )


def cited(looks: Sequence[Look], hashes: Sequence[str | None]) -> tuple[Cited, ...]:
    """Pictures that are shown along, for the record; `hashes` are those of their bytes."""
    return tuple(
        Cited(
            file=str(look.image.file),
            hash=hash or "",
            width=look.view.frame.size[1],
            height=look.view.frame.size[0],
            view=look.view.facts().strip(),
        )
        for look, hash in zip(looks, hashes, strict=True)
    )


def beside(references: Sequence[Look], target: Look | None = None) -> Beside:
    """What stands beside an output, decoded."""
    seen = tuple(images.pixels(look.image.file, look.view) for look in references)
    wanted = None if target is None else images.pixels(target.image.file, target.view)
    return Beside(references=seen, target=wanted)


def _requested(plan: Plan, library: Library) -> Iterator[Sitting]:
    wanted = previews.requests(plan.job.validation, plan.family)
    looks = showing.of_job(plan.job, plan.family)
    for request, seen in zip(wanted, looks, strict=True):
        yield Sitting(
            request=_citing(library, request, seen),
            text=_text(library, request.prompt, seen),
            without=_text(library, request.negative, seen) if request.led else None,
            references=tuple(_latents(library, shown.PLACE, look) for look in seen),
            beside=beside(seen),
        )


def _paired(plan: Plan, library: Library) -> Iterator[Sitting]:
    """Held-out pairs, with the words and latents that the held-out loss is measured with."""
    spec, usual = plan.job.validation, previews.manner(plan.job.validation, plan.family)
    for number, pair in enumerate(showing.painted(plan.job, plan.parted)):
        (batch,) = serving.measured(library, pair.unit)
        height, width = pair.target.view.frame.size
        request = Request(
            prompt=batch.captions[0],
            width=width,
            height=height,
            steps=usual.steps,
            guidance=usual.guidance,
            seed=spec.seed + number,
            negative=spec.negative,
            scale=usual.scale,
        )
        yield Sitting(
            request=_citing(library, request, pair.references),
            text={name: words[0] for name, words in batch.words.items()},
            without=_away(plan, library, pair.references),
            references=tuple(one[0] for one in batch.references),
            beside=beside(pair.references, pair.target),
            pair=pair.id,
        )


def _citing(library: Library, request: Request, looks: Sequence[Look]) -> Request:
    hashes = [library.hash_of(look) for look in looks]
    return replace(request, references=cited(looks, hashes))


def _away(plan: Plan, library: Library, looks: Sequence[Look]) -> Entry | None:
    """What pairs are led away from, as it is read with these references; None: nothing."""
    spec = plan.job.validation
    led = previews.manner(spec, plan.family).scale != 1
    return _text(library, spec.negative, looks) if led else None


def _text(library: Library, text: str, looks: Sequence[Look]) -> Entry:
    return serving.read(library, library.saying(text, looks))


def _latents(library: Library, place: str, look: Look) -> Tensor:
    """Of a set's picture, or of one that a user has named: from the cache, where it is kept."""
    wanted = library.wanted(look)
    if place == shown.PLACE or library.keeps(library.held[place]):
        return library.pictures[place].read(wanted.key)["latents"].float()
    assert library.see is not None
    return library.see([wanted])[0]["latents"].float()
