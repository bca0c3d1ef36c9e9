"""What a job holds out and measures: how many pictures, how often, at what cost."""

from __future__ import annotations

import math

from scumble.data.held_out import measured
from scumble.preflight import class_prompts, showing
from scumble.preflight.plan import Plan


def funnel(plan: Plan, number: int) -> dict[str, int]:
    """Pictures of a set that are left after each stage, in order."""
    one = plan.parted[number]
    left = len(one.trained.frames)
    away = len(one.held) + len(one.elsewhere)
    found = plan.scans[number].funnel | {"in a bucket": left + away}
    return found | {"not held out": left} if away else found


def every(plan: Plan) -> int | None:
    """Steps between measurements of the held-out loss; 0: only at the end, None: never."""
    wanted = plan.job.validation
    if not measured(plan.parted):
        return None
    if wanted.held_out.every is not None:
        return wanted.held_out.every
    return showing.every(plan.job, plan.parted) or plan.job.saving.every


def count(plan: Plan) -> int:
    """Measurements of the run: before the first step, on the way, at the end."""
    gap = every(plan)
    if gap is None:
        return 0
    return 1 + (math.ceil(plan.job.training.steps / gap) if gap else 1)


def forward_passes(plan: Plan) -> int:
    """Of single pictures, in one measurement."""
    wanted, kinds = plan.job.validation.held_out, 1 if plan.job.training.ema is None else 2
    return _pictures(plan) * len(wanted.times) * wanted.noises * kinds


def sentence(plan: Plan) -> str | None:
    """All of it in words; None where nothing is measured."""
    pictures, times, passes = _pictures(plan), count(plan), forward_passes(plan)
    if not pictures:
        return None
    are = "pictures are" if pictures > 1 else "picture is"
    return (
        f"{pictures:,} {are} measured {times:,} times, with {passes:,} forward passes each time"
        f" ({passes * times:,} together)"
    )


def drift_every(plan: Plan) -> int | None:
    """Steps between measurements of how far the base model has moved; 0: only at the end, None:
    never."""
    if not _prompts(plan):
        return None
    wanted = plan.job.validation.drift.every
    if wanted is not None:
        return wanted
    usual = every(plan)
    if usual is not None:
        return usual
    return showing.every(plan.job, plan.parted) or plan.job.saving.every


def drift_count(plan: Plan) -> int:
    """Such measurements of the run: on the way, and at the end; and the base's own ways once."""
    gap = drift_every(plan)
    if gap is None:
        return 0
    kinds = 1 if plan.job.training.ema is None else 2
    return 1 + kinds * (math.ceil(plan.job.training.steps / gap) if gap else 1)


def drift_sentence(plan: Plan) -> str | None:
    """All of it in words; None where nothing is measured."""
    prompts, times = len(_prompts(plan)), drift_count(plan)
    if not times:
        return None
    spec = plan.job.validation.drift
    passes = prompts * spec.noises * spec.steps
    noun = "class prompt" if prompts == 1 else "class prompts"
    return (
        f"the base model's is measured on {prompts:,} {noun}, with {passes:,} forward passes each"
        f" time ({passes * times:,} together)"
    )


def _prompts(plan: Plan) -> tuple[str, ...]:
    return class_prompts.prompts(plan.job, plan.family, plan.parted)


def _pictures(plan: Plan) -> int:
    return sum(len(one.examples) for one in measured(plan.parted))
