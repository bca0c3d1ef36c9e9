"""What lies in folders and tables against all expectation: told, never taken, never waited for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from scumble.data.captions.reading import named
from scumble.data.expand import expanded
from scumble.data.images import CLOSED
from scumble.data.scan import Scan, scanned
from scumble.data.sources import folder, packed, stream
from scumble.data.sources.record import opened
from scumble.data.telling import noted
from scumble.errors import FileError
from scumble.spec.dataset import DatasetSpec
from scumble.spec.sources import TableSource
from tests.data.sources_toys import parquet, picture, put


def looked_at(file: Path, cache: Path) -> Scan:
    source = TableSource(kind="table", file=str(file))
    return scanned(DatasetSpec(id="odd", source=source), Path(), cache)


def captions(scan: Scan) -> list[tuple[str, ...]]:
    return [one.target.captions for one in scan.examples]


def lines(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_link_to_itself_is_a_picture_that_cannot_be_opened(tmp_path: Path) -> None:
    put(tmp_path)
    for name in ("round.png", "round"):
        (tmp_path / name).symlink_to(name)
    assert "round.png" in [one.id for one in folder.found(tmp_path)]
    scan = scanned(DatasetSpec(id="odd", folder=str(tmp_path), prompt="x"), Path(), None)
    assert [one.id for one in scan.bad if one.reason == CLOSED] == ["round.png"]


def test_what_lies_deeper_than_numbered_folders_is_told_and_links_to_nowhere_are_no_harm(
    tmp_path: Path,
) -> None:
    put(tmp_path / "10_cat")
    (tmp_path / "5_round").symlink_to("5_round")
    spec = DatasetSpec(id="odd", folder=str(tmp_path), repeats_in_names=True)
    sets, notes = expanded(spec, Path())
    assert [one.id for one in sets] == ["odd.10_cat"]
    assert notes == ("folders within these are left out: 10_cat/sub",)


def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OSError, match="is no file"):
        opened(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ([{"en": "a cat"}], "named parts"),
        ("half \ud800", "half a sign"),
        (["fine", ["half \udfff"]], "half a sign"),
    ],
)
def test_what_is_no_text_is_not_taught_as_python_writes_it(
    cell: object, said: str, tmp_path: Path
) -> None:
    put(tmp_path)
    rows = ({"image": "b.jpg", "caption": "x"}, {"image": "a.png", "caption": cell})
    with pytest.raises(FileError, match=f"data.odd.source: row 2: .*{said}"):
        looked_at(lines(tmp_path / "t.jsonl", *rows), tmp_path / "cache")


def test_bytes_are_texts_where_they_are_utf_8(tmp_path: Path) -> None:
    put(tmp_path)
    good = parquet(tmp_path / "t.parquet", image=["a.png"], caption=["dr\u00e9i".encode()])
    assert captions(looked_at(good, tmp_path / "cache")) == [("dr\u00e9i",)]
    bad = parquet(tmp_path / "u.parquet", image=["a.png"], caption=[b"caf\xe9"])
    with pytest.raises(FileError, match="not UTF-8"):
        looked_at(bad, tmp_path / "cache")


def test_categories_are_texts_or_pictures(tmp_path: Path) -> None:
    put(tmp_path)
    words = pa.array(["one", "two", "one"]).dictionary_encode()
    names = pa.array(["a.png", "b.jpg", "c.webp"]).dictionary_encode()
    table = parquet(tmp_path / "t.parquet", image=names, caption=words)
    assert captions(looked_at(table, tmp_path / "cache")) == [("one",), ("two",), ("one",)]
    held = pa.array([picture(), picture(9, 9)]).dictionary_encode()
    table = parquet(tmp_path / "u.parquet", image=held, caption=["x", "y"])
    assert captions(looked_at(table, tmp_path / "cache")) == [("x",), ("y",)]


@pytest.mark.parametrize("left", [0, 1000])
def test_an_unpacked_table_that_is_torn_is_unpacked_again(left: int, tmp_path: Path) -> None:
    table = parquet(tmp_path / "t.parquet", image=[picture(), picture(9, 9)], caption=["x", "y"])
    before = looked_at(table, tmp_path / "cache")
    (spool,) = (tmp_path / "cache" / "spool").glob("*.arrow")
    content = spool.read_bytes()
    spool.unlink()
    spool.write_bytes(content[:left])
    packed._mapped.cache_clear()
    assert looked_at(table, tmp_path / "cache").funnel == before.funnel
    assert spool.stat().st_size == len(content)


def test_json_without_end_and_addresses_without_meaning_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("[" * 100_000)
    with pytest.raises(FileError, match="line 1 is not JSON"):
        looked_at(tmp_path / "t.jsonl", tmp_path / "cache")
    odd = lines(tmp_path / "u.jsonl", {"image": "http://127.0.0.1:9/\ud800.png", "caption": "x"})
    (bad,) = looked_at(odd, tmp_path / "cache").bad
    assert "cannot be fetched" in bad.reason


def test_a_name_of_unknown_encoding_is_no_caption_and_can_be_shown() -> None:
    assert named(os.fsdecode(b"caf\xe9 noir.png")) == ""
    assert noted([os.fsdecode(b"caf\xe9\x1b[2J.png")], "is odd").endswith(r": caf\udce9\x1b[2J.png")


@pytest.mark.parametrize("content", ["", "\n", "[]\n", "{}\n", '{"version": "1"}\n{}\n'])
def test_a_journal_of_another_make_counts_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / stream.JOURNAL).write_text(content)
    assert stream._journal(tmp_path).rows == ()
