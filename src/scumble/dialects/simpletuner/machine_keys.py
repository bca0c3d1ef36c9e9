"""Keys about memory, speed, trackers, publishing, several cards, and what SimpleTuner has more."""

from scumble.dialects.option import Option

MEMORY = "the run goes on without it, and needs more memory"
SPEED = "the run goes on without it, and takes longer"
ATTENTION = "attention is always PyTorch's own, which chooses its kernel"
ALLOCATED = "torch keeps the card's memory for the next step, and nothing takes it away"
LOOKED = "what a run does with its pictures stands in its report, and in `scumble data scan`"
SHARDED = "each process keeps a whole model"
LAUNCHED = "the command that starts the run says how many processes there are"
UPLOADS = "nothing is uploaded"
CONTROL = "ControlNets are not trained"
COMPILERS = (
    *("no", "inductor", "eager", "aot_eager", "aot_ts_nvfuser", "nvprims_nvfuser"),
    *("cudagraphs", "ofi", "fx2trt", "onnxrt", "tensorrt", "ipex", "tvm", "hpu_backend"),
)

HARDWARE = (
    Option("gradient_checkpointing", "flag", True, "acts", "hardware.gradient_checkpointing"),
    Option("gradient_checkpointing_interval", "whole", None, "not yet", "every block is done so"),
    Option(
        "gradient_checkpointing_segment_stride", "whole", None, "not yet", "every block is done so"
    ),
    Option(
        "gradient_checkpointing_backend",
        "text",
        "torch",
        "not yet",
        "whole blocks are computed again, on the card",
        ("torch", "torch-ffn", "unsloth", "unsloth-ffn"),
    ),
    Option("gradient_checkpointing_offload_attention", "flag", False, "not yet", MEMORY),
    Option("attention_mechanism", "text", "diffusers", "nothing", ATTENTION),
    Option(
        "sageattention_usage",
        "text",
        "inference",
        "nothing",
        ATTENTION,
        ("training", "inference", "training+inference"),
    ),
    Option(
        "fuse_qkv_projections",
        "flag",
        False,
        "nothing",
        "is about speed; query, key and value stay layers of their own, so that files fit",
    ),
    Option("enable_group_offload", "flag", False, "not yet", MEMORY),
    Option(
        "group_offload_type",
        "text",
        "block_level",
        "not yet",
        MEMORY,
        ("block_level", "leaf_level"),
    ),
    Option("group_offload_blocks_per_group", "whole", 1, "not yet", MEMORY),
    Option("group_offload_use_stream", "flag", False, "not yet", MEMORY),
    Option("group_offload_to_disk_path", "text", "", "not yet", MEMORY),
    Option("group_offload_text_encoder", "flag", False, "not yet", MEMORY),
    Option("group_offload_vae", "flag", False, "not yet", MEMORY),
    Option("ramtorch", "flag", False, "not yet", MEMORY),
    Option("ramtorch_transformer_percent", "number", 100, "not yet", MEMORY),
    Option("ramtorch_text_encoder", "flag", False, "not yet", MEMORY),
    Option("ramtorch_vae", "flag", False, "not yet", MEMORY),
    Option("ramtorch_target_modules", "text", None, "not yet", MEMORY),
    Option("musubi_blocks_to_swap", "whole", 0, "not yet", MEMORY),
    Option("musubi_block_swap_device", "text", "cpu", "not yet", MEMORY),
    Option(
        "offload_during_startup",
        "flag",
        False,
        "nothing",
        "one network at a time is on the card while pictures and texts are encoded",
    ),
    Option("offload_during_save", "flag", False, "nothing", "saving takes no memory of the card"),
    Option("dynamo_backend", "text", "no", "not yet", SPEED, COMPILERS),
    Option(
        "dynamo_mode",
        "text",
        "",
        "not yet",
        SPEED,
        ("", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    ),
    Option("dynamo_dynamic", "flag", False, "not yet", SPEED),
    Option("dynamo_fullgraph", "flag", False, "not yet", SPEED),
    Option("dynamo_use_regional_compilation", "flag", False, "not yet", SPEED),
    Option("accelerator_cache_clear_interval", "whole", None, "nothing", ALLOCATED),
    Option("unet_attention_slice", "flag", False, "nothing", ATTENTION),
    Option("tread_config", "json", None, "not yet", "every token takes every layer"),
    Option("controlnet", "flag", False, "refused", CONTROL),
    Option("control", "flag", False, "refused", CONTROL),
    Option("controlnet_model_name_or_path", "text", None, "refused", CONTROL),
    Option("controlnet_custom_config", "json", None, "refused", CONTROL),
    Option("conditioning_dropout_probability", "number", 0.0, "nothing", CONTROL),
)

TRACKING = (
    Option("report_to", "text", "none", "acts", "tracking.to"),
    Option("tracker_project_name", "text", "simpletuner", "acts", "tracking.project"),
    Option("tracker_run_name", "text", None, "acts", "tracking.run, name"),
    Option(
        "tracker_image_layout",
        "text",
        "gallery",
        "nothing",
        "pictures are shown one by one",
        ("gallery", "table"),
    ),
    Option("debug_aspect_buckets", "flag", False, "nothing", LOOKED),
    Option("debug_dataset_loader", "flag", False, "nothing", LOOKED),
    Option("print_filenames", "flag", False, "nothing", LOOKED),
    Option("print_sampler_statistics", "flag", False, "nothing", LOOKED),
    Option("custom_tracker", "text", None, "not yet", "no program of yours is called"),
    Option("webhook_config", "json", None, "not yet", "nobody is called"),
    Option("webhook_reporting_interval", "whole", None, "not yet", "nobody is called"),
    Option(
        "merge_environment_config", "flag", False, "nothing", "environment files are always read"
    ),
)

PUBLISHING = (
    Option("push_to_hub", "flag", False, "not yet", UPLOADS),
    Option("push_checkpoints_to_hub", "flag", False, "not yet", UPLOADS),
    Option("push_to_hub_background", "flag", False, "not yet", UPLOADS),
    Option("hub_model_id", "text", None, "not yet", UPLOADS),
    Option("model_card_private", "flag", True, "not yet", UPLOADS),
    Option("model_card_safe_for_work", "flag", False, "not yet", UPLOADS),
    Option("model_card_note", "text", None, "not yet", UPLOADS),
    Option("modelspec_comment", "json", None, "recorded", "stands in the file's metadata"),
    Option("publishing_config", "json", None, "not yet", UPLOADS),
)

PROCESSES = (
    Option("num_processes", "whole", None, "nothing", LAUNCHED),
    Option("num_machines", "whole", None, "nothing", LAUNCHED),
    Option("machine_rank", "whole", None, "nothing", LAUNCHED),
    Option("main_process_ip", "text", None, "nothing", LAUNCHED),
    Option("main_process_port", "whole", None, "nothing", LAUNCHED),
    Option("same_network", "flag", True, "nothing", LAUNCHED),
    Option("local_rank", "whole", None, "nothing", LAUNCHED),
    Option("accelerate_config", "text", None, "nothing", LAUNCHED),
    Option("accelerate_extra_args", "text", None, "nothing", LAUNCHED),
    Option("fsdp_enable", "flag", False, "not yet", SHARDED),
    Option("fsdp_version", "whole", 2, "not yet", SHARDED),
    Option("deepspeed_config", "json", None, "not yet", SHARDED),
    Option("offload_param_path", "text", None, "not yet", SHARDED),
    Option("context_parallel_size", "whole", 1, "not yet", "each process sees whole pictures"),
    Option("configs_dir", "text", None, "nothing", "the command names its configuration"),
)

RESEARCH = "is a method of research that is not there"
FOREIGN = "is for models and services that are not read here"

STARTING = {
    "fsdp_": SHARDED,
    "nsfw_check_": "pictures are not judged",
    "context_parallel_": SHARDED,
    "attention_": ATTENTION,
    "tracker_": "curves are drawn by TensorBoard and Weights & Biases",
    **dict.fromkeys(
        (
            *("xm_", "nextlat_", "crepa_", "irepa_", "urepa_", "layersync_"),
            *("internal_guidance_", "twinflow_", "diffusion_blocks_", "distillation_", "sla_"),
        ),
        RESEARCH,
    ),
    **dict.fromkeys(
        (
            *("audio_", "lyrics_", "ltx_", "ltx2_", "ltxvideo_", "minimax_", "wan_", "cosmos3_"),
            *("ideogram_", "pixart_", "sana_", "acestep_", "sd3_", "hidream_", "gligen_"),
            *("framerate", "validation_num_video_frames", "aws_max_pool_connections"),
            *("max_grounding_", "pretrained_grounding_", "video_", "flux2_", "chroma_"),
        ),
        FOREIGN,
    ),
}
"""Keys that begin so are known, whatever follows, and are named with this reason."""
