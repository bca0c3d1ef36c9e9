"""The same pictures give the same records wherever they lie."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scumble.data.sources import retry
from scumble.data.sources.listing import listed
from scumble.data.sources.record import Listing, Where
from scumble.errors import JobError
from scumble.spec.sources import HubSource, S3Source, TableSource
from tests.data.sources_toys import (
    PICTURES,
    SAID,
    content,
    csv_of,
    held,
    ids,
    json_of,
    of,
    parquet,
    put,
    service,
    web,
)

NAMES = list(PICTURES)
CAPTIONS = [SAID[name] for name in NAMES]
ROWS = [(name, SAID[name].replace('"', '""')) for name in NAMES]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAITS", (0.0, 0.0))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with service() as address:
        yield address


def folder(tmp_path: Path) -> Listing:
    put(tmp_path / "set", texts=True)
    where = Where(id="cat", folder="set", text_ending=".txt")
    return listed(where, tmp_path, tmp_path / "cache")


def csv_paths(tmp_path: Path) -> Listing:
    put(tmp_path / "set")
    csv_of(tmp_path / "set.csv", ROWS)
    return of(tmp_path, TableSource(kind="table", file="set.csv", folder="set"))


def tsv_paths(tmp_path: Path) -> Listing:
    put(tmp_path)
    csv_of(tmp_path / "set.tsv", ROWS, "\t")
    return of(tmp_path, TableSource(kind="table", file="set.tsv"))


def json_paths(tmp_path: Path) -> Listing:
    put(tmp_path)
    rows = [{"image": name, "caption": SAID[name]} for name in NAMES]
    json_of(tmp_path / "set.jsonl", rows)
    return of(tmp_path, TableSource(kind="table", file="set.jsonl"))


def parquet_paths(tmp_path: Path) -> Listing:
    put(tmp_path)
    parquet(tmp_path / "set.parquet", image=NAMES, caption=CAPTIONS)
    return of(tmp_path, TableSource(kind="table", file="set.parquet"))


def parquet_bytes(tmp_path: Path) -> Listing:
    parquet(tmp_path / "set.parquet", image=list(PICTURES.values()), caption=CAPTIONS)
    return of(tmp_path, TableSource(kind="table", file="set.parquet"))


def parquet_structs(tmp_path: Path) -> Listing:
    parquet(tmp_path / "set.parquet", image=held(), caption=CAPTIONS)
    return of(tmp_path, TableSource(kind="table", file="set.parquet"))


def hub_parquet(tmp_path: Path) -> Listing:
    parquet(tmp_path / "set" / "train.parquet", image=held(), caption=CAPTIONS)
    return of(tmp_path, HubSource(kind="hub", dataset="set"))


def hub_images(tmp_path: Path) -> Listing:
    put(tmp_path / "set")
    rows = [{"file_name": name, "text": SAID[name]} for name in NAMES]
    json_of(tmp_path / "set" / "metadata.jsonl", rows)
    return of(tmp_path, HubSource(kind="hub", dataset="set"))


def hub_stream(tmp_path: Path) -> Listing:
    parquet(tmp_path / "set" / "train.parquet", image=held(), caption=CAPTIONS)
    return of(tmp_path, HubSource(kind="hub", dataset="set", streaming=True))


PLACES = (
    *(folder, csv_paths, tsv_paths, json_paths, parquet_paths, parquet_bytes, parquet_structs),
    *(hub_parquet, hub_images, hub_stream),
)


def same(listing: Listing) -> None:
    """The pictures of the toys, with what is said of them, as records that hold together."""
    found = listing.pictures
    assert ids(listing) == sorted(set(ids(listing)))
    assert sorted(map(content, found)) == sorted(PICTURES.values())
    captions = {bytes_of: SAID[name] for name, bytes_of in PICTURES.items()}
    for one in found:
        bytes_of = content(one)
        assert one.size_bytes == len(bytes_of)
        assert one.mtime_ns > 0
        assert one.source is None or len(bytes.fromhex(one.source)) == 16
        if one.beside is not None:
            assert one.texts is None
            with (
                one.beside.file.open("rb")
                if isinstance(one.beside.file, Path)
                else one.beside.file.open() as stream
            ):
                assert stream.read().decode() == captions[bytes_of]
        else:
            assert one.texts == (captions[bytes_of],)
    assert listing.absent == ()
    assert listing.unsupported == {}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_the_same_pictures_give_the_same_records(
    place: Callable[[Path], Listing], tmp_path: Path
) -> None:
    once = place(tmp_path)
    same(once)
    again = place(tmp_path)
    assert ids(again) == ids(once)
    if not any(isinstance(one.file, Path) for one in once.pictures):
        assert [one.source for one in again.pictures] == [one.source for one in once.pictures]
    same(pickle.loads(pickle.dumps(again)))  # for other processes


def test_a_bucket_gives_the_same_records(bucket: str, tmp_path: Path) -> None:
    source = S3Source(kind="s3", bucket="pictures", prefix="set", endpoint=bucket)
    once = of(tmp_path, source, ".txt")
    same(once)
    assert of(tmp_path, source, ".txt") == once
    same(pickle.loads(pickle.dumps(once)))
    assert not (tmp_path / "cache").exists()


def test_addresses_give_the_same_records(tmp_path: Path) -> None:
    with web() as (address, _):
        csv_of(tmp_path / "set.csv", [(f"{address}/{name}", said) for name, said in ROWS])
        same(of(tmp_path, TableSource(kind="table", file="set.csv")))


def test_nothing_is_written_beside_the_pictures(tmp_path: Path) -> None:
    for place in PLACES:
        here = tmp_path / place.__name__
        here.mkdir()
        place(here)
        left = {
            path.suffix
            for path in here.rglob("*")
            if path.is_file() and "cache" not in path.relative_to(here).parts
        }
        assert left <= {".png", ".jpg", ".webp", ".txt", ".csv", ".tsv", ".jsonl", ".parquet"}


@pytest.mark.parametrize(
    ("library", "extra", "source"),
    [
        ("s3fs", "s3", S3Source(kind="s3", bucket="pictures")),
        ("datasets", "hub", HubSource(kind="hub", dataset="a/b")),
        ("pyarrow", "tables", TableSource(kind="table", file="a.parquet")),
    ],
)
def test_a_missing_library_is_told_with_what_to_install(
    library: str,
    extra: str,
    source: S3Source | HubSource | TableSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(JobError, match=rf"data.cat.source: .*{library}.*scumble\[{extra}\]"):
        of(tmp_path, source)


def test_many_rows_without_endings_are_all_found(tmp_path: Path) -> None:
    names = [f"{number:06d}" for number in range(3000)]
    for name in names:
        (tmp_path / f"{name}.png").write_bytes(b"x")
    csv_of(tmp_path / "set.csv", [(name, "said") for name in names])
    assert len(of(tmp_path, TableSource(kind="table", file="set.csv")).pictures) == 3000
