"""What a configuration of SimpleTuner leaves in its output folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from scumble import outputs, run
from scumble.dialects.simpletuner.job import converted
from scumble.errors import FileError, leaves
from scumble.preflight.plan import prepared
from scumble.spec.job import JobSpec
from tests import toys

TOLD: dict[str, Any] = {
    "model_type": "lora",
    "model_family": "flux",
    "model_flavour": "dev",
    "pretrained_model_name_or_path": "builtin:tiny-flux",
    "data_backend_config": "data.json",
    "output_dir": "out",
    "tracker_run_name": "cats",
    "lora_rank": 2,
    "mixed_precision": "no",
    "learning_rate": 1e-3,
    "max_train_steps": 2,
    "train_batch_size": 1,
    "validation_disable": True,
    "modelspec_comment": "made for a test",
    "use_ema": True,
}


def job(desk: Path, **more: Any) -> JobSpec:
    """Its job, proven in this process, for speed."""
    toys.pictures(desk / "cats", [(64, 64), (64, 64)])
    sets = [
        {
            "id": "cats",
            "type": "local",
            "instance_data_dir": "cats",
            "caption_strategy": "instanceprompt",
            "instance_prompt": "a photo of sks cat",
            "resolution": 64,
            "resolution_type": "pixel",
            "cache_dir_vae": "vae",
        }
    ]
    (desk / "data.json").write_text(json.dumps(sets))
    words = ["export.proof=in_process", "model.text_tokens=40"]
    return converted({**TOLD, **more}, desk, words=words).job


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A desk on which it has run to its end."""
    desk = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        outcome = run.train(job(desk), desk)
        assert Path("out/pytorch_lora_weights.safetensors") in outcome.files
        yield desk


def test_the_finished_file_lies_where_simpletuner_puts_it(used: Path) -> None:
    final = used / "out" / "pytorch_lora_weights.safetensors"
    assert final.read_bytes() == (used / "out" / "cats" / "cats.safetensors").read_bytes()
    assert not (used / "out" / "sample").exists()


def test_its_metadata_say_what_users_look_for(used: Path) -> None:
    with safe_open(used / "out" / "pytorch_lora_weights.safetensors", framework="pt") as file:
        about = file.metadata()
        keys = list(file.keys())
    assert (about["global_step"], about["modelspec.resolution"]) == ("2", "64x64")
    assert about["modelspec.trained_words"] == "a photo of sks cat"
    assert about["modelspec.comment"] == "made for a test"
    assert not any(key.startswith("ss_") for key in about)
    assert all(key.startswith("transformer.") for key in keys)


def test_the_average_lies_in_a_folder_of_its_own(used: Path) -> None:
    averaged = used / "out" / "ema" / "pytorch_lora_weights.safetensors"
    assert averaged.read_bytes() == (used / "out" / "cats" / "cats.ema.safetensors").read_bytes()


def test_a_finished_file_of_another_run_is_not_written_over(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(used)
    outputs.refused(prepared(job(used), used))
    with pytest.raises((FileError, ExceptionGroup)) as caught:
        outputs.refused(prepared(job(used, tracker_run_name="dogs"), used))
    said = str(next(leaves(caught.value)))
    assert "this run has not written it" in said and "another output_dir" in said
