"""Pictures in a bucket, served on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from PIL import Image

from scumble.data.sources import remote, retry, s3
from scumble.data.sources.listing import listed
from scumble.data.sources.record import Listing, Where, opened
from scumble.data.sources.remote import END_BYTES, Remote
from scumble.errors import FileError
from scumble.spec.sources import S3Source
from tests.data.sources_toys import PICTURES, content, ids, picture, service


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAITS", (0.0, 0.0))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with service() as address:
        yield address


def bucket(endpoint: str, name: str, **objects: bytes) -> None:
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=name)
    client.close()
    fill(endpoint, name, objects)


def fill(endpoint: str, name: str, objects: dict[str, bytes]) -> None:
    client = boto3.client("s3", endpoint_url=endpoint)
    for key, value in objects.items():
        client.put_object(Bucket=name, Key=key, Body=value)
    client.close()


def look(endpoint: str, name: str = "pictures", **settings: object) -> Listing:
    facts = {"kind": "s3", "bucket": name, "endpoint": endpoint, **settings}
    where = Where(id="cat", source=S3Source.model_validate(facts), text_ending=".txt")
    return listed(where, Path("/nowhere"), None)


def test_a_prefix_is_a_folder_and_ids_begin_behind_it(endpoint: str) -> None:
    bucket(endpoint, "prefixes")
    keys = ["set/a.png", "set/.hid/b.png", "set/x/c.png", "set2/d.png", "set.png", "set/", "e.png"]
    fill(endpoint, "prefixes", dict.fromkeys([*keys, "set/f.heic", "set/../g.png"], b"x"))
    one = look(endpoint, "prefixes", prefix="set")
    assert ids(one) == ["a.png", "x/c.png"]
    assert one.unsupported == {".heic": 1}
    assert one.root == "s3://prefixes/set/"
    assert look(endpoint, "prefixes", prefix="/set/").pictures == one.pictures
    assert ids(look(endpoint, "prefixes"))[:2] == ["e.png", "set.png"]


def test_a_key_that_is_no_path_is_told(endpoint: str) -> None:
    bucket(endpoint, "oddkeys")
    fill(endpoint, "oddkeys", {"a//b.png": b"x", "c\\d.png": b"x", "e.png": b"x"})
    one = look(endpoint, "oddkeys")
    assert ids(one) == ["e.png"]
    assert [why for _, why in one.absent] == ["has a key that is no path"] * 2


def test_a_set_without_subfolders_takes_direct_objects_only(endpoint: str) -> None:
    source = S3Source(kind="s3", bucket="pictures", prefix="set", endpoint=endpoint)
    where = Where(id="cat", source=source, subfolders=False)
    assert ids(listed(where, Path("/nowhere"), None)) == ["a.png", "b.jpg", "c.webp"]


def test_a_listing_goes_on_behind_the_first_page(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PAGE_KEYS", 3)
    bucket(endpoint, "pages")
    fill(endpoint, "pages", {f"{number:04d}.png": b"x" for number in range(10)})
    assert len(look(endpoint, "pages").pictures) == 10


def test_a_changed_object_is_another_source_and_the_old_one_is_not_mixed_up(
    endpoint: str,
) -> None:
    bucket(endpoint, "changes", a=b"")
    fill(endpoint, "changes", {"a.png": PICTURES["a.png"], "b.png": PICTURES["a.png"]})
    before = look(endpoint, "changes").pictures
    assert before[0].source != before[1].source
    fill(endpoint, "changes", {"a.png": picture(shade=77)})
    after = look(endpoint, "changes").pictures
    assert (before[0].source != after[0].source, before[1] == after[1]) == (True, True)
    assert before[0].mtime_ns != after[0].mtime_ns
    assert content(after[0]) == picture(shade=77)
    with pytest.raises(OSError):
        content(before[0])


def test_a_header_costs_a_part_of_a_large_object(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = PICTURES["a.png"] + bytes(20 * END_BYTES)
    bucket(endpoint, "large")
    fill(endpoint, "large", {"a.png": large})
    asked: list[int] = []
    fetch = s3._fetched

    def counted(files, one, first: int, last: int) -> bytes:
        asked.append(last - first + 1)
        return fetch(files, one, first, last)

    monkeypatch.setattr(s3, "_fetched", counted)
    (one,) = look(endpoint, "large").pictures
    with opened(one.file) as stream, Image.open(stream) as header:
        assert header.size == (8, 6)
    assert asked == [END_BYTES]
    asked.clear()
    assert content(one) == large
    assert asked == [len(large)]


def test_a_bucket_that_is_not_there_is_told(endpoint: str) -> None:
    with pytest.raises(FileError, match=r"s3://nothing at http.*: there is no such bucket; check"):
        look(endpoint, "nothing")


def test_a_service_that_does_not_answer_is_asked_thrice_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(retry, "WAITS", (0.25, 0.5))
    monkeypatch.setattr(retry.time, "sleep", waited.append)
    with pytest.raises(FileError, match=r"pictures at http://127.0.0.1:9: cannot be reached"):
        look("http://127.0.0.1:9", anonymous=True)
    assert waited == [0.25, 0.5]


def test_missing_keys_are_told_with_the_variables_to_set(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(FileError, match=r"no keys.*AWS_ACCESS_KEY_ID.*`anonymous: true`"):
        look(endpoint)


def test_denied_access_is_told_as_such() -> None:
    source = S3Source(kind="s3", bucket="pictures")
    told = str(s3._named(source, PermissionError("Access Denied")))
    assert "s3://pictures at Amazon S3: access is denied" in told
    assert "AWS_SECRET_ACCESS_KEY" in told


@pytest.mark.parametrize("size", [0, 1, 1000, remote.WHOLE_BYTES, 5 * END_BYTES + 3])
def test_a_remote_file_reads_like_one_on_disk_with_few_requests(size: int) -> None:
    held = bytes(number % 251 for number in range(size))
    asked: list[tuple[int, int]] = []

    def fetch(first: int, last: int) -> bytes:
        asked.append((first, last))
        return held[first : last + 1]

    file = Remote("a", size, fetch)
    for place in (0, 17, size - 40, size // 2, 3):
        file.seek(max(place, 0))
        assert file.read(30) == held[max(place, 0) :][:30]
    file.seek(-min(size, 10), 2)
    assert file.read() == held[size - min(size, 10) :]
    file.seek(0)
    assert file.read() == held
    assert len(asked) <= 3
    with pytest.raises(ValueError):
        file.seek(-1)


def test_a_short_answer_is_an_error() -> None:
    with pytest.raises(OSError, match="gave 3 bytes instead of 9"):
        Remote("a", 9, lambda first, last: b"abc").read()
