"""Which size a picture is trained at, and what is cut off for it: three laws."""

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from scumble.spec.base import Spec

ASPECTS = ("1:1", "5:4", "4:5", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", "2:1", "1:2")


def ratio(aspect: str) -> float:
    """Width over height of "3:2"; ValueError for anything that is not two positive numbers."""
    width, height = (float(part) for part in aspect.split(":"))
    if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
        raise ValueError
    return width / height


class ShapesSizing(Spec):
    """Cut to the nearest of some shapes, all of about the area of the square."""

    kind: Literal["shapes"] = "shapes"
    """The law of sizes."""

    crop: Literal["centre", "random", "corner", "none"] = "centre"
    """Where the cut lies; `none` keeps the whole picture and rounds its sides."""

    aspects: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Shapes to cut to, as width:height. Unset: the eleven common ones from 1:2 to 2:1."""

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
    def _settings_fit_together(self) -> "ShapesSizing":
        if self.crop == "none" and self.aspects is not None:
            raise ValueError("`aspects` has no effect with `crop: none`; leave it out")
        return self


class AspectSizing(Spec):
    """SimpleTuner's law: each picture's own shape, rounded, or a listed one."""

    kind: Literal["aspect"]
    """The law of sizes."""

    resolution_type: Literal["pixel_area", "area", "pixel"] = "pixel_area"
    """What `resolution` and the three sizes below count: `pixel_area` the side of the square of
    that area, `area` megapixels, `pixel` the shorter side."""

    crop: bool = False
    """Cut to the shape of `crop_aspect`. Without, only the overhang of rounding is cut."""

    crop_style: Literal["random", "centre", "corner"] = "random"
    """Where the cut lies."""

    crop_aspect: Literal["square", "preserve", "closest", "random"] = "square"
    """`preserve` keeps each picture's own shape; `closest` and `random` take one of
    `crop_aspect_buckets`."""

    crop_aspect_buckets: tuple[PositiveFloat, ...] = ()
    """Shapes as width over height."""

    crop_aspect_weights: tuple[PositiveFloat, ...] = ()
    """How often `random` takes each shape. Unset: all alike."""

    minimum_image_size: PositiveFloat | None = None
    """Smaller pictures are left out."""

    maximum_image_size: PositiveFloat | None = None
    """With `target_downsample_size`, which it needs: pictures are brought to that size before the
    cut."""

    target_downsample_size: PositiveFloat | None = None
    """The size that every picture has before the cut, unless it is too small to cut from; a larger
    one means a closer cut. As in SimpleTuner, this goes for all pictures, not for large ones
    alone."""

    max_upscale_threshold: PositiveFloat | None = None
    """Listed shapes that would enlarge a picture by more than this share are not taken."""

    step: PositiveInt | None = None
    """Sides are multiples of this. Unset: what the family needs."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "AspectSizing":
        if not self.crop and self.crop_aspect != "square":
            raise ValueError(f"`crop_aspect: {self.crop_aspect}` needs `crop: true`; set that too")
        if (self.maximum_image_size is None) != (self.target_downsample_size is None):
            raise ValueError(
                "`maximum_image_size` and `target_downsample_size` go together; set both or neither"
            )
        if self.maximum_image_size is not None and not self.crop:
            raise ValueError("`maximum_image_size` needs `crop: true`; set that, or leave it out")
        return self

    @model_validator(mode="after")
    def _shapes_fit_together(self) -> "AspectSizing":
        listed = self.crop_aspect in ("closest", "random")
        if listed and not self.crop_aspect_buckets:
            raise ValueError(
                f"`crop_aspect: {self.crop_aspect}` needs `crop_aspect_buckets`; list some shapes"
            )
        if not listed and (self.crop_aspect_buckets or self.max_upscale_threshold is not None):
            raise ValueError(
                "`crop_aspect_buckets` and `max_upscale_threshold` go with `crop_aspect: closest`"
                " or `random`; set that, or leave them out"
            )
        weights, shapes = len(self.crop_aspect_weights), len(self.crop_aspect_buckets)
        if weights and self.crop_aspect != "random":
            raise ValueError("`crop_aspect_weights` goes with `crop_aspect: random`; leave it out")
        if weights and weights != shapes:
            raise ValueError("`crop_aspect_weights` needs one number for each shape; count them")
        return self


class BucketsSizing(Spec):
    """The law of sd-scripts: the nearest of a table of sizes, or the one size."""

    kind: Literal["buckets"]
    """The law of sizes."""

    enable: bool = True
    """Off: everything is brought to the one size `resolution`."""

    minimum: PositiveInt = 256
    """Shortest side of a bucket."""

    maximum: PositiveInt = 1024
    """Longest side of a bucket."""

    step: PositiveInt = 64
    """Sides are multiples of this."""

    no_upscale: bool = False
    """Small pictures keep their size, rounded down to the step; `minimum` and `maximum` are not
    looked at."""

    random_crop: bool = False
    """Cut anywhere instead of at the centre."""

    @model_validator(mode="after")
    def _one_size_has_no_table(self) -> "BucketsSizing":
        told = {"minimum", "maximum", "step", "no_upscale"} & {
            name for name, value in self if value != type(self).model_fields[name].default
        }
        if not self.enable and told:
            names = ", ".join(f"`{name}`" for name in sorted(told))
            raise ValueError(f"{names}: no effect with `enable: false`; leave it out")
        return self


SizingSpec = Annotated[ShapesSizing | AspectSizing | BucketsSizing, Field(discriminator="kind")]
Interpolation = Literal["auto", "lanczos", "bicubic", "bilinear", "nearest", "area"]
