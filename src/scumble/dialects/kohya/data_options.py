"""Options about pictures, captions, caches, previews and the held-out loss."""

from scumble.dialects.option import Option

CACHED = "what is encoded is always kept on disk, and known again by its content"
WORKERS = "encoded pictures are read by a thread; there are no worker processes"
SAMPLERS = (
    *("ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver"),
    *("dpmsolver++", "dpmsingle", "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"),
)

DATA = (
    Option("dataset_config", "text", None, "acts", "data"),
    Option("dataset_class", "text", None, "refused", "classes of other programs are not run"),
    Option(
        "debug_dataset",
        "flag",
        False,
        "refused",
        "nothing would be trained; `scumble convert` and then `scumble check` show the data",
    ),
    Option("train_data_dir", "text", None, "acts", "data.folder, data.repeats_in_names"),
    Option("reg_data_dir", "text", None, "acts", "data.folder, data.regularisation"),
    Option("in_json", "text", None, "acts", "data.source"),
    Option("conditioning_data_dir", "text", None, "nothing", "belongs in the dataset file"),
    Option("dataset_repeats", "whole", 1, "acts", "data.repeats"),
    Option("resolution", "text", None, "acts", "data.resolution"),
    Option("enable_bucket", "flag", False, "acts", "data.sizing.enable"),
    Option("min_bucket_reso", "whole", 256, "acts", "data.sizing.minimum"),
    Option("max_bucket_reso", "whole", 1024, "acts", "data.sizing.maximum"),
    Option("bucket_reso_steps", "whole", 64, "acts", "data.sizing.step"),
    Option("bucket_no_upscale", "flag", False, "acts", "data.sizing.no_upscale"),
    Option(
        "resize_interpolation",
        "text",
        None,
        "acts",
        "data.interpolation",
        ("lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area"),
    ),
    Option("shuffle_caption", "flag", False, "acts", "data.caption_edits.shuffle"),
    Option("caption_separator", "text", ",", "acts", "data.caption_edits.separator"),
    Option("caption_extension", "text", ".caption", "acts", "data.caption_ending"),
    Option("caption_extention", "text", None, "acts", "data.caption_ending"),
    Option("keep_tokens", "whole", 0, "acts", "data.caption_edits.keep_tokens"),
    Option("keep_tokens_separator", "text", "", "acts", "data.caption_edits.keep_tokens_separator"),
    Option("secondary_separator", "text", None, "acts", "data.caption_edits.secondary_separator"),
    Option("enable_wildcard", "flag", False, "acts", "data.caption_edits.wildcards"),
    Option("caption_prefix", "text", None, "acts", "data.caption_edits.prefix"),
    Option("caption_suffix", "text", None, "acts", "data.caption_edits.suffix"),
    Option("color_aug", "flag", False, "acts", "data.colour"),
    Option("flip_aug", "flag", False, "acts", "data.flip"),
    Option("random_crop", "flag", False, "acts", "data.sizing.random_crop"),
    Option("alpha_mask", "flag", False, "acts", "data.mask.alpha"),
    Option(
        "face_crop_aug_range", "text", None, "not yet", "pictures are cut without regard to faces"
    ),
    Option("cache_info", "flag", False, "nothing", CACHED),
    Option("caption_dropout_rate", "number", 0.0, "acts", "data.caption_dropout"),
    Option(
        "caption_dropout_every_n_epochs",
        "whole",
        0,
        "acts",
        "data.caption_edits.dropout_every_epochs",
    ),
    Option("caption_tag_dropout_rate", "number", 0.0, "acts", "data.caption_edits.tag_dropout"),
    Option("token_warmup_min", "whole", 1, "acts", "data.caption_edits.warmup_minimum"),
    Option("token_warmup_step", "number", 0, "acts", "data.caption_edits.warmup_steps"),
)

CACHES = (
    Option("cache_latents", "flag", False, "nothing", CACHED),
    Option("cache_latents_to_disk", "flag", False, "acts", "data.adopt"),
    Option("cache_text_encoder_outputs", "flag", False, "nothing", CACHED),
    Option("cache_text_encoder_outputs_to_disk", "flag", False, "nothing", CACHED),
    Option("skip_cache_check", "flag", False, "nothing", CACHED),
    Option("vae_batch_size", "whole", 1, "nothing", "pictures are encoded one size at a time"),
    Option("text_encoder_batch_size", "whole", None, "nothing", "each text is encoded once"),
    Option("max_data_loader_n_workers", "whole", 8, "nothing", WORKERS),
    Option("persistent_data_loader_workers", "flag", False, "nothing", WORKERS),
)

PREVIEWS = (
    Option("sample_every_n_steps", "whole", None, "acts", "validation.every"),
    Option("sample_every_n_epochs", "whole", None, "acts", "validation.every_epochs"),
    Option(
        "sample_at_first",
        "flag",
        False,
        "nothing",
        "there is always a preview before the first step",
    ),
    Option("sample_prompts", "text", None, "acts", "validation.requests"),
    Option(
        "sample_sampler", "text", "ddim", "nothing", "FLUX is always sampled by Euler", SAMPLERS
    ),
)

HELD_OUT = (
    Option(
        "validation_seed", "whole", None, "acts", "data.held_out_seed, validation.held_out.seed"
    ),
    Option("validation_split", "number", 0.0, "acts", "data.held_out"),
    Option("validate_every_n_steps", "whole", None, "acts", "validation.held_out.every"),
    Option("validate_every_n_epochs", "whole", None, "acts", "validation.held_out.every_epochs"),
    Option("max_validation_steps", "whole", None, "acts", "validation.held_out.limit"),
)
