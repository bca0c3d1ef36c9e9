from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from scumble.cli.app import main
from scumble.cli.pairs import pairs
from scumble.errors import ScumbleError
from tests.conftest import told

from .pair_toys import blurred, kept, moved, picture

JOB = """
name: edit
model: {path: builtin:tiny-flux, family: flux, flavour: dev}
data:
  - id: cats
    folder: after
    resolution: 256
    references: [{id: before, folder: before}]
    mask: {folder: masks, missing: whole}
training: {steps: 1}
"""


def run(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(pairs)
    return CliRunner().invoke(app, [str(one) for one in arguments])


def made(folder: Path) -> Path:
    for number in range(6):
        whole = picture(number, (160, 160))
        kept(whole, folder / f"after/{number}.png")
        kept(blurred(whole), folder / f"before/{number}.png")
    kept(picture(1, (160, 160)).convert("L"), folder / "masks/1.png")
    (folder / "job.yaml").write_text(JOB)
    return folder


def test_a_job_without_faults_is_told_so(tmp_path: Path) -> None:
    folder = made(tmp_path)
    result = run(folder / "job.yaml")
    assert result.exit_code == 0, result.output
    assert "no problem found in 7 pairs" in result.output
    assert "cats.mask: left out" in result.output
    assert "pairs/s" in result.output


def test_folders_need_no_job_and_nothing_is_written_beside_pictures(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = sorted(folder.rglob("*"))
    result = run("--targets", folder / "after", "--references", folder / "before", "--no-pixels")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "no problem found in 6 pairs")
    assert sorted(folder.rglob("*")) == before


def test_a_missing_reference_ends_with_2_unless_that_is_allowed(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "before/4.png").rename(folder / "before/4_.png")
    words = ("--targets", folder / "after", "--references", folder / "before", "--no-pixels")
    result = run(*words)
    assert result.exit_code == 2
    assert "4.png has one whose name goes on: 4_.png" in result.output
    assert "1 x references: targets without a partner" in result.output
    assert run(*words, "--allow-unpaired").exit_code == 0


def test_doubts_end_with_0_and_go_to_a_sheet_and_a_file(tmp_path: Path) -> None:
    folder = made(tmp_path / "set")
    shifted = moved(Image.open(folder / "before/2.png"), 5, 0)
    kept(shifted, folder / "before/2.png")
    sheet, file = tmp_path / "doubts.png", tmp_path / "all.json"
    result = run(folder / "job.yaml", "--sheet", sheet, "--json", file)
    assert result.exit_code == 0, result.output
    assert re.search(r"2.png has a partner that lies [45]\.\d px right", result.output)
    found = json.loads(file.read_text())["cats"]["findings"]
    assert [one["id"] for one in found if one["grade"] == "doubt"] == ["2.png"]
    with Image.open(sheet) as image:
        assert image.width > 600


def test_a_sheet_among_the_pictures_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    words = ("--targets", folder / "after", "--references", folder / "before")
    result = run(*words, "--sheet", folder / "before/deep/sheet.png")
    assert isinstance(result.exception, ScumbleError)
    assert "lies among the pictures of references" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is nothing to pair"),
        (("--targets", "."), "there is nothing to pair"),
        (("--targets", ".", "--masks", ".", "--fit", "tight"), "'tight' is no way to fit"),
        (("job.yaml", "--targets", "."), "a job and folders were named"),
        (("--targets", "nowhere", "--masks", "."), "there is no such folder"),
        (("job.yaml", "--fit", "loose"), "set `fit` in the job instead"),
        (("job.yaml", "--all", "--no-pixels"), "--no-pixels and --all are given"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], said: str) -> None:
    assert said in str(run(*words).exception)


def test_a_job_without_pairs_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    result = run(folder / "job.yaml", "data.0.references=[]", "data.0.mask=null")
    assert "no set has references or masks" in str(result.exception)


def test_a_folder_without_a_picture_is_no_good_news(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "none").mkdir()
    result = run("--targets", folder / "none", "--references", folder / "none")
    assert result.exception is not None
    assert "there are no pictures" in told(result.exception)


def test_a_mistyped_folder_is_asked_back(tmp_path: Path) -> None:
    folder = made(tmp_path)
    result = run("--targets", folder / "afters", "--references", folder / "before")
    assert "did you mean" in str(result.exception) and "after?" in str(result.exception)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text on other systems")
def test_a_name_that_is_no_text_goes_into_the_json(tmp_path: Path) -> None:
    folder, name = made(tmp_path / "set"), os.fsdecode(b"4\xff.png")
    (folder / "before/4.png").rename(folder / "before" / name)
    words = ["data", "pairs", str(folder / "job.yaml"), "--no-pixels"]
    assert main([*words, "--json", str(tmp_path / "all.json")]) == 2
    found = json.loads((tmp_path / "all.json").read_text())["cats"]["findings"]
    assert name in [one["id"] for one in found]


def test_folders_with_repeats_in_their_names_pair_as_in_training(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / "sets").mkdir()
    (folder / "after").rename(folder / "sets/10_cat")
    job = (folder / "job.yaml").read_text().replace("folder: after", "folder: sets")
    (folder / "job.yaml").write_text(job)
    result = run(folder / "job.yaml", "data.cats.repeats_in_names=true")
    assert (result.exit_code, "no problem found in 7 pairs" in result.output) == (0, True)
