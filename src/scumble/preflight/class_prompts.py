"""Prompts of which a run measures how far the base model has moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scumble.data.held_out import Parted, caption
from scumble.data.saying import Spoken
from scumble.families.family import Family
from scumble.preflight.showing import Work
from scumble.spec.job import JobSpec


def prompts(job: JobSpec, family: Family, parted: Sequence[Parted]) -> tuple[str, ...]:
    """The job's own, each once, else the first captions of sets with prior preservation; none for
    a family that cannot be asked without references."""
    spec = job.validation.drift
    if family.references_needed:
        return ()
    if spec.prompts:
        return tuple(dict.fromkeys(spec.prompts))
    found = [
        caption(one.trained, member)
        for one in parted
        if one.trained.spec.prior_preservation
        for member in range(len(one.trained.examples))
    ]
    worded = [text for text in dict.fromkeys(found) if text]
    return tuple((worded or found)[: spec.limit])


def spoken(job: JobSpec, family: Family, parted: Sequence[Parted]) -> list[Spoken]:
    """The same as texts that are read by themselves."""
    return [(text, ()) for text in prompts(job, family, parted)]


def side(job: JobSpec, family: Family, parted: Sequence[Parted]) -> int:
    """Sides of the pictures on whose way answers are compared, in pixels: as the job says, else a
    square about as large as the first picture that is trained on."""
    wanted, step = job.validation.drift.side, family.pixels_per_step
    if wanted is not None:
        return wanted
    frames = [frame for one in parted for frame in one.trained.frames]
    area = math.prod(frames[0].size) if frames else step * step
    return max(step, round(math.sqrt(area) / step) * step)


def remarks(job: JobSpec, family: Family) -> tuple[str, ...]:
    """What is not measured although one might think so."""
    if not family.references_needed or not any(one.prior_preservation for one in job.data):
        return ()
    why = f"{family.name} {family.flavour} is shown a reference for every picture"
    return (f"How far the base model moves on class prompts is not measured: {why}.",)


def works(job: JobSpec, family: Family, parted: Sequence[Parted]) -> list[Work]:
    """What one measurement takes of the network: one for each way, the adapted passes alone."""
    spec, pixels = job.validation.drift, side(job, family, parted) ** 2
    each = Work(pixels=pixels, beside=0, read=pixels, passes=spec.steps)
    return [each] * (spec.noises * len(prompts(job, family, parted)))
