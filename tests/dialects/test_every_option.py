"""Nothing vanishes: each of the 215 options changes the job, is named, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.kohya import files
from scumble.dialects.kohya.job import converted
from scumble.dialects.kohya.table import OPTIONS
from scumble.dialects.option import Option
from scumble.errors import leaves
from tests.dialects.kohya_desk import header, laid_out

VALUES = {
    "network_module": "networks.lora",
    "network_args": "train_blocks=single",
    "optimizer_type": "Lion",
    "optimizer_args": "weight_decay=0.5",
    "resolution": "640",
    "caption_extension": ".caps",
    "sample_prompts": "prompts.txt",
    "dataset_config": "dataset.toml",
    "train_data_dir": "dogs",
    "reg_data_dir": "dogs",
    "in_json": "meta.json",
    "face_crop_aug_range": "1.0,2.0",
    "lr_scheduler": "cosine",
    "network_weights": "old.safetensors",
    "base_weights": "old.safetensors",
    "base_weights_multiplier": "0.5",
    "validation_split": "0.2",
    "config_file": "options.toml",
    "timestep_sampling": "shift",
    "scale_weight_norms": "1.0",
    "lr_warmup_steps": "10",
    "bucket_reso_steps": "128",
}
CHOICES = {"huber_schedule": "constant", "save_model_as": "ckpt", "sample_sampler": "euler"}


def words(option: Option) -> list[str]:
    """The option with a value that is not its default."""
    if option.kind == "flag":
        return [option.flag]
    if option.name in VALUES:
        return [option.flag, VALUES[option.name]]
    if option.name in CHOICES:
        return [option.flag, CHOICES[option.name]]
    other = [choice for choice in option.choices if choice != option.default]
    plain = {"text": "words", "whole": "64", "number": "0.5", "numbers": "0.5", "share": "0.5"}
    return [option.flag, str(other[0]) if other else plain.get(option.kind, "a=1")]


Desk = tuple[Path, list[str], dict[str, Any]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A folder with all that a command names, the shortest command, and its job."""
    folder = tmp_path_factory.mktemp("desk")
    base = laid_out(folder)
    header(folder / "old.safetensors", "lora_unet_x.alpha")
    (folder / "prompts.txt").write_text("a cat\n")
    (folder / "options.toml").write_text("network_dim = 7\n")
    return folder, base, converted(base, folder).job.model_dump(exclude={"origin"})


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_an_option_changes_the_job_or_is_named_or_refused(option: Option, desk: Desk) -> None:
    folder, base, before = desk
    plain = [word for word in base if not word.startswith(f"{option.flag}=")]
    try:
        made = converted([*plain, *words(option)], folder)
    except ExceptionGroup as group:
        assert any(option.flag in str(error) for error in leaves(group)), option
        return
    changed = made.job.model_dump(exclude={"origin"}) != before
    named = any(option.flag in note.where for note in made.notes)
    asked_elsewhere = option.name in ("dataset_config", "output_config")
    of_the_files = option.name in files.OPTIONS  # what they do is tested with the files
    assert changed or named or asked_elsewhere or of_the_files
    if option.fate != "acts":
        assert named and option.fate != "refused"
