from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from scumble.cli.preview import preview
from scumble.errors import leaves
from tests.toys import pictures

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(preview)


def job(root: Path, *data: dict[str, object]) -> Path:
    """A job whose weights are nowhere."""
    told = {
        "name": "toy",
        "model": {"family": "flux", "flavour": "dev", "path": str(root / "nowhere")},
        "data": data or [{"id": "cats", "folder": "cats", "resolution": 64}],
        "adapter": {"rank": 4},
        "training": {"steps": 40, "batch_size": 2},
        "output_dir": str(root / "out"),
    }
    file = root / "job.json"
    file.write_text(json.dumps(told))
    return file


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [str(root / "job.json"), *arguments])


def refusal(root: Path, *arguments: str) -> str:
    error = run(root, *arguments).exception
    assert error is not None
    return "\n".join(str(each) for each in leaves(error))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "cats", [(64, 64), (96, 64), (128, 64)])
    job(tmp_path)
    return tmp_path


def test_a_page_and_a_sheet_are_made_without_any_weights(root: Path) -> None:
    before = sorted((root / "cats").rglob("*"))
    result = run(root, "--out", str(root / "seen.html"))
    assert result.exit_code == 0, result.output
    assert result.output.split() == [str(root / "seen.html"), str(root / "seen.png")]
    page = (root / "seen.html").read_text()
    assert page.count("<img") == 3 and "cats: 3 pictures" in page
    assert "picture 2 of cats" in page
    with Image.open(root / "seen.png") as sheet:
        assert sheet.width > 300
    assert sorted((root / "cats").rglob("*")) == before


def test_settings_of_the_job_can_be_tried(root: Path) -> None:
    run(root, "data.0.caption_dropout=1", "--out", str(root / "seen.html"), "--count", "1")
    page = (root / "seen.html").read_text()
    assert page.count("<img") == 1 and "caption: (empty)" in page


def test_another_epoch_can_be_asked_for(root: Path) -> None:
    sets = [{"id": id, "folder": "cats", "resolution": 64} for id in ("cats", "late")]
    job(root, sets[0], {**sets[1], "start_epoch": 4})
    run(root, "--out", str(root / "first.html"))
    run(root, "--out", str(root / "fourth.html"), "--epoch", "4")
    assert "late: not seen in epoch 1" in (root / "first.html").read_text()
    assert "late: 3 pictures; epoch 4 has" in (root / "fourth.html").read_text()


@pytest.mark.parametrize("name", ["cats/seen.html", "cats/new/seen.png"])
def test_nothing_is_written_among_the_pictures(root: Path, name: str) -> None:
    assert "lies among the pictures of 'cats'" in refusal(root, "--out", str(root / name))
    assert not (root / name).exists()


def test_only_a_page_or_a_picture_can_be_named(root: Path) -> None:
    assert "does not end in .html" in refusal(root, "--out", str(root / "seen.pdf"))


def test_what_is_wrong_with_the_data_is_told(root: Path) -> None:
    (root / "cats/p01.txt").unlink()
    assert "p01.png" in refusal(root, "--out", str(root / "seen.html"))
    assert not (root / "seen.html").exists()
