"""A moving average of the trained weights."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from scumble.events import Weights
from scumble.spec.base import Spec


class EmaSpec(Spec):
    """Exponential moving average of what is trained, kept beside it and delivered with it."""

    decay: float = Field(default=0.995, ge=0, lt=1)
    """Share of the average that stays at each update. Early on it is less: after step s at most
    s / (9 + s), and nothing stays after the first."""

    every: PositiveInt = 1
    """Updates come after steps that this number divides. A step that is not applied (see
    `training.when_not_finite`) leaves the average as it is."""

    warmup_steps: NonNegativeInt = 0
    """Until this step the average is the weights themselves; with it, `decay` holds from then on.
    0: it grows as said there."""

    device: Literal["cpu", "device"] = "cpu"
    """Where it is kept. On the CPU it costs no memory of the card; it is copied there while the
    next step runs."""

    previews: Literal["raw", "ema", "both"] = "both"
    """Whose pictures previews show. The held-out loss is measured for both, always."""

    deliver: Literal["raw", "ema"] = "raw"
    """Which of them NAME.safetensors holds; the other one is NAME.ema.safetensors or
    NAME.raw.safetensors."""

    @property
    def delivered(self) -> tuple[Weights, ...]:
        """Both, the one that NAME.safetensors holds first."""
        return ("ema", "raw") if self.deliver == "ema" else ("raw", "ema")


def previewed(spec: EmaSpec | None) -> tuple[Weights, ...]:
    """Whose pictures previews show."""
    match spec:
        case EmaSpec(previews="both"):
            return "raw", "ema"
        case EmaSpec(previews="ema"):
            return ("ema",)
        case _:
            return ("raw",)


def delivered(spec: EmaSpec | None) -> tuple[Weights, ...]:
    """What is delivered, the one that NAME.safetensors holds first."""
    return ("raw",) if spec is None else spec.delivered
