"""Options about how long and how fast, what is saved, and who is told."""

from scumble.dialects.option import Option

METADATA = "stands in the metadata of the file"
DEEPSPEED = "is DeepSpeed's; several processes hold the whole network each"
UNTIMED = "waiting is not cut short: a process that ends is noticed by its connection"
ONE_SUM = "gradients are summed once a step, without DDP"
UPLOAD = "nothing is uploaded"
RESUMED = "is not there: a run that goes on knows its step, and what it has seen"
BACKENDS = (
    *("eager", "aot_eager", "inductor", "aot_ts_nvfuser", "nvprims_nvfuser", "cudagraphs"),
    *("ofi", "fx2trt", "onnxrt", "tensort", "ipex", "tvm"),
)

TRAINING = (
    Option("train_batch_size", "whole", 1, "acts", "data.batch_size"),
    Option("max_train_steps", "whole", 1600, "acts", "training.steps"),
    Option("max_train_epochs", "whole", None, "acts", "training.epochs"),
    Option("gradient_accumulation_steps", "whole", 1, "acts", "training.units_per_step"),
    Option("gradient_checkpointing", "flag", False, "acts", "hardware.gradient_checkpointing"),
    Option("mixed_precision", "text", "no", "acts", "hardware.precision", ("no", "fp16", "bf16")),
    Option("full_fp16", "flag", False, "not yet", "the adapter is trained in float32"),
    Option("full_bf16", "flag", False, "not yet", "the adapter is trained in float32"),
    Option("learning_rate", "number", 2e-6, "acts", "training.learning_rate"),
    Option("unet_lr", "number", None, "acts", "training.learning_rate, training.rates"),
    Option("text_encoder_lr", "numbers", None, "acts", "training.rates"),
    Option("max_grad_norm", "number", 1.0, "acts", "training.clip_norm"),
    Option("optimizer_type", "text", "", "acts", "training.optimizer.name"),
    Option("optimizer_args", "texts", None, "acts", "training.optimizer.options"),
    Option("use_8bit_adam", "flag", False, "acts", "training.optimizer.name"),
    Option("use_lion_optimizer", "flag", False, "acts", "training.optimizer.name"),
    Option("lr_scheduler", "text", "constant", "acts", "training.schedule.kind"),
    Option("lr_scheduler_type", "text", "", "refused", "schedules of other packages are not read"),
    Option("lr_scheduler_args", "texts", None, "refused", "further arguments are not read"),
    Option("lr_warmup_steps", "share", 0, "acts", "training.schedule.warmup_steps"),
    Option("lr_decay_steps", "share", 0, "acts", "training.schedule.decay_steps"),
    Option("lr_scheduler_num_cycles", "whole", 1, "acts", "training.schedule.cycles"),
    Option("lr_scheduler_power", "number", 1, "acts", "training.schedule.power"),
    Option("lr_scheduler_timescale", "whole", None, "acts", "training.schedule.timescale"),
    Option("lr_scheduler_min_lr_ratio", "number", None, "acts", "training.schedule.floor"),
    Option(
        "fused_backward_pass",
        "flag",
        False,
        "nothing",
        "sd-scripts does not fuse for a LoRA either",
    ),
    Option("seed", "whole", None, "acts", "training.seed"),
    Option("lowram", "flag", False, "nothing", "one model is loaded at a time anyway"),
    Option("highvram", "flag", False, "nothing", "memory is given back as it becomes free"),
    Option("torch_compile", "flag", False, "not yet", "the run is not compiled"),
    Option("dynamo_backend", "text", "inductor", "not yet", "goes with --torch_compile", BACKENDS),
    Option("ddp_timeout", "whole", None, "nothing", UNTIMED),
    Option("ddp_gradient_as_bucket_view", "flag", False, "nothing", ONE_SUM),
    Option("ddp_static_graph", "flag", False, "nothing", ONE_SUM),
    Option("deepspeed", "flag", False, "not yet", DEEPSPEED),
    Option("zero_stage", "whole", 2, "not yet", DEEPSPEED, (0, 1, 2, 3)),
    Option("zero3_init_flag", "flag", False, "not yet", DEEPSPEED),
    Option("zero3_save_16bit_model", "flag", False, "not yet", DEEPSPEED),
    Option("fp16_master_weights_and_gradients", "flag", False, "not yet", DEEPSPEED),
    Option("offload_optimizer_device", "text", None, "not yet", DEEPSPEED, ("cpu", "nvme")),
    Option("offload_param_device", "text", None, "not yet", DEEPSPEED, ("cpu", "nvme")),
    Option("offload_optimizer_nvme_path", "text", None, "not yet", DEEPSPEED),
    Option("offload_param_nvme_path", "text", None, "not yet", DEEPSPEED),
)

SAVING = (
    Option("output_dir", "text", None, "acts", "output_dir"),
    Option("output_name", "text", None, "acts", "name"),
    Option("save_precision", "text", None, "acts", "export.dtype", ("float", "fp16", "bf16")),
    Option(
        "save_model_as",
        "text",
        "safetensors",
        "nothing",
        "a .safetensors file is written: pickled ones can run code when they are opened",
        ("ckpt", "pt", "safetensors"),
    ),
    Option("save_every_n_epochs", "whole", None, "acts", "saving.every_epochs"),
    Option("save_every_n_steps", "whole", None, "acts", "saving.every"),
    Option("save_n_epoch_ratio", "whole", None, "acts", "saving.every_epochs"),
    Option("save_last_n_epochs", "whole", None, "acts", "saving.keep"),
    Option("save_last_n_epochs_state", "whole", None, "acts", "saving.keep"),
    Option("save_last_n_steps", "whole", None, "acts", "saving.keep"),
    Option("save_last_n_steps_state", "whole", None, "acts", "saving.keep"),
    Option("save_state", "flag", False, "acts", "saving.keep"),
    Option(
        "save_state_on_train_end", "flag", False, "recorded", "makes OUTPUT_NAME-state at the end"
    ),
    Option("resume", "text", None, "acts", "the step that it goes on from"),
    Option("resume_from_huggingface", "flag", False, "refused", RESUMED),
    Option("initial_epoch", "whole", None, "refused", RESUMED),
    Option("initial_step", "whole", None, "refused", RESUMED),
    Option("skip_until_initial_step", "flag", False, "nothing", "a resumed run repeats no data"),
    Option("training_comment", "text", None, "recorded", METADATA),
    Option("no_metadata", "flag", False, "recorded", "leaves most metadata out of the file"),
    *(
        Option(f"metadata_{name}", "text", None, "recorded", METADATA)
        for name in (
            *("title", "author", "description", "license", "tags", "usage_hint", "thumbnail"),
            *("merged_from", "trigger_phrase", "preprocessor", "is_negative_embedding"),
        )
    ),
    *(
        Option(f"huggingface_{name}", "text", None, "not yet", UPLOAD)
        for name in ("repo_id", "repo_type", "path_in_repo", "token", "repo_visibility")
    ),
    Option("save_state_to_huggingface", "flag", False, "not yet", UPLOAD),
    Option("async_upload", "flag", False, "not yet", UPLOAD),
)

TELLING = (
    Option("logging_dir", "text", None, "acts", "tracking.to"),
    Option("log_with", "text", None, "acts", "tracking.to", ("tensorboard", "wandb", "all")),
    Option("log_prefix", "text", None, "nothing", "curves lie in the run's own folder"),
    Option("log_tracker_name", "text", None, "acts", "tracking.project"),
    Option("log_tracker_config", "text", None, "nothing", "trackers take no further settings"),
    Option("wandb_run_name", "text", None, "acts", "tracking.run"),
    Option(
        "wandb_api_key",
        "text",
        None,
        "nothing",
        "is used by `scumble kohya` and written nowhere; a job takes it from WANDB_API_KEY",
    ),
    Option("log_config", "flag", False, "nothing", "the whole job always lies in the run's folder"),
    Option(
        "console_log_level",
        "text",
        None,
        "nothing",
        "the terminal shows the run's events",
        ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ),
    Option(
        "console_log_file", "text", None, "nothing", "everything told stands in journal.jsonl, too"
    ),
    Option("console_log_simple", "flag", False, "nothing", "the terminal shows the run's events"),
    Option("config_file", "text", None, "acts", "all settings"),
    Option("output_config", "flag", False, "acts", "all settings"),
)
