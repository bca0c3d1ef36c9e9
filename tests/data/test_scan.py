"""What becomes of the pictures of a set, and what is said of each that is not used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from scumble.cli.scan import scan
from scumble.data import images
from scumble.data.expand import expanded
from scumble.data.scan import problems, scanned
from scumble.errors import DiskError, FileError, JobError
from scumble.spec.dataset import DatasetSpec


def spec(**settings: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"id": "cats", "folder": "pictures", **settings})


def picture(
    base: Path,
    name: str,
    size: tuple[int, int] = (64, 48),
    text: str = "a cat",
    folder: str = "pictures",
) -> Path:
    """A picture of its own colour, with a caption unless it is empty."""
    path = base / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(np.frombuffer(f"{name} {folder}".encode().ljust(40), np.uint8)[[0, 1, -20]])
    Image.new("RGB", size, tuple(int(c) for c in colour)).save(path)
    if text:
        path.with_suffix(".txt").write_text(text)
    return path


def told(base: Path, **settings: object) -> list[str]:
    """What stands in the way of the set."""
    one = spec(**settings)
    return [str(error) for error in problems(scanned(one, base, None), one, 0)]


def ids(base: Path, **settings: object) -> list[str]:
    return [example.id for example in scanned(spec(**settings), base, None).examples]


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


# Targets


def test_an_example_is_all_that_is_known_of_a_picture(tmp_path: Path) -> None:
    path = picture(tmp_path, "deep/b.png", (80, 60), "two cats")
    (example,) = scanned(spec(), tmp_path, None).examples
    target, status = example.target, path.stat()
    assert (target.id, target.file) == ("deep/b.png", path)
    assert (target.width, target.height, target.captions) == (80, 60, ("two cats",))
    assert (target.size_bytes, target.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (example.references, example.mask) == ((), None)


def test_the_funnel_counts_what_is_left_at_each_stage(mixed: Path) -> None:
    scan = scanned(spec(minimum_side=32), mixed, None)
    assert list(scan.funnel.items()) == [
        ("found", 6),
        ("readable", 4),
        ("large enough", 3),
        ("aspect ok", 3),
        ("captioned", 2),
        ("paired", 2),
    ]
    assert [example.id for example in scan.examples] == ["a.png", "deep/b.jpg"]


def test_every_picture_that_is_not_used_has_a_reason(mixed: Path) -> None:
    scan = scanned(spec(minimum_side=32), mixed, None)
    assert {bad.id: bad.reason for bad in scan.bad} == {
        "c.png": "is smaller than `minimum_side: 32` and left out",
        "d.png": "has no bytes",
        "e.png": "cannot be read as a picture",
        "f.png": "has no caption",
    }
    assert scan.funnel["found"] == len(scan.examples) + len(scan.bad)


def test_what_a_setting_leaves_out_is_no_problem_but_noted(mixed: Path) -> None:
    scan = scanned(spec(minimum_side=32, skip_bad=True), mixed, None)
    said = "1 picture is smaller than `minimum_side: 32` and left out: c.png (64x20)"
    assert said in scan.notes
    assert problems(scan, spec(minimum_side=32, skip_bad=True), 0) == []


def test_the_side_that_counts_is_the_shorter_one(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", (100, 32))
    assert ids(tmp_path, minimum_side=32) == ["a.png"]
    assert ids(tmp_path, minimum_side=33) == []


def test_the_law_of_sizes_has_a_least_size_of_its_own(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", (100, 100))
    picture(tmp_path, "b.png", (99, 200))
    law = {"kind": "aspect", "resolution_type": "pixel", "minimum_image_size": 100}
    scan = scanned(spec(sizing=law), tmp_path, None)
    assert [example.id for example in scan.examples] == ["a.png"]
    assert "smaller than `sizing.minimum_image_size`" in scan.notes[0]


def test_shapes_are_width_over_height_and_the_limits_belong_to_what_is_used(
    tmp_path: Path,
) -> None:
    picture(tmp_path, "tall.png", (40, 80))
    picture(tmp_path, "even.png", (80, 80))
    picture(tmp_path, "wide.png", (160, 80))
    assert ids(tmp_path, minimum_aspect=0.5, maximum_aspect=2.0) == [
        "even.png",
        "tall.png",
        "wide.png",
    ]
    assert ids(tmp_path, minimum_aspect=0.51, maximum_aspect=1.99) == ["even.png"]


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
    for name in ("a.gif", "b.gif"):
        path = picture(tmp_path, name)
        frames = [Image.new("RGB", (8, 8), colour) for colour in (f"#{name[0]}00000", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    (tmp_path / "pictures" / "d.HEIC").touch()
    assert scanned(spec(), tmp_path, None).notes == (
        "files of kinds that are not read: 1 .heic",
        "2 pictures are animated, and only the first frame is used, first a.gif, b.gif",
    )


def test_odd_metadata_is_passed_over_in_silence(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\0"
    path = picture(tmp_path, "a.jpg")
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert scanned(spec(), tmp_path, None).funnel["readable"] == 1


def test_a_limit_takes_so_many_by_the_seed_and_keeps_to_them(tmp_path: Path) -> None:
    for number in range(30):
        picture(tmp_path, f"{number:02d}.png")

    def drawn(seed: int) -> set[str]:
        scan = scanned(spec(limit=10), tmp_path, None, seed=seed)
        assert scan.funnel["within `limit`"] == len(scan.examples) == 10
        return {example.id for example in scan.examples}

    first = drawn(1)
    assert drawn(1) == first != drawn(2)
    picture(tmp_path, "new.png")
    assert len(drawn(1) & first) >= 9
    assert len(ids(tmp_path, limit=100)) == 31


# Captions


def test_captions_that_cannot_be_decoded_are_bad(tmp_path: Path) -> None:
    picture(tmp_path, "a.png").with_suffix(".txt").write_bytes(b"caf\xe9")
    assert told(tmp_path) == [
        "data.cats: 1 of 1 picture has a caption that is not UTF-8: a.png; "
        "save its text file again as UTF-8, or set `skip_bad: true`"
    ]
    assert len(told(tmp_path, prompt="a cat")) == 1  # a text is there, and nobody can read it


def test_a_text_file_that_says_nothing_is_told_from_one_that_is_missing(tmp_path: Path) -> None:
    picture(tmp_path, "a.png").with_suffix(".txt").write_text(" \n")
    picture(tmp_path, "b.png", text="")
    reasons = [bad.reason for bad in scanned(spec(), tmp_path, None).bad]
    assert reasons == ["has a text file of which nothing is left as a caption", "has no caption"]


def test_a_prompt_fills_in_for_pictures_without_a_text(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", text="one cat")
    picture(tmp_path, "b.png", text="")
    scan = scanned(spec(prompt="a cat"), tmp_path, None)
    assert [example.target.captions for example in scan.examples] == [("one cat",), ("a cat",)]


def test_a_huge_text_file_is_taken_for_a_mistake(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", text="a" * (1 << 20) + "b")
    (error,) = told(tmp_path)
    assert "has a caption of more than a megabyte" in error


# Duplicates


def test_copies_are_named_and_used_or_left_out(tmp_path: Path) -> None:
    data = picture(tmp_path, "a.png").read_bytes()
    picture(tmp_path, "b.png").write_bytes(data)
    picture(tmp_path, "c.png")
    kept = scanned(spec(), tmp_path, tmp_path / "cache")
    assert len(kept.examples) == 3
    assert kept.notes == ("1 picture has the bytes of another: b.png (as a.png)",)
    skipped = scanned(spec(duplicates="skip"), tmp_path, tmp_path / "cache")
    assert [example.id for example in skipped.examples] == ["a.png", "c.png"]
    assert skipped.funnel["different"] == 2
    said = "1 picture has the bytes of another and is left out: b.png (as a.png)"
    assert skipped.notes == (said,)


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
        "put NAME.txt beside each NAME.png, or set `prompt` for those without, "
        "or set `skip_bad: true`",
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


def test_nothing_left_is_an_error_that_tells_the_funnel_and_the_setting(mixed: Path) -> None:
    assert told(mixed, skip_bad=True, minimum_side=1000) == [
        "data.cats: no picture is left: 6 found, 4 readable, 0 large enough, 0 aspect ok, "
        "0 captioned, 0 paired; lower `minimum_side`"
    ]


def test_nothing_is_written_into_the_folders_of_pictures(mixed: Path) -> None:
    before = sorted(mixed.rglob("*"))
    scanned(spec(references=[{"folder": "pictures"}]), mixed, mixed / "cache")
    assert [one for one in sorted(mixed.rglob("*")) if "cache" not in one.parts] == before


# References


def pair(base: Path, name: str, size: tuple[int, int] = (64, 48), other: str = "") -> None:
    picture(base, name, size)
    picture(base, other or name, size, text="", folder="before")


BEFORE: dict[str, object] = {"references": [{"id": "before", "folder": "before"}]}


def test_references_come_in_their_order_whatever_their_ending(tmp_path: Path) -> None:
    pair(tmp_path, "deep/a.png", other="deep/a.jpg")
    picture(tmp_path, "deep/a.webp", folder="depth")
    both: dict[str, object] = {"references": [{"folder": "depth"}, {"folder": "before"}]}
    (example,) = scanned(spec(**both), tmp_path, None).examples
    assert [one and one.id for one in example.references] == ["deep/a.webp", "deep/a.jpg"]
    assert told(tmp_path, **both) == []


def test_names_that_begin_alike_are_never_taken_for_one_another(tmp_path: Path) -> None:
    for name in ("img1.png", "img10.png", "img1_.png"):
        pair(tmp_path, name)
    examples = scanned(spec(**BEFORE), tmp_path, None).examples
    assert all(e.references[0] and e.references[0].id == e.id for e in examples)
    assert len(examples) == 3


def test_every_unmatched_file_on_both_sides_is_told(tmp_path: Path) -> None:
    pair(tmp_path, "a.png")
    picture(tmp_path, "b.png")
    picture(tmp_path, "c.png")
    picture(tmp_path, "C.png", text="", folder="before")
    picture(tmp_path, "z.png", text="", folder="before")
    lonely, spare = told(tmp_path, **BEFORE)
    assert "data.cats: 2 of 3 pictures have no reference `before` in" in lonely
    assert (
        "first b.png (" in lonely and "c.png (has a partner that differs in case: C.png)" in lonely
    )
    assert "`unpaired: skip`" in lonely
    assert "data.cats.before: 2 of 3 references belong to no picture" in spare
    assert "z.png (has no partner of that name)" in spare


def test_targets_without_a_reference_may_be_left_out_or_shown_with_fewer(tmp_path: Path) -> None:
    pair(tmp_path, "a.png")
    picture(tmp_path, "b.png")
    skipped = scanned(spec(**BEFORE, unpaired="skip"), tmp_path, None)
    assert [example.id for example in skipped.examples] == ["a.png"]
    assert skipped.funnel["paired"] == 1
    fewer = scanned(spec(**BEFORE, unpaired="fewer"), tmp_path, None)
    assert [example.references[0] is None for example in fewer.examples] == [False, True]
    assert "and is shown without: b.png" in fewer.notes[0]
    for mode in ("skip", "fewer"):
        assert told(tmp_path, **BEFORE, unpaired=mode) == []


def test_skip_bad_does_not_excuse_a_missing_reference(tmp_path: Path) -> None:
    pair(tmp_path, "a.png")
    picture(tmp_path, "b.png")
    assert len(told(tmp_path, **BEFORE, skip_bad=True)) == 1


def test_two_references_of_one_name_are_nobodys(tmp_path: Path) -> None:
    pair(tmp_path, "a.png", other="a.jpg")
    picture(tmp_path, "a.webp", text="", folder="before")
    (error,) = told(tmp_path, **BEFORE)
    assert "a.jpg, a.webp" in error


def test_a_word_that_all_names_of_one_side_have_is_found(tmp_path: Path) -> None:
    for number in range(6):
        pair(tmp_path, f"{number}_after.png", other=f"{number}_before.png")
    assert any("6 would pair by name" in error for error in told(tmp_path, **BEFORE))


def test_a_reference_that_cannot_be_read_is_told_with_its_target(tmp_path: Path) -> None:
    pair(tmp_path, "a.png")
    pair(tmp_path, "b.png")
    (tmp_path / "before" / "b.png").write_bytes(b"")
    (error,) = told(tmp_path, **BEFORE)
    assert "1 of 2 pictures has a reference `before` that has no bytes: b.png (b.png)" in error
    assert ids(tmp_path, **BEFORE, skip_bad=True) == ["a.png"]


def test_a_picture_that_is_left_out_makes_its_reference_no_spare(tmp_path: Path) -> None:
    pair(tmp_path, "a.png")
    pair(tmp_path, "small.png", (16, 16))
    assert told(tmp_path, **BEFORE, minimum_side=32) == []
    assert ids(tmp_path, **BEFORE, minimum_side=32) == ["a.png"]


def test_shapes_of_strict_references_are_those_of_their_targets(tmp_path: Path) -> None:
    picture(tmp_path, "same.png", (100, 67))
    picture(tmp_path, "same.png", (50, 33), text="", folder="before")  # rounded
    picture(tmp_path, "other.png", (100, 67))
    picture(tmp_path, "other.png", (67, 100), text="", folder="before")
    (error,) = told(tmp_path, **BEFORE)
    assert "1 of 2 pictures has another shape than its reference `before`: other.png" in error
    assert "(100x67 against 67x100)" in error and "`fit: loose`" in error
    assert ids(tmp_path, **BEFORE, unpaired="skip") == ["same.png"]
    assert ids(tmp_path, **BEFORE, skip_bad=True) == ["same.png"]
    loose: dict[str, object] = {"references": [{"folder": "before", "fit": "loose"}]}
    assert ids(tmp_path, **loose) == ["other.png", "same.png"]


def test_a_reference_may_speak_for_its_target(tmp_path: Path) -> None:
    picture(tmp_path, "a.png", text="")
    picture(tmp_path, "a.png", text="make it red", folder="before")
    own: dict[str, object] = {"references": [{"folder": "before", "captions": "textfile"}]}
    (example,) = scanned(spec(**own), tmp_path, None).examples
    assert example.target.captions == ()
    assert example.references[0] and example.references[0].captions == ("make it red",)


def test_references_made_on_the_way_are_there_without_a_file(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    blur = {"degrade": {"kind": "blur"}, "at": "original", "write_to": "blurred"}
    made: dict[str, object] = {"references": [blur]}
    (example,) = scanned(spec(**made), tmp_path, None).examples
    assert example.references == (None,)
    picture(tmp_path, "b.png")
    picture(tmp_path, "b.png", text="", folder="blurred")
    first, second = scanned(spec(**made), tmp_path, None).examples
    assert first.references == (None,)
    assert second.references[0] and second.references[0].file == tmp_path / "blurred" / "b.png"
    assert told(tmp_path, **made) == []


def test_a_column_needs_a_table(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    with pytest.raises(JobError, match=r"references\.0\.column: there are no columns"):
        scanned(spec(references=[{"column": "before"}]), tmp_path, None)


# Masks


MASK: dict[str, object] = {"mask": {"folder": "masks"}}


def test_masks_pair_like_references_also_in_subfolders(tmp_path: Path) -> None:
    picture(tmp_path, "deep/a.jpg")
    picture(tmp_path, "deep/a.png", (32, 24), text="", folder="masks")
    (example,) = scanned(spec(**MASK), tmp_path, None).examples
    assert example.mask and example.mask.id == "deep/a.png"


def test_a_picture_without_a_mask_stops_or_counts_as_a_whole(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    picture(tmp_path, "a.png", text="", folder="masks")
    picture(tmp_path, "b.png")
    (error,) = told(tmp_path, **MASK)
    assert "1 of 2 pictures has no mask in" in error and "`mask.missing: whole`" in error
    whole = scanned(spec(mask={"folder": "masks", "missing": "whole"}), tmp_path, None)
    assert [example.mask is None for example in whole.examples] == [False, True]
    assert "and counts as a whole: b.png" in whole.notes[0]


def test_a_mask_that_would_not_be_used_is_an_error_whatever_may_be_skipped(tmp_path: Path) -> None:
    picture(tmp_path, "deep/a.png")
    picture(tmp_path, "a.png", text="", folder="masks")
    settings = {"mask": {"folder": "masks", "missing": "whole"}, "skip_bad": True}
    (error,) = told(tmp_path, **settings)
    assert "data.cats.mask: 1 of 1 mask belongs to no picture of the set: a.png" in error
    assert "another folder" in error


def test_a_broken_mask_never_counts_as_a_whole(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path, name)
        picture(tmp_path, name, text="", folder="masks")
    (tmp_path / "masks" / "b.png").write_text("no mask")
    whole: dict[str, object] = {"mask": {"folder": "masks", "missing": "whole"}}
    assert len(told(tmp_path, **whole)) == 1
    assert ids(tmp_path, **whole, skip_bad=True) == ["a.png"]


# What is remembered


def test_a_second_scan_reads_nothing_and_says_the_same(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(mixed, "a.png", text="", folder="before")
    settings = spec(**BEFORE, unpaired="fewer")
    first = scanned(settings, mixed, mixed / "cache")
    opened: list[Path] = []
    really = Path.open

    def heard(self: Path, mode: str = "r") -> IO[bytes]:
        opened.append(self)
        return really(self, mode)

    monkeypatch.setattr(Path, "open", heard)
    assert scanned(settings, mixed, mixed / "cache") == first
    assert opened != []
    assert {one.relative_to(mixed).parts[0] for one in opened} == {"cache"}


def test_a_changed_picture_and_a_changed_text_are_read_again(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png", (64, 48))
    scanned(spec(), tmp_path, tmp_path / "cache")
    Image.new("RGB", (32, 24)).save(path)
    os.utime(path, ns=(0, 1))
    path.with_suffix(".txt").write_text("a dog")
    (example,) = scanned(spec(), tmp_path, tmp_path / "cache").examples
    assert (example.target.width, example.target.captions) == (32, ("a dog",))


def test_what_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "pictures" / "a.png"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "later.png")
    path.with_suffix(".txt").write_text("a cat")
    assert scanned(spec(), tmp_path, tmp_path / "cache").funnel["readable"] == 0
    picture(tmp_path, "later.png", folder=".")
    assert scanned(spec(), tmp_path, tmp_path / "cache").funnel["readable"] == 1


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DiskError):
        scanned(spec(), tmp_path, tmp_path / "cache")


def test_two_thousand_pictures_are_scanned_in_a_moment(tmp_path: Path) -> None:
    data = picture(tmp_path, "a.png").read_bytes()
    for number in range(2000):
        (tmp_path / "pictures" / f"p{number}.png").write_bytes(data)
    folder = spec(captions="prompt", prompt="a cat")
    scan = scanned(folder, tmp_path, tmp_path / "cache")
    assert len(scan.examples) == 2001
    assert scan.notes[0].startswith("2,000 pictures have the bytes of another, first p0.png (as a")


def test_a_bug_in_reading_one_picture_is_not_taken_for_the_pictures_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path, "a.png")
    monkeypatch.setattr(images, "header", None)
    with pytest.raises(TypeError):
        scanned(spec(), tmp_path, None)


# Folders that say how often they are seen


def test_numbered_folders_become_sets_of_their_own(tmp_path: Path) -> None:
    for name in ("10_black_cat", "3_dog", "007_x", "0_never", "-2_less", "no number", "5"):
        picture(tmp_path, f"{name}/a.png", text="")
    picture(tmp_path, "loose.png")
    sets, notes = expanded(spec(repeats_in_names=True, captions="textfile"), tmp_path)
    assert [(one.id, one.repeats, one.prompt) for one in sets] == [
        ("cats.007_x", 7, "x"),
        ("cats.10_black_cat", 10, "black_cat"),
        ("cats.3_dog", 3, "dog"),
        ("cats.5", 5, None),
    ]
    assert all(not one.subfolders and not one.repeats_in_names for one in sets)
    assert len(notes) == 3
    assert "no number" in notes[0] and "0_never" in notes[1] and "loose.png" in notes[2]
    (example,) = scanned(sets[1], tmp_path, None).examples
    assert example.target.captions == ("black_cat",)


def test_ids_of_numbered_folders_are_fit_for_files_and_differ(tmp_path: Path) -> None:
    for name in ("1_a b", "1_a-b", "1_a+b"):
        picture(tmp_path, f"{name}/a.png")
    sets, _ = expanded(spec(repeats_in_names=True), tmp_path)
    assert len({one.id for one in sets}) == 3
    assert all(DatasetSpec.model_validate(one.model_dump()) == one for one in sets)


def test_references_and_masks_follow_into_folders_of_the_same_name(tmp_path: Path) -> None:
    for folder in ("pictures", "before", "masks"):
        picture(tmp_path, "2_cat/a.png", folder=folder)
    sets, _ = expanded(spec(**BEFORE, **MASK, repeats_in_names=True), tmp_path)
    (example,) = scanned(sets[0], tmp_path, None).examples
    assert example.mask and example.references[0]


def test_a_set_without_numbered_folders_is_itself_or_an_error(tmp_path: Path) -> None:
    picture(tmp_path, "cat_10/a.png")
    assert expanded(spec(), tmp_path) == ((spec(),), ())
    with pytest.raises(FileError, match="there are cat_10; name them like `10_cat`"):
        expanded(spec(repeats_in_names=True), tmp_path)


# The command


def job(base: Path, *sets: str) -> str:
    file = base / "job.yaml"
    lines = "\n".join(f"- {{{one}}}" for one in sets)
    file.write_text(
        "name: toy\nmodel: {path: 'builtin:tiny-flux', family: flux, flavour: dev}\n"
        f"data:\n{lines}\ntraining: {{steps: 1}}\ncache: {{folder: {base / 'cache'}}}\n"
    )
    return str(file)


def test_the_command_tells_each_set_and_all_that_is_wrong_at_once(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(mixed, "2_dog/a.png", text="", folder="dogs")
    picture(mixed, "loose.png", folder="dogs")
    file = job(
        mixed,
        "id: cats, folder: pictures, minimum_side: 32",
        "id: gone, folder: nowhere",
        "id: dogs, folder: dogs, repeats_in_names: true",
        "id: off, folder: nowhere, disabled: true",
    )
    with pytest.raises(ExceptionGroup) as wrong:
        scan(file, every=True)
    said = capsys.readouterr().out
    assert "6 found -> 4 readable -> 3 large enough -> 3 aspect ok -> 2 captioned" in said
    assert said.count("f.png") == 2 and "way out: put NAME.txt beside" in said
    assert "1 picture lies beside these folders and is left out: loose.png" in said
    assert "data dogs.2_dog" in said and "data off: disabled" in said and "a second" in said
    assert [type(one) for one in wrong.value.exceptions] == [FileError] * 4


def test_the_command_says_everything_once_when_nothing_is_wrong(
    mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan(job(mixed, "id: cats, folder: pictures, minimum_side: 32"), ["data.0.skip_bad=true"])
    said = capsys.readouterr().out
    assert said.count("c.png") == said.count("has no bytes") == 1
    assert (mixed / "cache").is_dir()
