"""A job whose model is on the hub: checked without its weights, which come when all is in order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from scumble.cli import cache_build, show
from scumble.errors import DiskError, FileError
from scumble.families import hub
from scumble.families.builtin import materialised
from scumble.preflight import fetching
from scumble.preflight.plan import prepared
from scumble.preflight.survey import survey
from scumble.spec.model import ModelSpec
from tests.conftest import told
from tests.families.toy_hub import Hub
from tests.toys import job, journal, trained

MODEL = {"family": "flux", "flavour": "dev", "path": "toy/tiny-flux", "text_tokens": 40}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The tiny model on a hub of its own, with an empty cache. The library reads its address when
    it is imported, so both places where it keeps that are changed."""
    folder = materialised("tiny-flux")
    files = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    running = Hub({"toy/tiny-flux": files, "toy/other": {"model_index.json": b"{}"}})
    template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", running.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield running
    running.stop()


def weights_of(server: Hub) -> list[str]:
    return [name for name in server.fetched() if name.endswith(".safetensors")]


def test_check_tells_what_would_be_fetched_and_goes_on(
    server: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = survey(job(tmp_path, model=MODEL), tmp_path)
    assert weights_of(server) == []
    assert seen.absent is not None and "will be fetched from the hub first: " in seen.absent
    assert "denoiser 9.4 MB" in seen.absent and "(toy/tiny-flux/transformer)" in seen.absent
    assert (seen.cached_entries, seen.missing_entries) == (0, 8 + 9)
    assert seen.trained_parameters > 0
    show.survey(seen, "")
    assert any(line.startswith("hub") for line in capsys.readouterr().out.splitlines())


def test_train_fetches_before_it_encodes_and_never_again(server: Hub, tmp_path: Path) -> None:
    assert trained(tmp_path, model=MODEL, training__steps=2).code == 0
    assert len(weights_of(server)) == len(set(weights_of(server))) == 4
    come = journal(tmp_path, "Fetched")
    assert come[-1]["time"] <= journal(tmp_path, "Encoded")[0]["time"], "fetched first"
    assert come[0]["bytes"] == 0 and come[-1]["bytes"] == come[-1]["total"] > 1e6
    assert come[0]["repositories"] == ["toy/tiny-flux"]
    server.asked.clear()
    server.trouble = 503
    assert survey(job(tmp_path, model=MODEL), tmp_path).absent is None
    assert trained(tmp_path, model=MODEL, training__steps=3).code == 0
    assert server.asked == []


def test_a_run_goes_on_after_the_cache_of_the_hub_was_emptied(server: Hub, tmp_path: Path) -> None:
    trained(tmp_path, model=MODEL, training__steps=2)
    shutil.rmtree(tmp_path / "hub")
    again: dict[str, Any] = {"model": MODEL, "training__steps": 3}
    plan = prepared(job(tmp_path, **again), tmp_path)
    assert plan.model.absent > 0 and plan.changed == ("training.steps: 2 -> 3",)
    assert trained(tmp_path, **again).code == 0
    assert journal(tmp_path, "Resumed")[-1]["step"] == 2


def test_building_the_cache_fetches_too(server: Hub, tmp_path: Path) -> None:
    one = cache_build.opened(job(tmp_path, model=MODEL), tmp_path)
    assert one.plan.model.absent == 0 and len(weights_of(server)) == 4


def test_what_the_hub_has_not_is_told_with_all_else(server: Hub, tmp_path: Path) -> None:
    other = job(tmp_path, model={**MODEL, "path": "toy/nothing"}, hardware__device="cuda:99")
    with pytest.raises(ExceptionGroup) as group:
        survey(other, tmp_path)
    assert "toy/nothing" in told(group.value) and "hardware" in told(group.value)
    with pytest.raises(ExceptionGroup) as group:
        survey(job(tmp_path, model={**MODEL, "path": "toy/other"}), tmp_path)
    assert "toy/other: has no weights in a folder 'transformer'" in told(group.value)


def test_a_disk_that_is_too_small_is_told_before_anything_comes() -> None:
    with pytest.raises(DiskError, match=r"1000000000\.0 GB are to be fetched, and .* HF_HOME"):
        hub.fits(10**18)


def test_offline_the_model_is_an_error(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExceptionGroup) as group:
        survey(job(tmp_path, model=MODEL), tmp_path)
    assert "HF_HUB_OFFLINE forbids asking the hub" in told(group.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("path", "parts", "found"),
    [
        ("toy/a", {}, ["toy/a"]),
        ("builtin:tiny-flux", {"t5": "toy/b/t5.safetensors"}, ["toy/b"]),
        ("/models/flux", {"t5": "toy/b", "clip": "toy/b"}, ["toy/b"]),
        (None, {"t5": "x.safetensors"}, []),
    ],
)
def test_the_repositories_of_a_job(
    path: str | None, parts: dict[str, str], found: list[str]
) -> None:
    wanted = ModelSpec(family="flux", flavour="dev", path=path, parts=parts)
    assert fetching.repositories(wanted) == found


def test_a_transfer_that_fails_is_told_and_kept(server: Hub, tmp_path: Path) -> None:
    plan = prepared(job(tmp_path, model=MODEL), tmp_path)
    server.repositories = {"toy/tiny-flux": {}}
    with pytest.raises((FileError, ExceptionGroup)) as group:
        fetching.fetched(job(tmp_path, model=MODEL), tmp_path, plan, lambda event: None)
    assert "has no such file" in told(group.value)
