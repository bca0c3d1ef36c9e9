"""Held-out pairs of a run beside copies of their input: when they are looked at, what is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from time import perf_counter

from scumble.data.held_pairs import Pair
from scumble.data.library import Library
from scumble.events import Event, Scored, Warned
from scumble.objective.process import Latents
from scumble.observers import measurements, sentences
from scumble.preflight import showing
from scumble.preflight.plan import Plan
from scumble.sittings import contests
from scumble.spec.averaging import delivered
from scumble.trainer import averages
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.step import Method, read_now
from scumble.validation import copying, previews
from scumble.validation.walks import Manner, Start, arrived


class Comparing:
    """Paints every held-out pair with the weights that would be delivered now, raw or averaged.

    Weights, optimizer and global generators are afterwards as they were.
    """

    def __init__(self, plan: Plan, library: Library, parts: Parts) -> None:
        self._plan, self._library, self._parts = plan, library, parts
        self._manner = previews.manner(plan.job.validation, plan.family)
        self._conditions = _conditions(plan)
        self._taken = list(measurements.read_scores(plan.folder))

    def __call__(self, step: int) -> Iterator[Event]:
        """Compare, and ask when at the end a copy of the input is nearer to the targets."""
        told = self._scored(step)
        self._taken.append(told)
        yield told
        if step >= self._plan.job.training.steps and told.pairs and not told.won:
            yield Warned(text=_swapped(told))

    def opening(self, after: int, dates: Dates) -> Iterator[Event]:
        """What comes before the first step, unless the journal tells that it has been done."""
        if dates.compares is None:
            return
        like = [one for one in self._taken if one.conditions == self._conditions]
        steps = self._plan.job.training.steps
        due = after >= steps or (after > 0 and dates.compare(after, steps))
        known = any(one.step == after for one in like)
        if not any(one.step <= after for one in like) or (due and not known):
            yield from self(after)

    def _scored(self, step: int) -> Scored:
        start, parts, plan = perf_counter(), self._parts, self._plan
        method, average = parts.method, parts.care.average
        which = delivered(plan.job.training.ema)[0]
        with averages.shown(parts.optimizer, parts.adapters.parameters(), average, which):
            found = copying.distances(
                contests(plan, self._library),
                partial(_painted, method, self._manner),
                plan.job.validation.seed,
            )
        told = copying.scored(step, found, self._conditions)
        return replace(told, seconds=perf_counter() - start, weights=which if average else None)


def _painted(method: Method, manner: Manner, start: Start) -> Latents:
    """Clean latents, with the texts as trained encoders read them now."""
    without = None if start.without is None else read_now(method, start.without)
    told = replace(start, words=read_now(method, start.words), without=without)
    return arrived(method.family, method.net, method.place, told, manner)


def _conditions(plan: Plan) -> str:
    """Stands for all that decides what is painted, except what is trained."""
    spec = plan.job.validation
    manner = previews.manner(spec, plan.family)
    pairs = sorted(_row(pair) for pair in showing.scored(plan.job, plan.parted))
    averaged = ("ema",) if delivered(plan.job.training.ema)[0] == "ema" else ()
    facts = (manner, spec.negative, spec.seed, plan.tokens, pairs, *averaged)
    return blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def _row(pair: Pair) -> str:
    """A pair with all that is shown along, and its caption."""
    looks = [
        (look.place, look.image.id, look.image.size_bytes, look.view.facts())
        for look in (pair.target, *pair.references)
    ]
    return f"{pair.id} {looks} {pair.caption}"


def _swapped(told: Scored) -> str:
    return (
        f"{sentences.scored(told)}: the edit was not learnt. Are reference and target swapped?"
        " `scumble data pairs` looks at them side by side."
    )
