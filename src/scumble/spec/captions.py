"""What becomes of a caption before the network is told it."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from scumble.spec.base import Spec


class CaptionEdits(Spec):
    """In this order: filters, prefix and suffix, dropout, choice of a line, wildcards, tags."""

    filters: tuple[str, ...] = ()
    """Texts to take out; `s/OLD/NEW/` replaces what the regular expression OLD matches."""

    prefix: str | None = None
    """Put before every caption, with a space."""

    suffix: str | None = None
    """Put behind every caption, with a space."""

    lines: Literal["join", "choose", "first"] = "join"
    """What several lines of a text file are: one text, alternatives of which one is drawn each
    time, or of which the first is taken."""

    wildcards: bool = False
    """`{a|b|c}` becomes one of its parts, drawn each time; `{{` and `}}` stand for braces."""

    dropout_every_epochs: NonNegativeInt = 0
    """Every caption of each so many-th epoch is left out. 0: none."""

    shuffle: bool = False
    """Shuffle the tags."""

    keep_tokens: NonNegativeInt = 0
    """So many first tags stay where they are and are never dropped."""

    keep_tokens_separator: str = ""
    """What stands between the tags that stay and the others, instead of a number; a second one
    begins tags that stay at the end."""

    separator: str = Field(default=",", min_length=1)
    """What stands between tags."""

    secondary_separator: str | None = None
    """Joins tags that stay together; becomes `separator` at the end."""

    tag_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of the tags that are left out each time."""

    warmup_minimum: PositiveInt = 1
    """So many tags are used at the first step."""

    warmup_steps: float = Field(default=0.0, ge=0)
    """The number of tags grows to all of them over so many steps; below 1, a share of all steps."""

    variants: PositiveInt | None = None
    """Draw shuffles, dropped tags and wildcards from so many versions of each caption, which can
    all be cached. Unset: a new one each time."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "CaptionEdits":
        if self.variants is not None and self.warmup_steps > 0:
            raise ValueError("`variants` cannot hold what grows with `warmup_steps`; drop one")
        return self
