"""Masks and degraded pictures for whole folders, as they are asked for on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image, ImageDraw

from scumble.cli.degrade import degrade
from scumble.cli.masks import CLIPSEG, masks
from scumble.data.mask_makers.makers import Words
from scumble.errors import DiskError, FileError, JobError
from tests.conftest import told

app = typer.Typer()
app.command("masks")(masks)
app.command("degrade")(degrade)

SQUARE = (30, 20, 70, 60)


def run(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def subject(size: tuple[int, int] = (96, 80), ground: str = "white") -> Image.Image:
    """A red square with some texture, on one colour."""
    grain = np.random.default_rng(0).integers(-12, 13, (size[1], size[0], 3))
    picture = Image.new("RGB", size, ground)
    ImageDraw.Draw(picture).rectangle(SQUARE, fill=(200, 40, 30))
    red = np.asarray(picture)[..., 0] == 200
    pixels = np.asarray(picture) + grain * red[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures with the same square: PNG, JPEG in a subfolder, and lying on its side."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    subject().save(folder / "a.png")
    subject().save(folder / "sub" / "b.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    subject().transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    return folder


def grey(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        assert image.mode == "L"
        return np.asarray(image)


def agreement(mask: np.ndarray) -> float:
    """Overlap with the square, over what either covers."""
    truth = np.zeros(mask.shape, bool)
    truth[SQUARE[1] : SQUARE[3] + 1, SQUARE[0] : SQUARE[2] + 1] = True
    return (truth & (mask >= 128)).sum() / (truth | (mask >= 128)).sum()


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("way", [["--grabcut"], ["--background", "white"]], ids=" ".join)
def test_every_picture_gets_a_mask_of_its_name_upright_and_beside_nothing(
    way: list[str], photos: Path, tmp_path: Path
) -> None:
    before = {name: (photos / name).read_bytes() for name in files(photos)}
    run("masks", photos, "--out", tmp_path / "masks", *way, "--processes", 1)
    assert files(tmp_path / "masks") == ["a.png", "sub/b.png", "turned.png"]
    for name in files(tmp_path / "masks"):
        mask = grey(tmp_path / "masks" / name)
        assert mask.shape == (80, 96)
        assert agreement(mask) > 0.95, name
    assert {name: (photos / name).read_bytes() for name in files(photos)} == before


def test_the_box_says_where_the_subject_is(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    two = subject()
    two.paste(two.crop((30, 20, 50, 40)), (2, 2))
    two.save(tmp_path / "p" / "two.png")
    run("masks", tmp_path / "p", "-o", tmp_path / "m", "--grabcut", "--box", "0.25,0.2,0.8,0.85")
    assert agreement(grey(tmp_path / "m" / "two.png")) > 0.95


def test_transparency_is_a_mask_and_pictures_without_any_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").mkdir()
    cut = subject().convert("RGBA")
    cut.putalpha(Image.fromarray(np.tile(np.arange(96, dtype=np.uint8), (80, 1))))
    cut.save(tmp_path / "p" / "cut.png")
    subject().save(tmp_path / "p" / "opaque.png")
    run("masks", tmp_path / "p", "--out", tmp_path / "m", "--alpha", "--processes", 1)
    assert grey(tmp_path / "m" / "cut.png")[5].tolist() == list(range(96))
    assert (grey(tmp_path / "m" / "opaque.png") == 255).all()
    assert "1 mask is all white, so nothing changes: opaque.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ground", "asked"),
    [("black", "black"), ("#00d040", "chroma"), ("#1030f0", "chroma"), ("#808080", "#808080")],
)
def test_backgrounds_of_one_colour_are_told_from_the_subject(
    ground: str, asked: str, tmp_path: Path
) -> None:
    (tmp_path / "p").mkdir()
    subject(ground=ground).save(tmp_path / "p" / "a.png")
    run("masks", tmp_path / "p", "--out", tmp_path / "m", "--background", asked)
    assert agreement(grey(tmp_path / "m" / "a.png")) == 1


def test_masks_are_padded_feathered_and_turned_round(photos: Path, tmp_path: Path) -> None:
    way = ["--background", "white", "--processes", 1]
    run("masks", photos, "--out", tmp_path / "plain", *way)
    run("masks", photos, "--out", tmp_path / "padded", *way, "--grow", 5)
    run("masks", photos, "--out", tmp_path / "soft", *way, "--blur", 3)
    run("masks", photos, "--out", tmp_path / "other", *way, "--invert")
    plain, padded, soft, other = (
        grey(tmp_path / folder / "a.png") for folder in ("plain", "padded", "soft", "other")
    )
    assert padded[SQUARE[1] - 5, 50] == 255 and padded[SQUARE[1] - 6, 50] == 0
    assert len(np.unique(soft)) > 20
    assert (other == 255 - plain).all()


def test_masks_that_are_there_stay_unless_asked_for_anew(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = tmp_path / "m" / "a.png"
    by_hand.parent.mkdir()
    Image.new("L", (96, 80), 77).save(by_hand)
    way = ["masks", photos, "--out", tmp_path / "m", "--background", "white", "--processes", 1]
    run(*way)
    assert (grey(by_hand) == 77).all()
    assert "2 masks made" in (out := capsys.readouterr().out) and "1 were there" in out
    run(*way, "--existing", "again")
    assert agreement(grey(by_hand)) == 1


def test_processes_make_the_same_masks_as_one(photos: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        run(
            "masks",
            photos,
            "--out",
            tmp_path / str(processes),
            "--grabcut",
            "--processes",
            processes,
        )
    for name in files(tmp_path / "1"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_the_sheet_shows_every_picture_its_mask_and_both(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    way = ["--background", "white", "--sheet", sheet, "--processes", 1]
    run("masks", photos, "--out", tmp_path / "m", *way)
    with Image.open(sheet) as image:
        assert image.width > 3 * 192 and image.height > 2 * 192


def test_one_broken_picture_stops_no_other_and_is_named_at_the_end(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:200])
    with pytest.raises(ExceptionGroup) as caught:
        run("masks", photos, "--out", tmp_path / "m", "--background", "white", "--processes", 1)
    assert "broken.png" in told(caught.value)
    assert files(tmp_path / "m") == ["a.png", "sub/b.png", "turned.png"]


def test_a_picture_of_one_colour_is_beyond_grabcut(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (64, 64), "white").save(tmp_path / "p" / "flat.png")
    Image.new("RGB", (2, 2), "white").save(tmp_path / "p" / "tiny.png")
    with pytest.raises(ExceptionGroup) as caught:
        run("masks", tmp_path / "p", "--out", tmp_path / "m", "--grabcut", "--processes", 1)
    assert "tiny.png" in told(caught.value) and "flat.png" in told(caught.value)


@pytest.mark.parametrize("place", ["photos", "photos/masks", "photos/sub/.."])
def test_nothing_is_written_among_the_pictures(place: str, photos: Path, tmp_path: Path) -> None:
    before = files(photos)
    with pytest.raises(JobError, match="name a folder beside it"):
        run("masks", photos, "--out", tmp_path / place, "--alpha")
    with pytest.raises(JobError, match="name a folder beside it"):
        run("degrade", "--from", photos, "--to", tmp_path / place, "--kind", "blur")
    assert files(photos) == before


def test_a_folder_that_holds_the_pictures_is_no_place_for_what_is_made(
    photos: Path, tmp_path: Path
) -> None:
    before = files(photos.parent)
    with pytest.raises(JobError, match="holds the pictures"):
        run("masks", photos, "--out", photos.parent, "--alpha")
    with pytest.raises(JobError, match="holds the pictures"):
        run("degrade", "--from", photos, "--to", photos.parent, "--kind", "blur")
    with pytest.raises(JobError, match="would be taken for one of its pictures"):
        out = tmp_path / "m"
        run("masks", photos, "--out", out, "--alpha", "--sheet", out / "sheet.png")
    assert files(photos.parent) == before


def test_a_picture_in_colours_is_never_replaced_by_a_mask(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    subject().save(other / "a.png")
    before = (other / "a.png").read_bytes()
    with pytest.raises(JobError, match=r"1 files there are no grey masks, first a\.png"):
        run("masks", photos, "--out", other, "--alpha", "--existing", "again")
    assert files(other) == ["a.png"] and (other / "a.png").read_bytes() == before


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_disk_refuses_is_told_by_every_process(
    processes: int, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="is not a folder"):
        run("masks", photos, "-o", tmp_path / "file/m", "--alpha", "--processes", processes)


def test_a_mistyped_folder_is_asked_back(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no such folder; did you mean .*photos\?"):
        run("masks", tmp_path / "photo", "--out", tmp_path / "m", "--alpha")
    with pytest.raises(FileError, match=r"no such folder; did you mean .*photos\?"):
        degraded(tmp_path / "photo", tmp_path / "d", "--kind", "blur")


def test_two_pictures_of_one_name_would_share_a_mask(photos: Path, tmp_path: Path) -> None:
    subject().save(photos / "a.webp")
    with pytest.raises(ExceptionGroup) as caught:
        run("masks", photos, "--out", tmp_path / "m", "--alpha")
    assert "a: 2 pictures have this name" in told(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing says what is kept"),
        (["--alpha", "--text", "cat"], "--text and --alpha are given"),
        (["--background", "purple"], "not a colour"),
        (["--grabcut", "--box", "0.9,0,0.1,1"], "not a box"),
        (["--alpha", "--existing", "maybe"], "skip or again"),
        (["--alpha", "--device", "cpu"], "--device goes with --text only"),
        (["--background", "chroma", "--tolerance", "9"], "--tolerance goes with --background"),
        (["--text", " "], "--text: it is empty"),
        (["--text", "cat", "--device", "nonsense"], "'nonsense' cannot be used"),
    ],
)
def test_what_cannot_be_is_refused(
    options: list[str], said: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match=said):
        run("masks", photos, "--out", tmp_path / "m", *options)


def test_the_default_model_is_named_alike_in_both_places() -> None:
    assert Words(texts=()).model == CLIPSEG


def test_the_guides_script_takes_the_guides_flags(photos: Path, tmp_path: Path) -> None:
    """Without the hub it can only say that the model is not there; it must get that far."""
    flags = ["--input_dir", photos, "--output_dir", tmp_path / "m", "--text_input", "person"]
    words = [sys.executable, "drop_in/generate_dataset_masks.py", *map(str, flags)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(words, capture_output=True, text=True, env=quiet, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {CLIPSEG}: the model cannot be loaded")


def degraded(photos: Path, target: Path, *options: object) -> None:
    run("degrade", "--from", photos, "--to", target, "--processes", 1, *options)


def test_degraded_pictures_have_the_names_and_sizes_of_theirs(photos: Path, tmp_path: Path) -> None:
    degraded(photos, tmp_path / "d", "--kind", "jpeg_artifacts", "--set", "quality=10")
    assert files(tmp_path / "d") == ["a.png", "degraded.json", "sub/b.png", "turned.png"]
    for name in ("a.png", "sub/b.png", "turned.png"):
        with Image.open(tmp_path / "d" / name) as image:
            assert (image.mode, image.size) == ("RGB", (96, 80))
    index = json.loads((tmp_path / "d" / "degraded.json").read_text())
    assert index["made"]["settings"]["quality"] == 10
    assert index["pictures"]["sub/b.png"]["source"] == "sub/b.jpg"


def test_degraded_pictures_depend_on_seed_name_and_variant_alone(
    photos: Path, tmp_path: Path
) -> None:
    noise = ["--kind", "noise", "--variants", 2]
    degraded(photos, tmp_path / "one", *noise)
    run("degrade", "--from", photos, "--to", tmp_path / "two", *noise, "--processes", 2)
    degraded(photos, tmp_path / "seed", *noise, "--seed", 1)
    pictures = [name for name in files(tmp_path / "one") if name.endswith(".png")]
    assert pictures[:2] == ["variant-1/a.png", "variant-1/sub/b.png"] and len(pictures) == 6
    one, two, seed = (
        [(tmp_path / folder / name).read_bytes() for name in pictures]
        for folder in ("one", "two", "seed")
    )
    assert one == two
    assert not set(one) & set(seed)
    assert len(set(one)) == 6, "a, turned and both variants all differ"


def test_only_what_is_missing_or_changed_is_made(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "d"
    blur = ["--kind", "blur"]
    degraded(photos, target, *blur)
    stamp = {name: (target / name).stat().st_mtime_ns for name in files(target)}
    (target / "turned.png").unlink()
    subject(ground="blue").save(photos / "a.png")
    subject().save(photos / "new.png")
    capsys.readouterr()
    degraded(photos, target, *blur)
    assert "3 pictures made" in (out := capsys.readouterr().out) and "1 were there" in out
    assert (target / "sub/b.png").stat().st_mtime_ns == stamp["sub/b.png"]
    with Image.open(target / "a.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)


def test_other_settings_are_never_mixed_in(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    degraded(photos, target, "--kind", "blur")
    before = (target / "a.png").read_bytes()
    for other in (["--kind", "noise"], ["--kind", "blur", "--set", "radius=3"]):
        with pytest.raises(JobError, match="other settings"):
            degraded(photos, target, *other)
    assert (target / "a.png").read_bytes() == before
    degraded(photos, target, "--kind", "noise", "--again")
    assert (target / "a.png").read_bytes() != before


def test_files_of_others_are_never_written_over(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    target.mkdir()
    (target / "a.png").write_bytes(b"precious")
    for again in ([], ["--again"]):
        with pytest.raises(JobError, match=r"made by someone else, first a\.png"):
            degraded(photos, target, "--kind", "blur", *again)
    assert files(target) == ["a.png"] and (target / "a.png").read_bytes() == b"precious"


@pytest.mark.parametrize("other", [["--ending", "jpg"], ["--variants", 2]], ids=str)
def test_no_target_gets_a_second_picture_of_its_name(
    other: list[object], photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "d"
    degraded(photos, target, "--kind", "blur")
    before = files(target)
    for again in ([], ["--again"]):
        with pytest.raises(JobError, match="another ending or folder"):
            degraded(photos, target, "--kind", "blur", *other, *again)
    assert files(target) == before


def test_more_variants_may_be_added(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    degraded(photos, tmp_path / "d", "--kind", "blur", "--variants", 2)
    degraded(photos, tmp_path / "d", "--kind", "blur", "--variants", 3)
    assert "3 pictures made" in (out := capsys.readouterr().out) and "6 were there" in out


@pytest.mark.skipif(sys.platform != "linux", reason="names are text on other systems")
def test_a_name_that_is_no_text_is_degraded_like_any_other(photos: Path, tmp_path: Path) -> None:
    (photos / "a.png").rename(photos / os.fsdecode(b"a\xff.png"))
    for _ in range(2):
        degraded(photos, tmp_path / "d", "--kind", "blur")
    assert os.fsdecode(b"a\xff.png") in files(tmp_path / "d")


def test_an_index_of_something_else_is_not_touched(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "d"
    target.mkdir()
    for odd in ("not json", "[]", '{"format": 9}', '{"format": 1, "pictures": {"a": {"b": 1}}}'):
        (target / "degraded.json").write_text(odd)
        with pytest.raises(FileError, match="not an index"):
            degraded(photos, target, "--kind", "blur")
        assert (target / "degraded.json").read_text() == odd


def test_a_picture_that_cannot_be_read_is_told_and_tried_again(
    photos: Path, tmp_path: Path
) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(whole[:120])
    with pytest.raises(ExceptionGroup) as caught:
        degraded(photos, tmp_path / "d", "--kind", "blur")
    assert "a.png" in told(caught.value)
    assert "a.png" not in files(tmp_path / "d") and "turned.png" in files(tmp_path / "d")
    (photos / "a.png").write_bytes(whole)
    degraded(photos, tmp_path / "d", "--kind", "blur")
    assert "a.png" in files(tmp_path / "d")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "blurr"], "--kind: 'blurr' is not known; did you mean 'blur'?"),
        (["--kind", "blur", "--set", "radios=2"], "--set radios=2: blur has no setting 'radios'"),
        (["--kind", "noise", "--set", "quality=2"], "known: level, coloured, salt_and_pepper"),
        (["--kind", "blur", "--set", "radius=-1"], "--set radius=-1: must be"),
        (["--kind", "jpeg_artifacts", "--set", "quality=high"], "quality"),
        (["--kind", "blur", "--ending", "gif"], "png, webp, jpg"),
    ],
)
def test_wrong_settings_are_told_as_those_of_a_job(
    options: list[str], said: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises((JobError, ExceptionGroup)) as caught:
        degraded(photos, tmp_path / "d", *options)
    assert said in told(caught.value)
    assert not (tmp_path / "d").exists()


def job(tmp_path: Path, **reference: Any) -> Path:
    path = tmp_path / "job.json"
    settings = {"degrade": {"kind": "noise"}, "at": "original", "write_to": "made", **reference}
    whole = {
        "name": "cat",
        "model": {"family": "flux", "flavour": "dev", "path": "weights"},
        "data": [{"id": "cat", "folder": "photos", "references": [settings]}],
        "training": {"steps": 1},
    }
    path.write_text(json.dumps(whole))
    return path


def test_a_job_writes_each_reference_that_says_where_to(photos: Path, tmp_path: Path) -> None:
    run("degrade", job(tmp_path), "--processes", 1)
    assert files(tmp_path / "made") == ["a.png", "degraded.json", "sub/b.png", "turned.png"]


def test_a_job_whose_pictures_would_not_be_what_is_trained_on_is_refused(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        run("degrade", job(tmp_path, at="trained"))
    assert "at: original" in told(refused.value)
    with pytest.raises(JobError, match="--kind goes with --from"):
        run("degrade", job(tmp_path), "--kind", "blur")
    with pytest.raises(JobError, match="--seed goes with --from"):
        run("degrade", job(tmp_path), "--seed", 3)


def test_a_full_or_forbidden_disk_is_said_so(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((DiskError, FileError)):
        degraded(photos, tmp_path / "file", "--kind", "blur")
