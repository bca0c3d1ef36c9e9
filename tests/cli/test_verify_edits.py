"""Adapters of edit models are proven with the references that they were trained with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.cli.app import main
from scumble.validation import probes
from tests.toys import journal, pictures, trained

KONTEXT = {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of two references, one of a size of its own; the texts as long as published."""
    root = tmp_path_factory.mktemp("edits")
    pictures(root / "after", [(64, 96)] * 4)
    pictures(root / "before", [(64, 96)] * 4, seed=1)
    pictures(root / "style", [(96, 64), (64, 64)] * 2, seed=2)
    references = [{"folder": "before"}, {"folder": "style", "fit": "loose", "resolution": 32}]
    data = {"id": "edits", "folder": "after", "resolution": 48, "held_out": 0.25}
    outcome = trained(
        root,
        model=KONTEXT,
        data=[{**data, "references": references}],
        validation={"every": 2, "steps": 2, "scale": 2.0, "negative": "blurred"},
        export={"proof": "fresh_process", "layout": ["diffusers", "comfy"], "dtype": "float32"},
        training__steps=2,
        training__units_per_step=1,
    )
    assert outcome.code == 0
    return root


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """The run's folder, to be damaged."""
    return Path(shutil.copytree(root / "out/toy", tmp_path / "toy"))


def verified(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """Exit code, and the verdicts on the first file by their names."""
    code = main(["adapter", "verify", "--json", *map(str, arguments)])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["files"][0]
    return code, {one["name"]: (one["state"], one["text"]) for one in row["verdicts"]}


def test_a_fresh_process_asks_with_the_references_of_the_run(root: Path) -> None:
    found = {
        record["file"]: {one["name"]: one["state"] for one in record["verdicts"]}
        for record in journal(root, "Proven")
    }
    assert found.keys() == {"toy.safetensors", "toy.comfy.safetensors"}
    assert all(set(states.values()) == {"ok"} for states in found.values())
    assert {"velocity", "change", "picture", "effect"} <= found["toy.safetensors"].keys()
    kit = probes.read(root / "out/toy/proof" / probes.FILE)
    assert len(kit.probes.references) == len(kit.preview.references) == 2
    assert kit.probes.references[0].shape == kit.probes.noisy.shape[1:], "strict"
    assert kit.preview.negative["text"].shape == (512, 64)


def test_a_preview_is_told_guidance_as_published_and_the_whole_text(root: Path) -> None:
    for file in (root / "out/toy/samples").rglob("*.json"):
        about = json.loads(file.read_text())
        assert about["guidance"] == 2.5 and about["text_tokens"] == 512
        assert [Path(one["file"]).parent.name for one in about["references"]] == ["before", "style"]


def test_the_picture_made_again_is_the_output_alone(root: Path) -> None:
    (row,) = [one for one in journal(root, "Proven") if one["file"] == "toy.safetensors"]
    with Image.open(root / "out/toy/proof/again-toy.png") as again:
        alone = again.size
    (whole,) = (root / "out/toy/samples/step-000002").glob("*.png")
    with Image.open(whole) as stitched:
        assert stitched.width > 3 * alone[0] and stitched.height == alone[1]
    said = next(one["text"] for one in row["verdicts"] if one["name"] == "picture")
    assert said.startswith("the last preview made again: equal in every pixel")


def test_references_in_another_order_are_noticed(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So the question is put with them: the same file, asked another one, answers otherwise."""
    file = copied / probes.FOLDER / probes.FILE
    kit = probes.read(file)
    turned = replace(
        kit,
        probes=replace(kit.probes, references=kit.probes.references[::-1]),
        preview=replace(kit.preview, references=kit.preview.references[::-1]),
    )
    probes.write(file, turned)
    code, found = verified(capsys, copied / "toy.safetensors", "--run", copied)
    assert code == 2 and found["velocity"][0] == "failed"


@pytest.mark.acceptance
def test_the_published_pipeline_paints_the_same_edit(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = root / "out/toy"
    question = (run / "toy.safetensors", "--run", run, "--against", "diffusers")
    code, found = verified(capsys, *question)
    assert code == 0 and found["pipeline keys"][0] == "ok"
    assert "equal in every pixel" in found["pipeline picture"][1]
