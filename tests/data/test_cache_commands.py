"""`scumble cache` as a user types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from scumble.cli import cache_build
from scumble.cli.cache import cache
from scumble.cli.cache_tools import byte_count, seconds
from scumble.data import leases
from scumble.errors import DiskError, FileError, JobError, ScumbleError
from tests.toys import pictures


@pytest.fixture
def job(tmp_path: Path) -> Path:
    pictures(tmp_path / "square", [(64, 64)] * 4)
    told = {
        "name": "toy",
        "model": {"family": "flux", "flavour": "dev", "path": "builtin:tiny-flux"},
        "data": [{"id": "square", "folder": "square", "resolution": 32}],
        "training": {"steps": 4},
        "validation": {"every": 0},
        "hardware": {"precision": "fp32", "device": "cpu"},
        "output_dir": str(tmp_path / "out"),
    }
    told["model"] = {**told["model"], "text_tokens": 24}
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(told))
    return file


def typed(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(cache, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_a_build_is_foretold_made_and_looked_at_again(job: Path) -> None:
    told = typed("build", job)
    assert "To encode: 4 pictures, 4 texts; " in told and "that are free" in told
    assert told.splitlines()[-1].startswith("Complete: every entry")
    again = typed("build", job)
    assert "To encode" not in again and "Complete" in again


def test_touching_one_picture_encodes_exactly_that_entry(job: Path) -> None:
    typed("build", job)
    pictures(job.parent / "square", [(64, 64)], seed=9)
    told = typed("explain", job, "p00", "p01")
    assert "p00.png: to be made; bytes: " in told and "size" not in told
    assert "p01.png: there, in square-" in told
    assert "To encode: 1 picture; " in typed("build", job)
    assert "to be made" not in typed("explain", job, "p00")


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ("data.0.resolution=64", {"size and crop"}),
        ("data.0.interpolation=area", {"interpolation"}),
        ("hardware.precision=bf16", {"precision"}),
        ("cache.picture_dtype=bf16", {"kept as"}),
        ("cache.text_dtype=fp8", {"kept as"}),
        ("model.text_tokens=30", {"text length"}),
        ("data.0.caption_edits.prefix=see", {"caption"}),
        ("data.0.repeats=3", set()),
    ],
)
def test_a_changed_setting_is_the_reason_and_the_only_one(
    job: Path, change: str, reasons: set[str]
) -> None:
    typed("build", job)
    told = typed("explain", job, "p01", change).splitlines()
    missing = [line.split(": to be made; ")[1] for line in told if "to be made" in line]
    found = {reason.split(":")[0] for line in missing for reason in line.split("; ")}
    if "precision" in change:  # `auto` follows it
        reasons = reasons | {"kept as"}
    assert found == reasons
    assert bool(missing) == bool(reasons)


def test_what_is_not_in_a_job_is_told(job: Path) -> None:
    told = typed("explain", job, "p01", "nothing.png")
    assert "square/p01.png: to be made; it was never encoded here" in told
    assert "nothing.png: this job keeps no entry of such a picture" in told


def test_damage_is_found_repaired_and_made_anew(job: Path) -> None:
    typed("build", job)
    (shard,) = (job.parent / "out/.cache/pictures").iterdir()
    raw = bytearray(shard.read_bytes())
    raw[4100] ^= 1
    shard.write_bytes(raw)
    told = typed("verify", job, code=2)
    assert f"{shard}: 1 of 4 entries are not what was written" in told.replace("\n", " ")
    assert "Deleted 1 damaged shard " in typed("verify", job, "--repair")
    assert "8 entries" not in typed("verify", job.parent / "out")
    lost = typed("explain", job, "p02")
    assert "to be made; nothing changed: its shard was removed" in lost
    assert "To encode: 4 pictures; " in typed("build", job)
    assert "2 of 2 shards are whole, 8 entries" in typed("verify", job)


def test_listing_says_what_was_not_used_for_long(job: Path) -> None:
    typed("build", job)
    (shard,) = (job.parent / "out/.cache/texts").iterdir()
    os.utime(shard, (0, 0))
    rows = [line.split() for line in typed("ls", job).splitlines()]
    assert rows[0] == [str(job.parent / "out/.cache")]
    assert [row[:3] for row in rows[2:4]] == [
        ["pictures/square", "4", "1"],
        ["texts/text", "4", "1"],
    ]
    assert "1970-01-01" in rows[3] and rows[2][-2:] == ["0", "bytes"]


def test_what_another_job_left_goes_first(job: Path) -> None:
    typed("build", job, "data.0.resolution=64")
    typed("build", job)
    folder = job.parent / "out/.cache"
    assert len(list((folder / "pictures").iterdir())) == 2
    total = sum(
        file.stat().st_size for kind in ("pictures", "texts") for file in folder.glob(f"{kind}/*")
    )
    told = typed("gc", job, "--max-size", total - 1, "--dry-run")
    assert "Would delete 1 of 3 shards" in told and "pictures/square: 1 shard" in told
    typed("gc", job, "--max-size", total - 1)
    assert "To encode" not in typed("build", job)
    assert "To encode: 4 pictures; " in typed("build", job, "data.0.resolution=64")


def test_a_running_run_keeps_what_it_works_with(job: Path) -> None:
    typed("build", job)
    folder = job.parent / "out/.cache"
    with leases.leased(folder, ["pictures/square", "texts/text"]):
        told = typed("gc", folder, "--max-size", "1kB")
    assert "Deleted 0 of 2 shards" in told and "a run is at work with it" in told
    assert "Deleted 2 of 2 shards" in typed("gc", folder, "--max-size", "1kB")
    assert "0 of 0 shards" in typed("gc", folder, "--unused-for", "1d")


def test_a_disk_that_is_too_small_is_told_before_a_weight_is_loaded(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(cache_build.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DiskError, match=r"1.0 kB are free; free some space.*text_dtype: fp8"):
        typed("build", job)


@pytest.mark.parametrize("words", [["gc", "out"], ["gc", "out", "--max-size", "big"]])
def test_what_cannot_be_meant_is_told(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "out").mkdir()
    words[1] = str(tmp_path / "out")
    with pytest.raises(JobError):
        typed(*words)
    with pytest.raises(ScumbleError):
        typed("ls", tmp_path / "nowhere" / ".cache")
    with pytest.raises(JobError, match="write it like 0/2"):
        cache_build.part_told("2/2")


def test_a_folder_that_is_no_cache_is_not_called_whole(tmp_path: Path) -> None:
    for words in (["verify"], ["ls"], ["gc", "--max-size", "1GB"]):
        with pytest.raises(FileError, match="there is no cache in this folder"):
            typed(*words, tmp_path)
    with pytest.raises(JobError, match="--unused: '5x' is no time"):
        (tmp_path / "pictures").mkdir()
        typed("ls", tmp_path, "--unused", "5x")


def test_a_name_with_an_equals_sign_is_no_setting(job: Path) -> None:
    for ending in (".png", ".txt"):
        (job.parent / f"square/p00{ending}").rename(job.parent / f"square/a=b{ending}")
    assert "square/a=b.png: to be made" in typed("explain", job, "a=b.png", "data.0.repeats=2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--devices", "cpu,"], "--devices: 'cpu,' names none"),
        (["--devices", "cpu", "--processes", "2"], "not the number of devices"),
        (["cache.mode=on_demand"], "there is nothing to build"),
    ],
)
def test_a_build_that_cannot_be_meant_is_refused(job: Path, words: list[str], said: str) -> None:
    with pytest.raises(JobError, match=said):
        typed("build", job, *words)


def test_sizes_and_times_are_read_as_people_write_them() -> None:
    assert [byte_count(told) for told in ("20GB", "1.5 GiB", "7", "2kb")] == [
        20 * 10**9, 1610612736, 7, 2000,
    ]  # fmt: skip
    assert [seconds(told) for told in ("30d", "12h", "2w", "1.5m")] == [
        2592000, 43200, 1209600, 90,
    ]  # fmt: skip
    for nonsense in ("", "d", "3 years", "-1d"):
        with pytest.raises(JobError):
            seconds(nonsense)
        with pytest.raises(JobError):
            byte_count(nonsense or "GB")


STOPPED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
try:
    print("at work", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("put away", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are other things there")
def test_stopped_processes_get_the_time_to_put_their_things_away() -> None:
    """Both are stopped by Ctrl-C; only what takes too long is ended."""
    words = [sys.executable, "-c", STOPPED]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        cache_build.ended([process])
        assert process.stdout.read() == "put away\n"


@pytest.mark.acceptance
def test_two_processes_fill_one_cache(job: Path) -> None:
    told = typed("build", job, "--processes", "2")
    assert "[1/2] " in told and "[2/2] " in told and "Complete" in told
    assert "8 entries" in typed("verify", job), "nothing is made twice"
