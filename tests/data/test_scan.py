"""What becomes of the files of a set, and what is remembered of them."""

import json
import os
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble.data import images, ledger
from scumble.data.ledger import Row
from scumble.data.scan import problems, scanned
from scumble.errors import DiskError, FileError
from scumble.spec.dataset import FolderSpec


def spec(**settings: object) -> FolderSpec:
    return FolderSpec.model_validate({"id": "cats", "folder": "pictures", **settings})


def picture(base: Path, name: str, size: tuple[int, int] = (64, 48), text: str = "a cat") -> Path:
    """A picture in the set's folder, with a caption unless it is empty."""
    path = base / "pictures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    if text:
        path.with_suffix(".txt").write_text(text)
    return path


def told(base: Path, **settings: object) -> list[str]:
    """What stands in the way of the set."""
    folder = spec(**settings)
    return [str(error) for error in problems(scanned(folder, base, None), folder, 0)]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two that can be used, one small, two broken, one without a caption."""
    picture(tmp_path, "a.png")
    picture(tmp_path, "deep/b.jpg", (80, 60), "two cats")
    picture(tmp_path, "c.png", (64, 20))
    picture(tmp_path, "d.png").write_bytes(b"")
    picture(tmp_path, "e.png").write_text("not a picture")
    picture(tmp_path, "f.png", text="")
    return tmp_path


# Scanning


def test_an_example_is_all_that_is_known_of_a_picture(tmp_path: Path) -> None:
    path = picture(tmp_path, "deep/b.png", (80, 60), "two cats")
    (example,) = scanned(spec(), tmp_path, None).examples
    status = path.stat()
    assert (example.dataset, example.id, example.path) == ("cats", "deep/b.png", path)
    assert (example.width, example.height, example.caption) == (80, 60, "two cats")
    assert (example.size_bytes, example.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_the_funnel_counts_what_is_left_at_each_stage(mixed: Path) -> None:
    scan = scanned(spec(minimum_side=32), mixed, None)
    assert list(scan.funnel.items()) == [
        ("found", 6),
        ("readable", 4),
        ("large enough", 3),
        ("captioned", 2),
    ]
    assert [example.id for example in scan.examples] == ["a.png", "deep/b.jpg"]


def test_every_picture_that_is_not_used_has_a_reason(mixed: Path) -> None:
    scan = scanned(spec(), mixed, None)
    assert {bad.path.name: bad.reason for bad in scan.bad} == {
        "d.png": "has no bytes",
        "e.png": "cannot be read as a picture",
        "f.png": "has no caption",
    }


def test_small_pictures_are_no_problem_but_noted(mixed: Path) -> None:
    scan = scanned(spec(minimum_side=32, skip_bad=True), mixed, None)
    assert "1 picture is smaller than `minimum_side: 32` and left out: c.png" in scan.notes
    assert problems(scan, spec(minimum_side=32, skip_bad=True), 0) == []


def test_the_side_that_counts_is_the_shorter_one(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", (100, 32))
    assert len(scanned(spec(minimum_side=32), tmp_path, None).examples) == 1
    assert len(scanned(spec(minimum_side=33), tmp_path, None).examples) == 0


def test_the_folder_may_be_absolute(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    folder = spec(folder=str(tmp_path / "pictures"))
    assert len(scanned(folder, Path("/nowhere"), None).examples) == 1


def test_pictures_that_share_a_caption_are_used_and_noted(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    picture(tmp_path, "a.jpg")
    scan = scanned(spec(), tmp_path, None)
    assert len(scan.examples) == 2
    assert scan.notes == ("2 pictures share name and caption with another, first a.jpg, a.png",)
    assert scanned(spec(captions="prompt", prompt="a cat"), tmp_path, None).notes == ()


def test_what_is_left_out_of_files_is_noted(tmp_path: Path) -> None:
    picture(tmp_path, "c.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "b.gif"):
        path = picture(tmp_path, name)
        frames[0].save(path, save_all=True, append_images=frames[1:])
    (tmp_path / "pictures" / "d.HEIC").touch()
    assert scanned(spec(), tmp_path, None).notes == (
        "files of kinds that are not read: 1 .heic",
        "2 pictures are animated, and only the first frame is used, first a.gif, b.gif",
    )


def test_captions_that_cannot_be_decoded_are_bad(tmp_path: Path) -> None:
    picture(tmp_path, "a.png").with_suffix(".txt").write_bytes(b"caf\xe9")
    assert told(tmp_path) == [
        "data.cats: 1 of 1 picture has a caption that is not UTF-8: a.png; "
        "save its text file again as UTF-8, or set `skip_bad: true`"
    ]


def test_odd_metadata_is_passed_over_in_silence(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\0"
    path = picture(tmp_path, "a.jpg")
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert scanned(spec(), tmp_path, None).funnel["readable"] == 1


# Problems


def test_a_good_set_has_no_problems(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    assert told(tmp_path) == []


def test_each_kind_of_fault_is_one_error_with_count_names_and_way_out(tmp_path: Path) -> None:
    for name in "abcdef":
        picture(tmp_path, f"{name}.png", text="" if name < "e" else "a cat")
    picture(tmp_path, "f.png").write_bytes(b"")
    assert told(tmp_path) == [
        "data.cats: 1 of 6 pictures has no bytes: f.png; "
        "copy or download again, or set `skip_bad: true`",
        "data.cats: 4 of 6 pictures have no caption, first a.png, b.png, c.png; "
        "put NAME.txt beside each, or set `skip_bad: true`",
    ]


def test_bad_pictures_may_be_skipped_but_not_unsaid(mixed: Path) -> None:
    assert told(mixed, skip_bad=True) == []
    assert scanned(spec(skip_bad=True), mixed, None).notes == (
        "left out: 1 picture has no bytes: d.png",
        "left out: 1 picture cannot be read as a picture: e.png",
        "left out: 1 picture has no caption: f.png",
    )


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.heic").touch()
    (error,) = told(tmp_path)
    assert f"data.cats: there are no pictures in {tmp_path / 'pictures'}" in error
    assert "1 .heic" in error


def test_a_missing_folder_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such folder"):
        scanned(spec(), tmp_path, None)


def test_nothing_left_is_an_error_that_tells_the_funnel(mixed: Path) -> None:
    assert told(mixed, skip_bad=True, minimum_side=1000) == [
        "data.cats: no picture is left: 6 found, 4 readable, 0 large enough, 0 captioned; "
        "lower `minimum_side`"
    ]


def test_nothing_left_for_want_of_captions_says_so(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", text="")
    (error,) = told(tmp_path, skip_bad=True)
    assert error.endswith("1 large enough, 0 captioned; put NAME.txt beside each")


# The ledger


def rows(base: Path) -> ledger.Ledger:
    return ledger.read(ledger.at(base / "cache", "cats", base / "pictures"))


def test_a_second_scan_reads_no_header_and_says_the_same(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scanned(spec(), mixed, mixed / "cache")
    monkeypatch.setattr(images, "header", None)
    assert scanned(spec(), mixed, mixed / "cache") == first


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", (64, 48))
    scanned(spec(), tmp_path, tmp_path / "cache")
    Image.new("RGB", (32, 24)).save(path)
    os.utime(path, ns=(0, 1))
    (example,) = scanned(spec(), tmp_path, tmp_path / "cache").examples
    assert (example.width, example.height) == (32, 24)


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    gone = picture(tmp_path, "b.png")
    scanned(spec(), tmp_path, tmp_path / "cache")
    gone.unlink()
    assert len(scanned(spec(), tmp_path, tmp_path / "cache").examples) == 1
    assert list(rows(tmp_path)) == ["a.png"]


def test_what_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "pictures" / "a.png"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "later.png")
    assert scanned(spec(), tmp_path, tmp_path / "cache").funnel["readable"] == 0
    assert rows(tmp_path) == {}


def test_problems_of_another_pillow_are_forgotten(mixed: Path) -> None:
    scanned(spec(), mixed, mixed / "cache")
    file = ledger.at(mixed / "cache", "cats", mixed / "pictures")
    assert rows(mixed)["e.png"].problem == images.FOREIGN
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pillow": "0.1"}))
    assert rows(mixed).keys() == {"a.png", "c.png", "deep/b.jpg", "f.png"}


def test_a_problem_in_the_words_of_another_release_is_looked_at_again(tmp_path: Path) -> None:
    status = picture(tmp_path, "a.png").stat()
    row = Row(status.st_size, status.st_mtime_ns, 0, 0, problem="has measles")
    ledger.write(ledger.at(tmp_path / "cache", "cats", tmp_path / "pictures"), {"a.png": row})
    assert len(scanned(spec(), tmp_path, tmp_path / "cache").examples) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": "scumble ledger 1"}', '{"format": "other"}', "\xff"],
)
def test_a_foreign_ledger_is_an_empty_one(tmp_path: Path, text: str) -> None:
    picture(tmp_path, "a.png")
    first = scanned(spec(), tmp_path, tmp_path / "cache")
    ledger.at(tmp_path / "cache", "cats", tmp_path / "pictures").write_text(text, "latin-1")
    assert scanned(spec(), tmp_path, tmp_path / "cache") == first


def test_two_folders_and_two_sets_have_ledgers_of_their_own() -> None:
    at = {ledger.at(Path("c"), id, Path(folder)) for id in "ab" for folder in ("/x", "/y")}
    assert len(at) == 4


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = {"a.png": Row(1, 2, 3, 4), "\u00e9/\udc80.png": Row(5, 6, 7, 8, "note", "problem", "ab")}
    ledger.write(tmp_path / "deep" / "l.json", kept)
    assert ledger.read(tmp_path / "deep" / "l.json") == kept
    ledger.write(tmp_path / "deep" / "l.json", {})
    assert ledger.read(tmp_path / "deep" / "l.json") == {}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["l.json"]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DiskError):
        scanned(spec(), tmp_path, tmp_path / "cache")


def test_a_source_hash_is_that_of_the_bytes_and_kept(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    scan = scanned(spec(), tmp_path, tmp_path / "cache")
    kept = ledger.hashes(rows(tmp_path), scan.examples)
    assert kept["a.png"].source == blake2b(path.read_bytes(), digest_size=16).hexdigest()
    ledger.write(ledger.at(tmp_path / "cache", "cats", tmp_path / "pictures"), kept)
    path.unlink()
    assert ledger.hashes(rows(tmp_path), scan.examples) == kept


def test_hashes_survive_a_scan_in_which_other_files_changed(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    scan = scanned(spec(), tmp_path, tmp_path / "cache")
    file = ledger.at(tmp_path / "cache", "cats", tmp_path / "pictures")
    ledger.write(file, ledger.hashes(rows(tmp_path), scan.examples))
    picture(tmp_path, "b.png")
    scanned(spec(), tmp_path, tmp_path / "cache")
    assert [row.source is None for _, row in sorted(rows(tmp_path).items())] == [False, True]


def test_a_hash_of_other_bytes_does_not_count(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (example,) = scanned(spec(), tmp_path, None).examples
    stale = {"a.png": Row(1, 2, 3, 4, source="ab")}
    assert ledger.hashes(stale, [example]) == ledger.hashes({}, [example])


def test_a_file_that_changes_between_scan_and_hash_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    scan = scanned(spec(), tmp_path, None)
    os.utime(path, ns=(0, 1))
    with pytest.raises(FileError, match="has changed since it was looked at"):
        ledger.hashes({}, scan.examples)
    path.unlink()
    with pytest.raises(FileError, match="cannot be read"):
        ledger.hashes({}, scan.examples)


def test_two_thousand_pictures_are_scanned_in_a_moment(tmp_path: Path) -> None:
    data = picture(tmp_path, "a.png").read_bytes()
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.jpg")
    for n in range(1000):
        (tmp_path / "pictures" / f"p{n}.png").write_bytes(data)
        (tmp_path / "pictures" / f"j{n}.jpg").write_bytes((tmp_path / "noisy.jpg").read_bytes())
    folder = spec(captions="prompt", prompt="a cat")
    assert len(scanned(folder, tmp_path, tmp_path / "cache").examples) == 2001
    assert len(rows(tmp_path)) == 2001
