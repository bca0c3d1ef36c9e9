"""Examples that the network has brought to their noise level itself (scheduled sampling)."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt
from pydantic import model_validator as checked

from scumble.spec.base import Spec


class ReflexSpec(Spec):
    """Loss of rolled-out examples as ReflexFlow has it."""

    alpha: NonNegativeFloat = 1.0
    """How much more places count where the network went astray: so much on the average, shared out
    by how far they did."""

    direction: NonNegativeFloat = 10.0
    """Weight of the squared distance between the direction of the answer and that of the way from
    the clean latents to where the network has come, both of length 1 (beta 1)."""

    weight: NonNegativeFloat = 1.0
    """Factor on the loss that `alpha` shapes (beta 2)."""


class RolloutSpec(Spec):
    """Scheduled sampling: some examples begin at more noise, and the network walks them down to
    their noise level before they are trained on, so that it learns to go on from its own mistakes.
    Each of these steps is one more pass through the network, without gradients."""

    most: int = Field(ge=1, le=999)
    """Most steps that an example is walked; each is a thousandth of the way from noise to clean.
    How many it is is drawn for each example, from 0 on."""

    draw: Literal["uniform", "early", "late"] = "uniform"
    """How the number of steps is drawn: evenly, or crowded at few (`early`) or at many (`late`)."""

    probability: float = Field(default=1.0, ge=0, le=1)
    """Share of the examples that are walked, at the end of the ramp."""

    start_probability: float = Field(default=0.0, ge=0, le=1)
    """And at its beginning."""

    ramp_steps: NonNegativeInt = 0
    """Training steps over which the share goes from the one to the other; 0: no ramp."""

    ramp: Literal["linear", "cosine"] = "linear"
    """Shape of the ramp."""

    start_step: NonNegativeInt = 0
    """Training steps before the first walk."""

    sampler: Literal["euler", "unipc", "dpm++", "rk4"] = "euler"
    """How a step is taken. unipc and dpm++ use the answers of earlier steps; rk4 asks the network
    four times."""

    order: int = Field(default=2, ge=1, le=3)
    """Answers that unipc and dpm++ take together."""

    target: Literal["corrected", "unchanged"] = "corrected"
    """`corrected`: the answer that leads from where the network has come to the clean latents.
    `unchanged`: the one of an example that was never walked."""

    reflex: ReflexSpec | None = None
    """Weigh the loss as ReflexFlow does."""

    @checked(mode="after")
    def _settings_fit_together(self) -> "RolloutSpec":
        if self.ramp_steps == 0 and self.start_probability > 0:
            raise ValueError("`start_probability` goes with `ramp_steps`; leave it out")
        if self.ramp_steps == 0 and self.ramp != "linear":
            raise ValueError("`ramp` goes with `ramp_steps`; leave it out")
        if self.order != 2 and self.sampler in ("euler", "rk4"):
            raise ValueError(f"`order` is for unipc and dpm++; leave it out with {self.sampler}")
        if self.probability == 0 and (self.ramp_steps == 0 or self.start_probability == 0):
            raise ValueError("`probability` is 0, so nothing is ever walked; raise it")
        return self
