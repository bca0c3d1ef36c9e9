"""Nothing that was safe is lost, whenever the writer is killed; run by `make acceptance`.

Writers are processes without torch, killed with SIGKILL: after a random while, and at every single
line of the code that writes.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scumble.checkpoint.store import clear, newest, retain, save
from scumble.data.shards import sweep

pytestmark = pytest.mark.acceptance

SHARED = """
import os, resource, signal, sys
from hashlib import blake2b
from itertools import count
from pathlib import Path
from scumble.checkpoint.store import clear, newest, retain, save
from scumble.data.index import Index, Reader
from scumble.data.shards import Limits, Writer, sweep
from scumble.errors import DiskError

folder = Path(sys.argv[1])
FIELDS = {"a": "uint8", "b": "float32"}


def key(number):
    return blake2b(str(number).encode(), digest_size=16).digest()


def values(number):
    grain = key(number)
    return [((16, 1 + 5 * grain[0]), grain * (1 + 5 * grain[0])), ((2, 2), grain)]


def files(step, turn):
    return {"a": f"{step} {turn} ".encode() * 20_000, "b": lambda path: path.write_bytes(b"b")}


def killed_at(line, act):
    "Whether a copy of this process, killed before that line of `act` runs, came so far."
    child = os.fork()
    if child == 0:
        left = iter(range(line))

        def trace(frame, event, _):
            if not frame.f_code.co_filename.endswith(("shards.py", "store.py", "shutil.py")):
                return None
            if event == "line" and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        act()
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def sound():
    "The numbers of all entries, each read and checked."
    index = Index.of(folder, "text")
    assert index.broken == ()
    with Reader(index) as reader:
        there = [n for n in range(len(index) + 60) if index.find(key(n))]
        assert len(there) == len(index)
        for number in there:
            found = [bytes(data) for _, _, data in reader.read(key(number)).values()]
            assert found == [data for _, data in values(number)]
    return there
"""

BUILD = """
sweep(folder)
index = Index.of(folder, "text")
writer = Writer(folder, "text", FIELDS, limits=Limits(entries=5))
sys.stdout.write("ready\\n")
sys.stdout.flush()
for number in count():
    if index.find(key(number)) is None:
        writer.add(key(number), values(number))
"""

CHECK = """
sys.stdout.write(" ".join(str(number) for number in sound()))
"""

SAVE = """
clear(folder)
found = newest(folder)
sys.stdout.write("ready\\n")
for step in count(found.step if found else 1):
    for turn in range(3):
        save(folder, step, files(step, turn), {"turn": turn, "sections": list(range(100))})
        sys.stdout.write(f"{step} {turn}\\n")
        sys.stdout.flush()
        retain(folder, 2)
"""

WRITER_AT_EVERY_LINE = """
def build():
    with Writer(folder, "text", FIELDS, limits=Limits(entries=2)) as writer:
        for number in range(3):
            writer.add(key(number), values(number))


for line in count():
    for path in folder.iterdir():
        path.unlink()
    more = killed_at(line, build)
    assert sound() in ([], [0, 1], [0, 1, 2])
    sweep(folder)
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
    build()
    assert sound() == [0, 1, 2]
    if not more:
        break
sys.stdout.write(str(line))
"""

SAVE_AT_EVERY_LINE = """
import shutil

ACTS = {
    "first": lambda: save(folder, 5, files(5, 1), {"turn": 1}),
    "again": lambda: save(folder, 4, files(4, 1), {"turn": 1}),
    "retain": lambda: retain(folder, 1),
    "clear": lambda: clear(folder),
}
lines = 0
for name, act in ACTS.items():
    for line in count():
        shutil.rmtree(folder)
        for step in (3, 4):
            save(folder, step, files(step, 0), {"turn": 0})
        if name == "clear":
            dead = os.fork()
            if dead == 0:
                os._exit(0)
            os.waitpid(dead, 0)
            from scumble.disk import HOST
            hidden = folder / f".step-000004.old-{dead}-{HOST}{'0' * 16}"
            (folder / "step-000004").rename(hidden)
            save(folder, 4, files(4, 0), {"turn": 0})
            if line % 2:
                (folder / "step-000004" / "state.json").unlink()
        more = killed_at(line, act)
        for tidied in (False, True):
            found = newest(folder)
            wanted = {"first": ((4, 0), (5, 1)), "again": ((4, 0), (4, 1))}
            assert (found.step, found.state["turn"]) in wanted.get(name, ((4, 0),)), (name, line)
            content = found.folder.joinpath("a").read_bytes()
            assert content == files(found.step, found.state["turn"])["a"]
            clear(folder)
        assert found.folder == folder / f"step-{found.step:06d}"
        there = [sorted(file.name for file in path.iterdir()) for path in folder.glob("step-*")]
        assert there == [["a", "b", "state.json"]] * len(there)
        assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
        ACTS["again"]()
        assert newest(folder).step == found.step
        if not more and (name != "clear" or line % 2):
            break
    lines += line
sys.stdout.write(str(lines))
"""

FULL_DISK = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(0, 60_000, 1_499):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    writer, added = Writer(folder, "text", FIELDS), 0
    try:
        for added in range(60):
            writer.add(key(added), values(added))
        writer.close()
    except DiskError as error:
        assert "the disk is full; free some space" in str(error) and str(folder) in str(error)
    else:
        raise AssertionError(limit)
    assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
    writer.close()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    kept = sound()
    assert kept == list(range(len(kept)))
    assert limit < 30_000 or kept
    for path in folder.iterdir():
        path.unlink()
save(folder, 4, files(4, 0), {"turn": 0})
for limit in (0, 1, 500, 4096, 79_999):
    for step in (4, 5):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save(folder, step, files(step, 1), {"turn": 1})
        except DiskError as error:
            assert "the disk is full; free some space" in str(error) and str(folder) in str(error)
        else:
            raise AssertionError(limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert [path.name for path in folder.iterdir()] == ["step-000004"]
        assert newest(folder).state["turn"] == 0
sys.stdout.write("told")
"""


# Without the type checks of the tests, which cost more than the work.
MILLION = """
import time, secrets

total = 1_000_000
keys = [secrets.token_bytes(16) for _ in range(total)]
begun = time.perf_counter()
with Writer(folder, "text", {"n": "uint8"}) as writer:
    for name in keys:
        writer.add(name, [((256,), name * 16)])
written = time.perf_counter() - begun
begun = time.perf_counter()
index = Index.of(folder, "text")
ready = time.perf_counter() - begun
assert len(index) == total
begun = time.perf_counter()
assert index.missing([*keys, bytes(16)]) == [total]
bulk = (time.perf_counter() - begun) / total * 1e6
begun = time.perf_counter()
assert all(index.find(name) for name in keys[:10_000])
alone = (time.perf_counter() - begun) / 10_000 * 1e6
sys.stdout.write(f"{ready} {bulk} {alone} {written}")
"""


def started(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SHARED + code, str(folder)], stdout=subprocess.PIPE, text=True
    )


def killed(process: subprocess.Popen[str], after_seconds: float) -> list[str]:
    """Kill it that long after its first word; says the whole lines it wrote."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_seconds)
    process.kill()
    rest = process.communicate()[0]
    assert process.returncode == -9, "it ended by itself"
    return rest[: rest.rfind("\n") + 1].splitlines()


def finished(code: str, folder: Path) -> str:
    process = started(code, folder)
    words = process.communicate()[0]
    assert process.returncode == 0
    return words


def entries(folder: Path, *, settled: bool = True) -> int:
    """How many entries there are, after reading them all: no shard is broken, no key left out.

    While somebody still writes, a listing may have a shard and not the one before it: it is no
    snapshot. Then a second look has to find all that the first one lacked.
    """
    numbers = [int(word) for word in finished(CHECK, folder).split()]
    if not settled and numbers != list(range(len(numbers))):
        again = {int(word) for word in finished(CHECK, folder).split()}
        assert set(range(numbers[-1] + 1)) <= again
    else:
        assert numbers == list(range(len(numbers)))
    return len(numbers)


def test_a_cache_survives_twenty_kills(tmp_path: Path) -> None:
    dice, before = random.Random(1), 0
    for _ in range(20):
        killed(started(BUILD, tmp_path), dice.uniform(0.0, 0.15))
        there = entries(tmp_path)
        assert there >= before
        before = there
    assert before > 100
    sweep(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_a_cache_with_two_writers_of_the_same_keys_survives_thirty_kills(tmp_path: Path) -> None:
    dice, before = random.Random(2), 0
    for _ in range(15):
        pair = [started(BUILD, tmp_path) for _ in range(2)]
        for process in pair:
            killed(process, dice.uniform(0.0, 0.1))
            there = entries(tmp_path, settled=process is pair[-1])
            assert there >= before
            before = there
    assert before > 100
    sweep(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_checkpoints_survive_twenty_kills(tmp_path: Path) -> None:
    dice, last = random.Random(3), (0, 0)
    for _ in range(20):
        lines = killed(started(SAVE, tmp_path), dice.uniform(0.0, 0.2))
        told = [tuple(int(word) for word in line.split()) for line in lines]
        found = newest(tmp_path)
        if told or last > (0, 0):
            assert found is not None
            assert found.skipped == ()
            turn = found.state["turn"]
            assert found.step > last[0] or (found.step, turn) >= (told[-1] if told else last)
            assert (found.folder / "a").read_bytes() == f"{found.step} {turn} ".encode() * 20_000
            last = (found.step, 0)
    assert last[0] > 20
    clear(tmp_path)
    again = save(tmp_path, last[0], {"a": b"after the kills"}, {"turn": 9})
    found = newest(tmp_path)
    assert found is not None and (found.folder, found.state["turn"]) == (again, 9)
    assert retain(tmp_path, 1) != () or len(list(tmp_path.iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == [again.name]


def test_a_writer_may_be_killed_at_any_line(tmp_path: Path) -> None:
    assert int(finished(WRITER_AT_EVERY_LINE, tmp_path)) > 50


def test_a_save_may_be_killed_at_any_line(tmp_path: Path) -> None:
    assert int(finished(SAVE_AT_EVERY_LINE, tmp_path)) > 100


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path: Path) -> None:
    assert finished(FULL_DISK, tmp_path) == "told"


def test_a_million_entries_are_indexed_in_two_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ready, bulk, alone, written = map(float, finished(MILLION, tmp_path).split())
    with capsys.disabled():
        sys.stdout.write(f"\n1M entries: written in {written:.1f} s, indexed in {ready:.2f} s;")
        sys.stdout.write(f" a lookup takes {bulk:.2f} us in bulk, {alone:.1f} us alone\n")
    assert ready < 2
