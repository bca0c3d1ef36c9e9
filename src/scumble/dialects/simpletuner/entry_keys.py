"""Every field of multidatabackend.json: what it holds, and what becomes of it here."""

from dataclasses import dataclass
from typing import Literal

Holds = Literal[
    "whole", "number", "text", "switch", "texts", "table", "list", "tables", "list/text"
]
WORDS: dict[Holds, tuple[str, str]] = {
    "whole": ("a whole number", "without quotes or a point, such as 2"),
    "number": ("a number", "without quotes, such as 1024"),
    "text": ("a text", 'in double quotes, such as "my-pictures"'),
    "switch": ("true or false", "without quotes"),
    "texts": ("a text or a list of texts", '["one", "two"]'),
    "list/text": ("a text or a list of texts", '["one", "two"]'),
    "table": ("an object", '{"name": "value"}'),
    "list": ("a list", "[1.0, 1.5]"),
    "tables": ("an object or a list of objects", '[{"type": "jpeg_artifacts"}]'),
}
"""What must stand there, and how it is written."""

Fate = Literal["acts", "nothing", "not yet", "refused"]

SHELVED = "latents, texts and references are kept by what they are made of, in the run's own cache"
LOOKED = "every start looks at all files; what has changed since is made anew, nothing else"
MOVING = "is for moving pictures and sound"


@dataclass(frozen=True)
class Field:
    """A row of the table."""

    name: str
    holds: Holds
    fate: Fate
    words: str
    """The settings that it acts on; else the reason, to be read after its name."""

    default: object = None
    choices: tuple[str, ...] = ()


FIELDS = (
    Field("id", "text", "acts", "data.id"),
    Field(
        *("type", "text", "acts", "data.source", "local"),
        choices=("local", "aws", "csv", "huggingface", "webshart", "memory"),
    ),
    Field(
        *("dataset_type", "text", "acts", "data.held_out, data.references", "image"),
        choices=(
            *("image", "conditioning", "eval", "text_embeds", "image_embeds"),
            *("conditioning_image_embeds", "video", "audio", "distillation_cache", "caption"),
            "grounding",
        ),
    ),
    Field("disabled", "switch", "acts", "data", False),
    Field("disable", "switch", "acts", "data", False),
    Field("instance_data_dir", "text", "acts", "data.folder"),
    Field("resolution", "number", "acts", "data.resolution"),
    Field(
        *("resolution_type", "text", "acts", "data.sizing.resolution_type"),
        choices=("pixel", "area", "pixel_area"),
    ),
    Field("crop", "switch", "acts", "data.sizing.crop", False),
    Field(
        *("crop_style", "text", "acts", "data.sizing.crop_style", "random"),
        choices=("random", "corner", "center", "centre", "face"),
    ),
    Field(
        *("crop_aspect", "text", "acts", "data.sizing.crop_aspect", "square"),
        choices=("square", "preserve", "random", "closest"),
    ),
    Field("crop_aspect_buckets", "list", "acts", "data.sizing.crop_aspect_buckets"),
    Field("minimum_image_size", "number", "acts", "data.sizing.minimum_image_size"),
    Field("maximum_image_size", "number", "acts", "data.sizing.maximum_image_size"),
    Field("target_downsample_size", "number", "acts", "data.sizing.target_downsample_size"),
    Field("max_upscale_threshold", "number", "acts", "data.sizing.max_upscale_threshold"),
    Field("minimum_aspect_ratio", "number", "acts", "data.minimum_aspect"),
    Field("maximum_aspect_ratio", "number", "acts", "data.maximum_aspect"),
    Field(
        *("caption_strategy", "text", "acts", "data.captions"),
        choices=(
            *("filename", "textfile", "instanceprompt", "instance_prompt", "parquet"),
            *("huggingface", "csv", "webshart", "grounding"),
        ),
    ),
    Field("instance_prompt", "texts", "acts", "data.prompt"),
    Field("prepend_instance_prompt", "switch", "acts", "data.caption_edits.prefix"),
    Field("only_instance_prompt", "switch", "acts", "data.captions"),
    Field("disable_multiline_split", "switch", "acts", "data.caption_edits.lines"),
    Field("caption_shuffle", "table", "acts", "data.caption_edits.shuffle"),
    Field(
        *("metadata_backend", "text", "acts", "data.source", "discovery"),
        choices=("discovery", "json", "filesystem", "parquet", "huggingface", "webshart"),
    ),
    Field("parquet", "table", "acts", "data.source"),
    Field("huggingface", "table", "acts", "data.source"),
    Field("cache_dir_vae", "text", "nothing", SHELVED),
    Field("cache_file_suffix", "text", "nothing", SHELVED),
    Field("conditioning_data", "list/text", "acts", "data.references, data.mask"),
    Field("conditioning_image_embeds", "text", "nothing", SHELVED),
    Field(
        *("conditioning_type", "text", "acts", "data.references.fit, data.mask.binary"),
        choices=("reference_strict", "reference_loose", "mask", "segmentation", "controlnet"),
    ),
    Field("source_dataset_id", "text", "acts", "data.references"),
    Field("conditioning", "tables", "acts", "data.references.degrade"),
    Field("probability", "number", "acts", "data.probability", 1.0),
    Field("repeats", "whole", "acts", "data.repeats", 0),
    Field("train_batch_size", "whole", "acts", "data.batch_size"),
    Field("is_regularisation_data", "switch", "acts", "data.prior_preservation", False),
    Field("is_regularization_data", "switch", "acts", "data.prior_preservation", False),
    Field(
        *("slider_strength", "number", "refused"),
        "sliders are not trained here, and as ordinary pictures both ends of one would be learnt",
    ),
    Field("vae_cache_clear_each_epoch", "switch", "acts", "data.variants", False),
    Field("vae_cache_scan_behaviour", "text", "nothing", LOOKED),
    Field("scan_for_errors", "switch", "nothing", LOOKED, False),
    Field("skip_file_discovery", "text", "nothing", LOOKED),
    Field("preserve_data_backend_cache", "switch", "nothing", LOOKED, False),
    Field("max_num_samples", "whole", "acts", "data.limit"),
    Field("start_epoch", "whole", "acts", "data.start_epoch", 1),
    Field("start_step", "whole", "acts", "data.start_step", 0),
    Field("end_epoch", "whole", "acts", "data.end_epoch"),
    Field("end_step", "whole", "not yet", "sets leave at the end of an epoch alone: `end_epoch`"),
    Field(
        *("disable_after_epoch_step", "whole", "not yet"),
        "sets leave at the end of an epoch alone: `end_epoch`",
    ),
    Field("disable_validation", "switch", "acts", "data.held_out", False),
    Field("timestep_sampling_offset", "number", "acts", "data.time_offset", 0),
    Field("text_embeds", "text", "acts", "data.caption_edits.filters"),
    Field("image_embeds", "text", "nothing", SHELVED),
    Field("video", "table", "nothing", MOVING),
    Field("audio", "table", "nothing", MOVING),
    Field("grounding", "table", "nothing", "is for families that are told where things are"),
    Field("eval", "table", "nothing", "is for other kinds of measurement"),
    Field("hash_filenames", "switch", "nothing", "SimpleTuner does nothing with it, either"),
    Field("ignore_epochs", "switch", "nothing", "SimpleTuner does nothing with it, either"),
    Field(
        *("disable_vae_cache", "switch", "refused"),
        "is no longer there: latents are kept anyway; `vae_cache_disable` of config.json is",
    ),
    Field("aws_bucket_name", "text", "acts", "data.source"),
    Field("aws_region_name", "text", "acts", "data.source"),
    Field("aws_endpoint_url", "text", "acts", "data.source"),
    Field("aws_access_key_id", "text", "acts", "data.source"),
    Field("aws_secret_access_key", "text", "acts", "data.source"),
    Field("aws_data_prefix", "text", "acts", "data.source"),
    Field("csv_file", "text", "acts", "data.source"),
    Field("csv_url_column", "text", "acts", "data.source"),
    Field("csv_caption_column", "text", "acts", "data.source"),
    Field("csv_cache_dir", "text", "nothing", SHELVED),
    Field("dataset_name", "text", "acts", "data.source"),
    Field("dataset_config", "text", "acts", "data.source"),
    Field("split", "text", "acts", "data.source"),
    Field("revision", "text", "acts", "data.source"),
    Field("streaming", "switch", "acts", "data.source", False),
    Field("cache_dir", "text", "nothing", SHELVED),
    Field("default", "switch", "acts", "data.caption_edits.filters", False),
    Field("caption_filter_list", "list/text", "acts", "data.caption_edits.filters"),
    Field("write_batch_size", "whole", "nothing", SHELVED),
    Field("text_encoder_batch_size", "whole", "nothing", "as many are encoded as there is room"),
)
BY_NAME = {field.name: field for field in FIELDS}

CACHES = ("text_embeds", "image_embeds", "conditioning_image_embeds")
"""Kinds of entries that say where something is kept, and hold no pictures."""

OF_CACHES = frozenset(
    {
        "id",
        "type",
        "dataset_type",
        "disabled",
        "disable",
        "default",
        "cache_dir",
        "write_batch_size",
    }
    | {"caption_filter_list", "text_encoder_batch_size"}
    | {name for name in BY_NAME if name.startswith("aws_")}
)
"""Fields that mean something in such an entry."""

ELSEWHERE = ("video", "audio", "distillation_cache", "caption", "grounding")
"""Kinds of sets that go with families of other media."""
