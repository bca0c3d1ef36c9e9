"""The metadata that sd-scripts writes into an adapter file, which its users' programs read.

Values are what Python's `str` makes of them ("None", "True", "[1e-05]"), or JSON where a program
looks inside. Names and forms are those of sd-scripts' `train_network.py` and of the ModelSpec
standard, version 1.0.1. Of paths only the last name is told, as there.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from scumble import __version__
from scumble.checkpoint.kohya_names import Dates

FAMILY = "flux1"
MINIMUM = (
    *("ss_v2", "ss_base_model_version", "ss_network_module"),
    *("ss_network_dim", "ss_network_alpha", "ss_network_args"),
)
"""What `--no_metadata` keeps."""

AS_GIVEN = (
    *("training_comment", "learning_rate", "text_encoder_lr", "unet_lr"),
    *("gradient_checkpointing", "gradient_accumulation_steps", "lr_warmup_steps", "lr_scheduler"),
    *("network_module", "network_alpha", "network_dropout", "mixed_precision", "full_fp16"),
    *("fp8_base", "fp8_base_unet", "lowram", "cache_latents", "v2", "clip_skip"),
    *("max_token_length", "max_grad_norm", "noise_offset", "noise_offset_random_strength"),
    *("multires_noise_iterations", "multires_noise_discount", "adaptive_noise_scale"),
    *("zero_terminal_snr", "min_snr_gamma", "ip_noise_gamma", "ip_noise_gamma_random_strength"),
    *("caption_dropout_rate", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate"),
    *("face_crop_aug_range", "prior_loss_weight", "resize_interpolation", "scale_weight_norms"),
    *("loss_type", "huber_schedule", "huber_scale", "huber_c", "validation_seed"),
    *("validation_split", "max_validation_steps", "validate_every_n_epochs"),
    *("validate_every_n_steps", "model_type", "apply_t5_attn_mask", "weighting_scheme"),
    *("logit_mean", "logit_std", "mode_scale", "guidance_scale", "timestep_sampling"),
    *("sigmoid_scale", "model_prediction_type", "discrete_flow_shift"),
)
"""Options whose values are told under their own names, behind `ss_`."""

OPTIMIZERS = {
    "adamw": "torch.optim.adamw.AdamW",
    "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "pagedadamw": "bitsandbytes.optim.adamw.PagedAdamW",
    "pagedadamw8bit": "bitsandbytes.optim.adamw.PagedAdamW8bit",
    "pagedadamw32bit": "bitsandbytes.optim.adamw.PagedAdamW32bit",
    "lion": "lion_pytorch.lion_pytorch.Lion",
    "lion8bit": "bitsandbytes.optim.lion.Lion8bit",
    "pagedlion8bit": "bitsandbytes.optim.lion.PagedLion8bit",
    "adafactor": "transformers.optimization.Adafactor",
    "prodigy": "prodigyopt.prodigy.Prodigy",
    "adamwschedulefree": "schedulefree.adamw_schedulefree.AdamWScheduleFree",
    "radamschedulefree": "schedulefree.radam_schedulefree.RAdamScheduleFree",
    "sgdschedulefree": "schedulefree.sgd_schedulefree.SGDScheduleFree",
}
"""Where the class that a name stands for lies; other names are told as they were given."""

ALWAYS_GIVEN = ("author", "description", "license", "tags")
IF_GIVEN = (
    *("usage_hint", "merged_from", "trigger_phrase", "preprocessor", "is_negative_embedding"),
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What of a run does not stand in its options."""

    settings: Mapping[str, Any]
    """All options of the command with their values."""

    name: str | None
    dates: Dates
    seed: int
    session: int
    started: float
    """Unix time."""

    data: Mapping[str, str]
    """The entries about pictures, batches and captions."""

    hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    """The entries about the base model's files."""


def entries(facts: Facts, *, step: int, epoch: int, now: float) -> dict[str, str]:
    """All `ss_` and `modelspec.` entries of a file written after `step` steps, at Unix time `now`.

    Rank and alpha are left to what the file holds where the options do not say them.
    """
    told = _by_options(facts) | _of_the_run(facts, step, epoch, now) | dict(facts.data)
    told |= facts.hashes
    if facts.settings.get("no_metadata"):
        told = {name: value for name, value in told.items() if name in MINIMUM}
    return told | _model_spec(facts, now)


def _by_options(facts: Facts) -> dict[str, str]:
    settings = facts.settings
    told = {f"ss_{name}": str(settings.get(name)) for name in AS_GIVEN}
    told["ss_debiased_estimation"] = str(settings.get("debiased_estimation_loss"))
    told["ss_optimizer"] = _optimizer(settings)
    rank = settings.get("network_dim")
    if rank is not None and not settings.get("dim_from_weights"):
        told["ss_network_dim"] = str(rank)
    if settings.get("dim_from_weights"):
        del told["ss_network_alpha"]
    if given := settings.get("network_args"):
        pairs = dict(str(one).split("=", 1) for one in given if "=" in str(one))
        dropout = {"dropout": settings.get("network_dropout")}
        told["ss_network_args"] = json.dumps(dropout | pairs)
    return told


def _of_the_run(facts: Facts, step: int, epoch: int, now: float) -> dict[str, str]:
    dates = facts.dates
    return {
        "ss_session_id": str(facts.session),
        "ss_training_started_at": str(facts.started),
        "ss_training_finished_at": str(now),
        "ss_output_name": str(facts.name),
        "ss_base_model_version": FAMILY,
        "ss_sd_scripts_commit_hash": "(unknown)",
        "ss_seed": str(facts.seed),
        "ss_max_train_steps": str(dates.steps),
        "ss_num_epochs": str(dates.epochs),
        "ss_steps": str(step),
        "ss_epoch": str(epoch),
    }


def _optimizer(settings: Mapping[str, Any]) -> str:
    asked = str(settings.get("optimizer_type") or "AdamW")
    if settings.get("use_8bit_adam"):
        asked = "AdamW8bit"
    if settings.get("use_lion_optimizer"):
        asked = "Lion"
    options = ",".join(str(one) for one in settings.get("optimizer_args") or ())
    return OPTIMIZERS.get(asked.lower(), asked) + (f"({options})" if options else "")


def _model_spec(facts: Facts, now: float) -> dict[str, str]:
    """Entries that stand beside those which every file of ours has: kind of model and authors."""
    settings = facts.settings
    when = datetime.fromtimestamp(int(now))
    told = {
        "modelspec.title": settings.get("metadata_title") or facts.name or f"LoRA@{int(now)}",
        "modelspec.date": when.isoformat(),
        "modelspec.resolution": _resolution(settings.get("resolution")),
        "modelspec.implementation_version": f"scumble/{__version__}",
    }
    low, high = settings.get("min_timestep"), settings.get("max_timestep")
    if low is not None or high is not None:
        told["modelspec.timestep_range"] = f"{low or 0},{1000 if high is None else high}"
    if settings.get("clip_skip") is not None:
        told["modelspec.encoder_layer"] = str(settings["clip_skip"])
    for name in (*ALWAYS_GIVEN, *IF_GIVEN):
        if settings.get(f"metadata_{name}") is not None:
            told[f"modelspec.{name}"] = str(settings[f"metadata_{name}"])
    if picture := settings.get("metadata_thumbnail"):
        told |= thumbnail(str(picture))
    return {name: str(value) for name, value in told.items()}


def _resolution(asked: Any) -> str:
    """`1024,768` is width and height."""
    sides = [part.strip() for part in str(asked or "1024").split(",")]
    return f"{sides[0]}x{sides[-1]}"


def thumbnail(picture: str) -> dict[str, str]:
    """A picture's entry, as a data URL; none for a file that cannot be read."""
    if picture.startswith("data:"):
        return {"modelspec.thumbnail": picture}
    try:
        content = Path(picture).expanduser().read_bytes()
    except OSError:
        return {}
    kind = mimetypes.guess_type(picture)[0] or "application/octet-stream"
    text = base64.b64encode(content).decode()
    return {"modelspec.thumbnail": f"data:{kind};base64,{text}"}
