import errno
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from scumble.data import index as index_module
from scumble.data.index import Index, Reader
from scumble.data.shards import LIMITS, Limits, Writer, sweep
from scumble.disk import HOST, disk_error, signature
from scumble.errors import DiskError, FileError

FIELDS = {"latents": "bfloat16", "mask": "uint8", "sum": "float32"}


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def values(number: int) -> list[tuple[tuple[int, ...], bytes | memoryview | np.ndarray]]:
    rng = np.random.default_rng(number)
    side = 1 + number % 5
    return [
        ((4, side, 2), rng.bytes(16 * side)),
        ((number % 3,), memoryview(bytes(number % 3))),
        ((), np.array(number, dtype=np.float32)),
    ]


def filled(folder: Path, numbers: range, limits: Limits = LIMITS) -> list[Path]:
    before = set(folder.glob("*"))
    with Writer(folder, "text", FIELDS, limits=limits) as writer:
        for number in numbers:
            writer.add(key(number), values(number))
    return sorted(set(folder.glob("*")) - before)


def plain(number: int) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    rows = zip(FIELDS.items(), values(number), strict=True)
    return {name: (dtype, shape, bytes(data)) for (name, dtype), (shape, data) in rows}


def read_all(folder: Path, numbers: range) -> None:
    with Reader(Index.of(folder, "text")) as reader:
        for number in numbers:
            found = {name: (d, s, bytes(b)) for name, (d, s, b) in reader.read(key(number)).items()}
            assert found == plain(number)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    filled(tmp_path / "new" / "folder", range(50))
    read_all(tmp_path / "new" / "folder", range(50))


def test_safetensors_opens_a_shard_and_finds_the_columns(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, range(7))
    with safe_open(path, framework="numpy") as shard:
        assert sorted(shard.keys()) == ["body", "crc", "keys", "shapes", "starts"]
        assert dict(json.loads(shard.metadata()["fields"])) == FIELDS
    columns = load_file(path)
    assert columns["keys"].tobytes() == b"".join(key(n) for n in range(7))
    assert columns["shapes"][2].tolist() == [[4, 3, 2, -1], [2, -1, -1, -1], [-1] * 4]
    start, end = columns["starts"][2:4]
    assert zlib.crc32(columns["body"][start:end].tobytes()) == columns["crc"][2]
    assert columns["crc"].dtype == np.uint32
    assert columns["starts"].dtype == np.int64


def test_the_numbers_of_a_shard_lie_where_their_dtype_wants_them(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, range(7))
    raw = path.read_bytes()
    assert int.from_bytes(raw[:8], "little") == 4088
    header = json.loads(raw[8:4096])
    assert header["starts"]["data_offsets"][0] % 8 == 0


@pytest.mark.parametrize(
    ("limits", "shards"),
    [(Limits(entries=10), 3), (Limits(bytes=1), 25), (Limits(seconds=0.0), 25), (LIMITS, 1)],
)
def test_a_shard_is_sealed_at_the_first_limit(tmp_path: Path, limits: Limits, shards: int) -> None:
    assert len(filled(tmp_path, range(25), limits)) == shards
    read_all(tmp_path, range(25))


def test_a_writer_with_nothing_to_write_leaves_nothing(tmp_path: Path) -> None:
    with Writer(tmp_path / "never", "text", FIELDS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_writer_counts_its_bytes(tmp_path: Path) -> None:
    with Writer(tmp_path, "text", FIELDS) as writer:
        for number in range(3):
            writer.add(key(number), values(number))
    assert writer.bytes_written == sum(len(b) for n in range(3) for _, _, b in plain(n).values())


def test_an_error_elsewhere_does_not_cost_what_was_encoded(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        Writer(tmp_path, "text", FIELDS) as writer,
    ):
        for number in range(5):
            writer.add(key(number), values(number))
        raise KeyboardInterrupt
    read_all(tmp_path, range(5))
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unsealed_shard_is_not_seen(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "text", FIELDS)
    writer.add(key(1), values(1))
    assert len(Index.of(tmp_path, "text")) == 0
    writer.close()
    assert len(Index.of(tmp_path, "text")) == 1


def test_the_index_says_what_is_missing(tmp_path: Path) -> None:
    filled(tmp_path, range(0, 20, 2), Limits(entries=3))
    index = Index.of(tmp_path, "text")
    assert len(index) == 10
    assert index.missing([key(n) for n in (0, 1, 2, 99, 1)]) == [1, 3, 4]
    assert index.missing([]) == []
    assert index.find(key(3)) is None
    assert index.find(key(10**30)) is None


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    index = Index.of(tmp_path / "none", "text")
    assert len(index) == 0
    assert index.missing([key(1)]) == [0]
    assert index.find(key(1)) is None


def test_keys_that_end_in_zeros_are_told_apart(tmp_path: Path) -> None:
    keys = [b"a".ljust(16, b"\0"), b"a\0b".ljust(16, b"\0"), bytes(16), b"\xff" * 16]
    with Writer(tmp_path, "text", {"n": "uint8"}) as writer:
        for number, name in enumerate(keys):
            writer.add(name, [((1,), bytes([number]))])
    with Reader(Index.of(tmp_path, "text")) as reader:
        assert [reader.read(name)["n"][2][0] for name in keys] == [0, 1, 2, 3]
    assert Index.of(tmp_path, "text").missing([b"ab".ljust(16, b"\0")]) == [0]


def test_one_kind_does_not_see_another(tmp_path: Path) -> None:
    for kind in ("text", "text-long", "picture"):
        with Writer(tmp_path, kind, FIELDS) as writer:
            writer.add(key(len(kind)), values(1))
    assert [len(Index.of(tmp_path, kind)) for kind in ("text", "text-long", "picture")] == [1, 1, 1]


def test_of_equal_keys_the_first_shard_by_name_is_read(tmp_path: Path) -> None:
    for number in range(6):
        with Writer(tmp_path, "text", {"n": "uint8"}) as writer:
            writer.add(key(1), [((1,), bytes([number]))])
    index = Index.of(tmp_path, "text")
    place = index.find(key(1))
    assert len(index) == 1
    assert place is not None and place.shard == min(tmp_path.iterdir())


def test_a_changed_byte_is_noticed_and_the_file_is_named(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, range(3))
    raw = bytearray(path.read_bytes())
    raw[4096] ^= 1
    path.write_bytes(raw)
    with Reader(Index.of(tmp_path, "text")) as reader:
        reader.read(key(1))
        with pytest.raises(FileError, match=rf"{path.name}: is damaged; delete that file"):
            reader.read(key(0))


def test_a_shard_that_vanishes_or_shrinks_under_the_reader_is_named(tmp_path: Path) -> None:
    first, second = filled(tmp_path, range(2), Limits(entries=1))
    with Reader(Index.of(tmp_path, "text")) as reader:
        first.unlink()
        os.truncate(second, 4100)
        for number in range(2):
            with pytest.raises(FileError, match="delete that file"):
                reader.read(key(number))


@pytest.mark.parametrize("size", [0, 5, 4096, 4200, -1])
def test_a_truncated_shard_is_left_out_and_listed(tmp_path: Path, size: int) -> None:
    (good,) = filled(tmp_path, range(3))
    (bad,) = filled(tmp_path, range(3, 6))
    os.truncate(bad, size if size >= 0 else bad.stat().st_size - 1)
    index = Index.of(tmp_path, "text")
    assert index.broken == (bad,)
    assert index.missing([key(n) for n in range(6)]) == [3, 4, 5]
    assert good.exists() and bad.exists()


def test_a_foreign_file_under_a_shards_name_is_left_out(tmp_path: Path) -> None:
    foreign = [tmp_path / f"text-{number:016x}.safetensors" for number in range(5)]
    save_file({"body": np.zeros(4, np.uint8)}, foreign[0])
    foreign[1].write_bytes(os.urandom(9000))
    foreign[2].mkdir()
    foreign[3].write_bytes(bytes(8) + b"[" * 4088)
    foreign[4].write_bytes(bytes(8) + b"[]".ljust(4088))
    (tmp_path / "text-notes.safetensors").write_text("not of ours, by its name")
    assert Index.of(tmp_path, "text").broken == tuple(foreign)


def test_a_flipped_bit_in_the_columns_never_gives_wrong_numbers(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, range(4))
    whole = path.read_bytes()
    body = json.loads(whole[8:4096])["body"]["shape"][0]
    for place in range(4096 + body, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        index = Index.of(tmp_path, "text")
        with Reader(index) as reader:
            for number in range(4):
                if index.find(key(number)) is None:
                    continue
                try:
                    found = reader.read(key(number))
                except FileError:
                    continue
                assert {f: (d, s, bytes(b)) for f, (d, s, b) in found.items()} == plain(number)


def test_a_flipped_bit_in_the_header_never_gives_other_names(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, range(2))
    whole = path.read_bytes()
    for place in range(len(whole[:4096].rstrip())):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        index = Index.of(tmp_path, "text")
        assert index.broken == (path,) and len(index) == 0


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reader_holds_few_files_open(tmp_path: Path) -> None:
    count = index_module.OPEN_FILES + 20
    filled(tmp_path, range(count), Limits(entries=1))
    before = open_files()
    with Reader(Index.of(tmp_path, "text")) as reader:
        for number in [*range(count), *range(count)]:
            reader.read(key(number))
        assert open_files() - before <= index_module.OPEN_FILES
    assert open_files() == before


def test_a_folder_that_cannot_be_one_is_told_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        writer = Writer(folder, "text", FIELDS)
        with pytest.raises(DiskError, match="is not a folder; move the file"):
            writer.add(key(1), values(1))
        writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EFBIG, "the disk is full; free some space"),
        (errno.EACCES, "may not be written to; ask for the right"),
        (errno.EIO, "cannot be written to .*; mend it"),
    ],
)
def test_what_the_system_says_becomes_a_way_out(tmp_path: Path, number: int, words: str) -> None:
    error = disk_error(tmp_path, OSError(number, os.strerror(number)))
    assert error.where == str(tmp_path)
    with pytest.raises(DiskError, match=words):
        raise error


def test_a_sealing_that_fails_leaves_no_hidden_file(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "folder", "text", FIELDS)
    writer.add(key(1), values(1))
    (hidden,) = (tmp_path / "folder").iterdir()
    hidden.unlink()
    with pytest.raises(DiskError):
        writer.close()
    assert list((tmp_path / "folder").iterdir()) == []
    writer.add(key(2), values(2))
    writer.close()
    assert Index.of(tmp_path / "folder", "text").missing([key(1), key(2)]) == [0]


def test_sweep_takes_what_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    dead, token = int(done.stdout), "0123456789abcdef"
    mine, mark = os.getpid(), signature().split("-")[1]
    names = {
        f".text-{token}.{dead}-{mark}.partial": True,
        f".text-{token}.{mine}-{HOST}00000000ffffffff.partial": True,  # as before, by its number
        f".text-{token}.{mine}-{mark}.partial": False,
        f".text-{token}.{os.getppid()}-{mark}.partial": False,
        f".text-{token}.{dead}-{'0' * 24}.partial": False,  # another machine's
        f".picture-set-{token}.{dead}-{'1' * 24}.partial": True,  # so is this, but an hour old
        ".other.partial": False,
        f"text-{token}.safetensors": False,
    }
    for name in names:
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / f".picture-set-{token}.{dead}-{'1' * 24}.partial", (0, 0))
    assert set(sweep(tmp_path)) == {name for name, goes in names.items() if goes}
    assert {path.name for path in tmp_path.iterdir()} == {
        n for n, goes in names.items() if not goes
    }
    assert sweep(tmp_path / "nowhere") == ()


def test_a_live_writer_survives_a_sweep(tmp_path: Path) -> None:
    with Writer(tmp_path, "text", FIELDS) as writer:
        writer.add(key(1), values(1))
        assert sweep(tmp_path) == ()
    read_all(tmp_path, range(1, 2))


def test_the_stores_need_no_torch() -> None:
    code = (
        "import sys, scumble.data.shards, scumble.data.index, scumble.data.order,"
        " scumble.checkpoint.store; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
