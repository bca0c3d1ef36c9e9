import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scumble import families
from scumble.errors import FileError, JobError
from scumble.families import weights
from scumble.families.fingerprints import fingerprints
from tests.conftest import told
from tests.toys import opened

FLUX = families.find("flux", "dev")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the toy that a test may spoil."""
    copy = tmp_path / "model"
    shutil.copytree(weights.located("builtin:tiny-flux", Path()), copy)
    return copy


def load(folder: Path, part: str) -> torch.nn.Module:
    model = opened(FLUX, folder)
    return weights.loaded(model, part, dtype=torch.float32, device=torch.device("cpu"))


def test_a_builtin_model_is_made_once_and_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = weights.located("builtin:tiny-flux", Path())
    monkeypatch.setenv("SCUMBLE_HOME", str(tmp_path))
    second = weights.located("builtin:tiny-flux", Path())
    files = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert files and first != second
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_a_misspelt_builtin_model_is_named_with_its_remedy() -> None:
    with pytest.raises(JobError, match="did you mean 'builtin:tiny-flux'"):
        weights.located("builtin:tinyflux", Path())


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(FileError, match=r"there is no folder or file .*nowhere"):
        weights.located("nowhere/at-all", Path())


def test_everything_missing_is_told_at_once(folder: Path) -> None:
    (folder / "vae/config.json").unlink()
    (folder / "transformer/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    assert "vae/config.json: this file is missing" in told(group.value)
    assert "transformer/diffusion_pytorch_model.safetensors: this file" in told(group.value)


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights_file = folder / "transformer/diffusion_pytorch_model.safetensors"
    weights_file.rename(weights_file.with_suffix(".bin"))
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    assert "pickled weights can run any code" in told(group.value)


def test_a_truncated_file_is_named(folder: Path) -> None:
    weights_file = folder / "vae/diffusion_pytorch_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-100])
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    assert "the download ended early, at 99 %" in told(group.value)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_of_another_model_are_refused(folder: Path, change: str) -> None:
    file = folder / "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    if change == "missing":
        del tensors["proj_out.weight"]
    if change == "extra":
        tensors["somewhere.else"] = torch.zeros(2)
    if change == "shape":
        tensors["proj_out.bias"] = torch.zeros(2)
    save_file(tensors, file)
    words = {"missing": "1 of .* tensors are missing, first proj_out.weight"}
    words |= {"extra": "has no tensor 'somewhere.else'", "shape": r"has the shape \(2,\)"}
    model = opened(FLUX, folder)
    with pytest.raises(FileError, match=words[change]):
        weights.compared(model, "denoiser", weights.skeleton(model, "denoiser"))
    with pytest.raises(FileError, match=words[change]):
        load(folder, "denoiser")


@pytest.mark.parametrize("content", ["[]", "{", '{"num_layers": "x", "guidance_embeds": true}'])
def test_a_config_that_describes_nothing_is_named(folder: Path, content: str) -> None:
    (folder / "transformer/config.json").write_text(content)
    with pytest.raises((FileError, ExceptionGroup)) as error:
        load(folder, "denoiser")
    assert "transformer" in told(error.value) and "config.json" in told(error.value)


def test_a_tokenizer_that_knows_no_word_is_refused(folder: Path) -> None:
    for file in (folder / "tokenizer_2").iterdir():
        file.unlink()
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    assert "tokenizer_2: there is none of tokenizer.json" in told(group.value)
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_2", dirs_exist_ok=True)
    (folder / "tokenizer_2/tokenizer.json").write_text("{}")
    with pytest.raises(Exception):
        weights.tools(opened(FLUX, folder))


def test_shards_and_old_clip_names_are_read(folder: Path) -> None:
    whole = load(folder, "clip").state_dict()
    file = folder / "text_encoder/model.safetensors"
    tensors = {f"text_model.{name}": tensor for name, tensor in load_file(file).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    names = sorted(tensors)
    half = len(names) // 2
    shards = {"model-1.safetensors": names[:half], "model-2.safetensors": names[half:]}
    for shard, some in shards.items():
        save_file({name: tensors[name] for name in some}, folder / "text_encoder" / shard)
    where = {name: shard for shard, some in shards.items() for name in some}
    index = folder / "text_encoder/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    file.unlink()
    found = load(folder, "clip").state_dict()
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    index = folder / "vae/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    assert "1 of 1 files are missing, first one.safetensors" in told(group.value)


@pytest.mark.parametrize("named", [[], {}, None, "x"])
def test_an_index_that_names_nothing_is_named(folder: Path, named: object) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    index = folder / "vae/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": named}))
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    assert "index.json: it names no files" in told(group.value)


def test_all_that_one_part_lacks_is_told_at_once(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX, folder)
    for words in ("config.json: this", "model.safetensors: this", "tokenizer: there is none of"):
        assert words in told(group.value)


def test_a_home_that_cannot_be_written_to_only_forgets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("in the way")
    monkeypatch.setenv("SCUMBLE_HOME", str(folder / "file/home"))
    assert fingerprints([folder / "vae/config.json"])


def test_files_are_hashed_once_and_again_when_they_change(folder: Path) -> None:
    file = folder / "vae/config.json"
    assert fingerprints([file], read=False) is None
    first = fingerprints([file])
    assert fingerprints([file], read=False) == first
    file.write_text(file.read_text() + "\n")
    second = fingerprints([file])
    assert first is not None and second is not None
    assert first[str(file)] != second[str(file)]
