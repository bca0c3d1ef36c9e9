"""Where the records of a set come from, when it is not a plain folder."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from scumble.spec.base import Spec


class S3Source(Spec):
    """Pictures in a bucket that speaks S3; keys come from the environment, never from the job."""

    kind: Literal["s3"]
    """Where pictures come from."""

    bucket: str = Field(min_length=3)
    """Name of the bucket."""

    prefix: str = ""
    """Only what lies under this beginning of its keys."""

    endpoint: str | None = None
    """Address of a service other than Amazon's, such as http://127.0.0.1:9000."""

    region: str | None = None
    """Unset: what the environment says."""

    anonymous: bool = False
    """Ask without keys, for public buckets."""


class HubSource(Spec):
    """A dataset of the Hugging Face hub, or one of the same shape in a local folder."""

    kind: Literal["hub"]
    """Where pictures come from."""

    dataset: str
    """Its id on the hub, or a folder, relative to the job file."""

    config: str | None = None
    """Which of its configurations."""

    split: str = "train"
    """Which of its splits."""

    revision: str | None = None
    """A branch, tag or commit of the hub."""

    streaming: bool = False
    """Take rows as they come instead of downloading the dataset first; what is used is kept in
    the cache."""

    image_column: str = "image"
    """Column of pictures; dots lead into nested ones, as `edit.before`."""

    caption_column: str | tuple[str, ...] | None = None
    """Column of texts, or several, which are alternatives; dots lead into nested ones. Unset: the
    first of `caption`, `text` and `description` that is there."""

    fallback_caption_column: str | None = None
    """Column for rows whose caption is empty."""

    slices: PositiveInt = 1
    """Into how many equal parts, side by side, each picture is cut."""

    slice: NonNegativeInt = 0
    """Which of these parts is used, from 0 at the left."""

    rows: PositiveInt | None = None
    """Only the first so many rows."""

    @model_validator(mode="after")
    def _slice_is_there(self) -> "HubSource":
        if self.slice >= self.slices:
            raise ValueError(f"`slice` counts from 0 to {self.slices - 1}; lower it")
        return self


class TableSource(Spec):
    """A CSV, TSV, JSON Lines or Parquet file whose rows name pictures or hold them."""

    kind: Literal["table"]
    """Where pictures come from."""

    file: str
    """The table. Relative to the job file."""

    folder: str | None = None
    """Where relative paths in it start. Unset: the table's own folder."""

    image_column: str = "image"
    """Column of pictures: paths, with or without ending, URLs, or the bytes themselves."""

    caption_column: str | tuple[str, ...] | None = None
    """Column of texts, or several, which are alternatives. Unset: the first of `caption`, `text`
    and `description` that is there."""

    fallback_caption_column: str | None = None
    """Column for rows whose caption is empty."""


SourceSpec = Annotated[S3Source | HubSource | TableSource, Field(discriminator="kind")]
