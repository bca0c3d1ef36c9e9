"""SimpleTuner's guides, run as they stand by its own command on small models: 20 steps, saved, and
checked by a fresh process. Run by `make acceptance`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.toys import pictures

pytestmark = pytest.mark.acceptance

COMMAND = Path(__file__).parents[2] / "drop_in/simpletuner"
RUN = {
    "model_type": "lora",
    "optimizer": "adamw_bf16",
    "output_dir": "output",
    "lora_rank": 4,
    "max_train_steps": 20,
    "num_train_epochs": 0,
    "gradient_checkpointing": True,
    "mixed_precision": "no",
    "seed": 3,
    "validation_resolution": "64x64",
    "validation_num_inference_steps": 2,
    "validation_step_interval": 20,
    "checkpoint_step_interval": 10,
    "eval_timesteps": 3,
    "aspect_bucket_alignment": 32,
}
"""What the guides leave to the reader, and what keeps a run of theirs small."""

DREAMBOOTH = """[
    {
        "id": "subjectname-data-512px", "type": "local",
        "instance_data_dir": "datasets/subjectname",
        "caption_strategy": "instanceprompt", "instance_prompt": "subjectname",
        "cache_dir_vae": "vae_cache/subjectname", "repeats": 100, "crop": false,
        "resolution": 64, "resolution_type": "pixel_area", "minimum_image_size": 64
    },
    {
        "id": "subjectname-data-1024px", "type": "local",
        "instance_data_dir": "datasets/subjectname",
        "caption_strategy": "instanceprompt", "instance_prompt": "subjectname",
        "cache_dir_vae": "vae_cache/subjectname-1024px", "repeats": 100, "crop": false,
        "resolution": 96, "resolution_type": "pixel_area", "minimum_image_size": 64
    },
    {
        "id": "regularisation-data", "type": "local",
        "instance_data_dir": "datasets/regularisation",
        "caption_strategy": "instanceprompt", "instance_prompt": "a picture of a man",
        "cache_dir_vae": "vae_cache/regularisation", "repeats": 0,
        "resolution": 64, "resolution_type": "pixel_area", "minimum_image_size": 64,
        "is_regularisation_data": true
    },
    {
        "id": "textembeds", "type": "local", "dataset_type": "text_embeds", "default": true,
        "cache_dir": "text_cache"
    }
]"""

KONTEXT = """[
  {
    "id": "edited-images", "disabled": false, "type": "local",
    "instance_data_dir": "datasets/val-edited", "minimum_image_size": 64,
    "maximum_image_size": 96, "target_downsample_size": 64, "resolution": 64,
    "resolution_type": "pixel_area", "caption_strategy": "textfile",
    "cache_dir_vae": "cache/vae/flux-edit", "vae_cache_clear_each_epoch": false,
    "conditioning_data": ["reference-images"]
  },
  {
    "id": "reference-images", "disabled": false, "type": "local",
    "instance_data_dir": "datasets/val-reference", "minimum_image_size": 64,
    "maximum_image_size": 96, "target_downsample_size": 64, "resolution": 64,
    "resolution_type": "pixel_area", "caption_strategy": null,
    "cache_dir_vae": "cache/vae/flux-ref", "vae_cache_clear_each_epoch": false,
    "conditioning_type": "reference_strict"
  },
  {
    "id": "my-edited-images", "type": "local",
    "cache_dir_vae": "cache/vae/edited-images",   // <-- where latents are kept
    "instance_data_dir": "datasets/edited-images",
    "conditioning_data": ["my-reference-images"], // <-- the id of the references
    "resolution": 64, "caption_strategy": "textfile"
  },
  {
    "id": "my-reference-images", "type": "local",
    "cache_dir_vae": "cache/vae/ref-images",
    "instance_data_dir": "datasets/reference-images",
    "conditioning_type": "reference_strict", "resolution": 64,
    "caption_strategy": null,                     // <-- those of the edits
  }
]"""


def qwen(names: list[str], embeds: bool) -> str:
    """The data file of either guide: targets, one set of references for each name, a split."""

    def split(prefix: str) -> list[dict[str, Any]]:
        ids = [f"{prefix}-reference-images{name}" for name in names]
        target = {
            "id": f"{prefix}-edited-images",
            "type": "local",
            "instance_data_dir": f"datasets/{prefix}-edited",
            "caption_strategy": "textfile",
            "resolution": 64,
            "conditioning_data": ids,
            "cache_dir_vae": f"cache/vae/{prefix}-edited",
        }
        shown = [
            {
                "id": id,
                "type": "local",
                "dataset_type": "conditioning",
                "instance_data_dir": f"datasets/{id}",
                "conditioning_type": "reference_strict",
                "resolution": 64,
                "cache_dir_vae": f"cache/vae/{id}",
            }
            for id in ids
        ]
        kept = {"conditioning_image_embeds": "my-reference-embeds"} if embeds else {}
        return [{**target, **kept}, *shown]

    cache = {
        "id": "my-reference-embeds",
        "type": "local",
        "dataset_type": "conditioning_image_embeds",
        "cache_dir": "cache/conditioning_image_embeds/reference",
    }
    return json.dumps([*split("my"), *split("val"), *([cache] if embeds else [])])


GUIDES: dict[str, tuple[dict[str, Any], str]] = {
    "dreambooth": (
        {
            "model_family": "flux",
            "model_flavour": "dev",
            "pretrained_model_name_or_path": "builtin:tiny-flux",
            "train_batch_size": 2,
            "validation_prompt": "subjectname",
        },
        DREAMBOOTH,
    ),
    "kontext": (
        {
            "model_family": "flux",
            "model_flavour": "kontext",
            "pretrained_model_name_or_path": "builtin:tiny-flux-kontext",
            "fuse_qkv_projections": False,
            "learning_rate": 1e-5,
            "train_batch_size": 1,
            "validation_guidance": 2.5,
            "conditioning_multidataset_sampling": "random",
            "eval_dataset_id": "edited-images",
        },
        KONTEXT,
    ),
    "edit-v1": (
        {
            "model_family": "qwen_image",
            "model_flavour": "edit-v1",
            "pretrained_model_name_or_path": "builtin:tiny-qwen-edit",
            "train_batch_size": 1,
            "gradient_accumulation_steps": 4,
            "validation_guidance": 4.0,
            "quantize_via": "cpu",
            "quantize_activations": False,
            "flow_schedule_shift": 1.73,
            "eval_dataset_id": "val-edited-images",
        },
        qwen([""], embeds=True),
    ),
    "edit-v2": (
        {
            "model_family": "qwen_image",
            "model_flavour": "edit-v2",
            "pretrained_model_name_or_path": "builtin:tiny-qwen-edit-plus",
            "train_batch_size": 1,
            "validation_guidance": 4.0,
            "flow_schedule_shift": 1.73,
            "model_kwargs": {"match_target_res": True},
            "eval_dataset_id": "val-edited-images",
        },
        qwen(["-a", "-b", "-c"], embeds=False),
    ),
}


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_trains_saves_and_is_proven(name: str, tmp_path: Path) -> None:
    keys, data = GUIDES[name]
    (tmp_path / "config/x").mkdir(parents=True)
    (tmp_path / "config/config.json").write_text(json.dumps({**RUN, **keys}))
    (tmp_path / "config/x/multidatabackend.json").write_text(data)
    for folder in sorted(set(re.findall(r'"(datasets/[^"]+)"', data))):
        pictures(tmp_path / folder, [(96, 96)] * 3, seed=len(folder))
    typed = ["--config", "config/config.json", "--data", "config/x/multidatabackend.json"]
    done = subprocess.run(
        [sys.executable, str(COMMAND), "train", *typed, "model.text_tokens=40"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    file = tmp_path / "output/pytorch_lora_weights.safetensors"
    assert str(file.relative_to(tmp_path)) in done.stdout
    assert any(tensor.abs().sum() > 0 for key, tensor in load_file(file).items() if "lora_B" in key)
    (journal,) = (tmp_path / "output").glob("*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sum(one["event"] == "StepDone" for one in events) == 20
    (proof,) = [one for one in events if one["event"] == "Proven"]
    assert proof["fresh_process"]
    assert all(each["state"] != "failed" for each in proof["verdicts"]), proof
    assert any(one["event"] == "Scored" for one in events) == ("eval_dataset_id" in keys)
