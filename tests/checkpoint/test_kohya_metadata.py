"""Names, dates and metadata of the files that sd-scripts would write."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from scumble.checkpoint import kohya_memory
from scumble.checkpoint.kohya_metadata import MINIMUM, Facts, entries, thumbnail
from scumble.checkpoint.kohya_names import Dates
from scumble.dialects.kohya.settings import Settings


def dates(steps: int = 20, per_epoch: int = 5, name: str | None = "x", **settings: Any) -> Dates:
    return Dates(settings=settings, name=name, steps=steps, steps_per_epoch=per_epoch)


def left(one: Dates) -> list[str]:
    """What lies there at the end of a run, the finished file aside."""
    there: list[str] = []
    for due in one.all(0):
        there += [name for name in (due.file, due.state) if name]
        there = [name for name in there if name not in (due.gone, due.state_gone)]
    return there


def metadata(step: int = 7, epoch: int = 1, **told: Any) -> dict[str, str]:
    settings = Settings(told).all()
    facts = Facts(
        settings=settings,
        name=told.get("output_name"),
        dates=dates(),
        seed=3,
        session=99,
        started=1.5,
        data={"ss_num_train_images": "12"},
        hashes={"ss_sd_model_name": "flux1-dev.safetensors"},
    )
    return entries(facts, step=step, epoch=epoch, now=1_700_000_000.25)


def test_the_last_epoch_has_the_finished_file_alone() -> None:
    assert left(dates(save_every_n_epochs=1)) == [f"x-{n:06d}.safetensors" for n in (1, 2, 3)]
    assert left(dates(steps=18, save_every_n_epochs=2)) == ["x-000002.safetensors"]
    assert dates().final == "x.safetensors" and left(dates()) == []


def test_files_without_a_name_have_the_names_of_sd_scripts() -> None:
    one = dates(name=None, steps=10, save_every_n_epochs=1, save_every_n_steps=4, save_state=True)
    assert left(one)[::2] == [
        "at-step00000004.safetensors",
        "epoch-000001.safetensors",
        "at-step00000008.safetensors",
    ]
    assert (one.final, one.final_state) == ("last.safetensors", "last-state")


def test_a_ratio_is_of_all_epochs() -> None:
    assert left(dates(steps=50, save_n_epoch_ratio=3)) == [
        f"x-{n:06d}.safetensors" for n in (3, 6, 9)
    ]
    assert dates(save_n_epoch_ratio=9).every_epochs == 1


def test_steps_are_kept_for_a_distance_and_epochs_by_number() -> None:
    steps = dates(steps=60, per_epoch=100, save_every_n_steps=10, save_last_n_steps=30)
    assert left(steps) == [f"x-step{n:08d}.safetensors" for n in (30, 40, 50, 60)]
    (fifth,) = steps.after(50)
    assert fifth.gone == "x-step00000010.safetensors"
    epochs = dates(steps=50, save_every_n_epochs=2, save_last_n_epochs=2)
    assert left(epochs) == ["x-000006.safetensors", "x-000008.safetensors"]


def test_states_have_limits_of_their_own_or_those_of_the_files() -> None:
    both = {"save_every_n_epochs": 1, "save_state": True}
    own = dates(save_last_n_epochs=3, save_last_n_epochs_state=1, **both)
    assert [name for name in left(own) if name.endswith("state")] == ["x-000003-state"]
    same = dates(save_last_n_epochs=2, **both)
    assert [name for name in left(same) if name.endswith("state")] == [
        "x-000002-state",
        "x-000003-state",
    ]


def test_a_steps_file_counts_epochs_from_zero_and_an_epochs_file_from_one() -> None:
    one = dates(save_every_n_steps=5, save_every_n_epochs=1)
    assert [(due.file, due.epoch) for due in one.after(10)] == [
        ("x-step00000010.safetensors", 1),
        ("x-000002.safetensors", 2),
    ]
    assert one.epoch_in_progress(10) == 2 and one.epoch_in_progress(11) == 3


def test_values_are_what_python_prints() -> None:
    about = metadata(text_encoder_lr=[1e-5], network_dim=8, full_fp16=True, output_name="x")
    assert about["ss_text_encoder_lr"] == "[1e-05]" and about["ss_unet_lr"] == "None"
    assert about["ss_full_fp16"] == "True" and about["ss_network_alpha"] == "1"
    assert about["ss_learning_rate"] == "2e-06" and about["ss_base_model_version"] == "flux1"
    assert (about["ss_steps"], about["ss_epoch"], about["ss_session_id"]) == ("7", "1", "99")
    assert about["ss_debiased_estimation"] == "False" and about["ss_num_epochs"] == "4"
    assert not any(value.startswith("/") for value in about.values())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "torch.optim.adamw.AdamW"),
        ({"optimizer_type": "adamw8bit"}, "bitsandbytes.optim.adamw.AdamW8bit"),
        (
            {"optimizer_type": "Prodigy", "optimizer_args": ["decouple=True", "d_coef=2"]},
            "prodigyopt.prodigy.Prodigy(decouple=True,d_coef=2)",
        ),
        ({"use_lion_optimizer": True}, "lion_pytorch.lion_pytorch.Lion"),
        ({"optimizer_type": "pytorch_optimizer.CAME"}, "pytorch_optimizer.CAME"),
    ],
)
def test_the_optimizer_is_told_by_its_class(told: dict[str, Any], said: str) -> None:
    assert metadata(**told)["ss_optimizer"] == said


def test_network_arguments_are_told_as_they_were_given() -> None:
    about = metadata(network_args=["in_dims=[4,0,0,0,4]", "train_blocks=double"])
    told = {"dropout": None, "in_dims": "[4,0,0,0,4]", "train_blocks": "double"}
    assert json.loads(about["ss_network_args"]) == told
    assert "ss_network_args" not in metadata()


def test_rank_and_alpha_are_left_to_the_file_where_options_do_not_say_them() -> None:
    assert "ss_network_dim" not in metadata()
    about = metadata(network_dim=4, dim_from_weights=True)
    assert not {"ss_network_dim", "ss_network_alpha"} & about.keys()


def test_without_metadata_six_entries_stay() -> None:
    about = metadata(no_metadata=True, network_dim=4, network_args=["a=1"])
    assert {name for name in about if name.startswith("ss_")} == set(MINIMUM)


def test_what_the_user_says_of_his_file_is_in_the_standard_entries() -> None:
    about = metadata(
        metadata_title="My cat",
        metadata_license="CC0",
        metadata_trigger_phrase="sks",
        resolution="1024,768",
        max_timestep=900,
    )
    said = {name.removeprefix("modelspec."): v for name, v in about.items() if "modelspec" in name}
    assert said["title"] == "My cat" and said["license"] == "CC0"
    assert said["trigger_phrase"] == "sks" and said["resolution"] == "1024x768"
    assert said["timestep_range"] == "0,900" and "author" not in said
    assert len(said["date"]) == len("2023-11-14T22:13:20")
    assert metadata()["modelspec.title"] == "LoRA@1700000000"
    assert metadata()["modelspec.resolution"] == "1024x1024"


def test_a_thumbnail_becomes_a_data_url(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    told = thumbnail(str(tmp_path / "a.png"))["modelspec.thumbnail"]
    head, _, text = told.partition(",")
    assert head == "data:image/png;base64" and base64.b64decode(text) == b"picture"
    assert thumbnail(str(tmp_path / "none.png")) == {}


def test_a_run_knows_its_own_files_after_a_kill_and_after_a_change(tmp_path: Path) -> None:
    first = kohya_memory.read(tmp_path, 1, "run")
    file = tmp_path / "x.safetensors"
    assert not first.owns(file)
    kohya_memory.write(tmp_path, kohya_memory.begun(first, file))
    file.write_bytes(b"half")
    again = kohya_memory.read(tmp_path, 1, "run")
    assert again.owns(file) and again.started == first.started and again.session == first.session
    whole = kohya_memory.noted(again, file)
    assert whole.owns(file)
    file.write_bytes(b"longer than before")
    assert not whole.owns(file) and not kohya_memory.forgotten(again, file).owns(file)


def test_a_torn_memory_owns_nothing(tmp_path: Path) -> None:
    (tmp_path / kohya_memory.FILE).write_text('{"session": 1, "started": 2.0, "written": {"a": 7}}')
    (tmp_path / "a").write_text("b")
    assert not kohya_memory.read(tmp_path, 1, "run").owns(tmp_path / "a")
