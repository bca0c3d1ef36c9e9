"""One set of a job: its pictures, their captions, references and masks, and how they are mixed."""

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from scumble.spec.base import Spec
from scumble.spec.captions import CaptionEdits
from scumble.spec.references import CaptionKind, MaskSpec, ReferenceSpec
from scumble.spec.sizing import AspectSizing, Interpolation, ShapesSizing, SizingSpec
from scumble.spec.sources import SourceSpec


class DatasetSpec(Spec):
    """Pictures to learn from."""

    id: str = Field(pattern=r"^[\w][\w.-]*$", max_length=100)
    """Names the set in messages, the cache and the order of examples."""

    folder: str | None = None
    """Folder of pictures. Relative to the job file."""

    source: SourceSpec | None = None
    """Where else they come from: a bucket, a hub dataset, a table."""

    subfolders: bool = True
    """Whether the folder is searched with its subfolders."""

    repeats_in_names: bool = False
    """The folder's subfolders are named like `10_cat`, as for sd-scripts: each becomes a set of
    its own that is seen 10 times, whose pictures without a text are captioned `cat`."""

    disabled: bool = False
    """Leave the whole set out."""

    limit: PositiveInt | None = None
    """Use only so many pictures, drawn by the seed."""

    resolution: PositiveInt | PositiveFloat | tuple[PositiveInt, ...] = 1024
    """Side in pixels of the square whose area the pictures are trained at. With `sizing.kind:
    buckets` also [width, height]; with `resolution_type: area`, megapixels."""

    sizing: SizingSpec = ShapesSizing()
    """Which size each picture is brought to, and what is cut off."""

    interpolation: Interpolation = "lanczos"
    """How pictures are resized; `auto` takes `area` to make them smaller, else `lanczos`."""

    flip: bool = False
    """Show half of the examples mirrored."""

    colour: bool = False
    """Change brightness or hue of a third of the examples a little."""

    variants: PositiveInt | Literal["epoch", "fresh"] = 1
    """How many versions of each picture there are: random cuts, flips, colours, degradations.
    `epoch`: one for each epoch of the run, all cached; `fresh`: a new one each time, encoded on
    the way, for which the autoencoder stays loaded."""

    minimum_side: NonNegativeInt = 0
    """Pictures whose shorter side has fewer pixels are left out."""

    minimum_aspect: PositiveFloat | None = None
    """Pictures with a smaller width over height are left out."""

    maximum_aspect: PositiveFloat | None = None
    """Pictures with a larger width over height are left out."""

    captions: CaptionKind | None = None
    """`textfile` reads NAME.txt beside NAME.png; `filename` uses the name itself; `prompt` gives
    every picture the same text; `column` takes the source's. Unset: `column` for hub datasets and
    tables, else `textfile`."""

    caption_ending: str = Field(default=".txt", pattern=r"^\.[\w.]+$")
    """How text files end."""

    prompt: str | tuple[str, ...] | None = None
    """The text for `captions: prompt`, or several, of which one is drawn each time. With other
    `captions`, for pictures that have none."""

    caption_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of the examples that are trained with an empty caption."""

    caption_edits: CaptionEdits = CaptionEdits()
    """What becomes of captions before they are used."""

    references: tuple[ReferenceSpec, ...] = ()
    """Pictures that are shown along with each target, in this order."""

    reference_sampling: Literal["combined", "random"] = "combined"
    """Show all references of an example together, or one of them, drawn for each epoch."""

    unpaired: Literal["error", "skip", "fewer"] = "error"
    """What a target that lacks a reference does: stop the run, be left out, or be shown with those
    it has."""

    mask: MaskSpec | None = None
    """Where the loss counts."""

    repeats: PositiveInt = 1
    """How often each picture is seen in one epoch."""

    probability: PositiveFloat = 1.0
    """A larger number moves the set's batches toward the beginning of each epoch; all are still
    seen."""

    share: PositiveFloat | None = None
    """Part of all batches that come from this set, against the other sets' shares; such a set has
    epochs of its own. All sets of a job have a share, or none."""

    start_epoch: PositiveInt = 1
    """The first epoch with this set."""

    end_epoch: PositiveInt | None = None
    """The last epoch with this set. Unset: the run's."""

    start_step: NonNegativeInt = 0
    """The set joins at the first epoch that begins at this step or later."""

    batch_size: PositiveInt | None = None
    """Pictures that go through the network together. Unset: `training.batch_size`."""

    short: Literal["keep", "fill", "drop"] = "keep"
    """A last batch of an epoch that is not full: use it, fill it with others of its size, or leave
    it out."""

    regularisation: bool = False
    """Pictures of the class, to hold the model back: repeated or left out until there are as many
    as of all other sets together."""

    prior_preservation: bool = False
    """Pictures of the class: on them the network is to answer as the base model does, adapter off,
    in the place of what the pictures show. Keeps what it knows of the class."""

    loss_weight: NonNegativeFloat = 1.0
    """Factor on the loss of this set."""

    time_offset: float = 0.0
    """Added to the number that the law `sigmoid` makes this set's noise levels of: above 0, more
    often at high noise."""

    held_out: float = Field(default=0.0, ge=0, le=1)
    """Share of the pictures that is not trained on but measured, drawn by `held_out_seed`; 1 makes
    a set for measuring alone. See `validation.held_out`."""

    held_out_seed: NonNegativeInt | None = None
    """Decides which pictures are held out. Unset: `training.seed`."""

    duplicates: Literal["keep", "skip"] = "keep"
    """What pictures of the same bytes do: all are used and the copies named, or only the first."""

    adopt: Literal["none", "sd-scripts"] = "none"
    """Take over latents that another trainer keeps beside the pictures (NAME_WxH_flux.npz), where
    they are newer than these and agree with a few that are encoded again. Nothing is written."""

    skip_bad: bool = False
    """Leave out pictures that cannot be read or have no caption, instead of stopping."""

    @model_validator(mode="after")
    def _source_is_told(self) -> "DatasetSpec":
        if (self.folder is None) == (self.source is None):
            raise ValueError("one of `folder` and `source`; set just one")
        if self.repeats_in_names and self.folder is None:
            raise ValueError("`repeats_in_names` needs `folder`; leave it out")
        if self.captions == "prompt" and self.prompt is None:
            raise ValueError("`captions: prompt` needs `prompt`; write the text")
        return self

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> "DatasetSpec":
        whole = isinstance(self.resolution, int)
        match self.sizing:
            case AspectSizing(resolution_type="area"):
                fits, wanted = not isinstance(self.resolution, tuple), "megapixels, such as 1.05"
            case AspectSizing() | ShapesSizing():
                fits, wanted = whole, "a whole number of pixels"
            case _:
                pair = isinstance(self.resolution, tuple) and len(self.resolution) == 2
                fits, wanted = whole or pair, "a number of pixels, or [width, height]"
        if not fits:
            raise ValueError(f"`resolution` does not fit `sizing`; write {wanted}")
        return self

    @model_validator(mode="after")
    def _times_fit_together(self) -> "DatasetSpec":
        if self.end_epoch is not None and self.end_epoch < self.start_epoch:
            raise ValueError("`end_epoch` lies before `start_epoch`; raise it")
        timed = self.start_epoch > 1 or self.end_epoch is not None or self.start_step > 0
        if self.share is not None and timed:
            raise ValueError(
                "a set with a `share` has no `start_epoch`, `end_epoch` or "
                "`start_step`; leave them out"
            )
        return self

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> "DatasetSpec":
        if not self.references:
            for name in ("reference_sampling", "unpaired"):
                if dict(self)[name] != type(self).model_fields[name].default:
                    raise ValueError(f"`{name}` goes with `references`; leave it out")
        if self.share is not None and self.probability != 1.0:
            raise ValueError("`probability` has no effect with `share`; leave it out")
        if self.held_out == 1 and self.share is not None:
            raise ValueError("a set with `held_out: 1` is never trained on; leave `share` out")
        if self.held_out > 0 and self.prior_preservation:
            raise ValueError(
                "a set for prior preservation is not measured; leave `held_out` out, "
                "and look at `validation.drift`"
            )
        if self.held_out > 0 and self.regularisation:
            raise ValueError("a set for regularisation is not measured; leave `held_out` out")
        return self

    @model_validator(mode="after")
    def _versions_differ(self) -> "DatasetSpec":
        degraded = any(one.degrade is not None for one in self.references)
        if self.variants == 1 or self.flip or self.colour or degraded or self._cut_is_random():
            return self
        raise ValueError(
            "`variants` needs something random: `flip`, `colour`, a degradation or a "
            "random crop; set one, or leave `variants` out"
        )

    def _cut_is_random(self) -> bool:
        match self.sizing:
            case ShapesSizing():
                return self.sizing.crop == "random"
            case AspectSizing():
                drawn = self.sizing.crop and self.sizing.crop_aspect == "random"
                return self.sizing.crop_style == "random" or drawn
            case _:
                return self.sizing.random_crop
