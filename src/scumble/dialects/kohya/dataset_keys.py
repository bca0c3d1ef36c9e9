"""Every key of a dataset file: what it holds and in which tables it may stand."""

from dataclasses import dataclass
from typing import Literal

Holds = Literal["whole", "number", "text", "switch", "size", "range", "table"]
WORDS: dict[Holds, tuple[str, str]] = {
    "whole": ("a whole number", "without quotes or a point, such as 2"),
    "number": ("a number", "without quotes, such as 0.1"),
    "text": ("a text", 'in quotes, such as ".txt"'),
    "switch": ("true or false", "without quotes"),
    "size": ("a whole number or two of them", "1024 or [1024, 768]"),
    "range": ("two numbers", "[1.0, 2.0]"),
    "table": ("a table", "{ name = value }"),
}
"""What must stand there, and how it is written."""


@dataclass(frozen=True)
class Key:
    """A row of the table."""

    name: str
    holds: Holds
    places: str
    """`g` [general], `d` [[datasets]] and [validation], `s` their subsets."""

    default: object = None


KEYS = (
    Key("batch_size", "whole", "gd"),
    Key("resolution", "size", "gd"),
    Key("enable_bucket", "switch", "gd"),
    Key("min_bucket_reso", "whole", "gd"),
    Key("max_bucket_reso", "whole", "gd"),
    Key("bucket_reso_steps", "whole", "gd"),
    Key("bucket_no_upscale", "switch", "gd"),
    Key("validation_split", "number", "gds"),
    Key("validation_seed", "whole", "gds"),
    Key("network_multiplier", "number", "gd", 1.0),
    Key("resize_interpolation", "text", "gds"),
    Key("interpolation_type", "text", "gds"),
    Key("num_repeats", "whole", "gds"),
    Key("shuffle_caption", "switch", "gds"),
    Key("keep_tokens", "whole", "gds"),
    Key("keep_tokens_separator", "text", "gds"),
    Key("caption_separator", "text", "gds"),
    Key("secondary_separator", "text", "gds"),
    Key("enable_wildcard", "switch", "gds"),
    Key("caption_prefix", "text", "gds"),
    Key("caption_suffix", "text", "gds"),
    Key("caption_dropout_rate", "number", "gds"),
    Key("caption_dropout_every_n_epochs", "whole", "gds"),
    Key("caption_tag_dropout_rate", "number", "gds"),
    Key("token_warmup_min", "whole", "gds"),
    Key("token_warmup_step", "number", "gds"),
    Key("color_aug", "switch", "gds"),
    Key("flip_aug", "switch", "gds"),
    Key("random_crop", "switch", "gds"),
    Key("face_crop_aug_range", "range", "gds"),
    Key("custom_attributes", "table", "gds"),
    Key("class_tokens", "text", "gds"),
    Key("caption_extension", "text", "gds"),
    Key("cache_info", "switch", "gds", False),
    Key("image_dir", "text", "s"),
    Key("is_reg", "switch", "s", False),
    Key("alpha_mask", "switch", "s"),
    Key("metadata_file", "text", "s"),
    Key("conditioning_data_dir", "text", "s"),
)
BY_NAME = {key.name: key for key in KEYS}
OPTION_OF = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
"""The option that a key falls back to, where its name is another."""

TABLES = {"g": "[general]", "d": "[[datasets]]", "s": "[[datasets.subsets]]"}
