"""Keys about captions, pictures, caches and how data is loaded."""

from scumble.dialects.option import Option
from scumble.dialects.simpletuner.model_keys import TEXTS

THREADS = "how work is spread over threads and batches is our choice"
LISTS = "no lists of files are kept between runs: each scan reads the folders"
NEVER = "files of yours are never deleted"
ENTRIES = "SimpleTuner reads it from the data file's entries alone"
MEMORY = "the run goes on without it, and needs more memory while it encodes"
SMALL = "a size is trained however few pictures it has: short batches are filled"
FREEZING = ("before", "between", "after")

CAPTIONS = (
    Option("caption_dropout_probability", "number", 0.1, "acts", "data.caption_dropout"),
    Option("tokenizer_max_length", "whole", None, "nothing", "each family has its own length"),
    Option("t5_padding", "text", "unmodified", "acts", "model.text_mask", ("zero", "unmodified")),
    Option("instance_prompt", "text", None, "acts", "data.prompt"),
    Option("prepend_instance_prompt", "flag", False, "acts", "data.caption_edits.prefix"),
    Option("only_instance_prompt", "flag", False, "acts", "data.captions"),
    Option(
        "caption_strategy",
        "text",
        "filename",
        "acts",
        "data.captions",
        ("filename", "textfile", "instance_prompt", "instanceprompt", "parquet"),
    ),
    Option("disable_multiline_split", "flag", False, "acts", "data.caption_edits.lines"),
    Option("parquet_caption_column", "text", None, "acts", "data.source.caption_column"),
    Option("parquet_filename_column", "text", None, "acts", "data.source.image_column"),
    Option("cache_dir_text", "text", "cache", "nothing", "all that is encoded lies in one cache"),
    Option("text_encoder_batch_size", "whole", 1, "nothing", THREADS),
    Option("text_cache_ondemand", "flag", False, "acts", "cache.texts"),
    Option("text_cache_disable", "flag", False, "acts", "cache.texts"),
    Option("text_embed_full_cache", "flag", False, "nothing", "texts are always encoded ahead"),
    Option(
        "fully_unload_text_encoder", "flag", False, "nothing", "text encoders always leave memory"
    ),
    Option("save_text_encoder", "flag", False, "nothing", "what was trained is what is saved"),
    Option("freeze_encoder_strategy", "text", "after", "nothing", TEXTS, FREEZING),
    Option("freeze_encoder_before", "whole", 12, "nothing", TEXTS),
    Option("freeze_encoder_after", "whole", 17, "nothing", TEXTS),
    Option("text_encoder_limit", "whole", 100, "nothing", TEXTS),
    Option(
        "layer_freeze_strategy",
        "text",
        "none",
        "refused",
        "biases alone cannot be trained",
        ("none", "bitfit"),
    ),
)

PICTURES = (
    Option("data_backend_config", "text", None, "acts", "data"),
    Option(
        "conditioning_multidataset_sampling",
        "text",
        "random",
        "acts",
        "data.reference_sampling",
        ("random", "combined"),
    ),
    Option(
        "data_backend_sampling",
        "text",
        "auto-weighting",
        "acts",
        "data.probability",
        ("uniform", "auto-weighting"),
    ),
    Option("resolution", "number", 1024, "acts", "data.resolution"),
    Option(
        "resolution_type",
        "text",
        "pixel_area",
        "acts",
        "data.sizing.resolution_type",
        ("pixel", "area", "pixel_area"),
    ),
    Option("aspect_bucket_rounding", "whole", 2, "nothing", "shapes are rounded to 2 decimals"),
    Option("aspect_bucket_alignment", "whole", 64, "acts", "data.sizing.step", (8, 16, 24, 32, 64)),
    Option("minimum_image_size", "number", None, "acts", "data.sizing.minimum_image_size"),
    Option("maximum_image_size", "number", None, "acts", "data.sizing.maximum_image_size"),
    Option("target_downsample_size", "number", None, "acts", "data.sizing.target_downsample_size"),
    Option("max_upscale_threshold", "number", None, "nothing", ENTRIES),
    Option("disable_bucket_pruning", "flag", False, "nothing", SMALL),
    Option("allow_dataset_oversubscription", "flag", False, "nothing", SMALL),
    Option("aspect_bucket_disable_rebuild", "flag", False, "acts", "data.variants"),
    Option("ignore_missing_files", "flag", False, "acts", "data.skip_bad"),
    Option("override_dataset_config", "flag", False, "nothing", "the settings of now always count"),
    Option("delete_problematic_images", "flag", False, "nothing", NEVER),
    Option("delete_unwanted_images", "flag", False, "nothing", NEVER),
    Option("enable_nsfw_check", "flag", False, "not yet", "pictures are not judged"),
)

CACHES = (
    Option("vae_batch_size", "whole", 4, "nothing", THREADS),
    Option("vae_enable_tiling", "flag", False, "not yet", MEMORY),
    Option("vae_enable_patch_conv", "flag", False, "not yet", MEMORY),
    Option("vae_enable_slicing", "flag", False, "not yet", MEMORY),
    Option("cache_dir_vae", "text", "", "nothing", "all that is encoded lies in one cache"),
    Option("keep_vae_loaded", "flag", False, "nothing", "it is loaded again when it is needed"),
    Option("vae_cache_ondemand", "flag", False, "acts", "cache.mode"),
    Option("vae_cache_disable", "flag", False, "acts", "cache.mode"),
    Option(
        "vae_cache_scan_behaviour",
        "text",
        "recreate",
        "nothing",
        "an entry of the cache fits what made it, or is made again",
        ("recreate", "sync"),
    ),
    Option("compress_disk_cache", "flag", True, "nothing", "latents are noise: nothing would pack"),
    Option("skip_file_discovery", "text", "", "nothing", LISTS),
    Option("preserve_data_backend_cache", "flag", False, "nothing", LISTS),
    Option("image_processing_batch_size", "whole", 32, "nothing", THREADS),
    Option("write_batch_size", "whole", 128, "nothing", THREADS),
    Option("read_batch_size", "whole", 25, "nothing", THREADS),
    Option("metadata_update_interval", "whole", 3600, "nothing", LISTS),
    Option("max_workers", "whole", 32, "nothing", THREADS),
    Option("aspect_bucket_worker_count", "whole", 12, "nothing", THREADS),
    Option("torch_num_threads", "whole", 8, "nothing", THREADS),
    Option("enable_multiprocessing", "flag", False, "nothing", THREADS),
    Option("dataloader_prefetch", "flag", False, "nothing", "batches are always read ahead"),
    Option("dataloader_prefetch_qlen", "whole", 10, "nothing", "batches are always read ahead"),
)
