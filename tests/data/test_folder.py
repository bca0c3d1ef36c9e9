"""Which files of a folder are taken for pictures."""

import os
from pathlib import Path

import pytest

from scumble.data.sources.folder import found, listing
from scumble.errors import FileError


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"bytes")
    return folder


def ids(folder: Path) -> list[str]:
    return [one.id for one in found(folder)]


def test_pictures_of_all_subfolders_come_sorted_by_id(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a/z.png", "a.png", "a/b/c.jpg", "B.png")
    assert ids(tmp_path) == ["B.png", "a.png", "a/b/c.jpg", "a/z.png", "b.png"]


def test_endings_are_known_in_any_case(tmp_path: Path) -> None:
    names = ["1.PNG", "2.Jpg", "3.jpeg", "4.webp", "5.bmp", "6.tif", "7.TIFF", "8.gif"]
    assert ids(put(tmp_path, *names, "9.txt", "cat.png.txt", "png")) == names


def test_hidden_files_and_what_archives_and_drives_leave_behind_are_no_pictures(
    tmp_path: Path,
) -> None:
    put(tmp_path, ".a.png", "._b.png", ".git/c.png", "__MACOSX/d.png", "s/@eaDir/e.png", "f.png")
    assert ids(tmp_path) == ["f.png"]


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    os.utime(tmp_path / "a.png", ns=(1, 1234567890123456700))
    (one,) = found(tmp_path)
    assert (one.size_bytes, one.mtime_ns) == (5, 1234567890123456700)
    assert one.file == tmp_path / "a.png"


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.HEIC", "b.heic", "c.jfif", "d.png", "e.txt")
    assert listing(tmp_path).unsupported == {".heic": 2, ".jfif": 1}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    put(tmp_path, "in/a.png", "out/b.png")
    (tmp_path / "in" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "other").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "c.png").symlink_to(tmp_path / "out" / "b.png")
    assert ids(tmp_path / "in") == ["a.png", "c.png", "other/b.png"]


def test_a_link_to_nowhere_is_found_so_that_it_can_be_complained_of(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert ids(tmp_path) == ["a.png"]


def test_a_picture_that_is_a_folder_is_a_folder(tmp_path: Path) -> None:
    assert ids(put(tmp_path, "a.png/b.png")) == ["a.png/b.png"]


def test_names_that_differ_in_the_ending_are_both_used(tmp_path: Path) -> None:
    put(tmp_path, "cat.jpg", "cat.png", "a/cat.png", "dog.png", "dog.2.png")
    assert len(ids(tmp_path)) == 5


def test_a_folder_alone_is_looked_at_without_its_subfolders(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "sub/b.png", "sub/c.heic")
    shallow = listing(tmp_path, subfolders=False)
    assert [one.id for one in shallow.pictures] == ["a.png"]
    assert shallow.unsupported == {}


def test_each_picture_is_told_with_its_text(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a.txt", "b.2.png", "b.2.txt", "b.txt", "s/a.png", "c.png", "C.txt")
    put(tmp_path, "d.png", "d.caption", "e.png", "e.png.txt", "f.png", ".f.txt", "g.txt")
    (tmp_path / "s" / "a.txt").write_bytes(b"four")
    os.utime(tmp_path / "s" / "a.txt", ns=(1, 77))
    beside = {one.id: one.beside for one in listing(tmp_path, text_ending=".txt").pictures}
    told = {id: text.file for id, text in beside.items() if text is not None}
    assert told == {
        "a.png": tmp_path / "a.txt",
        "b.2.png": tmp_path / "b.2.txt",
        "s/a.png": tmp_path / "s" / "a.txt",
    }
    text = beside["s/a.png"]
    assert text is not None
    assert (text.size_bytes, text.mtime_ns) == (4, 77)
    assert all(one.beside is None for one in found(tmp_path))


def test_texts_may_end_as_the_job_says_and_in_large_letters(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a.TXT", "b.png", "b.txt", "b.TXT", "c.png", "c.tags.txt")

    def texts(ending: str) -> list[str]:
        pictures = listing(tmp_path, text_ending=ending).pictures
        return [Path(str(one.beside.file)).name for one in pictures if one.beside is not None]

    assert texts(".txt") == ["a.TXT", "b.txt"]
    assert texts(".tags.txt") == ["c.tags.txt"]


def test_a_folder_named_like_a_text_is_none(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a.txt/b.png")
    assert [one.beside for one in listing(tmp_path, text_ending=".txt").pictures] == [None, None]


def test_a_missing_folder_is_told_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    put(tmp_path, "pictures/a.png")
    with pytest.raises(FileError, match=r"no such folder; did you mean '.*/pictures'\?"):
        found(tmp_path / "picture")
    with pytest.raises(FileError, match="no such folder; check `folder`"):
        found(tmp_path / "nowhere" / "at all")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a file, not a folder"):
        found(put(tmp_path, "a.png") / "a.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    put(tmp_path, "secret/a.png")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(FileError, match="secret: the folder cannot be read"):
        found(tmp_path)
    (tmp_path / "secret").chmod(0o700)
