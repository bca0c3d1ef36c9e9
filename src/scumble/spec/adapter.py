"""Which small network is trained beside the frozen one."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scumble.spec.base import Spec


class LoraSpec(Spec):
    """Low-rank adapter: W + (alpha / rank) B A."""

    kind: Literal["lora"] = "lora"
    """Low-rank adapter, trained in float32 (in bf16 with the optimizer `adamw-bf16`)."""

    rank: PositiveInt = 16
    """Width of the bottleneck. 4-16 for a style, 16-64 for a subject."""

    alpha: PositiveFloat | None = None
    """Numerator of the scale. Unset: the same as `rank`, so the scale is 1."""

    targets: str | tuple[str, ...] = "attention"
    """A preset of the family (flux: attention, blocks, all), or names of layers by their last
    whole dotted parts, such as [to_q, ff.net.2]."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the bottleneck's values set to zero while training."""


AdapterSpec = LoraSpec
