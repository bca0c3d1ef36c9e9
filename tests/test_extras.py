"""What is optional is missed by nobody who does not use it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from safetensors import safe_open

from scumble.cli import doctor
from tests.offline.sitecustomize import HIDDEN

MODULES = (
    *("peft", "bitsandbytes", "optimi", "prodigyopt", "schedulefree", "pytorch_optimizer"),
    *("tensorboard", "wandb", "datasets", "pyarrow", "s3fs", "cv2"),
)
LAYOUTS = ("diffusers", "kohya", "comfy", "ai-toolkit")
PROGRAM = """
import sys
from pathlib import Path
from tests.toys import trained
layouts = sys.argv[2].split(",")
ended = trained(Path(sys.argv[1]), training__steps=1, export__layout=layouts)
assert all(sys.modules.get(name) is None for name in sys.argv[3].split(","))
sys.exit(ended.code)
"""


def test_without_peft_and_all_other_extras_a_run_trains_and_delivers(tmp_path: Path) -> None:
    words = [str(tmp_path), ",".join(LAYOUTS), ",".join(MODULES)]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, HIDDEN: " ".join(MODULES)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    delivered = {file.name for file in (tmp_path / "out" / "toy").glob("*.safetensors")}
    further = {f"toy.{layout}.safetensors" for layout in LAYOUTS[1:]}
    assert delivered >= {"toy.safetensors", *further}
    for name in delivered & {"toy.safetensors", *further}:
        with safe_open(tmp_path / "out" / "toy" / name, "pt") as tensors:
            assert len(tensors.keys()) > 0


def test_the_doctor_names_every_extra() -> None:
    known = set(metadata.metadata("scumble").get_all("Provides-Extra") or []) - {"dev"}
    assert {one.name for one in doctor.options()} == doctor.EXTRAS.keys() == known


def test_the_doctor_tells_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def lacking(name: str) -> str:
        if name == "prodigyopt":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "wandb" else real(name)

    monkeypatch.setattr(metadata, "version", lacking)
    found = {one.name: one for one in doctor.options()}
    assert found["optimizers"].remedy == 'pip install "scumble[optimizers]"'
    assert found["optimizers"].words.startswith("prodigyopt not installed or too old")
    assert found["wandb"].remedy == 'pip install "scumble[wandb]"'
    assert found["peft"].remedy == ""


def test_the_doctor_says_whether_models_may_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_nobodyshouldseethis")
    (found,) = doctor.hub()
    assert found.state == "good" and "with your token" in found.words
    assert "hf_nobody" not in found.words
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (found,) = doctor.hub()
    assert found.words.startswith("HF_HUB_OFFLINE is set") and found.state == "note"
