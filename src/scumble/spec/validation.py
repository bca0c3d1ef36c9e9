"""Pictures made while training."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from scumble.spec.base import Spec


class HeldOutSpec(Spec):
    """Loss on pictures that are not trained on, from the same noise at the same times each time."""

    every: NonNegativeInt | None = None
    """Steps between two measurements; there is also one before the first step and one at the end.
    Unset: as often as previews. 0: never."""

    every_epochs: PositiveInt | None = None
    """Epochs between two measurements, in the place of `every`."""

    times: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.1, 0.3, 0.5, 0.7, 0.9), min_length=1
    )
    """Noise levels that each picture is measured at; each is told by itself, and their mean."""

    noises: PositiveInt = 1
    """How many noises each picture meets at each of them."""

    limit: PositiveInt | None = None
    """Use only so many pictures of each set, drawn by `seed`."""

    seed: NonNegativeInt = 42
    """Of the noise; no other draw depends on it."""


class RequestSpec(Spec):
    """A preview; what it leaves unset is as in `validation`."""

    prompt: str
    """What the picture shows."""

    width: PositiveInt | None = None
    """Pixels; a multiple of the family's step (flux: 16)."""

    height: PositiveInt | None = None
    """Pixels; a multiple of the family's step (flux: 16)."""

    steps: PositiveInt | None = None
    """Solver steps."""

    guidance: float | None = Field(default=None, ge=0)
    """Guidance the network is told."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Of its noise. Unset: `validation.seed` and its place among the previews."""


class ValidationSpec(Spec):
    """Previews: pictures of the model as it stands, from the same noise each time."""

    prompts: tuple[str, ...] = ()
    """One picture each."""

    requests: tuple[RequestSpec, ...] = ()
    """Pictures with settings of their own, after those of `prompts`."""

    every: NonNegativeInt = 250
    """Steps between previews; there is also one before the first step and one at the end.
    0 turns previews off."""

    every_epochs: PositiveInt | None = None
    """Epochs between previews, in the place of `every`."""

    held_out: HeldOutSpec = HeldOutSpec()
    """Loss on the pictures that `data.*.held_out` keeps from training."""

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

    @property
    def asked(self) -> tuple[RequestSpec, ...]:
        """All previews: `prompts`, then `requests`."""
        return (*(RequestSpec(prompt=prompt) for prompt in self.prompts), *self.requests)
