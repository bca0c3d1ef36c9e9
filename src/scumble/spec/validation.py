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


class PairsSpec(Spec):
    """Held-out pairs, of families that are shown references, as far as `held_out` measures them:
    pictures of some, and how much nearer to its target than a copy of its first reference each of
    them comes."""

    show: NonNegativeInt = 4
    """How many are painted at every preview, each with its own caption, references and size; drawn
    by `validation.seed`, and always the same ones. 0: none."""

    dataset: str | None = None
    """The set they are taken from. Unset: all sets that hold pairs out."""

    score: bool = True
    """Paint every pair, as previews are, and compare it with its target, and the first reference
    with that: before the first step and at the end."""

    every: NonNegativeInt = 0
    """Steps between further such comparisons. 0: none."""


class DriftSpec(Spec):
    """How far the base model has moved on prompts that it is not to forget: the network's answers
    against those with the adapter off, along the base model's own way to a picture."""

    prompts: tuple[str, ...] = ()
    """Class prompts, such as "a photo of a cat". Unset: the captions of the sets with
    `prior_preservation`; without any, nothing is measured."""

    every: NonNegativeInt | None = None
    """Steps between two measurements; there is also one at the end. Unset: as often as the
    held-out loss or else previews. 0: only at the end."""

    limit: PositiveInt = 8
    """Use only so many of the captions of sets."""

    noises: PositiveInt = 2
    """How many ways are walked for each prompt."""

    steps: PositiveInt = 4
    """Points on each way at which answers are compared."""

    side: PositiveInt | None = None
    """Sides of its pictures in pixels. Unset: those of the first set."""

    seed: NonNegativeInt = 42
    """Of the noise."""


class RequestSpec(Spec):
    """A preview; what it leaves unset is as in `validation`."""

    prompt: str
    """What the picture shows."""

    references: tuple[str, ...] = ()
    """Pictures that are shown along, in order; of families that take any (flux kontext, qwen-image
    edit). Relative to the job file. Each keeps its own shape and is brought to about the area of
    the preview, its sides rounded to the family's step; nothing is cut off."""

    width: PositiveInt | None = None
    """Pixels; a multiple of the family's step (flux: 16)."""

    height: PositiveInt | None = None
    """Pixels; a multiple of the family's step (flux: 16)."""

    steps: PositiveInt | None = None
    """Solver steps."""

    guidance: float | None = Field(default=None, ge=0)
    """Guidance the network is told."""

    scale: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How far it is led away from what `negative` would give; 1: not at all."""

    negative: str | None = None
    """What it is led away from."""

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

    drift: DriftSpec = DriftSpec()
    """How far the base model has moved on class prompts."""

    width: PositiveInt = 1024
    """Pixels; a multiple of the family's step (flux: 16)."""

    height: PositiveInt = 1024
    """Pixels; a multiple of the family's step (flux: 16)."""

    steps: PositiveInt | None = None
    """Solver steps. Unset: as published (flux dev 28, schnell 4)."""

    guidance: float | None = Field(default=None, ge=0)
    """Guidance the network is told. Unset: as published (flux dev 3.5; schnell takes none)."""

    scale: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """True CFG: how far answers are led away from those to `negative`, which takes twice as long;
    1: not at all. Unset: as published (flux 1, which takes one pass; qwen-image 4)."""

    negative: str = ""
    """The text that answers are led away from, where `scale` is not 1."""

    pairs: PairsSpec = PairsSpec()
    """Held-out pairs of edit models: `data.*.held_out` of sets with references, as far as
    `held_out` measures them."""

    seed: int = Field(default=42, ge=0, lt=2**63)
    """The noise of preview number i is drawn from seed + i; held-out pairs are counted by
    themselves."""

    @property
    def asked(self) -> tuple[RequestSpec, ...]:
        """All previews: `prompts`, then `requests`."""
        return (*(RequestSpec(prompt=prompt) for prompt in self.prompts), *self.requests)
