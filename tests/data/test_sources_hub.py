"""Datasets as the hub has them, in local folders: no test asks the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from scumble.data.sources import builder, stream
from scumble.data.sources.listing import listed
from scumble.data.sources.record import Found, Where
from scumble.disk import claimed
from scumble.errors import DiskError, FileError, JobError
from scumble.spec.sources import HubSource
from tests.data.sources_toys import (
    PICTURES,
    content,
    csv_of,
    held,
    hub,
    ids,
    parquet,
    picture,
    put,
    texts,
)


def decoded(one: Found) -> Image.Image:
    with Image.open(BytesIO(content(one))) as opened:
        return opened.copy()


def side_by_side(kind: str = "PNG", **settings: object) -> bytes:
    """Two pictures of 5 x 6 in one, black and white, and a column that belongs to none."""
    both = Image.new("RGB", (11, 6))
    both.paste((255, 255, 255), (5, 0, 10, 6))
    written = BytesIO()
    both.save(written, kind, **settings)
    return written.getvalue()


def test_nested_columns_of_one_dataset_pair_by_their_rows(tmp_path: Path) -> None:
    rows = held()
    said = [{"description_0": str(number), "other": "x"} for number in range(4)]
    edits = [{"before": rows[n], "after": rows[n - 1]} for n in range(4)]
    parquet(tmp_path / "set" / "train.parquet", edit=edits, description=said)
    before = hub(tmp_path, image_column="edit.before")
    after = hub(tmp_path, image_column="edit.after", caption_column="description.description_0")
    stems = [one.split(".")[0] for one in ids(before)]
    assert stems == ["000000", "000001", "000002", "000003"]
    assert stems == [one.split(".")[0] for one in ids(after)]
    assert texts(before) == [None] * 4
    assert texts(after) == [("0",), ("1",), ("2",), ("3",)]
    assert [content(one) for one in after.pictures] == [
        content(before.pictures[n - 1]) for n in range(4)
    ]


def test_bytes_are_never_decoded(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = [{"bytes": b"no picture at all", "path": "x.png"}, *held(["a.png"])]
    made = datasets.Dataset.from_dict({"image": rows, "text": ["a", "b"]}, features=features)
    (tmp_path / "set").mkdir()
    made.to_parquet(tmp_path / "set" / "train.parquet")
    for streaming in (False, True):
        first, second = hub(tmp_path, streaming=streaming).pictures
        assert content(first) == b"no picture at all"
        assert content(second) == PICTURES["a.png"]


def test_rows_and_splits_are_those_asked_for(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train.parquet", image=held())
    parquet(tmp_path / "set" / "test.parquet", image=held(["b.jpg"]))
    assert len(hub(tmp_path, rows=3).pictures) == 3
    assert len(hub(tmp_path, rows=30).pictures) == 4
    assert ids(hub(tmp_path, split="test")) == ["000000.jpg"]
    assert len(hub(tmp_path, split="train[:2]").pictures) == 2
    with pytest.raises(JobError, match=r"source.split: .*'tset'; there are: train, test"):
        hub(tmp_path, split="tset")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("streaming", [False, True])
def test_parts_of_pictures_that_stand_side_by_side(
    tmp_path: Path, kind: str, streaming: bool
) -> None:
    rows = [{"bytes": side_by_side(kind), "path": None}] * 2
    parquet(tmp_path / "set" / "train.parquet", image=rows)
    left = hub(tmp_path, slices=2, streaming=streaming)
    right = hub(tmp_path, slices=2, slice=1, streaming=streaming)
    assert ids(left) == ids(right) == ["000000.png", "000001.png"]
    for side, shade in ((left, 0), (right, 255)):
        one = decoded(side.pictures[0])
        assert one.size == (5, 6)
        assert one.convert("L").getpixel((2, 3)) == pytest.approx(shade, abs=3)
    assert content(left.pictures[0]) == content(left.pictures[0])
    assert left.pictures[0].mtime_ns != right.pictures[0].mtime_ns
    if streaming:
        sources = [side.pictures[0].source for side in (left, right, hub(tmp_path, streaming=True))]
        assert None not in sources
        assert len(set(sources)) == 3


def test_parts_are_cut_from_the_upright_picture(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = Image.open(BytesIO(side_by_side())).transpose(Image.Transpose.ROTATE_90)
    written = BytesIO()
    wide.save(written, "PNG", exif=turned)
    parquet(tmp_path / "set" / "train.parquet", image=[{"bytes": written.getvalue(), "path": ""}])
    (right,) = hub(tmp_path, slices=2, slice=1).pictures
    assert decoded(right).size == (5, 6)
    assert decoded(right).getpixel((2, 3)) == (255, 255, 255)


def test_too_many_parts_are_told_when_one_is_opened(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train.parquet", image=held(["a.png"]))
    (one,) = hub(tmp_path, slices=9).pictures
    with pytest.raises(OSError, match="too narrow for 9 parts"):
        content(one)


def test_rows_without_a_picture_are_told(tmp_path: Path) -> None:
    rows = [*held(["a.png"]), None, {"bytes": None, "path": "gone.png"}]
    for streaming in (False, True):
        parquet(tmp_path / "set" / "train.parquet", image=rows)
        listing = hub(tmp_path, streaming=streaming)
        assert ids(listing) == ["000000.png"]
        absent = (("row 2", "names no picture"), ("gone.png", "is not there"))
        assert listing.absent == absent


def test_columns_that_are_not_there_are_told(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train.parquet", picture=held(), captions=list("abcd"))
    for streaming in (False, True):
        with pytest.raises(JobError, match=r"image_column: .*'image'; there are: picture, capt"):
            hub(tmp_path, streaming=streaming)
        with pytest.raises(JobError, match=r"caption_column: .*did you mean 'captions'\?"):
            hub(tmp_path, image_column="picture", caption_column="caption", streaming=streaming)


def test_a_saved_dataset_is_read_as_it_is(tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict({"image": held(), "text": list("abcd")})
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "set")
    assert texts(hub(tmp_path, "one")) == texts(hub(tmp_path)) == [(c,) for c in "abcd"]
    with pytest.raises(JobError, match="there is no split 'test'; there are: train"):
        hub(tmp_path, split="test")


def test_what_cannot_be_a_dataset_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="dataset empty: cannot be loaded"):
        hub(tmp_path, "empty")
    with pytest.raises(JobError, match=r"source.dataset: there is no such folder: .*/nowhere"):
        hub(tmp_path, "./nowhere")
    csv_of(tmp_path / "set" / "train.csv", [("a.png", "")])
    with pytest.raises(JobError, match=r"source.config: .*'other' not found"):
        hub(tmp_path, config="other")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(FileError, match="dataset broken: cannot be loaded"):
        hub(tmp_path, "broken")


def test_pictures_that_a_dataset_names_are_found(tmp_path: Path) -> None:
    put(tmp_path / "pictures")
    rows = [str(tmp_path / "pictures" / "a.png"), "../pictures/sub/d", "gone.png"]
    parquet(tmp_path / "set" / "train.parquet", path=rows)
    for streaming in (False, True):
        listing = hub(tmp_path, image_column="path", streaming=streaming)
        assert ids(listing) == ["000000.png", "000001.png"]
        assert content(listing.pictures[1]) == PICTURES["sub/d.png"]
        assert listing.absent == (("gone.png", "is not there"),)


def many(tmp_path: Path, count: int, shade: int = 0) -> None:
    rows = [{"bytes": picture(shade=shade, width=n + 1), "path": None} for n in range(count)]
    parquet(tmp_path / "set" / "train.parquet", image=rows, text=[str(n) for n in range(count)])


def spool(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "cache" / "spool").iterdir()
    return folder


def test_a_stream_that_breaks_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path, 23)
    monkeypatch.setattr(stream, "STATE_ROWS", 4)
    read: Counter[int] = Counter()
    keep = stream._kept

    def failing(number: int, *rest: Any) -> stream.Kept:
        read[number] += 1
        if number == 14 and read[14] == 1:
            raise ConnectionError("the line is dead")
        return keep(number, *rest)

    monkeypatch.setattr(stream, "_kept", failing)
    with pytest.raises(FileError, match=r"dataset set: the hub cannot be reached.*line is dead"):
        hub(tmp_path, streaming=True)
    assert not (spool(tmp_path) / "index.json").exists()
    listing = hub(tmp_path, streaming=True)
    assert texts(listing) == [(str(n),) for n in range(23)]
    assert [decoded(one).width for one in listing.pictures] == list(range(1, 24))
    assert read == {n: 2 if n == 14 else 1 for n in range(23)}
    assert hub(tmp_path, streaming=True) == listing
    assert sum(read.values()) == 24


def test_a_torn_journal_and_lost_files_are_made_good(tmp_path: Path) -> None:
    many(tmp_path, 6)
    before = hub(tmp_path, streaming=True)
    folder = spool(tmp_path)
    journal = folder / "rows.jsonl"
    journal.write_text(journal.read_text()[:-9])
    (folder / "000003.png").write_bytes(b"")
    after = hub(tmp_path, streaming=True)
    assert [content(one) for one in after.pictures] == [content(one) for one in before.pictures]
    assert [one.source for one in after.pictures] == [one.source for one in before.pictures]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_stream_takes_no_more_rows_than_asked_for_and_more_later(tmp_path: Path) -> None:
    many(tmp_path, 9)
    assert len(hub(tmp_path, streaming=True, rows=3).pictures) == 3
    folder = spool(tmp_path)
    assert len(list(folder.glob("*.png"))) == 3
    assert len(hub(tmp_path, streaming=True, rows=5).pictures) == 5
    assert len(hub(tmp_path, streaming=True, rows=2).pictures) == 2
    assert len(list(folder.glob("*.png"))) == 5
    assert len(hub(tmp_path, streaming=True).pictures) == 9
    assert json.loads((folder / "index.json").read_text()) == {"rows": 9, "ended": True}


def test_a_changed_dataset_is_streamed_anew(tmp_path: Path) -> None:
    many(tmp_path, 5)
    before = hub(tmp_path, streaming=True)
    many(tmp_path, 4, shade=200)
    after = hub(tmp_path, streaming=True)
    assert len(after.pictures) == 4
    assert {one.source for one in before.pictures}.isdisjoint(one.source for one in after.pictures)
    assert len(list(spool(tmp_path).glob("*.png"))) == 4


def test_a_whole_stream_may_be_read_by_several(tmp_path: Path) -> None:
    many(tmp_path, 5)
    before = hub(tmp_path, streaming=True, rows=4)
    with claimed(spool(tmp_path)):
        assert hub(tmp_path, streaming=True, rows=4) == before
        with pytest.raises(DiskError, match="is at work"):
            hub(tmp_path, streaming=True)


def test_a_whole_stream_is_used_when_the_hub_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path, 5)
    before = hub(tmp_path, streaming=True, rows=4)

    def lost(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset_builder", lost)
    assert hub(tmp_path, streaming=True, rows=4) == before
    with pytest.raises(FileError, match=r"the hub cannot be reached .no route"):
        hub(tmp_path, streaming=True, rows=5)
    with pytest.raises(FileError, match="the hub cannot be reached"):
        hub(tmp_path)


def test_streaming_needs_a_cache(tmp_path: Path) -> None:
    many(tmp_path, 2)
    source = HubSource(kind="hub", dataset="set", streaming=True)
    with pytest.raises(JobError, match=r"streaming: .*there is none; set `cache.folder`"):
        listed(Where(id="cat", source=source), tmp_path, None)


def test_rows_of_the_hub_are_vouched_for_by_their_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path, 3)
    local = hub(tmp_path)
    made = builder.dataset(
        builder.Asked(
            place="data.cat.source",
            source=HubSource(kind="hub", dataset="set"),
            base=tmp_path,
            cache=tmp_path / "cache",
        )
    )
    monkeypatch.setattr(builder, "dataset", lambda asked: made)
    remote = hub(tmp_path, "someone/set")
    assert [one.source for one in local.pictures] == [None] * 3
    assert len({one.source for one in remote.pictures}) == 3
    assert hub(tmp_path, "someone/set", rows=2).pictures == remote.pictures[:2]


def test_without_the_hub_a_dataset_is_named_and_the_way_out(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from scumble.data.sources.listing import listed\n"
        "from scumble.data.sources.record import Where\n"
        "from scumble.spec.sources import HubSource\n"
        "source = HubSource(kind='hub', dataset='someone/set')\n"
        f"listed(Where(id='cat', source=source), Path({str(tmp_path)!r}), None)\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=False
    )
    said = (
        "FileError: dataset someone/set: is not on this machine, and HF_HUB_OFFLINE forbids asking"
    )
    assert said in ran.stderr
