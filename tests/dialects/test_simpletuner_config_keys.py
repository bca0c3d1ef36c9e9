"""Nothing vanishes: each key of config.json changes the job, is named, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.option import Option
from scumble.dialects.simpletuner.table import ALIASES, INVERSE, OPTIONS
from scumble.errors import leaves
from scumble.spec.schema import walk
from tests.dialects.simpletuner_desk import (
    BASE,
    KONTEXT,
    QWEN,
    converted,
    laid_out,
    problems,
)

VALUES: dict[str, Any] = {
    "model_type": "full",
    "model_family": "qwen_image",
    "model_flavour": "krea",
    "prediction_type": "epsilon",
    "mixed_precision": "no",
    "optimizer": "optimi-lion",
    "optimizer_config": "weight_decay=0.5",
    "lr_warmup_steps": 7,
    "lora_format": "comfyui",
    "init_lora": "old.safetensors",
    "peft_lora_target_modules": ["to_q"],
    "base_model_precision": "int8-quanto",
    "text_encoder_1_precision": "int8-quanto",
    "text_encoder_2_precision": "int8-quanto",
    "flow_cubic_schedule_weights": [1, 2, 1],
    "flow_custom_timesteps": "0.9,0.5",
    "caption_strategy": "textfile",
    "lycoris_config": "loha.json",
    "scheduled_sampling_order": 3,
    "scheduled_sampling_reflexflow": False,
    "validation_guidance_real": 3.0,
    "eval_dataset_id": "kept",
    "validation_input": [{"path": "plain.json", "prompt": "make it snow"}],
    "user_prompt_library": "prompts.json",
    "validation_resolution": "512x768",
    "report_to": "tensorboard",
    "resume_from_checkpoint": "",
    "data_backend_config": "measured.json",
    "resolution": 640,
    "num_train_epochs": 3,
    "max_train_steps": 7,
    "metadata_update_interval": 90,
    "model_kwargs": {"match_target_res": True},
}
WITH: dict[str, dict[str, Any]] = {
    "pretrained_transformer_subfolder": {"pretrained_transformer_model_name_or_path": "model"},
    "qwen_text_encoder_model_name_or_path": QWEN,
    "lora_type": {"lycoris_config": "lycoris.json"},
    "lycoris_config": {"lora_type": "lycoris", "lycoris_config": "lycoris.json"},
    "init_lokr_norm": {"lora_type": "lycoris", "lycoris_config": "lycoris.json"},
    "quantize_via": {"base_model_precision": "int8-quanto"},
    "checkpoint_epoch_interval": {},
    "prodigy_steps": {"optimizer": "prodigy"},
    "lr_num_cycles": {"lr_scheduler": "cosine_with_restarts", "lr_warmup_steps": 5},
    "lr_power": {"lr_scheduler": "polynomial"},
    "lr_end": {"lr_scheduler": "polynomial", "learning_rate": 1.0},
    "ema_decay": {"use_ema": True},
    "ema_update_interval": {"use_ema": True},
    "ema_warmup_steps": {"use_ema": True},
    "ema_device": {"use_ema": True},
    "ema_cpu_only": {"use_ema": True, "ema_device": "accelerator"},
    "ema_validation": {"use_ema": True},
    "huber_schedule": {"loss_type": "huber"},
    "huber_c": {"loss_type": "huber"},
    "input_perturbation_steps": {"input_perturbation": 0.1},
    "flow_beta_schedule_alpha": {"flow_use_beta_schedule": True},
    "flow_beta_schedule_beta": {"flow_use_beta_schedule": True},
    "flow_timesteps_mode": {"flow_custom_timesteps": "0.9,0.5"},
    "flux_guidance_min": {"flux_guidance_mode": "random-range"},
    "flux_guidance_max": {"flux_guidance_mode": "random-range"},
    "validation_negative_prompt": {"validation_guidance_real": 3.0},
    "num_eval_images": {"data_backend_config": "measured.json"},
    "eval_steps_interval": {"data_backend_config": "measured.json"},
    "eval_epoch_interval": {"data_backend_config": "measured.json"},
    "eval_timesteps": {"data_backend_config": "measured.json"},
    "eval_loss_disable": {"data_backend_config": "measured.json"},
    "validation_guidance_real": {},
    "caption_strategy": {"data_backend_config": "bare.json"},
    "instance_prompt": {"data_backend_config": "bare.json", "caption_strategy": "instance_prompt"}
    | {"instance_prompt": "a dog"},
    "only_instance_prompt": {"instance_prompt": "a dog"},
    "prepend_instance_prompt": {"instance_prompt": "a dog"},
    "masked_loss_probability": {"data_backend_config": "masked.json"},
    "parquet_caption_column": {"data_backend_config": "table.json"},
    "parquet_filename_column": {"data_backend_config": "table.json"},
    "maximum_image_size": {"data_backend_config": "cropped.json"},
    "target_downsample_size": {"data_backend_config": "cropped.json"},
    "validation_input": KONTEXT,
    "eval_dataset_id": {**KONTEXT, "data_backend_config": "held.json"},
    "conditioning_multidataset_sampling": {**KONTEXT, "data_backend_config": "two.json"},
    "model_kwargs": {**KONTEXT, "model_family": "qwen_image", "model_flavour": "edit-v2"},
    "tracker_project_name": {"report_to": "wandb"},
    **{
        key: {
            "scheduled_sampling_max_step_offset": 5,
            "scheduled_sampling_probability": 1.0,
            "scheduled_sampling_ramp_steps": 50,
        }
        for key in OPTIONS
        if key.startswith("scheduled_sampling_")
    },
}
"""What a key belongs to, without which it would have nothing to say."""

ACTING = {
    "scheduled_sampling_reflexflow": False,
    "eval_dataset_id": "kept",
    "validation_input": [{"path": "plain.json", "prompt": "make it snow"}],
}


TOGETHER: dict[str, dict[str, Any]] = {
    "optimizer_beta1": {"optimizer_beta2": 0.999},
    "optimizer_beta2": {"optimizer_beta1": 0.9},
    "maximum_image_size": {"target_downsample_size": 1.0, "data_backend_config": "cropped.json"},
    "target_downsample_size": {"maximum_image_size": 2, "data_backend_config": "cropped.json"},
    "num_train_epochs": {"max_train_steps": 0},
    "model_family": {"model_flavour": "v1.0"},
}
"""What has to be said along with a key."""

NAMED_ALONE = {
    *("prediction_type", "resume_from_checkpoint", "base_model_default_dtype"),
    *("t5_padding", "text_encoder_3_precision", "text_encoder_4_precision"),
    *("i_know_what_i_am_doing", "aspect_bucket_disable_rebuild", "data_backend_sampling"),
}
"""Keys that the job follows where others are set, which are tested by themselves."""


def value(option: Option) -> Any:
    """One that is not the key's default."""
    if option.name in VALUES:
        return VALUES[option.name]
    if option.kind == "flag":
        return not option.default
    if other := [choice for choice in option.choices if choice != option.default]:
        return other[0]
    plain = {"text": "words", "whole": 64, "number": 0.5, "json": {"a": 1}}
    return plain[option.kind]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all."""
    folder = laid_out(tmp_path_factory.mktemp("desk"))
    (folder / "model" / "transformer").mkdir(parents=True)
    (folder / "model" / "words").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def plain(desk: Path) -> Callable[[str], dict[str, Any]]:
    """The jobs of configurations, each made once."""

    @cache
    def made(text: str) -> dict[str, Any]:
        return converted(json.loads(text), desk).job.model_dump(exclude={"origin"})

    return made


ACTING = [option for option in OPTIONS.values() if option.fate == "acts"]
APART = ("deepspeed_config", "enable_group_offload", "musubi_blocks_to_swap")
APART += ("validation_adapter_config",)
"""Keys that do nothing and cannot stand beside others that do nothing."""


@pytest.mark.parametrize("option", ACTING, ids=lambda option: option.name)
def test_a_key_that_acts_changes_the_job(
    option: Option, desk: Path, plain: Callable[[str], dict[str, Any]]
) -> None:
    before = {**BASE, **WITH.get(option.name, {})}
    after = {**before, option.name: value(option), **TOGETHER.get(option.name, {})}
    try:
        made = converted(after, desk)
    except ExceptionGroup as group:
        assert option.name in NAMED_ALONE
        assert any(option.name in str(error) for error in leaves(group)), option
        return
    if option.name in NAMED_ALONE:
        assert any(option.name in note.where for note in made.notes)
    else:
        changed = made.job.model_dump(exclude={"origin"}) != plain(json.dumps(before))
        assert changed, f"{option.name} changes nothing"


@pytest.mark.parametrize("apart", [False, True])
def test_a_key_that_does_not_act_is_named_with_the_reason(desk: Path, *, apart: bool) -> None:
    idle = [one for one in OPTIONS.values() if one.fate not in ("acts", "refused")]
    chosen = [one for one in idle if (one.name in APART) == apart]
    made = converted({**BASE, **{one.name: value(one) for one in chosen}}, desk)
    said = {note.where: note.text for note in made.notes}
    assert {one.name: one.words for one in chosen if said.get(one.name) != one.words} == {}


def test_a_key_that_would_make_another_result_is_refused(desk: Path) -> None:
    refused = [one for one in OPTIONS.values() if one.fate == "refused"]
    told = problems(desk, **{one.name: value(one) for one in refused})
    assert [one.name for one in refused if not any(one.words in line for line in told)] == []


def test_what_acts_acts_on_settings_that_there_are() -> None:
    known = {path.replace(".ID", "") for path, _, _ in walk()}
    strange = {target for one in OPTIONS.values() for target in one.targets} - known
    assert strange == set()


def test_older_names_lead_to_newer_ones() -> None:
    assert {*ALIASES.values(), *INVERSE.values()} <= OPTIONS.keys()
    assert not {*ALIASES, *INVERSE} & OPTIONS.keys()


def test_a_default_is_one_of_the_values() -> None:
    chosen = [one for one in OPTIONS.values() if one.choices and one.default is not None]
    assert [one.name for one in chosen if one.default not in one.choices] == []
