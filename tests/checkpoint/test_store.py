import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from scumble.checkpoint.store import clear, newest, retain, save
from scumble.disk import HOST
from scumble.errors import DiskError

GONE = f"999999-{HOST}{'0' * 16}"
"""The signature of a writer of this machine that is dead: no process has so high a number."""


def saved(folder: Path, step: int, content: bytes = b"weights") -> Path:
    files = {"optimizer.safetensors": content, "adapter.safetensors": bytes(1000)}
    return save(folder, step, files, {"step": step, "sections": {"training": "abc"}})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest_step(folder: Path) -> int | None:
    found = newest(folder)
    return None if found is None else found.step


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    path = saved(tmp_path / "a" / "b", 250)
    found = newest(tmp_path / "a" / "b")
    assert found is not None
    assert (found.step, found.folder, found.skipped) == (250, path, ())
    assert found.state == {"step": 250, "sections": {"training": "abc"}}
    assert path.name == "step-000250"
    assert (path / "optimizer.safetensors").read_bytes() == b"weights"
    assert names(tmp_path / "a" / "b") == ["step-000250"]


def test_the_state_records_every_file(tmp_path: Path) -> None:
    facts = json.loads((saved(tmp_path, 1) / "state.json").read_text())["files"]
    assert facts.keys() == {"optimizer.safetensors", "adapter.safetensors"}
    assert facts["adapter.safetensors"]["bytes"] == 1000
    assert len(facts["adapter.safetensors"]["blake2b"]) == 32


def test_a_function_may_write_its_file_itself(tmp_path: Path) -> None:
    ones = {"a": np.ones(5, np.float32)}
    path = save(tmp_path, 3, {"a.safetensors": lambda path: save_file(ones, path)}, {})
    assert (load_file(path / "a.safetensors")["a"] == 1).all()
    assert newest_step(tmp_path) == 3


def test_nothing_there_is_nothing_found(tmp_path: Path) -> None:
    assert newest(tmp_path / "nowhere") is None
    assert retain(tmp_path / "nowhere", 1) == ()
    assert clear(tmp_path / "nowhere") == ()


def test_newest_goes_by_number(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 250):
        saved(tmp_path, step)
    assert newest_step(tmp_path) == 1_000_000


def test_foreign_names_are_not_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    shutil.copytree(tmp_path / "step-000005", tmp_path / "step-000009-best")
    (tmp_path / "step-000007").write_text("a file")
    assert newest_step(tmp_path) == 5


@pytest.mark.parametrize("harm", ["flip", "shorten", "lose", "no state", "half a state", "list"])
def test_a_checkpoint_that_is_not_whole_is_skipped_and_named(tmp_path: Path, harm: str) -> None:
    saved(tmp_path, 1)
    path = saved(tmp_path, 2)
    file, state = path / "optimizer.safetensors", path / "state.json"
    match harm:
        case "flip":
            file.write_bytes(b"wEights")
        case "shorten":
            os.truncate(file, 3)
        case "lose":
            file.unlink()
        case "no state":
            state.unlink()
        case "half a state":
            os.truncate(state, state.stat().st_size // 2)
        case _:
            state.write_text("[1]")
    found = newest(tmp_path)
    assert found is not None
    assert (found.step, found.skipped) == (1, (path,))


def test_a_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    saved(tmp_path, 4, b"first")
    saved(tmp_path, 4, b"second")
    assert names(tmp_path) == ["step-000004"]
    assert (tmp_path / "step-000004" / "optimizer.safetensors").read_bytes() == b"second"


def killed_while_replacing(folder: Path) -> None:
    """As if killed between the two renames: both under hidden names, none to be seen."""
    saved(folder, 1)
    saved(folder, 4, b"first").rename(folder / f".step-000004.old-{GONE}")
    saved(folder, 4, b"second").rename(folder / f".step-000004.partial-{GONE}")


def test_between_the_two_renames_of_a_replacement_there_is_a_whole_one(tmp_path: Path) -> None:
    killed_while_replacing(tmp_path)
    found = newest(tmp_path)
    assert found is not None and found.step == 4
    assert (found.folder / "optimizer.safetensors").exists()


def test_clear_puts_back_what_a_killed_replacement_hid(tmp_path: Path) -> None:
    killed_while_replacing(tmp_path)
    assert len(clear(tmp_path)) == 2
    assert names(tmp_path) == ["step-000001", "step-000004"]
    found = newest(tmp_path)
    assert found is not None and found.folder.name == "step-000004"
    assert (found.folder / "optimizer.safetensors").read_bytes() == b"second"


def test_clear_puts_the_old_one_back_when_the_new_one_is_torn(tmp_path: Path) -> None:
    killed_while_replacing(tmp_path)
    (tmp_path / f".step-000004.partial-{GONE}" / "state.json").unlink()
    assert newest_step(tmp_path) == 4
    clear(tmp_path)
    assert (tmp_path / "step-000004" / "optimizer.safetensors").read_bytes() == b"first"


def test_clear_keeps_the_whole_visible_one(tmp_path: Path) -> None:
    saved(tmp_path, 4, b"first").rename(tmp_path / f".step-000004.old-{GONE}")
    saved(tmp_path, 4, b"second")
    assert clear(tmp_path) == (f".step-000004.old-{GONE}",)
    assert (tmp_path / "step-000004" / "optimizer.safetensors").read_bytes() == b"second"


def test_clear_prefers_a_whole_leftover_to_a_broken_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 4, b"first").rename(tmp_path / f".step-000004.old-{GONE}")
    (saved(tmp_path, 4) / "state.json").write_text("{")
    clear(tmp_path)
    assert names(tmp_path) == ["step-000004"]
    assert (tmp_path / "step-000004" / "optimizer.safetensors").read_bytes() == b"first"


def test_clear_removes_rubbish_and_lets_live_writers_be(tmp_path: Path) -> None:
    rubbish = [f".step-000009.partial-{GONE}", f".step-000003.gone-{GONE}"]
    live = f".step-000009.partial-{os.getppid()}-{HOST}{'0' * 16}"
    for name in [*rubbish, live, ".ours"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"x")
    assert clear(tmp_path) == tuple(sorted(rubbish))
    assert names(tmp_path) == sorted([live, ".ours"])


def test_leftovers_of_a_killed_save_hinder_neither_save_nor_newest(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    for role in ("partial", "old", "gone"):
        (tmp_path / f".step-000005.{role}-{GONE}").mkdir()
    assert newest_step(tmp_path) == 4
    saved(tmp_path, 5)
    assert newest_step(tmp_path) == 5
    assert retain(tmp_path, 1) == ("step-000004",)


@pytest.mark.parametrize(("keep", "left"), [(0, 5), (1, 1), (2, 2), (5, 5), (9, 5)])
def test_retain_keeps_the_newest(tmp_path: Path, keep: int, left: int) -> None:
    for step in (1, 2, 3, 999_999, 1_000_000):
        saved(tmp_path, step)
    removed = retain(tmp_path, keep)
    kept = ["step-000001", "step-000002", "step-000003", "step-999999", "step-1000000"][5 - left :]
    assert names(tmp_path) == sorted(kept)
    assert len(removed) == 5 - left


def test_retain_counts_from_the_newest_whole_one(tmp_path: Path) -> None:
    for step in range(1, 6):
        saved(tmp_path, step)
    (tmp_path / "step-000005" / "state.json").write_text("{}")
    assert set(retain(tmp_path, 2)) == {"step-000001", "step-000002"}
    assert newest_step(tmp_path) == 4


def test_retain_removes_nothing_when_nothing_is_whole(tmp_path: Path) -> None:
    for step in range(1, 4):
        (saved(tmp_path, step) / "optimizer.safetensors").unlink()
    assert retain(tmp_path, 1) == ()
    assert len(names(tmp_path)) == 3


def test_a_folder_that_cannot_be_one_is_told_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="file: is not a folder; move the file"):
        saved(tmp_path / "file", 1)
    assert names(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_nothing_and_harms_nothing(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    saved(tmp_path, 4, b"first")
    with pytest.raises(DiskError, match="the disk is full; free some space"):
        save(tmp_path, 4, {"a": b"whole", "b": full}, {})
    assert names(tmp_path) == ["step-000004"]
    assert newest_step(tmp_path) == 4


def test_an_interrupt_leaves_nothing_and_stays_an_interrupt(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 4, {"b": interrupted}, {})
    assert names(tmp_path) == []


def test_a_full_disk_is_told_also_when_safetensors_met_it() -> None:
    code = """
import resource, signal, sys, tempfile
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from scumble.checkpoint.store import save
from scumble.errors import DiskError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with tempfile.TemporaryDirectory() as name:
    try:
        save(Path(name), 1, {"a": lambda path: save_file({"a": np.zeros(999)}, path)}, {})
    except DiskError as error:
        print(list(Path(name).iterdir()), error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=-1, text=True)
    assert done.stdout.startswith("[] ")
    assert "the disk is full" in done.stdout
