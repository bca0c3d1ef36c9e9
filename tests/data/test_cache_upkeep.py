"""What lies in a cache is known, checked and cleared away, but nothing that a run works with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scumble.data import collect, inventory, leases
from scumble.data.collect import Goal, doomed
from scumble.data.index import Index, Reader
from scumble.data.shards import HEADER_BYTES, Limits, Writer
from scumble.disk import HOST

NOW = time.time()
DAY = 86400.0


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def shard(cache: Path, shelf: str, numbers: range, *, days: float = 0.0, dtype: str = "float32"):
    """A shard whose entries hold 256 numbers each, last used so many days ago."""
    folder, kind = shelf.split("/")
    before = set((cache / folder).glob("*"))
    width = {"float32": 4, "bfloat16": 2, "float8_e4m3fn": 1}[dtype]
    with Writer(cache / folder, kind, {"n": dtype}, limits=Limits(entries=10**6)) as writer:
        for number in numbers:
            writer.add(key(number), [((256,), bytes([number % 50]) * 256 * width)])
    (path,) = set((cache / folder).glob("*")) - before
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def test_shelves_are_summed_up(tmp_path: Path) -> None:
    shard(tmp_path, "pictures/cat", range(10), days=40)
    shard(tmp_path, "pictures/cat", range(5, 12), days=3)
    shard(tmp_path, "pictures/cat.before", range(2))
    shard(tmp_path, "texts/text", range(3))
    (tmp_path / "pictures/notes.txt").write_text("not of ours")
    found = inventory.shards(tmp_path)
    rows = inventory.shelves(found, idle_before=NOW - 30 * DAY)
    assert [(one.name, one.shards, one.entries) for one in rows] == [
        ("pictures/cat", 2, 12),
        ("pictures/cat.before", 1, 2),
        ("texts/text", 1, 3),
    ]
    cat = rows[0]
    assert cat.idle_bytes == max(one.bytes for one in found) and cat.used == NOW - 3 * DAY
    assert inventory.shards(tmp_path / "nowhere") == []


def test_a_read_shard_counts_as_used_and_an_indexed_one_does_not(tmp_path: Path) -> None:
    read = shard(tmp_path, "texts/text", range(3), days=9)
    other = shard(tmp_path, "texts/text", range(3, 6), days=9)
    with Reader(Index.of(tmp_path / "texts", "text")) as reader:
        reader.read(key(1))
    assert read.stat().st_mtime >= NOW - 1
    assert other.stat().st_mtime == pytest.approx(NOW - 9 * DAY, abs=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_sound_shards_have_no_fault(tmp_path: Path, dtype: str) -> None:
    shard(tmp_path, "texts/text", range(60), dtype=dtype)
    assert [inventory.fault(one) for one in inventory.shards(tmp_path)] == [None]


def test_every_kind_of_damage_is_named(tmp_path: Path) -> None:
    flipped, cut, foreign = (shard(tmp_path, "texts/text", range(5)) for _ in range(3))
    raw = bytearray(flipped.read_bytes())
    for place in (HEADER_BYTES, HEADER_BYTES + 3 * 1024):
        raw[place] ^= 1
    flipped.write_bytes(raw)
    os.truncate(cut, cut.stat().st_size - 1)
    foreign.write_bytes(b"")
    told = {one.path: inventory.fault(one) for one in inventory.shards(tmp_path)}
    assert told[flipped] == "2 of 5 entries are not what was written"
    assert told[cut] == told[foreign] == inventory.GONE


@pytest.mark.parametrize(
    ("dtype", "bits", "spoilt"),
    [
        ("float32", b"\x00\x00\xc0\x7f", True),
        ("float32", b"\x00\x00\x80\xff", True),
        ("float32", b"\xff\xff\x7f\x7f", False),
        ("bfloat16", b"\x80\x7f", True),
        ("bfloat16", b"\x7f\x7f", False),
        ("float16", b"\x00\x7c", True),
        ("float8_e4m3fn", b"\xff", True),
        ("float8_e4m3fn", b"\x7e", False),
        ("float8_e5m2", b"\x7c", True),
        ("int64", b"\xff" * 8, False),
    ],
)
def test_numbers_that_are_not_finite_are_a_fault(
    tmp_path: Path, dtype: str, bits: bytes, spoilt: bool
) -> None:
    with Writer(tmp_path / "texts", "text", {"a": "uint8", "n": dtype}) as writer:
        writer.add(key(1), [((3,), b"abc"), ((2,), bytes(len(bits)) + bits)])
        writer.add(key(2), [((0,), b""), ((), bytes(len(bits)))])
    (one,) = inventory.shards(tmp_path)
    fault = inventory.fault(one)
    assert fault == ("1 of 2 entries have values that are not finite" if spoilt else None)


def gone(cache: Path, goal: Goal, **options) -> list[str]:
    return [one.path.name for one in doomed(inventory.shards(cache), goal, **options)]


def test_the_least_recently_used_go_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    paths = [shard(tmp_path, "pictures/cat", range(4), days=days) for days in (5, 1, 9, 3)]
    each = paths[0].stat().st_size
    order = [paths[number].name for number in (2, 0, 3, 1)]
    for stay in range(5):
        goal = Goal(most_bytes=stay * each)
        assert gone(tmp_path, goal, held=()) == order[: 4 - stay]
    assert gone(tmp_path, Goal(most_bytes=3 * each - 1), held=()) == order[:2]
    assert gone(tmp_path, Goal(used_since=NOW - 4 * DAY), held=()) == order[:2]
    assert gone(tmp_path, Goal(), held=()) == []


def test_what_no_job_wants_goes_before_what_it_wants_and_damage_before_both(
    tmp_path: Path,
) -> None:
    wanted = shard(tmp_path, "pictures/cat", range(4), days=9)
    other = shard(tmp_path, "pictures/cat", range(10, 14), days=1)
    broken = shard(tmp_path, "texts/text", range(4))
    os.truncate(broken, 5000)
    goal = Goal(most_bytes=0)
    keys = collect.packed([key(2), key(99)])
    order = [broken.name, other.name, wanted.name]
    assert gone(tmp_path, goal, held=(), wanted=keys) == order
    assert gone(tmp_path, Goal(most_bytes=9000), held=(), wanted=keys) == order[:1] + order[1:2]
    assert gone(tmp_path, goal, held=(), wanted=np.empty(0, "S16"))[1] == wanted.name


def test_a_running_run_keeps_its_shards(tmp_path: Path) -> None:
    shard(tmp_path, "pictures/cat", range(4), days=99)
    dog = shard(tmp_path, "pictures/dog", range(4), days=1)
    with leases.leased(tmp_path, ["pictures/cat", "texts/text"]):
        held = leases.in_use(tmp_path)
        assert held.keys() == {"pictures/cat", "texts/text"}
        going = doomed(inventory.shards(tmp_path), Goal(most_bytes=0), held=held)
        assert [one.path for one in going] == [dog]
        assert collect.remove(going) == going[0].bytes and not dog.exists()
    assert leases.in_use(tmp_path) == {}


def test_a_dead_runs_lease_is_void_and_another_machines_counts(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    folder = tmp_path / leases.LEASES
    folder.mkdir()
    dead = folder / f"{int(done.stdout)}-{HOST}{'0' * 16}"
    far = folder / f"{int(done.stdout)}-{'0' * 24}"
    for file in (dead, far):
        file.write_text(f"pictures/{'dead' if file is dead else 'far'}")
    (folder / "a-note").write_text("not of ours")
    assert leases.in_use(tmp_path) == {"pictures/far": far}
    assert not dead.exists()


def test_looking_after_a_cache_needs_no_torch() -> None:
    code = (
        "import sys, scumble.data.inventory, scumble.data.collect, scumble.data.leases,"
        " scumble.cli.cache_tools, scumble.cli.cache; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
