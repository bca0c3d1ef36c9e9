"""Keys about duration, checkpoints, optimizer, learning rate and moving average."""

from scumble.dialects.option import Option

DEEPSPEED = "is for DeepSpeed's own optimizer"
DISK = "the disk that a run needs is forecast before it begins"
SCRIPTS = "no program is called"
MEMORY = "the run goes on without it, and needs more memory"

DURATION = (
    Option("num_train_epochs", "number", 1, "acts", "training.epochs"),
    Option("max_train_steps", "whole", None, "acts", "training.steps"),
    Option("strict_epoch_limit", "flag", False, "nothing", "a run counts epochs or steps alone"),
    Option("train_batch_size", "whole", 4, "acts", "training.batch_size"),
    Option("gradient_accumulation_steps", "whole", 1, "acts", "training.units_per_step"),
    Option("checkpoint_step_interval", "whole", 500, "acts", "saving.every"),
    Option("checkpoint_epoch_interval", "whole", None, "acts", "saving.every_epochs"),
    Option("checkpoints_total_limit", "whole", 5, "acts", "saving.keep"),
    Option(
        "checkpointing_rolling_steps",
        "whole",
        0,
        "not yet",
        "ordinary checkpoints are what a run goes on from",
    ),
    Option("checkpoints_rolling_total_limit", "whole", 1, "not yet", "there are no rolling ones"),
    Option(
        "checkpointing_use_tempdir", "flag", False, "nothing", "a checkpoint is always made aside"
    ),
    Option(
        "delete_invalid_checkpoints",
        "flag",
        False,
        "nothing",
        "a checkpoint is there whole or not at all",
    ),
    Option(
        "resume_from_checkpoint",
        "text",
        "latest",
        "nothing",
        "a run in the same folder goes on from its newest checkpoint",
    ),
    Option("disk_low_threshold", "text", None, "not yet", DISK),
    Option("disk_low_action", "text", "stop", "not yet", DISK, ("stop", "wait", "script")),
    Option("disk_low_script", "text", None, "not yet", SCRIPTS),
    Option("post_checkpoint_script", "text", None, "not yet", SCRIPTS),
    Option("post_upload_script", "text", None, "not yet", SCRIPTS),
)

OPTIMIZER = (
    Option("optimizer", "text", "adamw_bf16", "acts", "training.optimizer.name"),
    Option("optimizer_config", "text", None, "acts", "training.optimizer.options"),
    Option("optimizer_beta1", "number", None, "acts", "training.optimizer.options"),
    Option("optimizer_beta2", "number", None, "acts", "training.optimizer.options"),
    Option("adam_beta1", "number", 0.9, "nothing", DEEPSPEED),
    Option("adam_beta2", "number", 0.999, "nothing", DEEPSPEED),
    Option("adam_weight_decay", "number", 0.01, "nothing", DEEPSPEED),
    Option("adam_epsilon", "number", 1e-08, "nothing", DEEPSPEED),
    Option("learning_rate", "number", 4e-07, "acts", "training.learning_rate"),
    Option("lr_scale", "flag", False, "acts", "training.learning_rate"),
    Option("lr_scale_sqrt", "flag", False, "acts", "training.learning_rate"),
    Option("max_grad_norm", "number", 2.0, "acts", "training.clip_value, training.clip_norm"),
    Option(
        "grad_clip_method",
        "text",
        "value",
        "acts",
        "training.clip_value, training.clip_norm",
        ("value", "norm"),
    ),
    Option(
        "gradient_precision",
        "text",
        None,
        "nothing",
        "gradients are summed in the precision of what is trained: float32, but for adamw_bf16",
        ("unmodified", "fp32"),
    ),
    Option("optimizer_cpu_offload_method", "text", None, "not yet", MEMORY),
    Option("optimizer_offload_gradients", "flag", False, "not yet", MEMORY),
    Option("optimizer_release_gradients", "flag", False, "not yet", MEMORY),
    Option("fuse_optimizer", "flag", False, "nothing", "is about speed, and torch chooses itself"),
    Option("prodigy_steps", "whole", None, "acts", "training.optimizer.options"),
    Option("set_grads_to_none", "flag", False, "nothing", "gradients always go after a step"),
)

SCHEDULE = (
    Option(
        "lr_scheduler",
        "text",
        "constant_with_warmup",
        "acts",
        "training.schedule.kind",
        (
            *("linear", "sine", "cosine", "cosine_with_restarts", "polynomial", "constant"),
            "constant_with_warmup",
        ),
    ),
    Option(
        "lr_warmup_steps",
        "whole",
        0,
        "acts",
        "training.schedule.warmup_steps, training.schedule.half_period",
    ),
    Option("lr_num_cycles", "whole", 1, "acts", "training.schedule.cycles"),
    Option("lr_power", "number", 0.8, "acts", "training.schedule.power"),
    Option("lr_end", "number", 4e-07, "acts", "training.schedule.floor"),
)

EMA = (
    Option("use_ema", "flag", False, "acts", "training.ema"),
    Option("ema_decay", "number", 0.995, "acts", "training.ema.decay"),
    Option("ema_update_interval", "whole", 1, "acts", "training.ema.every"),
    Option("ema_warmup_steps", "whole", 0, "acts", "training.ema.warmup_steps"),
    Option("ema_device", "text", "cpu", "acts", "training.ema.device", ("accelerator", "cpu")),
    Option("ema_cpu_only", "flag", False, "acts", "training.ema.device"),
    Option("ema_foreach_disable", "flag", False, "nothing", "is about speed alone"),
    Option(
        "ema_validation",
        "text",
        "comparison",
        "acts",
        "training.ema.previews",
        ("none", "ema_only", "comparison"),
    ),
)
