"""Which model is fine-tuned."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from scumble.spec.base import Spec


class MergeSpec(Spec):
    """An adapter that becomes part of the base model."""

    file: str
    """An adapter in any layout. Relative to the job file."""

    strength: float = 1.0
    """Factor on its change."""


Quantiser = Literal[
    "int8-quanto",
    "int4-quanto",
    "int2-quanto",
    "fp8-quanto",
    "int8-torchao",
    "fp8-torchao",
    "nf4-bnb",
]


class GuidanceRange(Spec):
    """A guidance drawn for each example."""

    low: NonNegativeFloat = 0.0
    """Smallest one."""

    high: NonNegativeFloat = 4.0
    """Largest one."""

    @model_validator(mode="after")
    def _is_in_order(self) -> "GuidanceRange":
        if self.high < self.low:
            raise ValueError("`high` is below `low`; raise it")
        return self


class ModelSpec(Spec):
    """Which weights are fine-tuned, and how they are read."""

    family: str
    """Kind of model. Known: flux, qwen-image."""

    flavour: str
    """Variant of the family. For flux: dev, schnell, kontext. For qwen-image: base, edit-v1
    (Qwen-Image-Edit, one reference), edit-v2 (Qwen-Image-Edit-2509, several)."""

    path: str | None = None
    """A diffusers folder, a hub id (`black-forest-labs/FLUX.1-dev`), a single file that holds the
    whole model or its denoiser alone, or `builtin:NAME` for a small model that comes with the
    package. May be left out where `parts` names every part."""

    parts: dict[str, str] = Field(default_factory=dict)
    """Parts that are taken from elsewhere: a single file, a folder, or a file on the hub
    (`owner/name/file.safetensors`). For flux: denoiser, autoencoder, clip, t5. For qwen-image:
    denoiser, autoencoder, qwen."""

    revision: str | None = None
    """Branch, tag or commit of the hub's model that `path` names. Unset: its main branch."""

    merged: tuple[MergeSpec, ...] = ()
    """Adapters that are added to the weights before anything is trained, in this order."""

    text_tokens: PositiveInt | None = None
    """Longest text in tokens: T5's for flux, which pads all others to it; for qwen-image without
    its frame and pictures. Unset: as published (flux dev 512, schnell 256, qwen-image 1024), or
    shorter where the model's own tokenizer says so."""

    text_mask: bool = False
    """Hide padding from T5 and from the network (flux). The published model sees it; qwen-image
    never does."""

    quantised: dict[str, Quantiser] = Field(default_factory=dict)
    """Parts whose frozen linear layers are kept in fewer bits, such as {denoiser: int8-quanto, t5:
    int8-quanto}: about half of bf16 in 8 bits, a quarter in 4. Needs
    `pip install "scumble[quantised]"`. int8-quanto is the safe choice; fp8-torchao keeps weights
    alone in 8 bits; nf4-bnb and int4-quanto are the smallest that train well, int2-quanto is far
    from the model it is made of. docs/quantised.md says which goes with which adapter and
    device."""

    quantise_on: Literal["device", "cpu"] = "device"
    """Where weights are brought to fewer bits, one layer after another while they are read. What
    comes of it is kept in the cache folder, and the next start reads that."""

    guidance: NonNegativeFloat | GuidanceRange = 1.0
    """Guidance the network is told while training, where it takes guidance as an input (flux dev).
    1 keeps it free to be raised in inference. {low, high}: one drawn for each example, and their
    middle where the loss on held-out pictures is measured."""

    @property
    def guidance_told(self) -> tuple[float, float]:
        """The guidance in the middle, which is told wherever none is drawn, and how far to either
        side of it one is drawn."""
        match self.guidance:
            case GuidanceRange(low=low, high=high):
                return (low + high) / 2, (high - low) / 2
            case fixed:
                return fixed, 0.0

    @model_validator(mode="after")
    def _has_weights(self) -> "ModelSpec":
        if self.path is None and not self.parts:
            raise ValueError("`path` is missing; name a model's folder, file or hub id")
        return self
