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
from scumble.spec.training import TrainingSpec
from scumble.trainer.care import NONE, Care
from scumble.trainer.draws import reseed
from scumble.trainer.feeder import Fed
from scumble.trainer.schedules import rate
from scumble.trainer.step import Method, losses

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

    stop: Callable[[], str | None]
    """The name of the signal that asks the run to end, once there is one."""

    factors: tuple[float, ...] = (1.0,)
    """What the rate of a step is multiplied by, for each of the optimizer's groups."""

    care: Care = NONE
    """What else is done around each step."""


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

    def compare(self, step: int, steps: int) -> bool:
        """Whether held-out pairs are compared with their targets after this step."""
        return _due(self.compares, step, steps)

    def measure(self, step: int, steps: int) -> bool:
        """Whether the held-out loss is measured after this step."""
        return _due(self.measures, step, steps)

    def preview(self, step: int, steps: int) -> bool:
        """Whether pictures are made after this step."""
        return self.previews > 0 and (step % self.previews == 0 or step == steps)

    def save(self, step: int, steps: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return step == steps or (self.saves > 0 and step % self.saves == 0)


def _due(every: int | None, step: int, steps: int) -> bool:
    if every is None:
        return False
    return step == steps or (every > 0 and step % every == 0)


def train(parts: Parts, plan: TrainingSpec, dates: Dates, *, after: int = 0) -> Iterator[Event]:
    """Take the steps after step `after`, up to the last or until asked to stop."""
    skipped = 0
    for step in range(after + 1, plan.steps + 1):
        done = take_step(parts, plan, step)
        yield done
        skipped = 0 if done.applied else skipped + 1
        if skipped == PATIENCE:
            raise _hopeless(step)
        asked = parts.stop()
        if asked or dates.save(step, plan.steps):
            yield parts.save(step)
        if asked and step < plan.steps:
            yield Stopped(step=step, signal=asked)
            return
        if dates.measure(step, plan.steps):
            yield from parts.measure(step)
        if dates.compare(step, plan.steps):
            yield from parts.compare(step)
        if dates.preview(step, plan.steps):
            yield parts.preview(step)


def take_step(parts: Parts, plan: TrainingSpec, step: int) -> StepDone:
    """Add up the gradients of the step's units and move the weights once.

    NotFinite, with nothing moved, when a number went wrong and the job does not say `skip`.
    """
    start = time.perf_counter()
    parameters = list(parts.adapters.parameters().values())
    parts.care.begin(step)
    measured, ids = _gradients(parts, plan, step)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm=plan.clip_norm or math.inf)
    # the one wait for the device: a bad step is known before the optimizer moves
    bounds = parts.care.waiting()
    values = torch.stack([*measured, norm, *bounds]).tolist()
    loss, norm_value = math.fsum(values[: len(measured)]), values[len(measured)]
    finite = math.isfinite(loss) and math.isfinite(norm_value)
    if not finite and plan.when_not_finite == "stop":
        raise _not_finite(parts, step, loss, ids)
    speed = rate(plan, step)
    if finite:
        parts.care.before_move()
        for group, factor in zip(parts.optimizer.param_groups, parts.factors, strict=True):
            group["lr"] = speed * factor
        reseed(plan.seed, "move", step)
        parts.optimizer.step()
        parts.care.after_move()
    parts.optimizer.zero_grad(set_to_none=True)
    return StepDone(
        step=step,
        loss=loss,
        learning_rate=speed,
        gradient_norm=norm_value,
        seconds=time.perf_counter() - start,
        applied=finite,
        scaled_layers=round(values[-2]) if bounds else None,
        largest_change=values[-1] if bounds else None,
    )


def _gradients(parts: Parts, plan: TrainingSpec, step: int) -> tuple[list[Tensor], list[str]]:
    """Each unit's share of the step's loss, still on the device, and the examples seen."""
    measured, ids = [], []
    for fed in parts.feed(step):
        reseed(plan.seed, "unit", step, fed.number)
        with parts.adapters.dropping(fed.draw.seeds):
            loss = losses(parts.method, fed.batch, fed.draw).sum() / fed.examples_in_step
            loss.backward()
        measured.append(loss.detach())
        ids.extend(fed.batch.ids)
    return measured, ids


def _hopeless(step: int) -> NotFinite:
    problem = f"{PATIENCE} steps one after another gave numbers that are not finite"
    remedy = "lower `training.learning_rate`; the last checkpoint is whole"
    return NotFinite(f"step {step}", problem, remedy)


def _not_finite(parts: Parts, step: int, loss: float, ids: Sequence[str]) -> NotFinite:
    what = "the loss" if not math.isfinite(loss) else "a gradient"
    precision = parts.method.place.precision
    problem = f"{what} is not a finite number (in {precision}, with {', '.join(ids[:8])})"
    remedy = (
        "nothing was changed by it: lower `training.learning_rate`, look at these pictures, or set "
        "`training.when_not_finite: skip`; the last checkpoint is whole"
    )
    return NotFinite(f"step {step}", problem, remedy)
