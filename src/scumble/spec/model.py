"""Which model is fine-tuned."""

from pydantic import Field, PositiveInt

from scumble.spec.base import Spec


class ModelSpec(Spec):
    """Which weights are fine-tuned, and how they are read."""

    family: str
    """Kind of model. Known: flux."""

    flavour: str
    """Variant of the family. For flux: dev, schnell, kontext."""

    path: str
    """A diffusers folder, or `builtin:NAME` for a small model that comes with the package."""

    text_tokens: PositiveInt | None = None
    """Length of the T5 text in tokens. Unset: as published (flux dev 512, schnell 256)."""

    guidance: float = Field(default=1.0, ge=0)
    """Guidance the network is told while training, where it takes guidance as an input (flux dev).
    1 keeps it free to be raised in inference."""
