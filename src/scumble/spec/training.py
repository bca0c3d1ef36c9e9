"""How long and how fast."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from scumble.spec.base import Spec


class OptimizerSpec(Spec):
    """What moves the weights."""

    name: str = "adamw"
    """Known: adamw."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the optimizer: for adamw betas, eps, weight_decay (its default here is 0.01)."""


class ScheduleSpec(Spec):
    """The learning rate as a function of the step."""

    kind: Literal["constant", "linear", "cosine", "polynomial"] = "constant"
    """Shape of the way from the full rate down to `floor` over the steps."""

    warmup_steps: NonNegativeInt = 0
    """The rate rises in a straight line over these first steps."""

    floor: float = Field(default=0.0, ge=0, le=1)
    """Share of the full rate that the shape falls to; not for `constant`."""

    power: PositiveFloat | None = None
    """Exponent of `polynomial`. Unset: 1."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "ScheduleSpec":
        if self.power is not None and self.kind != "polynomial":
            raise ValueError("`power` needs `kind: polynomial`; set that, or leave `power` out")
        if self.floor > 0 and self.kind == "constant":
            raise ValueError("`floor` has no effect with `kind: constant`; leave it out")
        return self


class TrainingSpec(Spec):
    """How long and how fast."""

    steps: PositiveInt
    """Optimizer steps in all. A finished run goes on when this has grown."""

    learning_rate: PositiveFloat = 1e-4
    """Full rate; the schedule scales it."""

    batch_size: PositiveInt = 1
    """Pictures of one size that go through the network together."""

    units_per_step: PositiveInt = 1
    """Batches whose gradients make one step (gradient accumulation), over all processes."""

    seed: NonNegativeInt = 0
    """Same job, same seed, same machine: the same run."""

    optimizer: OptimizerSpec = OptimizerSpec()
    """What moves the weights."""

    schedule: ScheduleSpec = ScheduleSpec()
    """The learning rate as a function of the step."""

    clip_norm: PositiveFloat | None = 1.0
    """Largest norm a step's gradient may have. null: no clipping."""

    when_not_finite: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is not a finite number does: stop the run, or leave the step
    out. The weights are never moved by it."""

    @model_validator(mode="after")
    def _warm_up_fits(self) -> "TrainingSpec":
        if self.schedule.warmup_steps > self.steps:
            raise ValueError("`schedule.warmup_steps` is more than `steps`; lower it")
        return self
