"""What is said before a run is what the run then does."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from scumble.caching import encoded
from scumble.preflight import forecast
from scumble.preflight.plan import prepared
from scumble.preflight.survey import survey
from tests.toys import job, journal, pictures, trained


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_counts_are_those_of_the_run(tmp_path: Path) -> None:
    told = survey(job(tmp_path), tmp_path)
    assert [one.buckets for one in told.sets] == [{"32x32": 5}, {"48x32": 3}]
    assert told.sets[0].funnel["found"] == told.sets[0].funnel["in a bucket"] == 5
    assert (told.examples_per_epoch, told.steps_per_epoch, told.steps) == (5 + 2 * 3, 3.0, 4)
    assert (told.cached_entries, told.missing_entries) == (0, 8 + 9)
    assert told.seconds is not None and told.seconds > 0
    trained(tmp_path)
    started = journal(tmp_path, "Started")[0]
    assert started["trained_parameters"] == told.trained_parameters
    assert started["examples"] == told.examples_per_epoch
    after = survey(job(tmp_path), tmp_path)
    assert (after.cached_entries, after.missing_entries, after.cache_bytes) == (17, 0, 0)


@pytest.mark.parametrize("name", ["adamw", "prodigy"])
def test_the_disk_is_forecast_within_a_fifth(tmp_path: Path, name: str) -> None:
    changes = {"saving__every": 1, "training__optimizer__name": name}
    told = survey(job(tmp_path, **changes), tmp_path)
    trained(tmp_path, **changes)
    shards = list((tmp_path / "out/.cache").rglob("*.safetensors"))
    bodies = sum(file.stat().st_size - 4096 for file in shards)
    assert abs(told.cache_bytes - bodies) < 0.2 * bodies
    state = folder_bytes(tmp_path / "out/toy/checkpoints")
    assert abs(told.run_bytes - state) < 0.2 * state


@pytest.mark.parametrize(
    "targets", [["to_q", "to_k", "proj_mlp"], ["add_q_proj", "to_v", "proj_out", "net.2"]]
)
def test_files_in_several_layouts_are_counted_as_large_as_they_are(
    tmp_path: Path, targets: list[str]
) -> None:
    def room(*layouts: str) -> int:
        wanted = job(tmp_path, export__layout=layouts, adapter__targets=targets)
        return forecast.run_bytes(prepared(wanted, tmp_path))

    layouts = ("diffusers", "kohya", "comfy", "ai-toolkit")
    sizes = {layout: room("diffusers", layout) - room("diffusers") for layout in layouts[1:]}
    trained(tmp_path, export__layout=layouts, adapter__targets=targets, training__steps=1)
    for layout, told in sizes.items():
        file = tmp_path / f"out/toy/toy.{layout}.safetensors"
        numbers = sum(one.numel() * one.element_size() for one in load_file(file).values())
        assert abs(told - numbers) < 0.01 * numbers + 200, layout


def test_looking_leaves_nothing_but_the_ledger(tmp_path: Path) -> None:
    survey(job(tmp_path), tmp_path)
    left = [file.parent.name for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert left == ["ledgers", "ledgers"]


def test_enlarged_and_cut_pictures_are_noted(tmp_path: Path) -> None:
    pictures(tmp_path / "odd", [(16, 16), (96, 32)])
    square = {"kind": "shapes", "aspects": ["1:1"]}
    data = [{"id": "odd", "folder": "odd", "resolution": 32, "sizing": square}]
    notes = " ".join(survey(job(tmp_path, data=data), tmp_path).sets[0].notes)
    assert "1 picture is smaller" in notes and "1 picture loses more than 20%" in notes


def test_trained_parameters_are_counted_without_weights(tmp_path: Path) -> None:
    plan = prepared(job(tmp_path, adapter__targets=["to_q"], adapter__rank=3), tmp_path)
    assert all(parameter.is_meta for parameter in plan.denoiser.parameters())
    assert plan.trained_parameters == 3 * (128 + 128) * 6


def test_equal_versions_and_masks_are_counted_as_they_are_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64), (96, 64), (90, 60)])
    pictures(tmp_path / "m", [(64, 64), (96, 64), (90, 60)], seed=1)
    one = {"id": "a", "folder": "a", "resolution": 32, "flip": True, "mask": {"folder": "m"}}
    data = [{**one, "variants": 20, "colour": True}, {**one, "id": "b", "variants": "epoch"}]
    wanted = job(tmp_path, data=data, training__steps=40)
    told = survey(wanted, tmp_path)
    made = prepared(wanted, tmp_path)
    with encoded(made, lambda event: None):
        after = survey(wanted, tmp_path)
    assert told.cached_entries == after.missing_entries == after.cache_bytes == 0
    assert told.missing_entries == after.cached_entries < 3 * 40 + 3 * 2 + 3 * 2 + 3
    shards = list((tmp_path / "out/.cache").rglob("*.safetensors"))
    assert abs(told.cache_bytes - sum(one.stat().st_size - 4096 for one in shards)) < 1000


def test_only_sets_that_keep_short_batches_are_said_to_have_them(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)])
    one = {"id": "a", "folder": "a", "resolution": 32}
    kept = survey(job(tmp_path, data=[one]), tmp_path)
    assert any("1 size has fewer pictures than a batch (a)" in each for each in kept.warnings)
    filled = survey(job(tmp_path, data=[{**one, "short": "fill"}]), tmp_path)
    assert filled.warnings == ()


def test_captions_that_references_bring_are_the_ones_that_count(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 3)
    pictures(tmp_path / "r", [(64, 64)] * 3)
    said = {"folder": "r", "captions": "prompt", "prompt": ["sharpen it", "make it sharp"]}
    data = [{"id": "a", "folder": "a", "resolution": 32, "references": [said]}]
    model = {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"}
    assert survey(job(tmp_path, data=data, model=model), tmp_path).sets[0].captions == 2
