"""Adapters of the LyCORIS library: LoKr, LoHa and their relatives."""

import re
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic import model_validator as checked

from scumble.spec.base import Spec
from scumble.spec.lycoris_options import Algorithm, Layered, expression, fault


class LycorisRule(Spec):
    """Another algorithm, or other sizes, for some layers."""

    layers: str
    """Which of the targets: a pattern of whole dotted parts from the name's start, `*` for one part
    and `**` for any number (`transformer_blocks.3.**`); or, between slashes, a regular expression
    searched in the layer's name (`/[.]attn[.]to_[qk]$/`)."""

    algo: Layered | None = None
    """Their algorithm; `none` leaves them out."""

    rank: PositiveInt | None = None
    """Width of their bottleneck."""

    alpha: PositiveFloat | None = None
    """Numerator of their scale."""

    options: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the algorithm, over those of the adapter."""

    @checked(mode="after")
    def _says_something(self) -> "LycorisRule":
        if self.model_fields_set <= {"layers"}:
            raise ValueError("the rule says nothing; give it an `algo`, a `rank` or `options`")
        return self

    @checked(mode="after")
    def _can_be_searched(self) -> "LycorisRule":
        _searchable(self.layers)
        return self


def _searchable(layers: str) -> None:
    """ValueError for what is neither a pattern of dotted parts nor a regular expression."""
    told = expression(layers)
    if told is not None:
        try:
            re.compile(told)
        except re.error as error:
            raise ValueError(f"`{layers}` is no regular expression: {error}") from None
    elif not all(layers.split(".")):
        raise ValueError(f"`{layers}` is no pattern of dotted parts; write it like `blocks.3.**`")


class LycorisSpec(Spec):
    """A change in one of the forms of the LyCORIS library."""

    kind: Literal["lycoris"]
    """Adapters of the LyCORIS library (`pip install "scumble[lycoris]"`), trained in float32."""

    algo: Algorithm = "lokr"
    """lokr: a Kronecker product, small files and a strong effect. loha: a product of two low-rank
    matrices, element by element. locon: plain LoRA. dora: LoRA with a magnitude of its own. full: a
    whole matrix. ia3: one factor for each feature. dylora: LoRA whose ranks can be cut afterwards.
    glora: LoRA from the weights. boft, diag-oft: rotations."""

    rank: PositiveInt = 16
    """Width of the bottleneck; for lokr, from half of a layer's width on, one full matrix."""

    alpha: PositiveFloat | None = None
    """Numerator of the scale. Unset: the same as `rank`, and where `rules` give layers other ranks,
    as theirs."""

    targets: str | tuple[str, ...] = "attention"
    """A preset of the family (attention, blocks, all; flux: sd-scripts, and qwen-image:
    simpletuner, which are what those tools train), or names of layers by their last whole dotted
    parts, such as [to_q, ff.net.2]; or, between slashes, regular expressions searched in their
    names."""

    options: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the algorithm, by LyCORIS' own names: factor, full_matrix, decompose_both,
    dora_wd, dropout, rank_dropout, module_dropout, rescaled, constraint, ... A wrong name is told
    with those that it has."""

    rules: tuple[LycorisRule, ...] = ()
    """Other algorithms and sizes for some layers: the first rule that matches decides."""

    start: str | None = None
    """A LyCORIS file to go on from, whose layers, algorithms and sizes are taken over. Relative to
    the job file."""

    start_norm: PositiveFloat | None = None
    """Start lokr from a change that is not zero: ones in the first matrix, and in the second normal
    noise with the mean and the spread of the layer's own weights, times this (1e-3 is usual). Both
    have to be whole: `options: {full_matrix: true}`."""

    @checked(mode="after")
    def _settings_fit_together(self) -> "LycorisSpec":
        algorithms = {self.algo, *(rule.algo for rule in self.rules)}
        if self.start_norm is not None and "lokr" not in algorithms:
            raise ValueError("`start_norm` goes with `algo: lokr`; leave it out")
        if self.start is not None and (self.rules or self.start_norm is not None):
            raise ValueError(
                "with `start` all is as in the file; leave `rules` and `start_norm` out"
            )
        return self

    @checked(mode="after")
    def _targets_can_be_searched(self) -> "LycorisSpec":
        for one in () if isinstance(self.targets, str) else self.targets:
            _searchable(one)
        return self

    @checked(mode="after")
    def _options_are_known(self) -> "LycorisSpec":
        algorithms = [(self.algo, self.options)]
        for rule in self.rules:
            if rule.algo == "none" and rule.options:
                raise ValueError("layers of a rule with `algo: none` have no `options`")
            if rule.algo != "none":
                algorithms.append((rule.algo or self.algo, rule.options))
        for algorithm, options in algorithms:
            if problem := fault(algorithm, options):
                raise ValueError(problem)
        return self
