"""Parts that are on the hub alone: looked at without their weights, and read when they are here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from scumble import families
from scumble.families import weights
from scumble.families.fingerprints import fingerprints
from scumble.families.flux import files as flux_files
from scumble.spec.model import ModelSpec
from tests.conftest import told
from tests.families import loose
from tests.families.toy_hub import Hub

DEV = families.find("flux", "dev")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loose.folder(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Single files in one repository, a text encoder alone in another; an empty cache."""
    files = {file.name: file.read_bytes() for file in loose.files(folder, tmp_path / "f").values()}
    own = folder / "text_encoder"
    alone = {name: (own / name).read_bytes() for name in ("config.json", "model.safetensors")}
    running = Hub({"toy/files": files, "toy/clip": alone})
    template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", running.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield running
    running.stop()


def opened(path: Path | str, *, fetch: bool, **parts: str) -> weights.Model:
    spec = ModelSpec(family="flux", flavour="dev", path=str(path), parts=parts)
    return weights.opened(DEV, spec, Path(), fetch=fetch)


def load(model: weights.Model, part: str) -> dict[str, torch.Tensor]:
    device = torch.device("cpu")
    return weights.loaded(model, part, dtype=torch.float32, device=device).state_dict()


@pytest.mark.parametrize("part", ["denoiser", "t5"])
def test_a_single_file_is_as_published_until_it_is_here(
    server: Hub, folder: Path, part: str
) -> None:
    text = f"toy/files/{loose.FILES[part]}"
    before = opened(folder, fetch=False, **{part: text})
    assert before.absent == len(server.repositories["toy/files"][loose.FILES[part]])
    assert before.files(part) == () and server.fetched() == []
    published = {"denoiser": flux_files.DENOISER, "t5": flux_files.T5}[part]
    assert before.configs[part] == published
    weights.compared(before, part, weights.skeleton(before, part))
    here = opened(folder, fetch=True, **{part: text})
    assert here.absent == 0 and here.parts[part].told == f"{text} on the hub"
    wanted = load(opened(folder, fetch=False), part)
    found = load(here, part)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert fingerprints(here.files(part))


def test_a_revision_is_one_of_the_models_own_repository(server: Hub, folder: Path) -> None:
    wanted = ModelSpec(
        family="flux",
        flavour="dev",
        path=str(folder),
        parts={"clip": "toy/clip"},
        revision="v9",
    )
    assert weights.opened(DEV, wanted, Path(), fetch=True).absent == 0
    files = {name: f"toy/files/{file}" for name, file in loose.FILES.items()}
    asked = wanted.model_copy(update={"path": "toy/files", "parts": files})
    assert weights.opened(DEV, asked, Path(), fetch=True).absent == 0
    with pytest.raises(ExceptionGroup) as error:
        weights.opened(DEV, asked.model_copy(update={"parts": {}}), Path(), fetch=True)
    assert "has no revision 'v9'" in told(error.value)


def test_a_repository_of_one_part_is_one_part(server: Hub, folder: Path) -> None:
    before = opened(folder, fetch=False, clip="toy/clip")
    assert before.absent == len(server.repositories["toy/clip"]["model.safetensors"])
    assert before.configs["clip"]["hidden_size"] == loose.WIDE
    here = opened(folder, fetch=True, clip="toy/clip")
    wanted = load(opened(folder, fetch=False), "clip")
    assert all(torch.equal(one, wanted[name]) for name, one in load(here, "clip").items())


def test_a_path_that_could_be_a_hubs_id_is_told_as_both(server: Hub) -> None:
    with pytest.raises(ExceptionGroup) as group:
        opened("models/flux", fetch=True)
    words = told(group.value)
    assert "on this machine there is no " in words and words.count("\n") == 0
