"""Which model is fine-tuned."""

from pydantic import Field, PositiveInt, model_validator

from scumble.spec.base import Spec


class MergeSpec(Spec):
    """An adapter that becomes part of the base model."""

    file: str
    """An adapter in any layout. Relative to the job file."""

    strength: float = 1.0
    """Factor on its change."""


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

    guidance: float = Field(default=1.0, ge=0)
    """Guidance the network is told while training, where it takes guidance as an input (flux dev).
    1 keeps it free to be raised in inference."""

    @model_validator(mode="after")
    def _has_weights(self) -> "ModelSpec":
        if self.path is None and not self.parts:
            raise ValueError("`path` is missing; name a model's folder, file or hub id")
        return self
