"""The drift of a run: when it is measured, on what, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from time import perf_counter

from scumble.caching import apart
from scumble.data import serving
from scumble.data.library import Library
from scumble.events import Drifted, Event, Weights
from scumble.observers import measurements
from scumble.preflight import class_prompts
from scumble.preflight.plan import Plan
from scumble.trainer import averages
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.step import read_now
from scumble.validation import drift, previews
from scumble.validation.drift import Walker, Way
from scumble.validation.walks import Manner, Words


class Drifting:
    """Measures how far the network's answers are from the base model's on class prompts.

    The base's own ways are walked once, when first needed, and kept on the CPU. Weights, optimizer,
    average and global generators are afterwards as they were.
    """

    def __init__(self, plan: Plan, library: Library, parts: Parts) -> None:
        self._plan, self._library, self._parts = plan, library, parts
        self._prompts = class_prompts.prompts(plan.job, plan.family, plan.parted)
        self._side = class_prompts.side(plan.job, plan.family, plan.parted)
        spec = plan.job.validation
        guidance = previews.manner(spec, plan.family).guidance
        self._walker = Walker(
            family=plan.family,
            net=parts.method.net,
            place=plan.place,
            manner=Manner(steps=spec.drift.steps, guidance=guidance),
        )
        self._conditions = drift.conditions(
            spec.drift, self._prompts, self._side, self._walker.manner, plan.tokens
        )

    def __call__(self, step: int) -> Iterator[Event]:
        """Measure; of an average as well, where there is one."""
        start = perf_counter()
        whole, each = self._shares("raw")
        ema = None if self._parts.care.average is None else self._shares("ema")[0]
        yield Drifted(
            step=step,
            drift=whole,
            prompts=dict(each),
            conditions=self._conditions,
            seconds=perf_counter() - start,
            ema=ema,
        )

    def opening(self, after: int, dates: Dates) -> Iterator[Event]:
        """What was due and was not made, before the first step of a run that goes on."""
        steps = self._plan.job.training.steps
        if dates.drifts is None or not (after >= steps or (after and dates.drift(after, steps))):
            return
        taken = measurements.read_drifts(self._plan.folder)
        if not any(one.step == after and one.conditions == self._conditions for one in taken):
            yield from self(after)

    def _shares(self, which: Weights) -> tuple[float, dict[str, float]]:
        parts, ways = self._parts, self._ways
        with averages.shown(
            parts.optimizer, parts.adapters.parameters(), parts.care.average, which
        ):
            whole, each = drift.shares(
                (one.prompt, drift.moved(self._walker, one, self._read(one.start.words)))
                for one in ways
            )
        return whole, dict(each)

    @cached_property
    def _ways(self) -> list[Way]:
        plan = self._plan
        with apart(self._library) as own:
            texts = [
                (prompt, serving.read(own, own.saying(prompt, ()))) for prompt in self._prompts
            ]
        begun = drift.starts(
            texts,
            plan.job.validation.drift,
            plan.family,
            self._side,
            plan.job.training.batch_size,
        )
        with self._parts.adapters.off():
            return [
                drift.way(self._walker, prompt, start, self._read(start.words))
                for prompt, start in begun
            ]

    def _read(self, words: Words) -> Words:
        """As encoders that are trained read them now."""
        return read_now(self._parts.method, words)
