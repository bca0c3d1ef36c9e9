"""Where pictures and captions come from, and how they are cut."""

import math
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from scumble.spec.base import Spec

ASPECTS = ("1:1", "5:4", "4:5", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", "2:1", "1:2")


def ratio(aspect: str) -> float:
    """Width over height of "3:2"; ValueError for anything that is not two positive numbers."""
    width, height = (float(part) for part in aspect.split(":"))
    if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
        raise ValueError
    return width / height


class FolderSpec(Spec):
    """Pictures in a folder and its subfolders."""

    id: str = Field(pattern=r"^[\w][\w.-]*$", max_length=100)
    """Names the set in messages, the cache and the order of examples."""

    folder: str
    """Folder of pictures, searched with its subfolders. Relative to the job file."""

    resolution: PositiveInt = 1024
    """Side in pixels of the square whose area the pictures are trained at."""

    crop: Literal["centre", "random", "none"] = "centre"
    """`centre` and `random` cut to the nearest of `aspects`; `none` keeps the whole picture and
    rounds its sides."""

    aspects: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Shapes to cut to, as width:height. Unset: the eleven common ones from 1:2 to 2:1."""

    crops: PositiveInt = 1
    """With `crop: random`: how many different cuts of each picture are kept in the cache."""

    repeats: PositiveInt = 1
    """How often each picture is seen in one epoch."""

    minimum_side: NonNegativeInt = 0
    """Pictures whose shorter side has fewer pixels are left out."""

    captions: Literal["textfile", "filename", "prompt"] = "textfile"
    """`textfile` reads NAME.txt beside NAME.png; `filename` uses the name itself; `prompt` gives
    every picture the same text."""

    prompt: str | None = None
    """The text for `captions: prompt`."""

    caption_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of the examples that are trained with an empty caption."""

    skip_bad: bool = False
    """Leave out pictures that cannot be opened or have no caption, instead of stopping. Damage
    that only shows when a picture is decoded still stops the run, with the file's name."""

    @field_validator("aspects")
    @classmethod
    def _aspects_are_ratios(cls, aspects: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for aspect in aspects or ():
            try:
                ratio(aspect)
            except ValueError:
                raise ValueError(f"'{aspect}' is not a shape; write it like 3:2") from None
        return aspects

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "FolderSpec":
        if (self.captions == "prompt") != (self.prompt is not None):
            raise ValueError("`prompt` and `captions: prompt` go together; set both or neither")
        if self.crop == "none" and self.aspects is not None:
            raise ValueError("`aspects` has no effect with `crop: none`; leave it out")
        if self.crop != "random" and self.crops != 1:
            raise ValueError("`crops` needs `crop: random`; set that, or leave `crops` out")
        return self


DatasetSpec = FolderSpec
