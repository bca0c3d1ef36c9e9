"""What belongs to a picture besides its caption: references and masks."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from scumble.spec.base import Spec
from scumble.spec.degradation import DegradationSpec
from scumble.spec.sizing import SizingSpec
from scumble.spec.sources import SourceSpec

CaptionKind = Literal["textfile", "filename", "prompt", "column"]


class ReferenceSpec(Spec):
    """Pictures that the network is shown, one for each target of the same relative name."""

    id: str | None = Field(default=None, pattern=r"^[\w][\w.-]*$", max_length=100)
    """Names it in messages. Unset: its number."""

    folder: str | None = None
    """Folder of pictures, searched with its subfolders. Relative to the job file."""

    source: SourceSpec | None = None
    """Where else they come from."""

    column: str | None = None
    """Column of the target's own table or dataset that holds them."""

    degrade: DegradationSpec | None = None
    """Make them from the targets."""

    fit: Literal["strict", "loose"] = "strict"
    """`strict` takes the target's size, cut and flip, so that pixels stay in place; `loose` has a
    size of its own."""

    resolution: PositiveInt | None = None
    """Of a loose reference. Unset: the target's."""

    sizing: SizingSpec | None = None
    """Law of sizes of a loose reference. Unset: the target's."""

    area: PositiveInt | None = None
    """Side of the square whose area it is shown at, whatever its `fit`: 1024 is the megapixel that
    Qwen-Image-Edit was published with. It keeps its cut and shape; sides are rounded to what the
    model needs. Unset: the size that `fit` gives it, with `strict` the target's."""

    captions: CaptionKind | None = None
    """Where texts of its own come from, which take the place of the target's. Unset: it has
    none."""

    prompt: str | tuple[str, ...] | None = None
    """The text for `captions: prompt`, or several, of which one is drawn each time."""

    slices: PositiveInt = 1
    """Into how many equal parts, side by side, each picture of `column` is cut."""

    slice: int = Field(default=0, ge=0)
    """Which of these parts is used, from 0 at the left."""

    at: Literal["trained", "original"] = "trained"
    """Whether `degrade` acts on the picture as it is trained on, or at its full size."""

    write_to: str | None = None
    """Folder in which `scumble data degrade` keeps the pictures made by `degrade`, and from which
    they are read."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "ReferenceSpec":
        given = [self.folder, self.source, self.column, self.degrade]
        if sum(one is not None for one in given) != 1:
            raise ValueError("one of `folder`, `source`, `column` and `degrade`; set just one")
        if self.fit == "strict" and (self.resolution or self.sizing):
            raise ValueError("a strict reference has the target's size; set `fit: loose`")
        if self.degrade is None and (self.write_to or self.at != "trained"):
            raise ValueError("`write_to` and `at` go with `degrade`; leave them out")
        if self.write_to is not None and self.at == "trained":
            raise ValueError("pictures in `write_to` have their full size; set `at: original`")
        if self.column is None and self.slices != 1:
            raise ValueError("`slices` goes with `column`; leave it out, or set it in `source`")
        if self.slice >= self.slices:
            raise ValueError(f"`slice` counts from 0 to {self.slices - 1}; lower it")
        if (self.captions == "prompt") != (self.prompt is not None):
            raise ValueError("`prompt` and `captions: prompt` go together; set both or neither")
        return self


class MaskSpec(Spec):
    """Where the loss counts: white fully, black not at all; one mask for each picture."""

    folder: str | None = None
    """Folder of masks with the names of the pictures. Relative to the job file."""

    source: SourceSpec | None = None
    """Where else they come from."""

    column: str | None = None
    """Column of the set's own table or dataset that holds them."""

    alpha: bool = False
    """Take the transparency of the pictures themselves."""

    invert: bool = False
    """Black counts and white does not."""

    grow: int = 0
    """Pixels, as trained on, by which the white part grows; below 0 it shrinks."""

    blur: NonNegativeFloat = 0.0
    """Radius in pixels, as trained on, by which its edge is softened."""

    minimum: float = Field(default=0.0, ge=0, le=1)
    """What black counts all the same."""

    weight: PositiveFloat = 1.0
    """Factor on the loss of the pictures that have a mask."""

    normalise: bool = False
    """Divide each picture's loss by the share of it that counts, so that a small white part weighs
    as much as a large one."""

    binary: bool = False
    """Whatever is not black counts fully, as for segmentation maps of any colours."""

    probability: float = Field(default=1.0, gt=0, le=1)
    """Share of the examples whose mask is heeded; the others count as a whole."""

    missing: Literal["error", "whole"] = "error"
    """A picture without a mask stops the run, or counts as a whole."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "MaskSpec":
        given = [self.folder is not None, self.source is not None, self.column is not None]
        if sum([*given, self.alpha]) != 1:
            raise ValueError("one of `folder`, `source`, `column` and `alpha`; set just one")
        return self
