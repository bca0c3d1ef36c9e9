"""The curves of a run by the names that sd-scripts logs them under, so that charts can be shared.

Names and meanings are those of kohya-ss/sd-scripts 48d368f. Left out: learning rates, which it logs
a second time as lr/textencoder and lr/group<i>; those that `rules` give layers; and norm/avg_*, for
which it multiplies the matrices of all layers out at every step.
"""

import math
from collections.abc import Mapping
from typing import Literal

from scumble.events import Event, Measured, Started, StepDone
from scumble.observers.averages import EpochAverage
from scumble.spec.adapter import AdapterSpec, FullSpec, LoraSpec
from scumble.spec.job import JobSpec
from scumble.spec.lycoris import LycorisSpec

Measure = Literal[
    "loss",
    "average",
    "epoch",
    "held_out",
    "divergence",
    "scaled",
    "largest_norm",
]

NAMES: Mapping[Measure, str] = {
    "loss": "loss/current",
    "average": "loss/average",
    "epoch": "loss/epoch_average",
    "held_out": "loss/validation/step_average",
    "divergence": "loss/validation/step_divergence",
    "scaled": "max_norm/keys_scaled",
    "largest_norm": "max_norm/max_key_norm",
}
"""`divergence` is the held-out loss less the average; `scaled` counts the layers whose change
`adapter.max_norm` has scaled down, and `largest_norm` is that of such a change."""

PARTS = {"denoiser": "unet", "clip": "textencoder 1 ", "t5": "textencoder 2 "}
"""By parts of an adapter. The blanks at the end are in its names, too."""


def named(values: Mapping[Measure, float]) -> dict[str, float]:
    """The values under its names."""
    return {NAMES[measure]: value for measure, value in values.items()}


def rates(job: JobSpec) -> dict[str, float]:
    """Full learning rates by its names; what has a rate of 0 is no group of its optimizer."""
    full = job.training.learning_rate
    found = {}
    for part, factor in _factors(job.adapter).items():
        name, rate = f"lr/{PARTS.get(part, part)}", job.training.rates.get(part, full)
        if rate:
            found[name] = rate
        if rate and factor != 1:
            found[f"{name} plus"] = rate * factor
    return found


def _factors(adapter: AdapterSpec) -> dict[str, float]:
    """The rate of the `up` matrices over that of the others, of each network that is trained."""
    match adapter:
        case FullSpec() | LycorisSpec():
            return {"denoiser": 1.0}
        case LoraSpec(parts=parts, up_rate=given):
            each = given if isinstance(given, dict) else dict.fromkeys(parts, given)
            return {part: each.get(part, 1.0) for part in parts}


class Scalars:
    """Events in, numbers by name out."""

    def __init__(self, job: JobSpec) -> None:
        self._full, self._rates = job.training.learning_rate, rates(job)
        self._steps_per_epoch = math.inf
        self._average = EpochAverage(1)

    @property
    def average(self) -> float:
        """What the held-out loss is compared with; NaN before the first step."""
        return self._average.mean

    def __call__(self, event: Event) -> dict[str, float]:
        """What it would log of this event; empty if nothing."""
        match event:
            case Started():
                self._steps_per_epoch = max(event.steps_per_epoch, 1e-9)
                self._average = EpochAverage(math.ceil(event.steps_per_epoch - 1e-6))
                return {}
            case StepDone():
                return self._step(event)
            case Measured(mean=mean) if math.isnan(self.average):
                return named({"held_out": mean})
            case Measured(mean=mean):
                return named({"held_out": mean, "divergence": mean - self.average})
            case _:
                return {}

    def _step(self, event: StepDone) -> dict[str, float]:
        self._average.add(event.loss)
        values: dict[Measure, float] = {"loss": event.loss, "average": self.average}
        if self._epochs(event.step) > self._epochs(event.step - 1):
            values["epoch"] = self.average
        if event.scaled_layers is not None:
            values["scaled"] = event.scaled_layers
        if event.largest_change is not None:
            values["largest_norm"] = event.largest_change
        share = event.learning_rate / self._full
        return named(values) | {name: share * rate for name, rate in self._rates.items()}

    def _epochs(self, step: int) -> int:
        """Whole epochs after that many steps."""
        return math.floor(step / self._steps_per_epoch + 1e-6)
