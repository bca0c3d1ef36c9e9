"""All keys of config.json, and how one is found by a name."""

from difflib import get_close_matches

from scumble.dialects.option import Option
from scumble.dialects.simpletuner.machine_keys import (
    HARDWARE,
    PROCESSES,
    PUBLISHING,
    STARTING,
    TRACKING,
)
from scumble.dialects.simpletuner.model_keys import LORA, MODEL, QUANTISED
from scumble.dialects.simpletuner.objective_keys import FLOWS, LOSS, ROLLOUT, STAGES
from scumble.dialects.simpletuner.picture_keys import CACHES, CAPTIONS, PICTURES
from scumble.dialects.simpletuner.training_keys import DURATION, EMA, OPTIMIZER, SCHEDULE
from scumble.dialects.simpletuner.validation_keys import HELD_OUT, PREVIEWS

GROUPS: dict[str, tuple[Option, ...]] = {
    "model and run": MODEL,
    "LoRA and LyCORIS": LORA,
    "quantisation": QUANTISED,
    "duration and checkpoints": DURATION,
    "optimizer": OPTIMIZER,
    "learning rate": SCHEDULE,
    "moving average": EMA,
    "loss and noise": LOSS,
    "flow matching": FLOWS,
    "scheduled sampling": ROLLOUT,
    "captions and texts": CAPTIONS,
    "pictures": PICTURES,
    "caches and loading": CACHES,
    "previews": PREVIEWS,
    "held-out loss": HELD_OUT,
    "memory and speed": HARDWARE,
    "trackers": TRACKING,
    "publishing": PUBLISHING,
    "several processes": PROCESSES,
    "SDXL's refiner and DeepFloyd": STAGES,
}
OPTIONS = {option.name: option for options in GROUPS.values() for option in options}

ALIASES = {
    "validation_steps": "validation_step_interval",
    "checkpointing_steps": "checkpoint_step_interval",
    "save_total_limit": "checkpoints_total_limit",
    "fused_qkv_projections": "fuse_qkv_projections",
    "hub_model_name": "hub_model_id",
    "use_gradient_checkpointing": "gradient_checkpointing",
}
"""Older names, and two that its documents use."""

INVERSE = {
    "vae_cache_preprocess": "vae_cache_ondemand",
    "ignore_final_epochs": "strict_epoch_limit",
}
"""Older names that say the contrary."""

IGNORED = ("aspect_ratio_bucketing", "ez_model_type", "__")
"""What SimpleTuner's own programs leave in its files; keys that begin so."""


def known(key: str) -> str | None:
    """Why a key that is in no table is known all the same; None for a stranger."""
    return next((words for start, words in STARTING.items() if key.startswith(start)), None)


def nearest(name: str, *, cutoff: float = 0.6) -> str:
    """The key that is most like this one; "" where none is."""
    near = get_close_matches(name, [*OPTIONS, *ALIASES], n=1, cutoff=cutoff)
    return near[0] if near else ""
