"""Which noise levels are trained, and how an error is measured."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from scumble.spec.base import Spec


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


TimesSpec = Annotated[UniformTimes | SigmoidTimes, Field(discriminator="law")]
LossSpec = Annotated[PlainLoss | HuberLoss, Field(discriminator="kind")]


class ObjectiveSpec(Spec):
    """Which noise levels are trained, and how an error is measured."""

    times: TimesSpec = SigmoidTimes()
    """Law of the noise levels."""

    shift: PositiveFloat | Literal["resolution"] = "resolution"
    """Leans the noise levels toward noise: 3 takes 0.5 to 0.75, 1 changes nothing. `resolution`
    leans as much as the published sampler does at the size of each picture."""

    loss: LossSpec = PlainLoss()
    """How an error is measured."""
