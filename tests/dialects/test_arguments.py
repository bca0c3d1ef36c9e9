"""The command line is read as argparse reads it, and all that is wrong is told at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scumble.dialects.kohya.arguments import read
from scumble.dialects.kohya.job import settings
from scumble.dialects.kohya.table import OPTIONS
from tests.dialects.kohya_desk import job, laid_out, problems


def values(*words: str) -> dict[str, object]:
    found, wrong = read(words)
    assert wrong == []
    return found


def test_there_are_all_215_options_each_once() -> None:
    assert len(OPTIONS) == 215


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--network_dim", "16"], {"network_dim": 16}),
        (["--network_dim=16", "--network_dim=8"], {"network_dim": 8}),
        (["--network_alpha", "-1"], {"network_alpha": -1.0}),
        (["--sdpa", "--seed=0"], {"sdpa": True, "seed": 0}),
        (["--text_encoder_lr", "1e-4", "1e-5"], {"text_encoder_lr": [1e-4, 1e-5]}),
        (["--text_encoder_lr=1e-4"], {"text_encoder_lr": [1e-4]}),
        (["--network_args"], {"network_args": []}),
        (
            ["--network_args", "a=1", "b=[1,2]", "--sdpa"],
            {"network_args": ["a=1", "b=[1,2]"]} | {"sdpa": True},
        ),
        (["--lr_warmup_steps=10%"], {"lr_warmup_steps": 0.1}),
        (["--lr_warmup_steps=100"], {"lr_warmup_steps": 100}),
        (["--max_train_ep", "3"], {"max_train_epochs": 3}),
        (["--caption_prefix", "- a b"], {"caption_prefix": "- a b"}),
        (["--caption_separator="], {"caption_separator": ""}),
    ],
)
def test_words_are_read_as_argparse_reads_them(words: list[str], found: dict[str, object]) -> None:
    assert values(*words) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--network_dims=4"], "--network_dims: there is no such option"),
        (["--learning-rate=1"], "did you mean --learning_rate?"),
        (["--network_dim=4.5"], "--network_dim: must be a whole number, not '4.5'"),
        (["--network_dim"], "--network_dim: has no value"),
        (["--network_dim", "--sdpa"], "--network_dim: has no value"),
        (["--sdpa=yes"], "--sdpa: is a switch and takes no value"),
        (["--cache_la"], "may be the beginning of several options"),
        (["--loss_type=l3"], "--loss_type: 'l3' is not one of its values; known: l1, l2,"),
        (["sdpa"], "'sdpa': stands where an option belongs"),
        (["-sdpa"], "-sdpa: there is no such option"),
        (["--lr_warmup_steps=1.5"], "must be a whole number of steps, a share"),
    ],
)
def test_what_is_wrong_is_said_with_a_way_out(words: list[str], said: str) -> None:
    _, wrong = read(words)
    assert len(wrong) == 1 and said in str(wrong[0])


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    more = ["--seed=x", "--colour", "--clip_l=clip.safetensors", "--lr_warmup_steps=5"]
    said = problems(tmp_path, *more, "--network_args", "img_attn_dims=4")
    for part in (
        "--seed: must",
        "--colour: there",
        "clip_l.safetensors?",
        "no warm-up",
        "img_attn_dim?",
    ):
        assert any(part in one for one in said), part


def test_a_command_without_anything_is_told_all_that_is_missing(tmp_path: Path) -> None:
    from scumble.dialects.kohya.job import converted
    from scumble.errors import leaves

    with pytest.raises(ExceptionGroup) as caught:
        converted([], tmp_path)
    flags = {str(error).partition(":")[0] for error in leaves(caught.value)}
    assert flags >= {f"--{name}" for name in ("clip_l", "t5xxl", "ae", "output_dir")}
    assert {"--dataset_config", "--network_module"} <= flags


def test_a_wrong_command_ends_with_2_soon_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from scumble.cli.app import main\n"
        "code = main(['kohya', 'flux_train_network', '--sed=1'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "2 False\n" and "did you mean --seed?" in done.stderr


def test_the_file_of_options_lies_under_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text(
        "[network]\nnetwork_dim = 8\nnetwork_alpha = 16\n[other]\nseed = 3\nsdpa = false\n"
        'text_encoder_lr = 1e-5\nlr_warmup_steps = "10%"\n'
    )
    made, draft = settings(["--config_file=options", "--seed=4"], tmp_path)
    assert draft.problems == [] and made["seed"] == 4 and made["network_dim"] == 8
    assert made["network_alpha"] == 16 and made["text_encoder_lr"] == [1e-5]
    assert made["lr_warmup_steps"] == 0.1 and "sdpa" not in made.told


def test_types_and_slips_in_the_file_of_options_are_told(tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text(
        'learning_rat = 1e-4\nresolution = 1024\nnetwork_dim = "8"\nloss_type = "l9"\n'
        "gui_theme = 1\nsdpa = 1\n"
    )
    _, draft = settings(["--config_file=options.toml"], tmp_path)
    said = "\n".join(map(str, draft.problems))
    assert "did you mean learning_rate?" in said and 'write resolution = "..."' in said
    assert "network_dim: must be a whole number" in said and "known: l1, l2" in said
    assert "sdpa: must be true or false" in said and "gui_theme" not in said
    assert [note.where for note in draft.notes] == ["--config_file gui_theme"]


def test_options_that_were_written_read_back_the_same(tmp_path: Path) -> None:
    from scumble.dialects.kohya.config_file import written

    words = ["--network_dim=8", "--network_args", "a=1", "--sdpa", '--caption_prefix=a "b"']
    first, _ = settings([*words, "--wandb_api_key=hush", "--lr_warmup_steps=5%"], tmp_path)
    (tmp_path / "kept.toml").write_text(written(first), encoding="utf-8")
    again, draft = settings(["--config_file=kept.toml"], tmp_path)
    assert draft.problems == [] and "hush" not in written(first)
    for name in ("network_dim", "network_args", "sdpa", "caption_prefix", "lr_warmup_steps"):
        assert again[name] == first[name]


def test_secrets_stand_in_no_job(tmp_path: Path) -> None:
    made = job(tmp_path, "--wandb_api_key=hush", "--huggingface_token=hush")
    assert "hush" not in made.job.model_dump_json()
    assert laid_out(tmp_path)
