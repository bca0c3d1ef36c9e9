"""A moving average of the trained weights, by name and in float32; a function of the steps alone.

On the CPU beside a card it costs the card nothing: an update is one copy on a stream of its own
while the next step runs, folded in by a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scumble.checkpoint.state import AVERAGE
from scumble.errors import FileError, JobError
from scumble.events import Weights
from scumble.spec.averaging import EmaSpec
from scumble.spec.training import TrainingSpec
from scumble.trainer import optimizers
from scumble.trainer.conveying import Conveyor, conveyor
from scumble.trainer.optimizer_table import find

AVERAGING = ("schedulefree", "splus")
"""What the names of classes tell that keep an average themselves."""


def decay(spec: EmaSpec, step: int) -> float:
    """The share of the average that stays at an update after this step of the run.

    With a warm-up it is 0 until then and `decay` at once afterwards; without one it grows as
    step / (9 + step), and the first step gives the weights themselves.
    """
    if spec.warmup_steps:
        return 0.0 if step <= spec.warmup_steps else spec.decay
    return min(spec.decay, step / (9 + step)) if step > 1 else 0.0


def checked(training: TrainingSpec) -> None:
    """JobError where the optimizer delivers an average of its own."""
    if training.ema is not None and _averages(training.optimizer.name):
        problem = f"{training.optimizer.name} shows and delivers an average of the weights already"
        remedy = "leave it out, or choose another `training.optimizer.name`"
        raise JobError("training.ema", problem, remedy)


def _averages(name: str) -> bool:
    """Whether an optimizer has weights to show other than those that it moves."""
    return find(name).averages or any(word in name.lower() for word in AVERAGING)


@dataclass(frozen=True)
class Average:
    """What is kept beside the parameters. A step that is not applied leaves it as it is, too."""

    spec: EmaSpec
    parameters: Mapping[str, nn.Parameter]
    values: Mapping[str, Tensor]
    """By the name of the parameter; read them by `kept`."""

    conveyor: Conveyor | None = None
    """How weights come here from a card; None: they are read where they lie."""

    swapped: bool = False
    """Whether a step takes the weights out of the network for a while, as where these are its own:
    nothing may be reading them then."""

    def begin(self) -> None:
        """Before a step's first unit."""
        if self.swapped and self.conveyor is not None:
            self.conveyor.clear()

    def before_move(self) -> None:
        """Before the weights move: the device, not the host, waits for a copy on its way."""
        if self.conveyor is not None:
            self.conveyor.clear()

    def after_move(self, step: int) -> None:
        """When the weights have moved at this step of the run."""
        if step % self.spec.every:
            return
        share = 1 - decay(self.spec, step)
        if self.conveyor is None:
            weights = [one.detach() for one in self.parameters.values()]
            folded(list(self.values.values()), weights, share)
        else:
            self.conveyor.send(share)

    def kept(self) -> Mapping[str, Tensor]:
        """The average as it stands, with all that is on its way."""
        if self.conveyor is not None:
            self.conveyor.settle()
        return self.values

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew with the weights as they are."""
        for name, value in self.kept().items():
            value.copy_(self.parameters[name])

    @torch.no_grad()
    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `kept` gave; FileError where it is of other weights."""
        values = self.kept()
        fits = tensors.keys() == values.keys()
        if not fits or any(tensors[name].shape != one.shape for name, one in values.items()):
            remedy = "choose another `name`, or put `adapter` back as it was"
            raise FileError(AVERAGE, "it is an average of other weights than are trained", remedy)
        for name, value in values.items():
            value.copy_(tensors[name])

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While it is open the parameters hold the average; what trains comes back bit for bit.

        It waits beside the average meanwhile, so that a card never holds the weights twice.
        """
        values, aside = self.kept(), dict[str, Tensor]()
        try:
            with torch.no_grad():
                for name, one in self.parameters.items():
                    aside[name] = one.detach().to(values[name].device, copy=True)
                    one.copy_(values[name])
            yield
        finally:
            with torch.no_grad():
                for name, kept in aside.items():
                    self.parameters[name].copy_(kept)


def begun(
    spec: EmaSpec, parameters: Mapping[str, nn.Parameter], *, swapped: bool = False
) -> Average:
    """An average that is the weights as they are, where the job wants it to lie."""
    values = {
        name: one.detach().to(
            "cpu" if spec.device == "cpu" else one.device, torch.float32, copy=True
        )
        for name, one in parameters.items()
    }
    carried = conveyor(list(parameters.values()), list(values.values()), folded)
    return Average(spec, parameters, values, carried, swapped)


@torch.no_grad()
def folded(values: list[Tensor], weights: list[Tensor], share: float) -> None:
    """Move each value toward its weight by this share of the way; by all of it, exactly."""
    there = [one.to(value.device, value.dtype) for one, value in zip(weights, values, strict=True)]
    torch._foreach_lerp_(values, there, share)


@contextmanager
def shown(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    average: Average | None,
    which: Weights,
) -> Iterator[None]:
    """While it is open, the parameters hold what is asked for; afterwards everything that trains
    is as it was, bit for bit.

    Of an optimizer that averages by itself `raw` is its average: the weights it delivers.
    """
    match which, average:
        case "ema", Average():
            with average.lent():
                yield
        case _:
            with optimizers.shown(optimizer, parameters):
                yield
