"""The training loop. It yields what happened; others print, plot and upload it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scumble.adapters.trained import Trained
from scumble.errors import NotFinite
from scumble.events import Event, Previewed, Saved, StepDone, Stopped
from scumble.hardware.parallel import ALONE, Crew
from scumble.spec.training import TrainingSpec
from scumble.trainer.care import NONE, Care
from scumble.trainer.draws import reseed
from scumble.trainer.feeder import Fed
from scumble.trainer.schedules import rate
from scumble.trainer.step import Method, extra_passes, losses, prior_of
from scumble.trainer.tally import Extra, Tally, tallied

PATIENCE = 25  # skipped steps in a row after which nothing better is to be hoped for


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything a run trains with, built and placed by `scumble.assembly`."""

    method: Method
    adapters: Trained
    optimizer: torch.optim.Optimizer
    feed: Callable[[int], Iterator[Fed]]
    preview: Callable[[int], Previewed]
    save: Callable[[int], Saved]
    measure: Callable[[int], Iterable[Event]] = lambda step: ()
    """The loss on pictures that are held out."""

    compare: Callable[[int], Iterable[Event]] = lambda step: ()
    """How near held-out pairs come to their targets."""

    drift: Callable[[int], Iterable[Event]] = lambda step: ()
    """How far the base model has moved."""

    stop: Callable[[], str | None]
    """The name of the signal that asks the run to end, once there is one."""

    factors: tuple[float, ...] = (1.0,)
    """What the rate of a step is multiplied by, for each of the optimizer's groups."""

    care: Care = NONE
    """What else is done around each step."""

    crew: Crew = ALONE
    """Who takes the steps together. One of them saves, measures and paints; the others wait."""


@dataclass(frozen=True)
class Dates:
    """At which steps something else happens."""

    previews: int
    """Every so many steps and at the end; 0: never."""

    saves: int
    """Every so many steps and at the end; 0: only at the end."""

    measures: int | None = None
    """Every so many steps and at the end; 0: only at the end, None: never."""

    compares: int | None = None
    """Likewise."""

    drifts: int | None = None
    """Likewise."""

    def drift(self, step: int, steps: int) -> bool:
        """Whether it is measured after this step how far the base model has moved."""
        return _due(self.drifts, step, steps)

    def compare(self, step: int, steps: int) -> bool:
        """Whether held-out pairs are compared with their targets after this step."""
        return _due(self.compares, step, steps)

    def measure(self, step: int, steps: int) -> bool:
        """Whether the held-out loss is measured after this step."""
        return _due(self.measures, step, steps)

    def preview(self, step: int, steps: int) -> bool:
        """Whether pictures are made after this step."""
        return self.previews > 0 and (step % self.previews == 0 or step == steps)

    def any(self, step: int, steps: int) -> bool:
        """Whether any of it is due after this step."""
        others = (self.measure, self.compare, self.drift, self.preview, self.save)
        return any(due(step, steps) for due in others)

    def save(self, step: int, steps: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return step == steps or (self.saves > 0 and step % self.saves == 0)


def _due(every: int | None, step: int, steps: int) -> bool:
    if every is None:
        return False
    return step == steps or (every > 0 and step % every == 0)


def train(parts: Parts, plan: TrainingSpec, dates: Dates, *, after: int = 0) -> Iterator[Event]:
    """Take the steps after step `after`, up to the last or until asked to stop.

    All processes take them; the one that leads does what is due after each, and they meet again.
    """
    skipped = 0
    for step in range(after + 1, plan.steps + 1):
        done, voted = take_step(parts, plan, step)
        yield done
        skipped = 0 if done.applied else skipped + 1
        if skipped == PATIENCE:
            raise _hopeless(step)
        asked = voted if parts.crew.world > 1 else parts.stop()
        ends = asked if step < plan.steps else None
        if parts.crew.leads:
            yield from _afterwards(parts, plan, dates, step, ends)
        if dates.any(step, plan.steps) or ends:
            parts.crew.meet()
        if ends:
            yield Stopped(step=step, signal=ends)
            return


def _afterwards(
    parts: Parts, plan: TrainingSpec, dates: Dates, step: int, ends: str | None
) -> Iterator[Event]:
    """What one process does after a step; where a signal ends the run, its state alone is saved."""
    if ends or dates.save(step, plan.steps):
        yield parts.save(step)
    if ends:
        return
    if dates.measure(step, plan.steps):
        yield from parts.measure(step)
    if dates.compare(step, plan.steps):
        yield from parts.compare(step)
    if dates.drift(step, plan.steps):
        yield from parts.drift(step)
    if dates.preview(step, plan.steps):
        yield parts.preview(step)


def take_step(parts: Parts, plan: TrainingSpec, step: int) -> tuple[StepDone, str | None]:
    """Add up the gradients of the step's units and move the weights once.

    With it the signal that one of several processes has heard. NotFinite, with nothing moved, when
    a number went wrong and the job does not say `skip`.
    """
    start = time.perf_counter()
    parameters = list(parts.adapters.parameters().values())
    parts.care.begin(step)
    share = _share(parts, plan, step)
    tally = _tallied(parts, parameters, share)
    norm = _clipped(parameters, plan)
    bounds = parts.care.waiting()
    # the one wait for the device: a bad step is known before the optimizer moves
    numbers = tally.numbers([norm, *bounds])
    verdict = tally.read(numbers.marks)
    if verdict.failed:
        _give_up(parts, share)
    loss, norm_value = numbers.loss, numbers.others[0]
    finite = math.isfinite(loss) and math.isfinite(norm_value)
    if not finite and plan.when_not_finite == "stop":
        raise _not_finite(parts, step, loss, share.ids)
    speed = rate(plan, step)
    if finite:
        parts.care.before_move()
        for group, factor in zip(parts.optimizer.param_groups, parts.factors, strict=True):
            group["lr"] = speed * factor
        reseed(plan.seed, "move", step)
        parts.optimizer.step()
        parts.care.after_move(step)
    parts.optimizer.zero_grad(set_to_none=True)
    done = StepDone(
        step=step,
        loss=loss,
        learning_rate=speed,
        gradient_norm=norm_value,
        seconds=time.perf_counter() - start,
        applied=finite,
        scaled_layers=round(numbers.others[1]) if bounds else None,
        largest_change=numbers.others[2] if bounds else None,
        prior_loss=numbers.prior / verdict.taught if verdict.taught else None,
        extra_passes=verdict.passes,
    )
    return done, verdict.stop


def _clipped(parameters: list[nn.Parameter], plan: TrainingSpec) -> Tensor:
    """The gradient's norm as it was before it was made smaller, on the device."""
    if plan.clip_value is None:
        return nn.utils.clip_grad_norm_(parameters, max_norm=plan.clip_norm or math.inf)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm=math.inf)
    nn.utils.clip_grad_value_(parameters, plan.clip_value)
    return norm


@dataclass(frozen=True, kw_only=True)
class _Share:
    """What this process has done of a step; its gradients lie with the parameters."""

    losses: list[Tensor]
    """Each unit's part of the step's loss, still on the device."""

    ids: list[str]
    extra: Extra
    problem: Exception | None = None
    """What kept it from doing all of it, among several processes: they are told with the rest."""


def _share(parts: Parts, plan: TrainingSpec, step: int) -> _Share:
    measured: list[Tensor] = []
    ids: list[str] = []
    extra = Extra()
    try:
        for fed in parts.feed(step):
            reseed(plan.seed, "unit", step, fed.number)
            with parts.adapters.dropping(fed.draw.seeds):
                found = losses(parts.method, fed.batch, fed.draw)
                loss = found.sum() / fed.examples_in_step
                loss.backward()
            measured.append(loss.detach())
            ids.extend(fed.batch.ids)
            extra = extra.and_also(
                *prior_of(fed.batch, found.detach()),
                extra_passes(parts.method, fed.batch, fed.draw),
            )
    except Exception as problem:
        if parts.crew.world == 1:
            raise
        return _Share(losses=measured, ids=ids, extra=extra, problem=problem)
    return _Share(losses=measured, ids=ids, extra=extra)


def _tallied(parts: Parts, parameters: list[nn.Parameter], share: _Share) -> Tally:
    stop, failed = parts.stop(), share.problem is not None
    told = share.extra
    return tallied(parts.crew, parameters, share.losses, extra=told, stop=stop, failed=failed)


def _give_up(parts: Parts, share: _Share) -> None:
    """Raise, in the process that has failed what it met with, and in the others that it did."""
    parts.crew.meet(share.problem)
    assert share.problem
    raise share.problem


def _hopeless(step: int) -> NotFinite:
    problem = f"{PATIENCE} steps one after another gave numbers that are not finite"
    remedy = "lower `training.learning_rate`; the last checkpoint is whole"
    return NotFinite(f"step {step}", problem, remedy)


def _not_finite(parts: Parts, step: int, loss: float, ids: Sequence[str]) -> NotFinite:
    what = "the loss" if not math.isfinite(loss) else "a gradient"
    precision = parts.method.place.precision
    seen = ", ".join(parts.crew.gathered(", ".join(ids[:8])))
    problem = f"{what} is not a finite number (in {precision}, with {seen})"
    remedy = (
        "nothing was changed by it: lower `training.learning_rate`, look at these pictures, or set "
        "`training.when_not_finite: skip`; the last checkpoint is whole"
    )
    return NotFinite(f"step {step}", problem, remedy)
