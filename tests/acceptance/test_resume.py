"""A run that is killed without warning ends where an unbroken one does."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scumble.spec.load import resolved
from tests.toys import checkpoint, job, journal

STEPS = 40


def started(root: Path, name: str) -> subprocess.Popen[bytes]:
    """`scumble train` in a process of its own, on two sets with dropout and accumulation."""
    changes = {"training__steps": STEPS, "saving__every": 6, "saving__keep": 2}
    file = root / f"{name}.yaml"
    file.write_text(resolved(job(root, name=name, **changes)))
    with (root / f"{name}.log").open("ab") as log:
        command = [sys.executable, "-m", "scumble", "train", str(file)]
        return subprocess.Popen(command, stderr=log, stdout=log)


def steps_taken(root: Path, name: str) -> int:
    try:
        return max((r["step"] for r in journal(root, "StepDone", name)), default=0)
    except (FileNotFoundError, ValueError):
        return 0


def killed_after(root: Path, name: str, step: int, later: float) -> None:
    """kill -9, a moment after that step."""
    process = started(root, name)
    deadline = time.monotonic() + 300
    while steps_taken(root, name) < step and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(later)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.acceptance
def test_forty_steps_are_twenty_a_kill_and_the_rest(tmp_path: Path) -> None:
    dice = random.Random()
    seed = dice.randrange(10**6)
    print(f"moments of the kills: seed {seed}")  # noqa: T201
    dice.seed(seed)
    assert started(tmp_path, "whole").wait() == 0
    killed_after(tmp_path, "broken", 20, dice.random() / 20)
    killed_after(tmp_path, "broken", dice.randrange(21, 32), dice.random() / 20)
    assert started(tmp_path, "broken").wait() == 0, (tmp_path / "broken.log").read_text()
    whole, broken = (checkpoint(tmp_path, STEPS, name) for name in ("whole", "broken"))
    assert whole.keys() == broken.keys() and len(whole) > 100
    assert all(torch.equal(whole[key], broken[key]) for key in whole)
    resumes = [record["step"] for record in journal(tmp_path, "Resumed", "broken")]
    assert resumes and all(18 <= step < STEPS and step % 6 == 0 for step in resumes)
    left, right = (load_file(tmp_path / f"out/{n}/{n}.safetensors") for n in ("whole", "broken"))
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.acceptance
def test_a_signal_saves_and_the_exit_code_says_so(tmp_path: Path) -> None:
    process = started(tmp_path, "asked")
    while steps_taken(tmp_path, "asked") < 3 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    last = steps_taken(tmp_path, "asked")
    assert (tmp_path / f"out/asked/checkpoints/step-{last:06d}/state.json").exists()
    assert "Stopping after this step" in (tmp_path / "asked.log").read_text()
