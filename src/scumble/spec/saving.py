"""What is kept, where, and in which form it is delivered."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from scumble.spec.base import Spec

LayoutName = Literal["diffusers", "kohya", "comfy", "ai-toolkit"]


class SavingSpec(Spec):
    """Checkpoints, from which a run goes on."""

    every: NonNegativeInt = 250
    """Steps between checkpoints; there is always one at the end. 0: only that one."""

    every_epochs: PositiveInt | None = None
    """Epochs between checkpoints, in the place of `every`."""

    keep: NonNegativeInt = 3
    """How many of the newest stay; an older one goes only after the new one has been read back.
    0 keeps all."""


class ExportSpec(Spec):
    """The file that other tools load."""

    layout: LayoutName | tuple[LayoutName, ...] = "diffusers"
    """How its keys are spelt: `diffusers` (also read by ComfyUI and AI-toolkit), `kohya` (as
    sd-scripts writes them, for most web UIs), `comfy` or `ai-toolkit`. Of several, the first is
    NAME.safetensors, each further one NAME.LAYOUT.safetensors."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """What its numbers are stored in."""

    proof: Literal["fresh_process", "in_process"] = "fresh_process"
    """Who reads the finished file again and compares what the network makes of it with what was
    trained: a new process once this one has given its memory back, or only this one, which is
    quicker and proves less."""

    @property
    def layouts(self) -> tuple[LayoutName, ...]:
        """All of them, the first one first."""
        return (self.layout,) if isinstance(self.layout, str) else self.layout

    @model_validator(mode="after")
    def _layouts_differ(self) -> "ExportSpec":
        if not self.layouts or len(set(self.layouts)) < len(self.layouts):
            raise ValueError("`layout` needs at least one name, and each once")
        return self


class CacheSpec(Spec):
    """Encoded pictures and texts, kept on disk so that nothing is encoded twice."""

    folder: str | None = None
    """Unset: `.cache` in `output_dir`, shared by all its runs."""

    mode: Literal["ahead", "on_demand"] = "ahead"
    """`ahead` encodes everything before the first step; `on_demand` keeps the encoders loaded,
    encodes each batch when its turn comes, and keeps nothing."""

    texts: Literal["ahead", "on_demand"] = "ahead"
    """The same for texts alone: for captions that are new each time."""

    picture_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """What latents are kept in."""

    text_dtype: Literal["auto", "fp32", "bf16", "fp16", "fp8"] = "auto"
    """What embeddings are kept in; auto: what they are computed in. fp8 takes half of bf16, with
    one scale for each token."""
