"""How long and how fast."""

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from scumble.spec.averaging import EmaSpec
from scumble.spec.base import Spec


class OptimizerSpec(Spec):
    """What moves the weights."""

    name: str = "adamw"
    """adamw: the default. adamw-8bit, lion-8bit: their state in 8 bits, for matrices of 4,096
    values and more. adamw-bf16: weights in bf16 too, with Kahan's sum for what rounding loses.
    lion: a third to a tenth of AdamW's rate. adafactor, came: factored state; the rate is the
    job's (`relative_step` is off). prodigy: finds the rate itself, so `learning_rate: 1` and a
    constant schedule. adamw-schedulefree, radam-schedulefree: deliver and preview an average of
    the weights, so no falling schedule; one to ten times AdamW's rate, and radam needs no warm-up.
    soap: AdamW in the directions of each matrix's own curvature. muon: steps of equal length in all
    directions of a matrix, at AdamW's rate. PACKAGE.CLASS: any class of torch (its torch.optim),
    optimi, bitsandbytes, torchao, schedulefree or pytorch_optimizer that takes its steps alone,
    with that class's own defaults: optimi.StableAdamW, torch.SGD, pytorch_optimizer.AdEMAMix;
    torchao.AdamW8bit, torchao.AdamW4bit and torchao.AdamWFp8 (on a card of capability 8.9 and more)
    keep their state in few bits. All but adamw, adafactor, muon and torch's need
    `pip install "scumble[optimizers]"`, torchao's "scumble[quantised]". `scumble check` tries it
    out, and says when it would not resume exactly, would hardly move weights that start at zero,
    or takes much memory."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the optimizer: for adamw betas, eps, weight_decay (its default here is 0.01). For
    prodigy also stop_after: a number of steps after which it keeps the rate that it has found. A
    wrong name is told with those that it has."""


Kind = Literal[
    "constant",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
    "rex",
    "wave",
]


class ScheduleSpec(Spec):
    """The learning rate as a function of the step."""

    kind: Kind = "constant"
    """Shape of the way from the full rate down to `floor` over the steps. inverse_sqrt falls
    without knowing the end; warmup_stable_decay stays full until its last steps; rex stays above
    linear and falls steeply at the end; wave goes down to `floor` and up again for ever."""

    warmup_steps: NonNegativeInt = 0
    """The rate rises in a straight line over these first steps, whichever the kind."""

    warmup_share: float = Field(default=0.0, ge=0, lt=1)
    """The same as a share of all steps, in the place of `warmup_steps`."""

    floor: float = Field(default=0.0, ge=0, le=1)
    """Share of the full rate that the shape falls to; not for `constant`."""

    power: PositiveFloat | None = None
    """Exponent of `polynomial`. Unset: 1."""

    cycles: PositiveInt | None = None
    """How often `cosine_with_restarts` falls from the full rate. Unset: 2."""

    timescale: PositiveInt | None = None
    """Steps after the warm-up until `inverse_sqrt` is at 0.71; three times as many: at half.
    Unset: as many as `warmup_steps`, or 1000 without any."""

    half_period: PositiveInt | None = None
    """Steps in which `wave` goes from the full rate to `floor`, or back. Unset: 1000."""

    wave_from: Literal["top", "middle"] | None = None
    """Where `wave` begins: at the full rate, or half way up to it. Unset: top."""

    decay_share: float | None = Field(default=None, gt=0, le=1)
    """Share of all steps over which `warmup_stable_decay` falls at the end. Unset: 0.2."""

    decay_steps: PositiveInt | None = None
    """The same as a number of steps, in the place of `decay_share`."""

    decay_shape: Literal["linear", "cosine", "sqrt"] | None = None
    """How `warmup_stable_decay` falls. Unset: sqrt, that is 1 - sqrt(t), steep first."""

    @property
    def falls_by_the_end(self) -> bool:
        """Whether the rate of a step depends on how many steps there are."""
        return self.kind not in ("constant", "inverse_sqrt", "wave")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "ScheduleSpec":
        given = {setting for setting, value in self if value is not None}
        for setting in (one for one in BELONGS if one in given):
            if BELONGS[setting] != self.kind:
                remedy = f"set that, or leave `{setting}` out"
                raise ValueError(f"`{setting}` needs `kind: {BELONGS[setting]}`; {remedy}")
        if self.decay_share is not None and self.decay_steps is not None:
            raise ValueError("`decay_share` and `decay_steps` say the same; leave one out")
        if self.warmup_share > 0 and self.warmup_steps > 0:
            raise ValueError("`warmup_share` and `warmup_steps` say the same; leave one out")
        if self.floor > 0 and self.kind == "constant":
            raise ValueError("`floor` has no effect with `kind: constant`; leave it out")
        return self


BELONGS = {
    "power": "polynomial",
    "cycles": "cosine_with_restarts",
    "timescale": "inverse_sqrt",
    "half_period": "wave",
    "wave_from": "wave",
    "decay_share": "warmup_stable_decay",
    "decay_steps": "warmup_stable_decay",
    "decay_shape": "warmup_stable_decay",
}
"""Settings that one kind alone has."""


class TrainingSpec(Spec):
    """How long and how fast."""

    steps: PositiveInt
    """Optimizer steps in all. A finished run goes on when this has grown. May be left out where
    `epochs` is given."""

    epochs: PositiveInt | None = None
    """Passes over the data, in the place of `steps`: each takes as many steps as its batches fill,
    the last one rounded up."""

    learning_rate: PositiveFloat = 1e-4
    """Full rate; the schedule scales it. prodigy wants 1, and lion less than adamw."""

    rates: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    """Other learning rates for single networks of `adapter.parts`, such as {clip: 1e-5}. 0 keeps
    one as it starts."""

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

    clip_value: PositiveFloat | None = None
    """Largest size of each number of a step's gradient, in the place of `clip_norm`, which then is
    only measured."""

    ema: EmaSpec | None = None
    """Keep a moving average of what is trained, and deliver it, too."""

    when_not_finite: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is not a finite number does: stop the run, or leave the step
    out. The weights are never moved by it."""

    @model_validator(mode="before")
    @classmethod
    def _steps_are_counted_later(cls, given: Any) -> Any:
        """Until the data is counted, an epoch stands for one step."""
        match given:
            case {"epochs": int() as epochs} if "steps" not in given:
                return {**given, "steps": epochs}
            case {"epochs": int(), "steps": _}:
                raise ValueError("`steps` and `epochs` say the same; leave one out")
            case _:
                return given

    @model_validator(mode="after")
    def _schedule_fits(self) -> "TrainingSpec":
        if self.epochs is not None:
            return self
        schedule, left = self.schedule, self.steps - self.schedule.warmup_steps
        if left < 0:
            raise ValueError("`schedule.warmup_steps` is more than `steps`; lower it")
        for setting, steps in (("cycles", schedule.cycles), ("decay_steps", schedule.decay_steps)):
            if steps is not None and steps > left:
                beyond = f"`schedule.{setting}` is more than the {left} steps after the warm-up"
                raise ValueError(f"{beyond}; lower it")
        return self
