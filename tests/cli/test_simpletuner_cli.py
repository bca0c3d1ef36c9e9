"""`scumble train`, `check` and `convert` with configurations of SimpleTuner, as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scumble.cli import examples, simpletuner_command
from scumble.cli.app import main
from scumble.cli.jobs import Asked, open_job, opened
from scumble.errors import FileError, leaves
from scumble.spec.adapter import LoraSpec
from scumble.spec.job import JobSpec
from tests.toys import pictures

CONFIG = """// mine
{
  "--model_type": "lora",
  "model_family": "flux",
  "model_flavour": "dev",
  "pretrained_model_name_or_path": "builtin:tiny-flux",
  "data_backend_config": "config/x/multidatabackend.json", /* where pictures are */
  "output_dir": "{env:OUT}",
  "optimizer": "adamw_bf16",
  "learning_rate": 1e-3,
  "lora_rank": 8,
  "max_train_steps": 2,
  "num_train_epochs": 0,
  "train_batch_size": 1,
  "mixed_precision": "no",
  "seed": 1,
  "validation_disable": true,
}
"""
SET = {
    "id": "cats",
    "type": "local",
    "instance_data_dir": "cats",
    "caption_strategy": "textfile",
    "resolution": 64,
    "cache_dir_vae": "cache/{id}",
}
QUICK = ["model.text_tokens=24", "export.proof=in_process", "hardware.device=cpu"]
VARIABLES = (
    *("ENV", "SIMPLETUNER_ENV", "SIMPLETUNER_ENVIRONMENT", "CONFIG_PATH", "CONFIG_BACKEND"),
    *("CONFIG_TYPE", "SIMPLETUNER_CONFIG_BACKEND", "SIMPLETUNER_CONFIG_DIR", "MODEL_TYPE"),
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to start commands in: config/config.json, its data file, two pictures."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "cats", [(64, 64)] * 2)
    written(tmp_path / "config/config.json", CONFIG)
    written(tmp_path / "config/x/multidatabackend.json", json.dumps([SET]))
    return tmp_path


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def rank(job: JobSpec) -> int:
    match job.adapter:
        case LoraSpec():
            return job.adapter.rank
        case _:
            raise AssertionError(job.adapter)


def test_a_run_with_words_over_the_configuration(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(desk / "other.json", json.dumps([{**SET, "id": "others"}]))
    command = ["train", "--config", "config/config.json", "--data", "other.json"]
    assert main([*command, "lora_rank=4", "training.steps=1", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "multidatabackend" not in said and "other.json: cache_dir_vae" in said
    assert said.count("cache_dir_vae") == 1, "notes are shown once"
    assert (desk / "out/pytorch_lora_weights.safetensors").is_file()
    (run,) = (desk / "out").glob("*/journal.jsonl")
    job = json.loads(run.read_text().splitlines()[0])
    assert other.is_file() and job


def test_bare_words_are_the_dialects_and_dotted_ones_are_ours(desk: Path) -> None:
    words = ["lora_rank=2", "max_train_steps=7", "training.steps=9", "data.cats.repeats=5"]
    for argument in ("config/config.json", str(desk / "config/config.json")):
        job, base = open_job(argument, words)
        assert (rank(job), job.training.steps, job.data[0].repeats, base) == (2, 9, 5, desk)
    assert open_job("config/config.json")[0].output_dir == str(desk / "out")


def test_without_a_name_the_configuration_is_found(desk: Path) -> None:
    assert rank(opened(Asked()).job) == 8
    assert rank(opened(Asked("lora_rank=3")).job) == 3
    assert rank(opened(Asked("lora_rank=3", ["max_train_steps=5"])).job) == 3
    written(desk / "config.json", CONFIG.replace('"lora_rank": 8', '"lora_rank": 6'))
    assert rank(opened(Asked()).job) == 6, "here before config/"


def test_environments_are_found_by_name(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(desk / "config/mine/config.json", CONFIG.replace('"lora_rank": 8', '"lora_rank": 5'))
    one = opened(Asked("env=mine", ["max_train_steps=3"]))
    assert (rank(one.job), one.job.training.steps, one.base) == (5, 3, desk)
    for variable in ("ENV", "SIMPLETUNER_ENV", "SIMPLETUNER_ENVIRONMENT"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "mine")
            assert rank(opened(Asked()).job) == 5
    monkeypatch.setenv("CONFIG_PATH", "config/mine")
    assert rank(opened(Asked()).job) == 5
    monkeypatch.delenv("CONFIG_PATH")
    monkeypatch.setenv("ENV", "/etc/bash.bashrc")
    assert rank(opened(Asked()).job) == 8, "what a shell calls ENV is no environment of ours"
    monkeypatch.setenv("ENV", "mnie")
    with pytest.raises(FileError, match=r"env=mnie: .*did you mean env=mine\?"):
        opened(Asked())
    assert rank(opened(Asked(config=Path("config/mine"))).job) == 5
    with pytest.raises(FileError, match=r"env=mnie: .*did you mean env=mine\?"):
        opened(Asked("env=mnie"))
    with pytest.raises(FileError, match=r"env=zzz: .*make one of them: .*config/zzz"):
        opened(Asked("env=zzz"))


def test_variables_lie_below_the_configuration(desk: Path) -> None:
    text = "# mine\nexport TRAIN_BATCH_SIZE=3\nLORA_RANK=99\nOUT='elsewhere'\nEDITOR=vim\n"
    written(desk / "config/config.env", text)
    job = opened(Asked("config/config.json")).job
    assert (job.training.batch_size, rank(job)) == (1, 8)
    written(desk / "config/config.json", CONFIG.replace('"train_batch_size": 1,', ""))
    job = opened(Asked("config/config.json")).job
    assert (job.training.batch_size, job.output_dir) == (3, "elsewhere")
    assert opened(Asked("config/config.json", ["train_batch_size=2"])).job.training.batch_size == 2


def test_a_configuration_of_variables_alone(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "MODEL_TYPE=lora\nMODEL_FAMILY=flux\nMODEL_NAME=builtin:tiny-flux\nMAX_NUM_STEPS=5\n"
        "NUM_EPOCHS=0\nOPTIMIZER=adamw_bf16\n"
        'DATALOADER_CONFIG=config/x/multidatabackend.json\nTRAINER_EXTRA_ARGS="--lora_rank=3"\n'
    )
    written(desk / "config/config.env", text)
    assert rank(opened(Asked("config/config.env")).job) == 3
    monkeypatch.setenv("CONFIG_BACKEND", "env")
    one = opened(Asked())
    assert (rank(one.job), one.job.training.steps) == (3, 5)


def test_toml_is_read_too(desk: Path) -> None:
    tree = json.loads(
        CONFIG.split("\n", 1)[1]
        .replace("/* where pictures are */", "")
        .replace("true,\n}", "true\n}")
    )
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in tree.items()]
    written(desk / "config/other.toml", "\n".join(lines))
    assert opened(Asked("config/other.toml")).job == opened(Asked("config/config.json")).job


def test_what_is_wrong_is_told_with_file_and_line(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(desk / "config/config.json", CONFIG.replace('"lora_rank": 8', '"lora_rnak": 8'))
    text = json.dumps([{**SET, "crop_style": "middle"}], indent=0)
    written(desk / "config/x/multidatabackend.json", text)
    assert main(["check", "--config", "config/config.json"]) == 2
    said = capsys.readouterr().err
    assert "config/config.json:11: lora_rnak: there is no such key; did you mean lora_rank?" in said
    assert "config/x/multidatabackend.json:9: cats.crop_style: 'middle' is not one of" in said
    assert main(["train", "--config", "gone.json"]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_what_does_not_go_together_is_refused(desk: Path) -> None:
    written(desk / "job.yaml", "name: a\n")
    data = Path("config/x/multidatabackend.json")
    with pytest.raises(FileError, match=r"--data .*goes with a config.json"):
        opened(Asked("job.yaml", data=data))
    with pytest.raises(FileError, match="another job; leave one out"):
        opened(Asked("job.yaml", config=Path("config/config.json")))


def test_nothing_there_is_told_with_all_places(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "config/config.json").unlink()
    assert main(["train"]) == 2
    said = capsys.readouterr().err
    assert "looked for config.json, config.toml, config.env, config/config.json" in said
    with pytest.raises(FileError, match="this is a setting where the job belongs"):
        opened(Asked("lora_rank=4"))


def test_convert_writes_the_same_job(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "config/config.json", "-o", "job.yaml"]) == 0
    assert "Wrote job.yaml: a job" in capsys.readouterr().out
    assert open_job("job.yaml")[0] == open_job("config/config.json")[0]
    assert main(["convert", "config/config.json", "-o", "away/job.yaml"]) == 0
    job, base = open_job("away/job.yaml")
    assert job.data[0].folder == str(desk / "cats") and base == Path("away")
    assert main(["convert", "config/x/multidatabackend.json", "-o", "data.yaml"]) == 0
    said, text = capsys.readouterr().out, (desk / "data.yaml").read_text()
    assert "the data of a job, without the rest" in said
    assert "folder: cats" in text and "kind: aspect" in text


def test_paths_start_beside_a_configuration_whose_data_file_lies_there(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace("config/x/multidatabackend.json", "x/multidatabackend.json")
    written(desk / "config/config.json", text)
    pictures(desk / "config/cats", [(64, 64)])
    assert opened(Asked("config/config.json")).base.resolve() == desk / "config"


def test_keys_to_buckets_reach_the_run_and_not_the_job(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")  # what is set by the run is taken back
        monkeypatch.delenv(name)
    bucket = {
        "aws_bucket_name": "pictures",
        "aws_region_name": None,
        "aws_endpoint_url": None,
        "aws_access_key_id": "{env:MY_KEY}",
        "aws_secret_access_key": "hush",
    }
    monkeypatch.setenv("MY_KEY", "of-mine")
    told = [{"id": "cats", "type": "aws", "caption_strategy": "textfile", **bucket}]
    written(desk / "config/x/multidatabackend.json", json.dumps(told))
    one = opened(Asked("config/config.json"))
    one.settled()
    assert os.environ["AWS_ACCESS_KEY_ID"] == "of-mine"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "hush"
    assert "hush" not in one.job.model_dump_json()


GUIDES = (
    *("flux.peft-lora", "flux.lycoris-lokr", "dreambooth.flux-lora", "kontext.peft-lora"),
    *("qwen_image.peft-lora", "qwen_image.edit-v1-lora", "qwen_image.edit-v2-lora"),
)


LOOKED_AT = ("flux.lycoris-lokr", "dreambooth.flux-lora", "qwen_image.edit-v2-lora")
"""Whose pictures are looked at, too, which takes a while."""


@pytest.mark.parametrize("name", GUIDES)
def test_examples_with_the_names_of_the_guides_run_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scumble.preflight.plan import prepared

    monkeypatch.chdir(tmp_path)
    one = opened(Asked(f"example={name}"))
    assert str(one.job.model.path).startswith("builtin:") and one.job.name == name
    assert sum(each.about == "nothing" for each in one.notes) < 8
    if name in LOOKED_AT:
        plan = prepared(one.job, one.base, weigh=False)
        assert all(part.examples or part.spec.held_out for part in plan.sets)
    copied = tmp_path / "copy"
    assert main(["examples", "copy", name, str(copied)]) == 0
    assert opened(Asked(config=copied / "config.json")).base == copied


def test_a_family_still_to_come_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "example=sdxl.lycoris-lokr"]) == 2
    assert "still to come" in capsys.readouterr().err
    assert "sdxl.lycoris-lokr" in examples.names()


def test_the_command_of_the_guides(desk: Path) -> None:
    root = Path(examples.__file__).parents[3]
    command = [sys.executable, str(root / "drop_in/simpletuner")]

    def ran(*words: str) -> tuple[int, str]:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert os.access(root / "drop_in/simpletuner", os.X_OK)
    code, said = ran("examples", "list")
    assert code == 0 and all(name in said for name in GUIDES)
    code, said = ran("server")
    assert code == 2 and "simpletuner server: is not there; there is no server" in said


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["env=mine", "lora_rank=4"], ["env=mine", "lora_rank=4"]),
        (["--env", "mine"], ["env=mine"]),
        (
            ["-e", "kontext.peft-lora", "--lora_rank", "4"],
            ["example=kontext.peft-lora", "lora_rank=4"],
        ),
        (["lora_rank=4", "--example=a"], ["example=a", "lora_rank=4"]),
        (["--use_ema", "--seed=3"], ["use_ema=true", "seed=3"]),
        (["use_ema"], ["use_ema=true"]),
        (["--config", "a.json", "--data=b.json"], ["--config=a.json", "--data", "b.json"]),
    ],
)
def test_its_words_are_those_of_scumble_train(typed: list[str], told: list[str]) -> None:
    assert simpletuner_command.told(typed) == told


def test_other_words_of_it_say_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("configure", "jobs", "webhooks", "frobnicate"):
        assert simpletuner_command.main([word]) == 2
        assert f"simpletuner {word}: is no" in capsys.readouterr().err
    assert simpletuner_command.main([]) == 2
    assert simpletuner_command.main(["--help"]) == 0
    assert "simpletuner train" in capsys.readouterr().out


def problems(argument: str, *words: str, **more: Any) -> list[str]:
    try:
        opened(Asked(argument, words, **more))
    except ExceptionGroup as group:
        return [str(error) for error in leaves(group)]
    return []


def test_a_word_that_is_no_key_is_named_as_it_was_typed(desk: Path) -> None:
    (said,) = problems("config/config.json", "lora_rnak=4")
    assert said.startswith("lora_rnak=4: there is no such key; did you mean lora_rank?")
