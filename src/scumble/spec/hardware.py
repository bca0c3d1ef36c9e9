"""On which device, how precisely, and with which savings."""

from typing import Literal

from pydantic import Field

from scumble.spec.base import Spec


class HardwareSpec(Spec):
    """On which device, how precisely, and with which savings."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    """auto takes the first CUDA card, else the CPU."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What the network computes in; the adapter is kept in float32 (in bf16 with the
    optimizer `adamw-bf16`). auto: bf16 where the device has units for it, else fp32."""

    gradient_checkpointing: bool = False
    """Compute each block again in the backward pass instead of keeping its insides: less memory,
    about a third more time."""
