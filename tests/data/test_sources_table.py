"""Tables: what their cells may be, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scumble.data.sources import downloads, retry
from scumble.data.sources.listing import listed
from scumble.data.sources.record import Where
from scumble.errors import FileError, JobError
from scumble.spec.sources import TableSource
from tests.data.sources_toys import (
    PICTURES,
    content,
    csv_of,
    held,
    ids,
    json_of,
    parquet,
    picture,
    put,
    table,
    texts,
    web,
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAITS", (0.0, 0.0))


def test_paths_need_no_ending(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "v1.2.png").write_bytes(PICTURES["a.png"])
    csv_of(tmp_path / "t.csv", [("a", "1"), ("./sub/d", "2"), ("v1.2", "3"), ("sub\\d", "4")])
    listing = table(tmp_path, "t.csv")
    assert ids(listing) == ["a.png", "sub/d.png", "v1.2.png"]
    assert texts(listing) == [("1",), ("2", "4"), ("3",)]


def test_a_name_that_fits_several_pictures_is_told_with_them(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "a.jpg").write_bytes(PICTURES["b.jpg"])
    csv_of(tmp_path / "t.csv", [("a", ""), ("b.jpg", "")])
    listing = table(tmp_path, "t.csv")
    assert ids(listing) == ["b.jpg"]
    assert listing.absent == (("a", "could be any of a.jpg, a.png"),)


def test_rows_that_lead_nowhere_are_told_each_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path)
    for name in ("x.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    cells = ["A.PNG", "gone.png", "sub", "", "notes.txt", "x.heic", "file:///etc/passwd", "a.png"]
    csv_of(tmp_path / "t.csv", [(cell, "said") for cell in cells])
    listing = table(tmp_path, "t.csv")
    assert ids(listing) == ["a.png"]
    assert listing.unsupported == {".heic": 1}
    assert listing.absent == (
        ("A.PNG", "is not there, but a.png is"),
        ("gone.png", "is not there"),
        ("sub", "is not there"),
        ("row 4", "names no picture"),
        ("notes.txt", "is no picture by its ending"),
        ("file:///etc/passwd", "is no address that begins with http:// or https://"),
    )


def test_the_same_picture_twice_is_one_record_with_both_texts(tmp_path: Path) -> None:
    put(tmp_path)
    rows = [("a.png", "one"), ("b.jpg", "two"), ("a.png", "three"), ("a", "one")]
    csv_of(tmp_path / "t.csv", rows)
    assert texts(table(tmp_path, "t.csv")) == [("one", "three"), ("two",)]


def test_ids_never_lead_out_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere")
    put(tmp_path / "job" / "in")
    rows = [("../elsewhere/a.png", ""), (str(tmp_path / "job" / "in" / "b.jpg"), ""), ("in/a", "")]
    csv_of(tmp_path / "job" / "t.csv", rows)
    found = table(tmp_path, "job/t.csv").pictures
    assert [one.id for one in found][1:] == [
        "in/b.jpg",
        (tmp_path / "elsewhere/a.png").as_posix()[1:],
    ]
    assert all(".." not in one.id and not one.id.startswith("/") for one in found)


def test_a_text_beside_is_told_for_tables_too(tmp_path: Path) -> None:
    put(tmp_path, texts=True)
    csv_of(tmp_path / "t.csv", [("a.png", "")])
    where = Where(id="cat", source=TableSource(kind="table", file="t.csv"), text_ending=".txt")
    (one,) = listed(where, tmp_path, None).pictures
    assert one.beside is not None
    assert one.beside.file == tmp_path / "a.txt"


def test_several_columns_are_alternatives_and_empty_cells_none(tmp_path: Path) -> None:
    put(tmp_path)
    rows = [
        {"image": "a.png", "long": "a long one", "short": ["s", "t", "s", ""], "other": "o"},
        {"image": "b.jpg", "long": None, "short": [], "other": "o"},
        {"image": "c.webp", "long": "  ", "other": 7},
        {"image": "sub/d.png", "short": "only"},
    ]
    json_of(tmp_path / "t.jsonl", rows)
    chosen = {"caption_column": ["long", "short"], "fallback_caption_column": "other"}
    said = texts(table(tmp_path, "t.jsonl", **chosen))
    assert said == [("a long one", "s", "t"), ("o",), ("7",), ("only",)]


def test_dots_lead_into_nested_columns(tmp_path: Path) -> None:
    put(tmp_path)
    rows = [{"edit": {"file": "a.png"}, "description": {"description_0": "said"}, "a.b": "dot"}]
    json_of(tmp_path / "t.jsonl", rows)
    one = table(
        tmp_path, "t.jsonl", image_column="edit.file", caption_column="description.description_0"
    )
    assert (ids(one), texts(one)) == (["a.png"], [("said",)])
    assert texts(table(tmp_path, "t.jsonl", image_column="edit.file")) == [None]
    assert texts(table(tmp_path, "t.jsonl", image_column="edit.file", caption_column="a.b")) == [
        ("dot",)
    ]
    with pytest.raises(JobError, match=r"others within; write one of them: description.desc"):
        table(tmp_path, "t.jsonl", image_column="edit.file", caption_column="description")


def test_the_first_known_column_of_captions_is_taken_or_none(tmp_path: Path) -> None:
    put(tmp_path)
    json_of(tmp_path / "t.jsonl", [{"image": "a.png", "description": "d", "text": "t"}])
    assert texts(table(tmp_path, "t.jsonl")) == [("t",)]
    json_of(tmp_path / "u.jsonl", [{"image": "a.png", "said": "d"}])
    assert texts(table(tmp_path, "u.jsonl")) == [None]
    assert texts(table(tmp_path, "u.jsonl", fallback_caption_column="said")) == [("d",)]


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    put(tmp_path)
    csv_of(tmp_path / "t.csv", [("a.png", "")])
    meant = r"data.cat.source.image_column: there is no column 'imgae'; did you mean 'image'\?"
    with pytest.raises(JobError, match=rf"{meant} there are: image, caption"):
        table(tmp_path, "t.csv", image_column="imgae")
    with pytest.raises(JobError, match="caption_column: there is no column 'x'; there are: image"):
        table(tmp_path, "t.csv", caption_column="x")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "has no rows"),
        (b"image,caption\n", "has no rows"),
        (b"\n\n", "has no rows"),
        (b"image,caption\na.png,a cat, asleep\n", r"1 line has more cells than the first \(line 2"),
        (b'image,caption\na.png,"a cat\nb.jpg,x\n', "row that begins in line 2 cannot be read"),
        (b'image,caption\na.png,"a" cat\n', "row that begins in line 2 cannot be read"),
        (b"image,caption\nb.jpg,x\na.png,\xe9t\xe9\n", r"is not UTF-8 text \(line 3\); save it"),
        ("image,caption\n".encode("utf-16"), "is not UTF-8"),
        ("image,caption\na.png,x\n".encode("utf-16-le"), r"is not UTF-8 text \(line 1\)"),
        (b"a.png,a cat\nb.jpg,x\n", "names no columns, but a picture: a.png; begin it"),
        (b"image;caption\na.png;x\n", "its first line is one cell.*separate cells by commas"),
        (b"image,image\na.png,x\n", "two columns are named 'image'"),
    ],
)
def test_a_broken_table_is_told_by_its_line(written: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(written)
    with pytest.raises(FileError, match=f"t.csv: .*{said}"):
        table(tmp_path, "t.csv")


def test_marks_of_byte_order_blank_lines_short_rows_and_line_ends_are_no_harm(
    tmp_path: Path,
) -> None:
    put(tmp_path)
    rows = b'\xef\xbb\xbfimage, caption\r\na.png,"two\r\nlines, here"\r\n\r\n,\r\nb.jpg\r\n'
    (tmp_path / "t.csv").write_bytes(rows)
    listing = table(tmp_path, "t.csv")
    assert ids(listing) == ["a.png", "b.jpg"]
    assert texts(listing) == [("two\r\nlines, here",), ()]


def test_broken_json_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a.png"}\n\n{"image": \n')
    with pytest.raises(FileError, match="line 3 is not JSON"):
        table(tmp_path, "t.jsonl")
    (tmp_path / "t.jsonl").write_text('["a.png"]\n')
    with pytest.raises(FileError, match="line 1 is JSON, but not an object"):
        table(tmp_path, "t.jsonl")


def test_a_table_that_is_not_there_or_of_another_kind_is_told(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(FileError, match=f"{name}: there is no such file"):
            table(tmp_path, name)
    with pytest.raises(JobError, match=r"'t.xlsx' are not read; write one of .csv, .tsv"):
        table(tmp_path, "t.xlsx")
    csv_of(tmp_path / "t.csv", [("a.png", "")])
    with pytest.raises(
        JobError, match=r"data.cat.source.folder: there is no such folder: .*nowhere"
    ):
        table(tmp_path, "t.csv", folder="nowhere")


def test_bytes_in_a_table_are_unpacked_once_and_named_by_their_rows(tmp_path: Path) -> None:
    images = [*PICTURES.values(), None]
    file = parquet(tmp_path / "t.parquet", image=images, text=list("abcde"))
    listing = table(tmp_path, "t.parquet")
    assert ids(listing) == ["000000.png", "000001.jpg", "000002.webp", "000003.png"]
    assert listing.absent == (("row 5", "names no picture"),)
    assert [content(one) for one in listing.pictures] == list(PICTURES.values())
    (unpacked,) = (tmp_path / "cache" / "spool").iterdir()
    before = unpacked.stat().st_mtime_ns
    assert table(tmp_path, "t.parquet") == listing
    assert unpacked.stat().st_mtime_ns == before
    file.unlink()
    parquet(file, image=[picture(shade=9), *images[1:]], text=list("abcde"))
    again = table(tmp_path, "t.parquet")
    changed = [a.source != b.source for a, b in zip(listing.pictures, again.pictures, strict=True)]
    assert changed == [True, False, False, False]


def test_a_table_may_hold_some_pictures_and_name_others(tmp_path: Path) -> None:
    put(tmp_path)
    rows = [*held(["a.png"]), {"bytes": None, "path": "b.jpg"}, {"bytes": None, "path": None}]
    parquet(tmp_path / "t.parquet", pair=[{"before": one, "said": "x"} for one in rows])
    listing = table(tmp_path, "t.parquet", image_column="pair.before", caption_column="pair.said")
    assert ids(listing) == ["000000.png", "000001.jpg"]
    assert texts(listing) == [("x",), ("x",)]
    assert [content(one) for one in listing.pictures] == [PICTURES["a.png"], PICTURES["b.jpg"]]
    assert len(listing.absent) == 1


def test_what_must_be_kept_needs_a_cache(tmp_path: Path) -> None:
    parquet(tmp_path / "t.parquet", image=list(PICTURES.values()))
    csv_of(tmp_path / "t.csv", [("http://127.0.0.1:9/a.png", "")])
    for name in ("t.parquet", "t.csv"):
        where = Where(id="cat", source=TableSource(kind="table", file=name))
        with pytest.raises(JobError, match="there is no cache to keep them in"):
            listed(where, tmp_path, None)


def test_a_column_that_holds_no_pictures_and_a_broken_file_are_told(tmp_path: Path) -> None:
    parquet(tmp_path / "t.parquet", image=[1, 2])
    with pytest.raises(JobError, match="image_column: the column holds int64, not pictures"):
        table(tmp_path, "t.parquet")
    file = parquet(tmp_path / "u.parquet", image=list(PICTURES.values()))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(FileError, match=r"u.parquet: cannot be read as Parquet"):
        table(tmp_path, "u.parquet")


def test_a_table_that_breaks_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    file = parquet(tmp_path / "t.parquet", image=list(PICTURES.values()))
    whole = bytearray(file.read_bytes())
    whole[4:60] = b"\xff" * 56
    file.write_bytes(whole)
    with pytest.raises(FileError, match="cannot be read as Parquet"):
        table(tmp_path, "t.parquet")
    assert list((tmp_path / "cache" / "spool").iterdir()) == []


def test_addresses_are_fetched_once(tmp_path: Path) -> None:
    with web() as (address, asked):
        rows = [(f"{address}/a.png?size=1", "1"), (f"{address}/sub/d.png", "2")]
        csv_of(tmp_path / "t.csv", [*rows, (f"{address}/a.png?size=1", "3")])
        listing = table(tmp_path, "t.csv")
        assert ids(listing) == ["a.png", "d.png"]
        assert texts(listing) == [("1", "3"), ("2",)]
        assert len(asked) == 2
        assert table(tmp_path, "t.csv") == listing
        assert len(asked) == 2
    assert table(tmp_path, "t.csv") == listing  # the server is gone


def test_addresses_with_one_file_name_are_named_by_their_rows(tmp_path: Path) -> None:
    with web() as (address, _):
        rows = [(f"{address}/a.png?{n}", "") for n in range(2)]
        csv_of(tmp_path / "t.csv", [*rows, (f"{address}/c.webp", "")])
        assert ids(table(tmp_path, "t.csv")) == ["000000.png", "000001.png", "c.webp"]


def test_addresses_that_give_no_picture_are_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "LIMIT_BYTES", 200)
    with web() as (address, asked):
        names = ["gone.png", "page.png", "cut.png", "chunk.png", "away.png", "busy.png", "b.jpg"]
        csv_of(tmp_path / "t.csv", [(f"{address}/{name}", "") for name in names])
        listing = table(tmp_path, "t.csv")
    assert ids(listing) == ["busy.png"]
    reasons = dict(listing.absent)
    assert reasons[f"{address}/gone.png"] == "cannot be fetched (404 Not Found)"
    assert reasons[f"{address}/page.png"] == "is no picture (text/html)"
    assert "broke off after 20 of" in reasons[f"{address}/cut.png"]
    assert "broke off" in reasons[f"{address}/chunk.png"]
    assert asked.count("/chunk.png") == 3
    assert "file" in reasons[f"{address}/away.png"]
    assert reasons[f"{address}/b.jpg"] == "is larger than 0 MB"
    assert (asked.count("/busy.png"), asked.count("/cut.png"), asked.count("/gone.png")) == (
        3,
        3,
        1,
    )
    assert len(list((tmp_path / "cache" / "downloads").iterdir())) == 1


def test_when_no_address_answers_it_is_said_once(tmp_path: Path) -> None:
    rows = [(f"http://127.0.0.1:9/{number}.png", "") for number in range(40)]
    csv_of(tmp_path / "t.csv", rows)
    with pytest.raises(FileError, match=r"none of its 40 addresses answers.*start again"):
        table(tmp_path, "t.csv")


def test_odd_addresses_are_told_and_harm_nothing(tmp_path: Path) -> None:
    put(tmp_path)
    odd = ["http://[bad/a.png", "http://", "ftp://127.0.0.1/a.png", "data:image/png;base64,xx"]
    csv_of(tmp_path / "t.csv", [(one, "") for one in [*odd, "a.png"]])
    listing = table(tmp_path, "t.csv")
    assert ids(listing) == ["a.png"]
    assert [cell for cell, _ in listing.absent] == odd
