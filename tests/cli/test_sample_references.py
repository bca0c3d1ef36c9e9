"""`scumble sample`: pictures that are shown along, and texts that are led away from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scumble.cli.app import main
from scumble.validation.previews import output
from tests.toys import pictures

KONTEXT = ["--model", "builtin:tiny-flux-kontext", "--family", "flux", "--flavour", "kontext"]
SMALL = ["--prompt", "a", "--width", "64", "--height", "48", "--steps", "1", "--device", "cpu"]


def made(root: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[Path, dict]:
    code = main(["sample", *KONTEXT, *SMALL, "-o", str(root / "out"), *more])
    told = capsys.readouterr()
    assert code == 0, told.err
    file = Path(told.out.strip())
    return file, json.loads(file.with_suffix(".json").read_text())


def test_references_are_shown_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "in", [(96, 64), (64, 96)])
    monkeypatch.chdir(tmp_path / "in")
    one, about = made(tmp_path, capsys, "--reference", "p00.png", "--reference", "p01.png")
    other, _ = made(tmp_path, capsys, "--reference", "p01.png", "--reference", "p00.png")
    assert output(one).tobytes() != output(other).tobytes()
    names = [Path(each["file"]).name for each in about["references"]]
    assert names == ["p00.png", "p01.png"] and all(each["hash"] for each in about["references"])
    assert list(about["shows"]) == ["reference 1", "reference 2", "output"]
    with Image.open(one) as whole:
        assert whole.height == 48 and whole.width > 64 + 64


def test_a_job_of_references_is_painted_with_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path, [(96, 64)] * 2)
    job = {
        "name": "one",
        "model": {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"},
        "data": [{"id": "none", "folder": "."}],
        "training": {"steps": 1},
        "hardware": {"device": "cpu"},
        "validation": {
            "requests": [{"prompt": "b", "references": ["p00.png"]}, {"prompt": "c"}],
            "width": 64,
            "height": 48,
            "steps": 1,
        },
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    words = ["sample", "--job", str(tmp_path / "job.json"), "-o", str(tmp_path / "out")]
    assert main([*words, "--reference", str(tmp_path / "p01.png")]) == 0
    told = [Path(line).with_suffix(".json") for line in capsys.readouterr().out.splitlines()]
    shown = [json.loads(file.read_text())["references"] for file in told]
    assert [Path(one["file"]).name for (one,) in shown] == ["p00.png", "p01.png"]


def test_a_scale_leads_away_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, about = made(tmp_path, capsys)
    led, said = made(tmp_path, capsys, "--negative", "grey", "--scale", "3")
    assert (about["scale"], said["scale"], said["negative"]) == (1.0, 3.0, "grey")
    assert output(plain).tobytes() != output(led).tobytes()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--reference", "no.png"], "there is no such file"),
        (["--negative", "grey"], "it changes nothing"),
        (["--scale", "-1"], "a number from 0 up"),
    ],
)
def test_what_cannot_be_is_said(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", *KONTEXT, *SMALL, "-o", str(tmp_path), *more]) == 2
    assert words in capsys.readouterr().err


def test_a_family_that_is_shown_nothing_refuses_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path, [(96, 64)])
    model = ["--model", "builtin:tiny-flux", "--family", "flux", "--flavour", "dev"]
    asked = ["--reference", str(tmp_path / "p00.png"), "-o", str(tmp_path / "out")]
    assert main(["sample", *model, *SMALL, *asked]) == 2
    assert "flux dev takes no references" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
