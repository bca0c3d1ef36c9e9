"""What previews show: pictures that a user names, held-out pairs, and the texts told of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scumble.data import held_pairs, shown
from scumble.data.example import Image
from scumble.data.held_out import Parted, measured
from scumble.data.held_pairs import Pair
from scumble.data.looks import Look
from scumble.data.saying import Spoken
from scumble.data.sizes.frame import Size
from scumble.errors import JobError, ScumbleError
from scumble.families.family import Family
from scumble.spec.job import JobSpec
from scumble.spec.validation import RequestSpec, ValidationSpec
from scumble.validation import drift, previews
from scumble.validation.previews import Request
from scumble.validation.walks import Manner


def check(job: JobSpec, family: Family) -> list[ScumbleError]:
    """What of the previews of a located job cannot be: settings, pictures, sets."""
    named = job.validation.pairs.dataset
    problems = [*refused(job.validation, family), *drift.check(job.validation.drift, family)]
    return problems if named is None else [*problems, *_no_pairs(job, named)]


def refused(spec: ValidationSpec, family: Family) -> list[ScumbleError]:
    """What of a located section cannot be, whatever sets there are."""
    files = dict.fromkeys(file for one in spec.asked for file in one.references)
    return [*previews.check(spec, family), *shown.found(list(files))[1]]


def _no_pairs(job: JobSpec, named: str) -> list[JobError]:
    """Why a set has no pairs to show; nothing where it may have."""
    where = "validation.pairs.dataset"
    (one, *_) = [each for each in job.data if each.id == named] or [None]
    if one is None:
        known = ", ".join(each.id for each in job.data)
        return [JobError(where, f"there is no set '{named}'", f"there are: {known}")]
    if not one.references:
        problem = f"'{named}' has no references"
        return [JobError(where, problem, "name a set that has, or leave it out")]
    if not one.held_out:
        problem = f"'{named}' holds no pairs out"
        return [JobError(where, problem, f"set `held_out` of {named}, such as 0.1")]
    return []


def areas(job: JobSpec) -> tuple[int | None, ...]:
    """Sides of the squares that the job's references are as large as, where it says so: of the
    first set that shows any."""
    (first, *_) = [one.references for one in job.data if one.references] or [()]
    return tuple(one.area for one in first)


def requested(
    spec: ValidationSpec, family: Family, areas: Sequence[int | None] = ()
) -> list[tuple[Look, ...]]:
    """What each request of a located section shows along, request by request.

    Each picture is about as large as the preview, unless the reference in its place among `areas`
    has a size of its own. FileErrors are those of `refused`.
    """
    rows = zip(spec.asked, previews.requests(spec, family), strict=True)
    return [_looks(one, request, family, areas) for one, request in rows]


def _looks(
    one: RequestSpec, request: Request, family: Family, areas: Sequence[int | None]
) -> tuple[Look, ...]:
    images, _ = shown.found(one.references)
    usual = round(math.sqrt(request.width * request.height))
    sides = [*areas[: len(images)], *(None for _ in images[len(areas) :])]
    return tuple(
        shown.seen(image, side or usual, family.pixels_per_step)
        for image, side in zip(images, sides, strict=True)
    )


def of_job(job: JobSpec, family: Family) -> list[tuple[Look, ...]]:
    """The same of a located job."""
    return requested(job.validation, family, areas(job))


def images(rows: Sequence[Sequence[Look]]) -> list[Image]:
    """The files behind pictures that are shown along, each once."""
    return list({look.image.id: look.image for row in rows for look in row}.values())


def pairs(job: JobSpec, parted: Sequence[Parted]) -> list[Pair]:
    """All held-out pairs that are painted or scored."""
    wanted = job.validation.pairs.dataset
    found = held_pairs.pairs(measured(parted))
    return [pair for pair in found if wanted is None or pair.one.spec.id == wanted]


def painted(job: JobSpec, parted: Sequence[Parted]) -> list[Pair]:
    """Those of which every preview has a picture."""
    wanted = job.validation
    return held_pairs.drawn(pairs(job, parted), wanted.pairs.show, wanted.seed)


def scored(job: JobSpec, parted: Sequence[Parted]) -> list[Pair]:
    """Those that are compared with copies."""
    return pairs(job, parted) if job.validation.pairs.score else []


def every(job: JobSpec, parted: Sequence[Parted]) -> int:
    """Steps between previews; 0: there are none."""
    wanted = job.validation
    return wanted.every if wanted.asked or painted(job, parted) else 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one picture takes."""

    pixels: int
    """Of the picture."""

    beside: int
    """Of all that it is shown with, the references among it."""

    read: int
    """Of the picture and its references: what goes through the network."""

    passes: int


def previewed(job: JobSpec, family: Family, parted: Sequence[Parted]) -> list[Work]:
    """The pictures of one preview; none where there are no previews."""
    if not every(job, parted):
        return []
    wanted = previews.requests(job.validation, family)
    rows = zip(wanted, of_job(job, family), strict=True)
    asked = [_work((one.height, one.width), looks, (), one.manner) for one, looks in rows]
    return [*asked, *_of_pairs(job, family, painted(job, parted))]


def compared(job: JobSpec, family: Family, parted: Sequence[Parted]) -> list[Work]:
    """The pictures of one comparison with copies, which are not decoded."""
    return _of_pairs(job, family, scored(job, parted))


def comparisons(job: JobSpec, parted: Sequence[Parted]) -> int:
    """How many a run makes: before the first step, on the way, at the end."""
    gap = job.validation.pairs.every
    times = 1 + (math.ceil(job.training.steps / gap) if gap else 1)
    return times if scored(job, parted) else 0


def sentence(job: JobSpec, family: Family, parted: Sequence[Parted]) -> str | None:
    """What is compared with copies, in words; None where nothing is."""
    works, times = compared(job, family, parted), comparisons(job, parted)
    if not works:
        return None
    are = "pairs are" if len(works) > 1 else "pair is"
    passes = sum(work.passes for work in works)
    return (
        f"{len(works):,} {are} painted {times:,} times and compared with copies of the input, with"
        f" {passes:,} forward passes each time ({passes * times:,} together)"
    )


def _of_pairs(job: JobSpec, family: Family, found: Sequence[Pair]) -> list[Work]:
    usual = previews.manner(job.validation, family)
    return [
        _work(pair.target.view.frame.size, pair.references, (pair.target,), usual) for pair in found
    ]


def _work(size: Size, shown: Sequence[Look], wanted: Sequence[Look], how: Manner) -> Work:
    pixels, references = math.prod(size), _pixels(shown)
    return Work(
        pixels=pixels,
        beside=references + _pixels(wanted),
        read=pixels + references,
        passes=how.steps * (1 if how.scale == 1 else 2),
    )


def _pixels(looks: Sequence[Look]) -> int:
    return sum(math.prod(look.view.frame.size) for look in looks)


def spoken(job: JobSpec, family: Family, parted: Sequence[Parted]) -> list[Spoken]:
    """Every text that is read for previews and for scores, with the pictures it is read with;
    captions of pairs are not among them, for the held-out loss asks for these."""
    found: list[Spoken] = []
    if job.validation.every:
        wanted = previews.requests(job.validation, family)
        for request, looks in zip(wanted, of_job(job, family), strict=True):
            found.append((request.prompt, looks))
            found += [(request.negative, looks)] if request.led else []
    usual, negative = previews.manner(job.validation, family), job.validation.negative
    shown_too = painted(job, parted) if job.validation.every else []
    for pair in {one.id: one for one in (*shown_too, *scored(job, parted))}.values():
        found += [(negative, pair.references)] if usual.scale != 1 else []
    return found if family.glance is not None else [(text, ()) for text, _ in found]
