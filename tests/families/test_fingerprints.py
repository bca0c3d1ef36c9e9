"""What stands for a file: the hash of its bytes, read once, or the name the hub's cache gave it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from scumble.families.fingerprints import fingerprints


def cached(folder: Path, name: str, content: bytes = b"x") -> Path:
    """A file as the hub's cache keeps it: a link to a blob."""
    blob = folder / "models--a--b" / "blobs" / name
    link = folder / "models--a--b" / "snapshots" / "c0ffee" / "transformer" / "model.safetensors"
    for one in (blob, link):
        one.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def test_a_plain_file_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    assert fingerprints([file], read=False) is None
    assert fingerprints([file]) == {str(file): sha256(b"weights").hexdigest()}
    assert fingerprints([file], read=False) == fingerprints([file])
    file.write_bytes(b"other weights")
    assert fingerprints([file], read=False) is None
    assert fingerprints([file]) == {str(file): sha256(b"other weights").hexdigest()}


def test_a_blob_is_known_by_its_name_and_not_read(tmp_path: Path) -> None:
    first, second = "a" * 64, "b" * 64
    assert fingerprints([cached(tmp_path, first)], read=False) == {
        str(cached(tmp_path, first)): first
    }
    changed = cached(tmp_path, second)
    assert fingerprints([changed], read=False) == {str(changed): second}


def test_a_model_is_the_same_in_the_cache_and_beside_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(b"weights")
    blob = cached(tmp_path, sha256(b"weights").hexdigest(), b"weights")
    found = fingerprints([copy, blob])
    assert found is not None and found[str(copy)] == found[str(blob)]


def test_a_blob_that_other_caches_share_is_known_too(tmp_path: Path) -> None:
    link = cached(tmp_path, "c" * 64)
    blob = link.resolve()
    shared = tmp_path / "shared" / "by-another-hash"
    shared.parent.mkdir()
    blob.rename(shared)
    blob.symlink_to(shared)
    assert fingerprints([link], read=False) == {str(link): "c" * 64}


@pytest.mark.parametrize("name", ["d" * 40, "e" * 63, "F" * 64, "model"])
def test_other_names_are_no_hashes(tmp_path: Path, name: str) -> None:
    link = cached(tmp_path, name)
    assert fingerprints([link], read=False) is None
    assert fingerprints([link]) == {str(link): sha256(b"x").hexdigest()}


def test_a_plain_file_called_like_a_hash_is_read(tmp_path: Path) -> None:
    file = tmp_path / "blobs" / ("a" * 64)
    file.parent.mkdir()
    file.write_bytes(b"mine")
    assert fingerprints([file]) == {str(file): sha256(b"mine").hexdigest()}


def test_a_memory_that_cannot_be_read_is_made_anew(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    for torn in ("", "[1]", '{"a": 5}', "{"):
        (home / "hashes.json").write_text(torn)
        assert fingerprints([file], read=False) is None
        assert fingerprints([file]) == {str(file): sha256(b"weights").hexdigest()}
