"""Which of several processes one is, and what launchers may ask for in vain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scumble import launch, run
from scumble.errors import JobError
from scumble.hardware import parallel
from scumble.hardware.device import place_for
from scumble.launch import Launch, launched, shared, speaks
from scumble.spec.hardware import HardwareSpec
from scumble.spec.load import resolved
from tests import toys
from tests.processes import command, together
from tests.test_kohya_outputs import COMMAND, laid_out

PAIR = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}


def test_without_a_launcher_a_process_is_alone() -> None:
    assert launched({}) == launched({"WORLD_SIZE": "1", "RANK": "0"}) == launch.ALONE
    assert speaks({}) and speaks({"LOCAL_RANK": "3"}), "a variable left over from elsewhere"


def test_a_launchers_variables_say_who_one_is() -> None:
    assert launched(PAIR) == Launch(rank=1, world=2, local_rank=1, local_world=2)
    assert launched(PAIR).told() == "process 2 of 2"
    assert not speaks(PAIR) and speaks(PAIR | {"LOCAL_RANK": "0"})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"RANK": "2"}, "RANK or its like do not say which"),
        ({"LOCAL_RANK": "two"}, "LOCAL_RANK is 'two', which is no number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', which is no number"),
    ],
)
def test_variables_that_do_not_fit_together_are_refused(wrong: dict[str, str], words: str) -> None:
    with pytest.raises(JobError, match=words):
        launched(PAIR | wrong)
    assert speaks(PAIR | wrong), "somebody has to say so"
    with pytest.raises(JobError, match="start them with `accelerate launch`"):
        launched({"WORLD_SIZE": "4"})


@pytest.mark.parametrize(("units", "near"), [(3, "2 or 4"), (1, "make it 2,"), (7, "6 or 8")])
def test_the_nearest_numbers_that_can_be_shared_are_named(units: int, near: str) -> None:
    with pytest.raises(JobError, match=near):
        shared(units, 2)
    shared(units * 2, 2)
    shared(units, 1)


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_sharing_the_network_itself_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for key, value in (PAIR | {f"ACCELERATE_USE_{name}": "true"}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(JobError, match="every process holds the whole network"):
        parallel.joined(launched(), HardwareSpec(device="cpu"))


def test_each_process_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    hardware = HardwareSpec(device="auto", precision="bf16")
    assert place_for(hardware).device == torch.device("cuda", 0)
    for key, value in PAIR.items():
        monkeypatch.setenv(key, value)
    assert place_for(hardware).device == torch.device("cuda", 1)
    assert place_for(HardwareSpec(device="cpu", precision="fp32")).device.type == "cpu"
    with pytest.raises(JobError, match="2 processes cannot share 'cuda:1'"):
        place_for(HardwareSpec(device="cuda:1", precision="bf16"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(JobError, match="2 processes were started here, and torch finds 1 card"):
        place_for(hardware)


def proven_here(words: list[str], desk: str) -> int:
    """A command of sd-scripts on a desk, its file proven in the same process, for speed."""
    os.chdir(desk)
    real = run.train

    def quick(job, base):
        export = job.export.model_copy(update={"proof": "in_process"})
        small = job.hardware.model_copy(update={"device": "cpu", "precision": "fp32"})
        return real(job.model_copy(update={"export": export, "hardware": small}), base)

    run.train = quick
    return command(["kohya", "flux_train_network", *words])


def test_a_command_of_sd_scripts_counts_its_batches_for_each_process(tmp_path: Path) -> None:
    files = {}
    for world, units in ((1, 2), (2, 1)):
        desk = laid_out(tmp_path / f"desk-{world}")
        words = [*COMMAND, f"--gradient_accumulation_steps={units}", "--save_every_n_epochs=1"]
        codes, said = together(world, tmp_path / "logs", proven_here, words, str(desk))
        assert codes == [0] * world, said
        assert said.count("Training cat for 6 steps") == 1
        files[world] = desk / "out"
        assert "units_per_step: 2" in (files[world] / "cat/job.yaml").read_text()
    names = sorted(one.name for one in files[1].glob("*.safetensors"))
    assert names == ["cat-000001.safetensors", "cat-000002.safetensors", "cat.safetensors"]
    for name in names:
        left, right = (load_file(files[world] / name) for world in (1, 2))
        assert left.keys() == right.keys()
        for key in left:
            torch.testing.assert_close(right[key], left[key], rtol=1e-4, atol=1e-5)
    batches = []
    for world in (1, 2):
        with safe_open(files[world] / "cat.safetensors", "pt") as stored:
            batches.append(stored.metadata()["ss_total_batch_size"])
    assert batches == ["2", "2"]


@pytest.mark.acceptance
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_saves_once_and_goes_on_alone(tmp_path: Path, number: int) -> None:
    file = tmp_path / "toy.yaml"
    changes = {"training__steps": 500, "saving__every": 0}
    file.write_text(resolved(toys.job(tmp_path, **changes)))
    root = Path(__file__).parent.parent
    words = ["--multi_gpu", "--num_processes=2", "-m", "scumble", "train", str(file)]
    program = [sys.executable, "-m", "accelerate.commands.launch", *words]
    paths = str(root / "src")  # unwatched: launchers look up the name of their own machine
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(
            program, env=os.environ | {"PYTHONPATH": paths}, stdout=log, stderr=log
        )
        while started.poll() is None and not _steps(tmp_path):
            time.sleep(0.05)
        started.send_signal(number)
        started.wait()
    said = (tmp_path / "log").read_text()
    assert said.count("Stopping after this step") == 1, said
    (stopped,) = toys.journal(tmp_path, "Stopped")
    assert [r["step"] for r in toys.journal(tmp_path, "Saved")] == [stopped["step"]]
    toys.trained(tmp_path, training__steps=stopped["step"] + 1)
    assert [r["step"] for r in toys.journal(tmp_path, "Resumed")] == [stopped["step"]]


def _steps(root: Path) -> int:
    journal = root / "out/toy/journal.jsonl"
    return journal.read_text().count("StepDone") if journal.exists() else 0


@pytest.mark.acceptance
def test_the_drop_in_trains_under_accelerate_launch(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    paths = str(root / "src")  # unwatched: launchers look up the name of their own machine
    ends = {}
    for world, units in ((1, 2), (2, 1)):
        desk = laid_out(tmp_path / f"desk-{world}")
        several = ["--multi_gpu", "--num_processes=2"] if world > 1 else ["--num_processes=1"]
        program = [sys.executable, "-m", "accelerate.commands.launch", *several]
        words = [*COMMAND, f"--gradient_accumulation_steps={units}"]
        done = subprocess.run(
            [*program, str(root / "drop_in/flux_train_network.py"), *words],
            cwd=desk,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Proven: cat.safetensors by a fresh process" in done.stderr
        ends[world] = load_file(desk / "out/cat.safetensors")
    for key, value in ends[1].items():
        torch.testing.assert_close(ends[2][key], value, rtol=1e-3, atol=1e-4)
