"""What SimpleTuner refuses before it starts is refused here, too, in words of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dialects.simpletuner_desk import BASE, QWEN, job, laid_out, problems, told

LYCORIS = {"lora_type": "lycoris", "lycoris_config": "lycoris.json"}
RULES: list[tuple[dict[str, Any], str]] = [
    ({"model_type": None}, "model_type: nothing says what is trained; write lora, or full"),
    ({"model_family": None}, "model_family: nothing says which model is trained"),
    ({"data_backend_config": None}, "data_backend_config: nothing says which pictures"),
    ({"num_train_epochs": 2}, "max_train_steps, num_train_epochs: both are given"),
    ({"num_train_epochs": 0, "max_train_steps": 0}, "num_train_epochs: both are 0"),
    ({"max_train_steps": 0, "num_train_epochs": 1.5}, "a run has whole epochs; write 2"),
    ({"maximum_image_size": 1}, "target_downsample_size"),
    (
        {"maximum_image_size": 1024, "target_downsample_size": 1024},
        "maximum_image_size: is in megapixels here, and 5 is the most",
    ),
    (
        {"maximum_image_size": 256, "target_downsample_size": 512, "resolution_type": "pixel"},
        "is in pixels with resolution_type pixel, and 512 is the least",
    ),
    ({"optimizer_beta1": 0.9}, "optimizer_beta1: stands without optimizer_beta2"),
    ({"metadata_update_interval": 30}, "metadata_update_interval: must be 60 or more"),
    ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: must be 1 or more"),
    ({"mixed_precision": "fp8"}, "mixed_precision: nothing is computed in fp8"),
    (
        {"model_type": "full", "base_model_precision": "int8-quanto"},
        "layers that are trained themselves cannot be kept in fewer bits",
    ),
    ({**LYCORIS, "train_text_encoder": True}, "LyCORIS trains no text encoders"),
    (
        {"lora_init_type": "loftq", "base_model_precision": "int8-quanto"},
        "loftq: a base that is already quantised cannot be fitted",
    ),
    ({"lora_init_type": "loftq"}, "lora_init_type: loftq: is not there"),
    ({**QWEN, "controlnet": True}, "controlnet: ControlNets are not trained"),
    ({"flux_lora_target": "controlnet"}, "flux_lora_target: ControlNets are not trained"),
    ({"fsdp_enable": True, "deepspeed_config": {"a": 1}}, "fsdp_enable, deepspeed_config: cannot"),
    (
        {"fsdp_enable": True, "base_model_precision": "int8-quanto"},
        "FSDP2 cannot spread layers of quanto",
    ),
    ({"ramtorch": True, "enable_group_offload": True}, "ramtorch, enable_group_offload: cannot"),
    ({"ramtorch": True, "musubi_blocks_to_swap": 2}, "ramtorch, musubi_blocks_to_swap: cannot"),
    (
        {"attention_mechanism": "sageattention", "base_model_precision": "nf4-bnb"},
        "SageAttention and nf4-bnb cannot go together",
    ),
    (
        {"validation_adapter_path": "a", "validation_adapter_config": {"a": "b"}},
        "validation_adapter_path, validation_adapter_config: cannot go together",
    ),
    ({"validation_adapter_strength": 0}, "0 leaves nothing of the adapter"),
    ({"validation_method": "external-script"}, "validation_external_script: is missing"),
    ({"user_prompt_library": "none.json"}, "none.json cannot be read"),
    ({"prediction_type": "epsilon"}, "predicts the way from the picture to the noise"),
    ({"resume_from_checkpoint": "checkpoint-5"}, "no checkpoint that can be gone on from"),
    ({"init_lora": "./missing.safetensors"}, "there is no file"),
    ({"learning_rate": 0}, "learning_rate: 0 trains nothing"),
]


@pytest.mark.parametrize(("keys", "words"), RULES)
def test_what_cannot_start_is_told(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    assert any(words in line for line in problems(tmp_path, **keys)), problems(tmp_path, **keys)


@pytest.mark.parametrize("key", ["algo", "multiplier", "linear_dim", "linear_alpha"])
def test_what_lycoris_needs_is_told(tmp_path: Path, key: str) -> None:
    import json

    from tests.dialects.simpletuner_desk import LOKR

    kept = {name: value for name, value in LOKR.items() if name != key}
    (tmp_path / "own.json").write_text(json.dumps(kept))
    said = problems(tmp_path, lora_type="lycoris", lycoris_config="own.json")
    assert any(f"`{key}` is missing" in line for line in said)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    said = problems(tmp_path, lora_rank="x", mixed_precision="fp8", model_flavour="kontex", bog=1)
    assert len(said) == 4


@pytest.mark.parametrize(("seed", "words"), [(0, "the time of day"), (-1, "any number")])
def test_seeds_that_mean_something_else_there(tmp_path: Path, seed: int, words: str) -> None:
    made = job(tmp_path, seed=seed)
    assert made.job.training.seed == 0
    assert words in told(made, "seed")[0]


def test_an_interval_of_one_block_means_nothing(tmp_path: Path) -> None:
    assert told(job(tmp_path, gradient_checkpointing_interval=1), "gradient_check") == []
    assert told(job(tmp_path, gradient_checkpointing_interval=2), "gradient_check") != []


def test_to_begin_anew_beside_a_run_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, resume_from_checkpoint="") == []
    laid_out(tmp_path)
    (tmp_path / "simpletuner-results" / "simpletuner" / "checkpoints").mkdir(parents=True)
    said = problems(tmp_path, BASE, resume_from_checkpoint="")
    assert "there is a run in" in said[0] and "choose another output_dir" in said[0]
