"""Which noise levels are trained, and how an error is measured."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from scumble.spec.base import Spec
from scumble.spec.rollout import RolloutSpec

Density = Literal["uniform", "logit_normal", "mode"]
Prediction = Literal["raw", "additive", "sigma_scaled"]
Weighting = Literal["none", "sigma_sqrt", "cosmap"]


class UniformTimes(Spec):
    """Every noise level equally often."""

    law: Literal["uniform"] = "uniform"
    """Every noise level equally often."""


class SigmoidTimes(Spec):
    """The sigmoid of a normal number, also known as logit-normal."""

    law: Literal["sigmoid"] = "sigmoid"
    """The middle of the path more often than its ends."""

    mean: float = 0.0
    """Above 0: more often at high noise."""

    spread: PositiveFloat = 1.0
    """Below 1 crowds the middle, above 1 favours both ends."""


class TableTimes(Spec):
    """One of a table's evenly spaced noise levels, drawn by a density."""

    law: Literal["table"]
    """One of a table's evenly spaced noise levels 1/steps .. 1, drawn by a density."""

    density: Density = "uniform"
    """How places in the table are drawn (Esser et al. 2024, section 3.1)."""

    mean: float = 0.0
    """Of the logit, for `logit_normal`. Above 0: more often at low noise, since the table begins at
    pure noise; the other way round than the law `sigmoid`."""

    spread: PositiveFloat = 1.0
    """Of the logit, for `logit_normal`."""

    scale: float = Field(default=1.29, ge=-1, le=1.7519)
    """For `mode`: above 0 crowds the middle, below 0 favours both ends. Up to 2 / (pi - 2)."""

    steps: PositiveInt = 1000
    """Entries of the table."""


class BetaTimes(Spec):
    """A number of the Beta law."""

    law: Literal["beta"]
    """A number of the Beta law."""

    alpha: PositiveFloat = 2.0
    """Larger: more often at high noise."""

    beta: PositiveFloat = 2.0
    """Larger: more often at low noise."""


class CubicTimes(Spec):
    """A density given at some noise levels."""

    law: Literal["cubic"]
    """A density given at evenly spaced noise levels, with a smooth curve between them."""

    weights: tuple[NonNegativeFloat, ...] = Field(min_length=2)
    """How often each of them is drawn, from clean to pure noise."""

    @model_validator(mode="after")
    def _something_is_drawn(self) -> "CubicTimes":
        if not any(self.weights):
            raise ValueError("all `weights` are 0; raise one")
        return self


class ListedTimes(Spec):
    """A few noise levels and no others."""

    law: Literal["listed"]
    """A few noise levels and no others; `shift` does not move them."""

    levels: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1)
    """These; one that stands there twice comes twice as often."""

    order: Literal["random", "in_turn"] = "random"
    """Drawn, or one after another over the examples of the run."""


class PlainLoss(Spec):
    """Squared or absolute error."""

    kind: Literal["l2", "l1"] = "l2"
    """Squared (l2) or absolute (l1) error."""


class HuberLoss(Spec):
    """Squared near zero, straight further out."""

    kind: Literal["huber", "smooth_l1"] = "huber"
    """`huber` is the pseudo-Huber loss scaled by 2 delta; `smooth_l1` the same scaled by 2."""

    delta: PositiveFloat = 0.1
    """Where the square turns into a line."""

    schedule: Literal["constant", "exponential", "snr"] = "constant"
    """Whether `delta` is the same at all noise levels; or 1 without noise and falls to `delta` at
    pure noise, as delta to the power of the time (`exponential`); or is `delta` at low noise and 1
    at pure noise, by the signal's share (`snr`, as SimpleTuner has it for flows)."""

    scale: PositiveFloat = 1.0
    """Factor on what the schedule gives."""


class InputNoise(Spec):
    """More noise for the input than the target knows of."""

    gamma: PositiveFloat
    """Its spread, against the noise's own."""

    random: bool = False
    """Draw the spread evenly between 0 and `gamma`, once for each example (sd-scripts: once for
    each batch), so that it does not matter how a step is cut into batches."""

    steps: NonNegativeInt = 0
    """It falls to 0 in a straight line over so many training steps; 0: it stays."""


class NoiseOffset(Spec):
    """The same noise for a whole channel, besides that of each place."""

    amount: PositiveFloat
    """Its spread."""

    probability: float = Field(default=1.0, gt=0, le=1)
    """Share of the examples that get it."""


TimesSpec = Annotated[
    UniformTimes | SigmoidTimes | TableTimes | BetaTimes | CubicTimes | ListedTimes,
    Field(discriminator="law"),
]
LossSpec = Annotated[PlainLoss | HuberLoss, Field(discriminator="kind")]


class ObjectiveSpec(Spec):
    """Which noise levels are trained, and how an error is measured."""

    times: TimesSpec = SigmoidTimes()
    """Law of the noise levels."""

    shift: PositiveFloat | Literal["resolution"] = "resolution"
    """Leans the noise levels toward noise: 3 takes 0.5 to 0.75, 1 changes nothing. `resolution`
    leans as much as the published sampler does at the size of each picture."""

    prediction: Prediction = "raw"
    """What the network's answer is taken for before it is compared with the velocity: the velocity
    itself (`raw`), or what sd-scripts calls `additive` (answer + noisy latents) and `sigma_scaled`
    (noisy latents - time * answer). Only `raw` fits what FLUX and Qwen-Image were trained for."""

    weighting: Weighting = "none"
    """Factor on an example's loss by its noise level: time^-2 (`sigma_sqrt`) or
    2 / (pi (1 - 2 t + 2 t^2)) (`cosmap`). It counts with every `prediction`; sd-scripts heeds it
    only with `sigma_scaled`."""

    input_noise: InputNoise | None = None
    """More noise for the input than the target knows of (input perturbation)."""

    noise_offset: NoiseOffset | None = None
    """The same noise for a whole channel, besides that of each place: brighter and darker
    pictures."""

    rollout: RolloutSpec | None = None
    """Let the network bring some examples to their noise level itself (scheduled sampling)."""

    loss: LossSpec = PlainLoss()
    """How an error is measured."""
