"""How a reference is made from its target: what is done to the picture.

Names and defaults are those of SimpleTuner's generators where it has one. Lengths are pixels of
the picture that is degraded; levels are shares of the range from black to white.
"""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from scumble.spec.base import Spec

Level = Annotated[float, Field(ge=0, le=1)]
Quality = Annotated[int, Field(ge=1, le=100)]
Grey = Annotated[int, Field(ge=0, le=255)]
Side = Literal["left", "top", "right", "bottom"]
Shape = Literal["rectangle", "circle", "brush", "irregular"]
SHAPES: tuple[Shape, ...] = ("rectangle", "circle", "brush", "irregular")
SIDES: tuple[Side, ...] = ("left", "top", "right", "bottom")


def _in_order(name: str, span: tuple[int | float, ...]) -> None:
    if span[0] > span[1]:
        raise ValueError(f"`{name}` is [least, most]; swap its numbers")


class Superresolution(Spec):
    """Unsharp and grainy, as an enlarged picture is: in this order made small and large again,
    blurred, noised, compressed."""

    kind: Literal["superresolution"]
    """What is done to the picture."""

    blur_radius: NonNegativeFloat = 2.0
    """In pixels."""

    blur_type: Literal["gaussian", "box", "both"] = "gaussian"
    """How it is blurred; `both` one after the other."""

    add_noise: bool = True
    """Add coloured noise."""

    noise_level: Level = 0.02
    """Standard deviation of the noise."""

    jpeg_quality: Quality | None = None
    """Compress it, too. Unset: no."""

    downscale_factor: Annotated[float, Field(ge=1)] | None = None
    """How much smaller it is made before it is enlarged again. Unset: not at all."""


class Blur(Spec):
    """Make it unsharp."""

    kind: Literal["blur"]
    """What is done to the picture."""

    blur_type: Literal["gaussian", "box", "motion"] = "gaussian"
    """Out of focus, or moved while the shutter was open."""

    radius: PositiveFloat = 2.0
    """Of `gaussian` and `box`, in pixels."""

    length: PositiveFloat = 15.0
    """How far a `motion` goes, in pixels."""

    angle: float | None = None
    """Where a `motion` goes: degrees, 0 to the right, 90 up. Unset: drawn."""


class Noise(Spec):
    """Make it grainy."""

    kind: Literal["noise"]
    """What is done to the picture."""

    level: Level = 0.05
    """Standard deviation of the noise."""

    coloured: bool = True
    """Each channel has noise of its own; otherwise it is grey."""

    salt_and_pepper: Level = 0.0
    """Share of the pixels that become white or black."""


class JpegArtifacts(Spec):
    """Compress it badly: in this order blurred, noised, compressed once or several times."""

    kind: Literal["jpeg_artifacts"]
    """What is done to the picture."""

    quality_mode: Literal["fixed", "range", "random"] = "fixed"
    """`fixed` takes `quality`, `range` draws from `quality_range`, `random` from `quality_list`."""

    quality: Quality = 25
    """Of JPEG: 1 worst, 100 best."""

    quality_range: tuple[Quality, ...] = Field(default=(10, 50), min_length=2, max_length=2)
    """Least and most of `range`."""

    quality_list: tuple[Quality, ...] = Field(default=(10, 20, 30, 40), min_length=1)
    """What `random` chooses from."""

    compression_rounds: PositiveInt = Field(default=1, le=20)
    """How often it is compressed."""

    round_quality_decay: float = Field(default=0.9, gt=0, le=1)
    """Factor on the quality after each round."""

    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] | None = None
    """How coarse colours are kept. Unset: 4:2:0, as JPEG files mostly are."""

    pre_blur: bool = False
    """Blur it before."""

    pre_blur_radius: PositiveFloat = 0.5
    """In pixels."""

    add_noise: bool = False
    """Add coloured noise before."""

    noise_level: Level = 0.01
    """Standard deviation of the noise."""

    enhance_blocks: bool = False
    """Make the blocks of 8 x 8 pixels stand out: a fifth of them, drawn, change colour."""

    block_noise_level: Level = 0.02
    """Standard deviation of that change."""

    @model_validator(mode="after")
    def _spans_are_in_order(self) -> "JpegArtifacts":
        _in_order("quality_range", self.quality_range)
        return self


class Downscale(Spec):
    """Make it smaller and large again."""

    kind: Literal["downscale"]
    """What is done to the picture."""

    factor: Annotated[float, Field(ge=1)] = 4.0
    """How much smaller."""

    method: Literal["area", "bilinear", "bicubic", "lanczos", "nearest"] = "bicubic"
    """How both is done; `nearest` leaves large pixels."""


class Canny(Spec):
    """White edges on black. Needs OpenCV: `pip install scumble[opencv]`."""

    kind: Literal["canny"]
    """What is done to the picture."""

    low_threshold: NonNegativeFloat = 50.0
    """Edges go on where they are this strong."""

    high_threshold: NonNegativeFloat = 100.0
    """Edges begin where they are this strong."""


class RandomMasks(Spec):
    """Cover parts of it, drawn at random, as for inpainting."""

    kind: Literal["random_masks"]
    """What is done to the picture."""

    mask_types: tuple[Shape, ...] = Field(default=SHAPES, min_length=1)
    """Shapes of the parts."""

    mask_type_weights: tuple[PositiveFloat, ...] = ()
    """How often each is taken. Unset: all alike."""

    coverage: tuple[Level, ...] = Field(default=(0.1, 0.5), min_length=2, max_length=2)
    """Least and most of the picture that is covered, before edges are softened."""

    counts: tuple[PositiveInt, ...] = Field(default=(1, 5), min_length=2, max_length=2)
    """Least and most parts; there are more where these do not reach the least coverage."""

    rectangle_size: tuple[PositiveFloat, ...] = Field(
        default=(0.1, 0.4), min_length=2, max_length=2
    )
    """Sides of rectangles, as shares of the picture's."""

    circle_size: tuple[PositiveFloat, ...] = Field(default=(0.05, 0.2), min_length=2, max_length=2)
    """Radius of circles and of irregular parts, as a share of the shorter side."""

    brush_width: tuple[PositiveInt, ...] = Field(default=(5, 40), min_length=2, max_length=2)
    """Width of brush strokes in pixels."""

    brush_length: tuple[PositiveFloat, ...] = Field(default=(0.1, 0.5), min_length=2, max_length=2)
    """Length of brush strokes, as a share of the shorter side."""

    irregular_points: tuple[PositiveInt, ...] = Field(default=(5, 20), min_length=2, max_length=2)
    """Corners of irregular parts."""

    edge_blur: NonNegativeFloat = 2.0
    """Radius in pixels by which edges are softened; 0: hard edges."""

    edge_feather: bool = True
    """Soften edges to the inside only, so that nothing beyond them is touched."""

    output: Literal["mask", "masked_image"] = "mask"
    """The parts as a grey picture, or the picture with its parts covered."""

    mask_value: Grey = 255
    """Grey of the parts, in the mask or on the picture."""

    invert: bool = False
    """Swap the parts and the rest."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "RandomMasks":
        _in_order("coverage", self.coverage)
        _in_order("counts", self.counts)
        _in_order("rectangle_size", self.rectangle_size)
        _in_order("circle_size", self.circle_size)
        _in_order("brush_width", self.brush_width)
        _in_order("brush_length", self.brush_length)
        _in_order("irregular_points", self.irregular_points)
        if self.mask_type_weights and len(self.mask_type_weights) != len(self.mask_types):
            raise ValueError("`mask_type_weights` needs one number for each type; count them")
        if min(self.irregular_points) < 3:
            raise ValueError("`irregular_points` needs at least 3 corners; raise it")
        return self


class Outpaint(Spec):
    """Cover a band along some sides, to be painted on beyond an edge."""

    kind: Literal["outpaint"]
    """What is done to the picture."""

    sides: tuple[Side, ...] = Field(default=SIDES, min_length=1)
    """Where bands may lie."""

    counts: tuple[PositiveInt, ...] = Field(default=(1, 4), min_length=2, max_length=2)
    """Least and most sides that get one, drawn from `sides`."""

    width: tuple[Level, ...] = Field(default=(0.1, 0.3), min_length=2, max_length=2)
    """Least and most width of a band, as a share of the picture's side."""

    fill: Literal["grey", "white", "black", "noise", "mean"] = "grey"
    """What the bands show; `mean` is the colour of the picture on average."""

    output: Literal["masked_image", "mask"] = "masked_image"
    """The picture with its bands, or the bands in white on black."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "Outpaint":
        _in_order("counts", self.counts)
        _in_order("width", self.width)
        if len(set(self.sides)) != len(self.sides):
            raise ValueError("`sides` names one twice; leave it out")
        if self.counts[0] > len(self.sides):
            raise ValueError("`counts` asks for more bands than `sides` has; lower it")
        return self


SingleSpec = Annotated[
    Superresolution | Blur | Noise | JpegArtifacts | Downscale | Canny | RandomMasks | Outpaint,
    Field(discriminator="kind"),
]


class Several(Spec):
    """One after the other."""

    kind: Literal["several"]
    """What is done to the picture."""

    steps: tuple[SingleSpec, ...] = Field(min_length=1)
    """In this order."""


DegradationSpec = Annotated[
    Superresolution
    | Blur
    | Noise
    | JpegArtifacts
    | Downscale
    | Canny
    | RandomMasks
    | Outpaint
    | Several,
    Field(discriminator="kind"),
]
