"""Pictures made while training."""

from pydantic import Field, NonNegativeInt, PositiveInt

from scumble.spec.base import Spec


class ValidationSpec(Spec):
    """Previews: pictures of the model as it stands, from the same noise each time."""

    prompts: tuple[str, ...] = ()
    """One picture each."""

    every: NonNegativeInt = 250
    """Steps between previews; there is also one before the first step and one at the end.
    0 turns previews off."""

    width: PositiveInt = 1024
    """Pixels; a multiple of the family's step (flux: 16)."""

    height: PositiveInt = 1024
    """Pixels; a multiple of the family's step (flux: 16)."""

    steps: PositiveInt | None = None
    """Solver steps. Unset: as published (flux dev 28, schnell 4)."""

    guidance: float | None = Field(default=None, ge=0)
    """Guidance the network is told. Unset: as published (flux dev 3.5; schnell takes none)."""

    seed: int = Field(default=42, ge=0, lt=2**63)
    """The noise of preview number i is drawn from seed + i."""
