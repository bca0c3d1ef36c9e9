"""Which weights are trained: a small network beside the frozen one, or the layers themselves."""

import re
from typing import Annotated, Any, Literal, cast

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
)
from pydantic import model_validator as checked

from scumble.spec.base import Spec
from scumble.spec.lycoris import LycorisSpec


class LayerRule(Spec):
    """Another rank, or another learning rate, for some layers."""

    layers: str
    """Which: a pattern of whole dotted parts from the name's start, `*` for one part and `**` for
    any number (`transformer_blocks.3.**`); or, between slashes, a regular expression searched in
    the name that sd-scripts gives the layer (`/double_blocks_(3|4)_img_attn/`)."""

    rank: NonNegativeInt | None = None
    """Width of their bottleneck. 0 leaves them out; a number above 0 trains them even where
    `targets` leaves them out."""

    rate: NonNegativeFloat | None = None
    """Their learning rate, before the schedule. 0 keeps them as they start."""

    @checked(mode="after")
    def _says_something(self) -> "LayerRule":
        if self.rank is None and self.rate is None:
            raise ValueError("the rule says nothing; give it a `rank` or a `rate`")
        return self

    @checked(mode="after")
    def _can_be_searched(self) -> "LayerRule":
        told = self.layers
        if len(told) > 1 and told.startswith("/") and told.endswith("/"):
            try:
                re.compile(told[1:-1])
            except re.error as error:
                raise ValueError(f"`{told}` is no regular expression: {error}") from None
        elif not all(told.split(".")):
            raise ValueError(f"`{told}` is no pattern of dotted parts; write it like `blocks.3.**`")
        return self


class GgpoSpec(Spec):
    """Noise on the layers in proportion to their weights and gradients."""

    sigma: NonNegativeFloat
    """Factor on the norm of each row of the weights."""

    beta: NonNegativeFloat
    """Factor on the squared norm of each row's gradient."""


class StartSpec(Spec):
    """A file to go on from."""

    file: str
    """An adapter in any layout. Relative to the job file."""

    shape: Literal["job", "file"] = "job"
    """`job`: layers, ranks and scales are the job's, and what the file has in their shape is taken
    over, as strong as it is there; the rest of the file is named. `file`: layers, ranks and scales
    are the file's."""


class LoraSpec(Spec):
    """Low-rank adapter: W + (alpha / rank) B A."""

    kind: Literal["lora"] = "lora"
    """Low-rank adapter, trained in float32 (in bf16 with the optimizer `adamw-bf16`)."""

    rank: PositiveInt = 16
    """Width of the bottleneck. 4-16 for a style, 16-64 for a subject."""

    alpha: PositiveFloat | None = None
    """Numerator of the scale. Unset: the same as `rank`, so the scale is 1. Where `rules` give
    layers other ranks: unset, their scale is 1 too; set, it is alpha over their own rank."""

    targets: str | tuple[str, ...] = "attention"
    """A preset of the family (attention, blocks, all; flux: sd-scripts, and qwen-image:
    simpletuner, which are what those tools train), or names of layers by their last whole dotted
    parts, such as [to_q, ff.net.2]."""

    parts: tuple[str, ...] = ("denoiser",)
    """Which networks are trained. For flux: denoiser, clip, t5; for qwen-image: denoiser. A text
    encoder that is trained stays loaded, and captions are read at every step. Of text encoders, all
    attention and MLP layers are trained; `targets` is for the denoiser."""

    fused: bool = False
    """Layers that the authors' files hold as one (query, key and value; in flux's single blocks
    with the MLP's first) share one `down`, as sd-scripts trains them."""

    rules: tuple[LayerRule, ...] = ()
    """Other ranks and rates for some layers: the first rule that gives a rank and matches decides
    the rank, and likewise the rate."""

    first: Literal["uniform", "gaussian", "pissa", "olora"] = "uniform"
    """First values. `uniform` and `gaussian` begin with a change of zero, `down` as torch starts a
    layer or normal with a spread of 1 / rank. `pissa` takes the largest singular directions out of
    the layer and trains them (Meng et al. 2024), `olora` an orthogonal part of it (Bueyuekakyuez
    2024); what is delivered is the difference, of twice the rank, which any tool reads. Not with
    `fused`, `max_norm`, `ggpo` or `start`."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the bottleneck's values set to zero while training."""

    rank_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the bottleneck's columns that are left out for each example while training."""

    module_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the layers whose adapter is left out for each example while training (sd-scripts
    draws once for all examples that go through the network together). What stays is not scaled
    up."""

    up_rate: PositiveFloat | dict[str, PositiveFloat] = 1.0
    """Factor on the learning rate of `up` matrices (LoRA+; its authors advise 16), or one for each
    of `parts`."""

    max_norm: PositiveFloat | None = None
    """After each step, changes of a layer with a larger Frobenius norm are scaled down to it."""

    ggpo: GgpoSpec | None = None
    """Noise on the layers while training, in proportion to weights and gradients (LoRA-GGPO)."""

    start: StartSpec | None = None
    """A file to go on from. Unset: the first values change nothing."""

    @checked(mode="after")
    def _first_values_are_the_layers_own(self) -> "LoraSpec":
        if self.first not in ("pissa", "olora"):
            return self
        told = {
            "fused": self.fused,
            "max_norm": self.max_norm is not None,
            "ggpo": self.ggpo is not None,
            "start": self.start is not None,
        }
        for setting in (one for one, given in told.items() if given):
            remedy = f"leave `{setting}` out, or begin with `first: gaussian`"
            raise ValueError(f"`first: {self.first}` and `{setting}` do not go together; {remedy}")
        return self

    @checked(mode="after")
    def _shape_is_told_once(self) -> "LoraSpec":
        if self.start is None or self.start.shape == "job":
            return self
        if any(rule.rank is not None for rule in self.rules):
            raise ValueError(
                "with `start.shape: file` ranks are the file's; give rules a `rate` only"
            )
        return self


class FullSpec(Spec):
    """The layers' own weights."""

    kind: Literal["full"]
    """All numbers of the layers are trained, in float32; what is delivered is the whole network."""

    targets: str | tuple[str, ...] = "everything"
    """`everything`, a preset of the family, or names of layers by their last whole dotted parts."""


def _kind(value: Any) -> str:
    """Which kind a section is of; jobs that do not say mean LoRA."""
    match value:
        case dict():
            return str(cast("dict[str, Any]", value).get("kind", "lora"))
        case LoraSpec() | FullSpec() | LycorisSpec():
            return value.kind
        case _:
            return "lora"  # whose own error says what it should be


AdapterSpec = Annotated[
    Annotated[LoraSpec, Tag("lora")]
    | Annotated[LycorisSpec, Tag("lycoris")]
    | Annotated[FullSpec, Tag("full")],
    Discriminator(_kind),
    Field(
        json_schema_extra={
            "discriminator": {
                "propertyName": "kind",
                "mapping": {
                    "full": "#/$defs/FullSpec",
                    "lora": "#/$defs/LoraSpec",
                    "lycoris": "#/$defs/LycorisSpec",
                },
            }
        }
    ),
]
