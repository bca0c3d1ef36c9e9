"""What is remembered of the files of a collection."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image as Pillow

from scumble.data import images, ledger
from scumble.data.collection import Collection, collected
from scumble.data.example import Image
from scumble.data.hashing import hashed, hashes
from scumble.data.ledger import Ledger, Row, Text
from scumble.data.overlapped import overlapped, worthwhile
from scumble.data.sources.memory import Memory
from scumble.data.sources.record import File, Lent, Where
from scumble.errors import FileError
from scumble.spec.sources import TableSource

WHERE = Where(id="cats", folder="pictures", text_ending=".txt")


def picture(base: Path, name: str, text: str = "a cat") -> Path:
    path = base / "pictures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (64, 48), (ord(name[0]), 0, 0)).save(path)
    path.with_suffix(".txt").write_text(text)
    return path


def seen(base: Path) -> Collection:
    return collected(WHERE, base, base / "cache")


def kept(base: Path) -> Ledger:
    file = seen(base).ledger
    assert file is not None
    return ledger.read(file)


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "l.json"
    rows = {"a.png": Row(1, 2, 3, 4), "\u00e9/\udc80.png": Row(5, 6, 7, 8, "note", "bad", "ab")}
    texts = {"a.png": Text(1, 2, "ein Mondgesicht \U0001f31d\n"), "b": Text(3, 4, None, "bad")}
    for one in (Ledger(rows, texts), Ledger(rows), Ledger()):
        ledger.write(file, one)
        assert ledger.read(file) == one
    assert [path.name for path in file.parent.iterdir()] == ["l.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": "scumble ledger 2"}', '{"format": "other"}', "\xff"],
)
def test_a_foreign_ledger_is_an_empty_one(tmp_path: Path, text: str) -> None:
    picture(tmp_path, "a.png")
    first = seen(tmp_path)
    assert first.ledger is not None
    first.ledger.write_text(text, "latin-1")
    assert seen(tmp_path) == first


def test_a_ledger_whose_numbers_are_none_is_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    ledger.write(file, Ledger({"a.png": Row(1, 2, 3, 4)}, {}))
    told = json.loads(file.read_text())
    for wrong in ([None], ["3"], [3.5], [True]):
        told["pictures"]["width"] = wrong
        file.write_text(json.dumps(told))
        assert ledger.read(file) == Ledger()


def test_a_torn_ledger_is_an_empty_one(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    first = seen(tmp_path)
    assert first.ledger is not None
    whole = first.ledger.read_bytes()
    for end in range(0, len(whole), 7):
        first.ledger.write_bytes(whole[:end])
        assert ledger.read(first.ledger) == Ledger()


def test_collections_have_ledgers_of_their_own() -> None:
    table = TableSource(kind="table", file="t.csv")
    other = table.model_copy(update={"image_column": "before"})
    places = [
        ledger.at(Path("c"), Where(id=id, folder="x"), root) for id in "ab" for root in ("/x", "/y")
    ]
    places += [ledger.at(Path("c"), Where(id="a", source=one), "/x") for one in (table, other)]
    places.append(ledger.at(Path("c"), Where(id="a", folder="x"), "/x", "0/2"))
    assert len(set(places)) == len(places)


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    gone = picture(tmp_path, "b.png")
    assert list(kept(tmp_path).pictures) == ["a.png", "b.png"]
    gone.unlink()
    assert list(kept(tmp_path).pictures) == ["a.png"]
    assert list(kept(tmp_path).texts) == ["a.png"]


def test_a_text_that_is_gone_is_no_caption_any_more(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    assert seen(tmp_path).texts["a.png"].content == "a cat"
    path.with_suffix(".txt").unlink()
    assert seen(tmp_path).texts == {}


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path, name)
    first = seen(tmp_path)
    assert first.ledger is not None
    book = ledger.read(first.ledger)
    marked = {id: row._replace(width=7) for id, row in book.pictures.items()}
    ledger.write(first.ledger, Ledger(marked, book.texts))
    (tmp_path / "pictures" / "b.txt").write_text("two cats")
    again = seen(tmp_path)
    assert [image.width for image in again.images] == [7, 7]
    assert again.texts["b.png"].content == "two cats"
    os.utime(tmp_path / "pictures" / "b.png", ns=(0, 1))
    assert [image.width for image in seen(tmp_path).images] == [7, 64]


def test_problems_of_another_pillow_are_forgotten(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    picture(tmp_path, "e.png").write_text("not a picture")
    book, file = kept(tmp_path), seen(tmp_path).ledger
    assert book.pictures["e.png"].problem == images.FOREIGN and file is not None
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pillow": "0.1"}))
    assert list(ledger.read(file).pictures) == ["a.png"]


def test_a_problem_in_the_words_of_another_release_is_looked_at_again(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    book, file = kept(tmp_path), seen(tmp_path).ledger
    assert file is not None
    told = {id: row._replace(problem="has measles") for id, row in book.pictures.items()}
    ledger.write(file, Ledger(told, book.texts))
    assert len(seen(tmp_path).images) == 1


def test_a_hash_is_that_of_the_bytes_and_kept(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    first = seen(tmp_path)
    assert hashed(first.ledger, first.images, read=False) == {"a.png": None}
    expected = {"a.png": blake2b(path.read_bytes(), digest_size=16).hexdigest()}
    assert hashed(first.ledger, first.images, read=True) == expected
    path.with_suffix(".txt").unlink()
    (image,) = seen(tmp_path).images
    assert image.source == expected["a.png"]
    path.unlink()
    assert hashed(first.ledger, first.images, read=True) == expected
    assert hashed(None, [image], read=False) == expected


def test_hashes_survive_a_scan_in_which_other_files_changed(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    first = seen(tmp_path)
    hashed(first.ledger, first.images, read=True)
    picture(tmp_path, "b.png")
    assert [image.source is None for image in seen(tmp_path).images] == [False, True]


def test_a_hash_of_other_bytes_does_not_count(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    found = seen(tmp_path).images
    stale = Ledger({"a.png": Row(1, 2, 3, 4, source="ab")})
    assert hashes(stale, found) == hashes(Ledger(), found)


def test_a_file_that_changes_between_scan_and_hash_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    found = seen(tmp_path).images
    os.utime(path, ns=(0, 1))
    with pytest.raises(FileError, match="has changed since it was looked at"):
        hashes(Ledger(), found)
    path.unlink()
    with pytest.raises(FileError, match="cannot be read"):
        hashes(Ledger(), found)


def test_what_was_hashed_before_a_failure_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scumble.data.overlapped.PROBE", 1)
    picture(tmp_path, "a.png")
    picture(tmp_path, "b.png")
    first = seen(tmp_path)
    (tmp_path / "pictures" / "b.png").unlink()
    with pytest.raises(FileError):
        hashed(first.ledger, first.images, read=True)
    assert first.ledger is not None
    assert ledger.read(first.ledger).pictures["a.png"].source is not None


def test_bytes_that_are_no_file_are_hashed_and_those_vouched_for_are_not_read() -> None:
    def image(id: str, data: bytes | None, source: str | None) -> Image:
        def lend() -> BinaryIO:
            assert data is not None, "nobody reads what is vouched for"
            return Memory(id, data)

        return Image(
            id=id, file=Lent(id, lend), size_bytes=3, mtime_ns=1, width=1, height=1, source=source
        )

    found = hashed(None, [image("a", b"abc", None), image("b", None, "ff" * 16)], read=True)
    assert found == {"a": blake2b(b"abc", digest_size=16).hexdigest(), "b": "ff" * 16}


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_things_keep_their_order_whether_work_waits_or_not(seconds: float) -> None:
    threads = set()

    def work(some: Sequence[int]) -> list[int]:
        threads.add(threading.get_ident())
        time.sleep(seconds)
        return list(some)

    things = list(range(1100))
    with closing(overlapped(work, things)) as made:
        assert [one for some in made for one in some] == things
    assert len(threads) > 1 or seconds == 0  # a busy machine lets any work wait


@pytest.mark.parametrize(
    ("clock", "busy", "threads"), [(1.0, 1.0, 1), (4.0, 1.0, 1), (4.1, 1.0, 5), (99.0, 1.0, 16)]
)
def test_threads_pay_only_for_work_that_waits(clock: float, busy: float, threads: int) -> None:
    assert worthwhile(clock, busy) == threads


def test_work_that_is_broken_off_is_not_done_to_the_end() -> None:
    done = []

    def work(some: Sequence[int]) -> int:
        time.sleep(0.01)
        done.append(some)
        return some[0]

    with closing(overlapped(work, range(100_000))) as made:
        assert [next(made), next(made)] == [0, 16]
    assert len(done) < 50


def test_what_was_read_before_a_scan_is_broken_off_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        picture(tmp_path, f"{number:02d}.png")
    really = images.header

    def interrupted(file: File) -> images.Header:
        if str(file).endswith("30.png"):
            raise KeyboardInterrupt
        return really(file)

    monkeypatch.setattr(images, "header", interrupted)
    with pytest.raises(KeyboardInterrupt):
        seen(tmp_path)
    monkeypatch.undo()
    (file,) = (tmp_path / "cache" / "ledgers").iterdir()
    assert list(ledger.read(file).pictures) == [f"{number:02d}.png" for number in range(16)]
    assert len(seen(tmp_path).images) == 40
