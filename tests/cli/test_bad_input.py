"""What users get wrong: a clear message, exit code 2, and nothing half-written."""

from __future__ import annotations

import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scumble.checkpoint.store import newest
from scumble.cli.app import main
from scumble.data.index import Index
from scumble.families import weights
from scumble.spec.load import resolved
from tests.toys import job, pictures


def written(root: Path) -> Path:
    """A good job on disk, with its pictures."""
    file = root / "job.yaml"
    file.write_text(resolved(job(root)))
    return file


def refused(root: Path, capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    """What is said, once it is sure that the program gave up as it should."""
    assert main(["train", str(root / "job.yaml"), *settings]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    lines = said.splitlines()
    assert lines and all(
        line.startswith(("error: ", "Scanned", "Cach", "Training", "Step", "Failed", " "))
        for line in lines
    )
    leftovers = [file for file in (root / "out").rglob(".*") if file.name != ".cache"]
    assert leftovers == []
    return " ".join(line.strip() for line in lines if line.startswith(("error: ", " ")))


def bomb(file: Path) -> None:
    """A true PNG header of 20,000 x 20,000, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(2501 * 64))
    parts = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    file.with_suffix(".txt").write_text("a bomb")


def truncated(root: Path) -> None:
    file = root / "square/p01.png"
    file.write_bytes(file.read_bytes()[:-40])


def emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing folder": (
        lambda root: shutil.rmtree(root / "wide"),
        "wide: there is no such folder",
    ),
    "an empty folder": (
        lambda root: emptied(root / "wide"),
        "data.wide: there are no pictures in",
    ),
    "a zero-byte picture": (
        lambda root: (root / "square/p01.png").write_bytes(b""),
        "data.square: 1 of 5 .*p01.png.*skip_bad",
    ),
    "text called a picture": (
        lambda root: (root / "square/p01.png").write_text("hello there"),
        "data.square: 1 of 5 .*p01.png",
    ),
    "a truncated picture": (truncated, "data.square: 1 of 5 .*p01.png"),
    "a bomb": (
        lambda root: bomb(root / "square/bomb.png"),
        "bomb.png.*pixels|pixels.*bomb.png",
    ),
    "a missing caption": (
        lambda root: (root / "square/p02.txt").unlink(),
        "data.square: 1 of 5 .*no caption.*p02.png.*put NAME.txt beside",
    ),
}
MISTAKES = {
    "training.stepps=4": "did you mean.*steps",
    "training.steps=many": "training.steps",
    "adapter.rank=0": "adapter.rank",
    "adapter.targets=atention": "no preset 'atention'",
    "model.family=fluxx": "did you mean 'flux'",
    "model.flavour=schnell": "model.flavour.*takes guidance",
    "validation.width=500": "multiple of 16, such as 496",
    "hardware.device=cuda:7": "finds no device 'cuda:7'",
    "training.optimizer.options={beta: 1}": "did you mean 'betas'",
}


@pytest.mark.parametrize("fault", SPOILT)
def test_faulty_data_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    written(tmp_path)
    spoil, words = SPOILT[fault]
    spoil(tmp_path)
    said = refused(tmp_path, capsys)
    assert re.search(words, said), said
    assert not (tmp_path / "out/toy").exists()


@pytest.mark.parametrize("setting", MISTAKES)
def test_a_mistaken_setting_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    written(tmp_path)
    said = refused(tmp_path, capsys, setting)
    assert re.search(MISTAKES[setting], said), said
    assert not (tmp_path / "out/toy").exists()


def test_all_faults_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path)
    (tmp_path / "square/p02.txt").unlink()
    shutil.rmtree(tmp_path / "wide")
    settings = ["adapter.targets=x", "model.path=nowhere", "validation.height=7"]
    said = refused(tmp_path, capsys, *settings)
    for words in ("no caption", "wide", "there is no folder", "validation.height"):
        assert words in said, said


def test_faulty_pictures_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    truncated(tmp_path)
    bomb(tmp_path / "square/bomb.png")
    skip = ["data.square.skip_bad=true", "training.steps=1"]
    assert main(["train", str(tmp_path / "job.yaml"), *skip]) == 0
    assert "6 found, 4 readable" in capsys.readouterr().err


def test_a_file_where_the_output_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    (tmp_path / "out").write_text("in the way")
    assert main(["train", str(tmp_path / "job.yaml")]) == 2
    assert "is a file where a folder should be" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "in the way"


def test_pickled_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path)
    shutil.copytree(weights.located("builtin:tiny-flux", Path()), tmp_path / "model")
    file = tmp_path / "model/transformer/diffusion_pytorch_model.safetensors"
    torch.save({}, file.with_suffix(".bin"))
    file.unlink()
    assert "pickled weights" in refused(tmp_path, capsys, "model.path=model")


@pytest.mark.parametrize(("limit_bytes", "where"), [(12_000, "cache"), (90_000, "checkpoint")])
def test_a_full_disk_is_told_and_loses_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    limit_bytes: int,
    where: str,
) -> None:
    written(tmp_path)
    weights.located("builtin:tiny-flux", Path())  # made while there is room
    # an interpreter that may not write as much as it wants leaves torn bytecode behind
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        said = refused(tmp_path, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the disk is full" in said
    assert newest(tmp_path / "out/toy/checkpoints") is None
    index = Index.of(tmp_path / "out/.cache/texts", "text")
    assert index.broken == () and (len(index) > 0 or where == "cache")
    assert main(["train", str(tmp_path / "job.yaml")]) == 0


def test_a_picture_that_breaks_after_the_scan_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 5)
    pictures(tmp_path / "wide", [(96, 64)] * 3, seed=1)
    written(tmp_path)
    file = tmp_path / "square/p01.png"
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes(20) + whole[middle + 20 :])
    said = refused(tmp_path, capsys)
    assert "p01.png" in said


def test_a_builtin_model_that_finds_no_room_is_told(tmp_path: Path) -> None:
    file = written(tmp_path)

    def filled() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))

    command = [sys.executable, "-B", "-m", "scumble", "check", str(file)]
    home = {**os.environ, "SCUMBLE_HOME": str(tmp_path / "home")}
    full = subprocess.run(command, preexec_fn=filled, capture_output=True, text=True, env=home)
    assert full.returncode == 2, full.stderr
    assert "the builtin model cannot be made" in full.stderr and "Traceback" not in full.stderr
    assert list((tmp_path / "home/builtin").iterdir()) == []
