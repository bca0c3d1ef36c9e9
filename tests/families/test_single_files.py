"""Weights as people have them: single files, files of the whole model, mixed, in fp8."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scumble import families
from scumble.families import encoding, readings, tokenizers, weights
from scumble.families.family import Entry, Knobs, Prompt, Scene, Told, stacked
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.preflight.located import located
from scumble.sample import Sampling, sampled
from scumble.spec.hardware import HardwareSpec
from scumble.spec.job import JobSpec
from scumble.spec.model import ModelSpec
from scumble.spec.saving import CacheSpec
from scumble.spec.validation import ValidationSpec
from tests.conftest import told
from tests.families import loose

CPU = torch.device("cpu")
DEV = families.find("flux", "dev")
TOKENS = 16
SMALL_JOB = {
    "data": [{"id": "a", "folder": "a", "resolution": 32}],
    "adapter": {"rank": 1},
    "training": {"steps": 1, "learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loose.folder(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, Path]:
    return loose.files(folder, folder.parent / "files")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return loose.all_in_one(folder, folder.parent / "flux1-dev-fp8.safetensors")


def spec(path: Path | str | None = None, **parts: Path | str) -> ModelSpec:
    """The model of a job; `flavour` is not a part."""
    flavour = str(parts.pop("flavour", "dev"))
    named = {part: str(one) for part, one in parts.items()}
    at = None if path is None else str(path)
    return ModelSpec(family="flux", flavour=flavour, path=at, parts=named, text_tokens=TOKENS)


def model(*args: Any, base: Path = Path(), **parts: Path | str) -> weights.Model:
    return weights.opened(DEV, spec(*args, **parts), base)


def load(found: weights.Model, part: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    return weights.loaded(found, part, dtype=dtype, device=CPU)


def velocity(found: weights.Model, entry: Entry) -> Tensor:
    """From numbered words to the network's answer."""
    readers = {name: load(found, name) for name in ("clip", "t5")}
    with torch.no_grad():
        given = Told(values=stacked(DEV.read(readers, [entry])))
        given = DEV.tell(given, Scene(frames=torch.zeros(1, 8, dtype=torch.int64)), Knobs(3.5))
        noisy = torch.randn(1, 16, 4, 6, generator=torch.manual_seed(0))
        net = Net(load(found, "denoiser"), plain)
        return DEV.predict(net, noisy, torch.tensor([0.4]), given)


def picture(wanted: ModelSpec, out: Path) -> bytes:
    validation = ValidationSpec(prompts=("a cat",), width=32, height=32, steps=2)
    asked = Sampling(
        model=wanted,
        hardware=HardwareSpec(device="cpu", precision="fp32"),
        validation=validation,
        adapter=None,
        strength=1.0,
        out=out,
        base=Path(),
    )
    (file,) = sampled(asked)
    return file.read_bytes()


def ways(folder: Path, files: dict[str, Path], whole: Path) -> dict[str, ModelSpec]:
    """The same weights, in every way in which they may be named."""
    path = files["denoiser"]
    rest = {name: file for name, file in files.items() if name != "denoiser"}
    return {
        "files": spec(None, **files),
        "a denoiser and files": spec(path, **rest),
        "all in one": spec(whole),
        "all in one, part by part": spec(None, **dict.fromkeys(files, whole)),
        "a folder and a file": spec(folder, denoiser=path, t5=files["t5"]),
        "a file and folders": spec(
            path, autoencoder=folder / "vae", clip=folder / "text_encoder", t5=folder
        ),
    }


def test_files_and_folders_of_the_same_weights_give_the_same_velocity(
    folder: Path, files: dict[str, Path], whole: Path
) -> None:
    entry = DEV.words(weights.tools(model(folder)), Prompt("a photo of a cat", TOKENS))
    published = velocity(model(folder), entry)
    assert published.abs().max() > 0.01
    for way, wanted in ways(folder, files, whole).items():
        assert torch.equal(velocity(weights.opened(DEV, wanted, Path()), entry), published), way


def test_files_and_folders_of_the_same_weights_give_the_same_pictures(
    folder: Path, files: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    published = picture(spec(folder), tmp_path / "folder")
    for number, way in enumerate(("files", "all in one")):
        wanted = ways(folder, files, whole)[way]
        assert picture(wanted, tmp_path / str(number)) == published, way


@pytest.mark.parametrize("part", ["denoiser", "autoencoder", "clip", "t5"])
def test_shapes_tell_the_config(folder: Path, files: dict[str, Path], part: str) -> None:
    from_shapes = model(None, **files).configs[part]
    assert from_shapes == model(folder).configs[part]


@pytest.mark.parametrize(
    ("part", "prefix"),
    [
        ("denoiser", "model.diffusion_model."),
        ("denoiser", "diffusion_model."),
        ("autoencoder", "first_stage_model."),
        ("t5", "text_encoders.t5xxl.transformer."),
    ],
)
def test_a_prefix_before_every_name_does_not_matter(
    folder: Path, files: dict[str, Path], tmp_path: Path, part: str, prefix: str
) -> None:
    file = tmp_path / "prefixed.safetensors"
    loose.save({prefix + k: one for k, one in loose.published(folder, part).items()}, file)
    found = load(model(folder, **{part: file}), part).state_dict()
    assert_same(found, load(model(folder), part).state_dict())


@pytest.mark.parametrize("part", ["denoiser", "autoencoder", "clip", "t5"])
def test_names_of_diffusers_are_read_from_single_files_too(
    folder: Path, tmp_path: Path, part: str
) -> None:
    file = tmp_path / "ours.safetensors"
    loose.save(loose.tensors(folder, part), file)
    found = load(model(folder, **{part: file}), part).state_dict()
    assert_same(found, load(model(folder), part).state_dict())


def test_shards_in_the_authors_layout_are_read_together(folder: Path, tmp_path: Path) -> None:
    tensors = loose.published(folder, "denoiser")
    names = sorted(tensors)
    for at in range(3):
        some = {name: tensors[name] for name in names[at::3]}
        loose.save(some, tmp_path / f"flux-{at + 1:05d}-of-00003.safetensors")
    first = tmp_path / "flux-00001-of-00003.safetensors"
    for place in (first, tmp_path):
        found = load(model(folder, denoiser=place), "denoiser").state_dict()
        assert_same(found, load(model(folder), "denoiser").state_dict())
    (tmp_path / "flux-00002-of-00003.safetensors").unlink()
    words = "1 of 3 files are missing, first flux-00002-of-00003.safetensors"
    assert words in refused(folder, denoiser=first)


def test_shards_behind_links_are_found_by_the_names_of_the_links(
    folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    """As the hub's cache keeps them: the names that tell of a set lead to hashes."""
    tensors, names = loose.published(folder, "denoiser"), []
    for at, some in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        blob = tmp_path / f"{at:064x}"
        loose.save({name: tensors[name] for name in some}, blob)
        names.append(tmp_path / f"flux-{at + 1:05d}-of-00002.safetensors")
        names[-1].symlink_to(blob)
    wanted = spec(folder, denoiser=names[0].name)
    found = weights.opened(DEV, wanted, tmp_path)
    assert found.files("denoiser") == tuple(names)
    job = JobSpec.model_validate({"name": "x", "model": wanted, **SMALL_JOB})
    assert located(job, tmp_path).model.parts["denoiser"] == str(names[0])
    assert_same(load(found, "denoiser").state_dict(), load(model(folder), "denoiser").state_dict())


def test_relative_paths_start_where_the_job_lies(folder: Path, files: dict[str, Path]) -> None:
    found = model("model", base=folder.parent, autoencoder="files/ae.safetensors")
    assert found.parts["autoencoder"].files == (files["autoencoder"],)
    assert found.parts["clip"].told == str(folder / "text_encoder")


# fp8


def rounding(original: Tensor, scale: Tensor) -> Tensor:
    """Three bits after the point, half a step off at most; and half the smallest step."""
    return original.abs() * 2**-4 + scale * 2**-10


@pytest.mark.parametrize("kind", ["plain", "older", "newer"])
@pytest.mark.parametrize(("part", "layers"), [("t5", "Dense|Attention.[qkvo]"), ("denoiser", "_")])
def test_fp8_files_are_within_fp8_rounding(
    folder: Path, tmp_path: Path, kind: str, part: str, layers: str
) -> None:
    published, file = loose.published(folder, part), tmp_path / "fp8.safetensors"
    if kind == "plain":
        narrow = {name: one.to(torch.float8_e4m3fn) for name, one in published.items()}
    else:
        narrow = loose.scaled(published, newer=kind == "newer", layers=layers)
    loose.save(narrow, file)
    exact = load(model(folder), part).state_dict()
    found = load(model(folder, **{part: file}), part).state_dict()
    changed = 0
    for name, original in exact.items():
        scale = original.abs().max() / 448 * 4 if kind != "plain" else torch.ones(())
        assert bool(((found[name] - original).abs() <= rounding(original, scale)).all()), name
        changed += not torch.equal(found[name], original)
    assert changed > len(exact) / 3


def test_fp8_text_encoders_read_nearly_the_same(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "t5xxl_fp8_e4m3fn_scaled.safetensors"
    narrow = loose.scaled(loose.published(folder, "t5"), newer=False, layers="Dense|Attention.[q]")
    loose.save(narrow, file)
    ids = torch.tensor([[71, 1202, 13, 3, 9, 1712, 5, 1]])
    with torch.no_grad():
        exact = load(model(folder), "t5")(input_ids=ids).last_hidden_state
        found = load(model(folder, t5=file), "t5")(input_ids=ids).last_hidden_state
    assert 0 < (found - exact).norm() / exact.norm() < 0.1  # measured: 0.071


@pytest.mark.parametrize("piece", [readings.PIECE, 7000])
def test_a_scale_for_every_row_goes_with_its_rows(
    folder: Path, tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is read at a time."""
    monkeypatch.setattr(readings, "PIECE", piece)
    published, file = loose.published(folder, "denoiser"), tmp_path / "rows.safetensors"
    name = "single_blocks.0.linear1"
    scale = published[f"{name}.weight"].abs().amax(1, keepdim=True) / 448
    narrow = (published[f"{name}.weight"] / scale).to(torch.float8_e4m3fn)
    loose.save(published | {f"{name}.weight": narrow, f"{name}.weight_scale": scale}, file)
    found = load(model(folder, denoiser=file), "denoiser").state_dict()
    key = "single_transformer_blocks.0.attn.to_v.weight"
    assert torch.equal(found[key], (narrow.float() * scale)[256:384])
    swapped = published["final_layer.adaLN_modulation.1.weight"].roll(128, 0)
    loose.save(published | {"final_layer.adaLN_modulation.1.weight": swapped.double()}, file)
    again = load(model(folder, denoiser=file), "denoiser").state_dict()
    assert torch.equal(again["norm_out.linear.weight"], swapped.roll(128, 0))


def test_t5_in_fp8_throughout_is_read_with_the_scale_of_its_words(
    folder: Path, tmp_path: Path
) -> None:
    """`shared` is one tensor with the embedding; markers and scales may be e5m2 and bf16."""
    tensors, file = loose.published(folder, "t5"), tmp_path / "t5.safetensors"
    words, scale = tensors["shared.weight"], torch.tensor([0.03], dtype=torch.bfloat16)
    narrow = (words / scale.float()).to(torch.float8_e5m2)
    marker = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e5m2)}
    for name in ("shared", "encoder.embed_tokens"):
        rest = {key: one for key, one in tensors.items() if key != "shared.weight"}
        scaled = {f"{name}.weight": narrow, f"{name}.scale_weight": scale}
        loose.save(rest | scaled | marker, file)
        module = load(model(folder, t5=file), "t5", torch.bfloat16)
        found = module.state_dict()
        assert torch.equal(found["shared.weight"], (narrow.float() * scale.float()).bfloat16())
        assert len({found[key].data_ptr() for key in found if one_of_two(key)}) == 1
        assert sum(one.shape == words.shape for one in module.parameters()) == 1


def test_other_quantisations_are_named(folder: Path, tmp_path: Path) -> None:
    published, file = loose.published(folder, "denoiser"), tmp_path / "nf4.safetensors"
    name = "single_blocks.0.linear1"
    packed = published | {f"{name}.weight": torch.zeros(64, 1, dtype=torch.uint8)}
    state = {f"{name}.weight.quant_state.bitsandbytes__nf4": torch.zeros(8, dtype=torch.uint8)}
    loose.save(packed | state, file)
    assert "bitsandbytes' NF4" in refused(folder, denoiser=file)
    told_so = torch.frombuffer(bytearray(b'{"format": "nvfp4"}'), dtype=torch.uint8)
    loose.save(packed | {f"{name}.comfy_quant": told_so}, file)
    assert f"{name} is quantised as nvfp4" in refused(folder, denoiser=file)
    loose.save(published | {f"{name}.weight_scale": torch.ones(7)}, file)
    assert f"{name}.weight_scale holds 7 scales for the 896 rows" in refused(folder, denoiser=file)
    loose.save(published | {f"{name}.weight_scale": torch.ones(1, 896)}, file)
    assert f"{name}.weight_scale holds 896 scales" in refused(folder, denoiser=file)


# what is not there, and what is something else


def refused(path: Path | str | None, **parts: Path | str) -> str:
    wanted = spec(path, **parts)
    with pytest.raises(ExceptionGroup) as group:
        weights.opened(families.find("flux", wanted.flavour), wanted, Path())
    return told(group.value)


def test_all_parts_that_nobody_named_are_told_at_once(files: dict[str, Path]) -> None:
    words = refused(None, denoiser=files["denoiser"])
    for part, file in loose.FILES.items():
        assert (f"model.parts.{part}: " in words) == (part != "denoiser")
        assert (f"such as {file}" in words) == (part != "denoiser")


def test_parts_that_a_file_does_not_hold_are_told_at_once(files: dict[str, Path]) -> None:
    words = refused(files["denoiser"], clip=files["clip"])
    assert "model.parts.autoencoder: flux1-dev.safetensors does not hold an autoencoder" in words
    assert "model.parts.t5: " in words and "model.parts.clip" not in words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("autoencodr", "did you mean 'autoencoder'?"),
        ("vae", "did you mean 'autoencoder'?"),
        ("text_encoder_2", "did you mean 't5'?"),
        ("t5xxl", "did you mean 't5'?"),
        ("clip_l", "did you mean 'clip'?"),
        ("unet", "known: denoiser, autoencoder, clip, t5"),
    ],
)
def test_a_part_that_does_not_exist_is_named(folder: Path, name: str, words: str) -> None:
    assert words in refused(folder, **{name: "ae.safetensors"})


def test_a_part_in_the_place_of_another_is_named(folder: Path, files: dict[str, Path]) -> None:
    words = refused(folder, clip=files["t5"], autoencoder=files["denoiser"])
    assert "it is a T5 text encoder, not a CLIP text encoder" in words
    assert "name it with `model.parts.t5`" in words
    assert "it is a FLUX.1 transformer, not an autoencoder" in words


def test_a_model_path_that_is_no_model_is_named(files: dict[str, Path]) -> None:
    words = refused(files["autoencoder"])
    assert words.count("ae.safetensors") == 1
    assert "it is an autoencoder, not a FLUX.1 transformer" in words


def test_a_folder_of_single_files_is_told_how_to_name_them(files: dict[str, Path]) -> None:
    words = refused(files["t5"].parent)
    assert words.count("\n") == 0
    assert "name the files in it (ae.safetensors, clip_l.safetensors" in words


def test_parts_that_do_not_go_together_are_named(
    folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    file, tensors = tmp_path / "t5.safetensors", loose.published(folder, "t5")
    narrow = {
        name: one[..., :32]
        if one.shape[-1] == 64
        else one[:32]
        if name.endswith("o.weight")
        else one
        for name, one in tensors.items()
    }
    loose.save(narrow, file)
    words = refused(folder, t5=file)
    assert "gives 32 features (d_model), and the denoiser takes 64" in words


@pytest.mark.parametrize(
    ("channels", "words"), [(384, "is FLUX.1 Fill"), (128, "is FLUX.1 Canny or Depth")]
)
def test_relatives_of_flux_are_named(
    folder: Path, tmp_path: Path, channels: int, words: str
) -> None:
    file, tensors = tmp_path / "tool.safetensors", loose.published(folder, "denoiser")
    loose.save(tensors | {"img_in.weight": torch.zeros(128, channels)}, file)
    assert words in refused(folder, denoiser=file)
    assert refused(folder, denoiser=file).count("\n") == 0


def test_a_flavour_that_the_weights_are_not_is_named(files: dict[str, Path]) -> None:
    words = refused(None, flavour="schnell", **files)
    assert "model.flavour: " in words and "takes guidance" in words


def test_heads_of_another_width_need_a_config(folder: Path, tmp_path: Path) -> None:
    file, tensors = tmp_path / "narrow.safetensors", loose.published(folder, "denoiser")
    norms = {name: one[:64] for name, one in tensors.items() if name.endswith("norm.scale")}
    loose.save(tensors | norms, file)
    assert "its attention heads are 64 wide" in refused(folder, denoiser=file)


def test_the_autoencoder_of_another_model_is_named(folder: Path, tmp_path: Path) -> None:
    file, tensors = tmp_path / "sdxl_vae.safetensors", loose.published(folder, "autoencoder")
    narrow = {"decoder.conv_in.weight": tensors["decoder.conv_in.weight"][:, :4]}
    loose.save(tensors | narrow, file)
    assert "is that of Stable Diffusion or SDXL" in refused(folder, autoencoder=file)


@pytest.mark.parametrize("missing", ["txt_in.weight", "double_blocks.0.txt_mlp.2.bias"])
def test_a_tensor_that_a_single_file_lacks_is_named(
    folder: Path, tmp_path: Path, missing: str
) -> None:
    file, tensors = tmp_path / "lacking.safetensors", loose.published(folder, "denoiser")
    del tensors[missing]
    loose.save(tensors, file)
    ours = {"txt_in.weight": "context_embedder.weight"}
    with pytest.raises((weights.FileError, ExceptionGroup)) as error:
        load(model(folder, denoiser=file), "denoiser")
    assert ours.get(missing, "first transformer_blocks.0.ff_context.net.2.bias") in told(
        error.value
    )


FOREIGN = {
    "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": "a LoRA adapter in kohya's layout",
    "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": "a LoRA adapter in the layout of",
    "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": "a Stable Diffusion 3 model",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_named_as_what_it_is(folder: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "flux.safetensors"
    loose.save({name: torch.zeros(2, 2)}, file)
    words = refused(folder, denoiser=file)
    assert f"it seems to be {FOREIGN[name]}" in words and "not a FLUX.1 transformer" in words
    assert FOREIGN[name] in refused(file)


@pytest.mark.parametrize("name", ["flux.ckpt", "flux.pt", "flux.bin"])
def test_pickles_are_not_even_opened(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    for words in (refused(tmp_path / name), refused(folder, t5=tmp_path / name)):
        assert "pickled weights can run any code and are refused" in words


def test_a_damaged_file_of_the_whole_model_is_told_once(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "whole.safetensors"
    file.write_bytes(whole.read_bytes()[:-1000])
    words = refused(file)
    assert words.count("\n") == 0 and "the download ended early, at 99 %" in words


def test_a_tensor_that_is_there_twice_is_refused(
    folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "both.safetensors"
    twice = {"transformer_blocks.0.attn.to_out.0.bias": torch.zeros(128)}
    loose.save(loose.published(folder, "denoiser") | twice, file)
    with pytest.raises((weights.FileError, ExceptionGroup)) as error:
        found = model(folder, denoiser=file)
        weights.compared(found, "denoiser", weights.skeleton(found, "denoiser"))
    assert "it holds transformer_blocks.0.attn.to_out.0.bias twice" in told(error.value)


def test_a_part_alone_is_found_without_the_others(files: dict[str, Path]) -> None:
    found = weights.opened(DEV, spec(files["denoiser"]), Path(), parts=["denoiser"])
    assert list(found.parts) == ["denoiser"] and load(found, "denoiser") is not None


def test_the_embedding_of_t5_is_found_under_either_name(folder: Path, tmp_path: Path) -> None:
    file, tensors = tmp_path / "t5.safetensors", loose.tensors(folder, "t5")
    exact = load(model(folder), "t5").state_dict()
    shared = tensors.pop("shared.weight")
    for names in (
        ["encoder.embed_tokens.weight"],
        ["encoder.embed_tokens.weight", "shared.weight"],
    ):
        loose.save(tensors | dict.fromkeys(names, shared), file)
        found = load(model(folder, t5=file), "t5")
        assert_same(found.state_dict(), exact)
        both = {found.state_dict()[name].data_ptr() for name in exact if one_of_two(name)}
        assert len(both) == 1


def one_of_two(name: str) -> bool:
    return name in {"shared.weight", "encoder.embed_tokens.weight"}


def test_a_whole_clip_is_read_without_its_vision(folder: Path, tmp_path: Path) -> None:
    """As OpenAI's repository has it: one config.json and one file for both halves."""
    text = json.loads((folder / "text_encoder/config.json").read_text())
    both = {"model_type": "clip", "text_config": text, "vision_config": {"hidden_size": 8}}
    (tmp_path / "config.json").write_text(json.dumps(both))
    seen = {"vision_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(2, 2)}
    loose.save(loose.published(folder, "clip") | seen, tmp_path / "model.safetensors")
    found = model(folder, clip=tmp_path)
    assert_same(load(found, "clip").state_dict(), load(model(folder), "clip").state_dict())
    assert found.parts["clip"].tokenizer == tokenizers.shipped("clip")


# the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache as the library keeps it: what lies there is not asked for."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def kept(hub: Path, repo: str) -> Path:
    """Where the hub's cache keeps the one revision of a repository."""
    place = hub / f"models--{repo.replace('/', '--')}"
    commit = "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text(commit)
    snapshot = place / "snapshots" / commit
    snapshot.parent.mkdir()
    return snapshot


def test_what_the_hubs_cache_holds_is_read_from_there(
    folder: Path, files: dict[str, Path], hub: Path
) -> None:
    shutil.copytree(folder, kept(hub, "someone/flux"))
    single = kept(hub, "another/files")
    single.mkdir()
    shutil.copy(files["t5"], single / "t5.safetensors")
    found = model("someone/flux", t5="another/files/t5.safetensors")
    assert found.parts["denoiser"].told == "someone/flux/transformer on the hub"
    assert found.parts["t5"].told == "another/files/t5.safetensors on the hub"
    assert found.absent == 0
    for part in loose.FILES:
        assert_same(load(found, part).state_dict(), load(model(folder), part).state_dict())
    assert model(folder, autoencoder="someone/flux").files("autoencoder")


def test_a_folder_on_this_machine_comes_before_the_hub(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "someone/flux")
    assert model("someone/flux", base=tmp_path).parts["t5"].told.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "it is empty; name a folder, a file or a hub id"),
        (" ", "it is empty"),
        ("a\0b", r"'a\x00b' cannot be looked at (embedded null byte)"),
        ("x" * 5000, "cannot be looked at (OSError)"),
        ("~nobody-of-this-name/flux", "cannot be looked at (Could not determine home"),
        (r"C:\models\flux.safetensors", "is a path of Windows"),
        ("D:/models/flux.safetensors", "is a path of Windows"),
        ("https://hub.example/someone/flux", "is an address, not a path; write 'someone/flux'"),
        (
            "https://hub.example/someone/flux/resolve/main/a/b.safetensors?download=true",
            "write 'someone/flux/a/b.safetensors'",
        ),
        ("https://hub.example", "there is no folder or file"),
    ],
)
def test_a_text_that_is_no_path_here_is_told(path: str, words: str) -> None:
    for problems in (refused(path), refused("builtin:tiny-flux", t5=path)):
        assert words in problems and problems.count("\n") == 0
    job = JobSpec.model_validate({"name": "x", "model": spec(path, t5=path), **SMALL_JOB})
    assert located(job, Path()).model == job.model


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    assert "symbolic link" in refused(tmp_path / "ring").lower()
    (tmp_path / "stale").symlink_to("/gone/flux.safetensors")
    words = f"no folder or file /gone/flux.safetensors, to which {tmp_path}/stale leads"
    assert words in refused(tmp_path / "stale")


def test_what_is_no_file_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "a device or a pipe" in refused(folder, t5=tmp_path / "pipe.safetensors")


def test_folders_of_other_parts_and_models_are_named(folder: Path, tmp_path: Path) -> None:
    words = refused(folder, denoiser=folder / "vae")
    assert words.count("\n") == 0 and "it is an autoencoder, not a FLUX.1 transformer" in words
    words = refused(folder, t5=folder / "vae")
    assert "no model.safetensors in it, but diffusion_pytorch_model.safetensors" in words
    words = refused(folder / "transformer")
    assert "is one part of a model; give the folder above it" in words and "(denoiser)" in words
    other = tmp_path / "other"
    shutil.copytree(folder, other, symlinks=True)
    names = ("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight")
    loose.save(
        dict.fromkeys(names, torch.ones(2)),
        other / "transformer/diffusion_pytorch_model.safetensors",
    )
    words = refused(other)
    assert words.count("\n") == 0 and "it seems to be a Qwen-Image transformer" in words


def test_what_is_nowhere_is_told_for_the_path_and_for_the_part() -> None:
    words = refused(Path("no-where/flux.safetensors"), t5="/no/where.safetensors")
    assert "model.path: there is no folder or file" in words
    assert "model.parts.t5: there is no folder or file /no/where.safetensors" in words
    assert words.count("\n") == 1


# the cache


def test_the_cache_knows_single_files_by_bytes_and_by_shapes(
    folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    def recipes(found: weights.Model) -> encoding.Recipes:
        place = Place(CPU, torch.float32)
        made = encoding.recipes(found, place, TOKENS, CacheSpec(), read=True)
        assert made is not None
        return made

    first = recipes(model(None, **files))
    assert first.texts["clip config"] and first.pictures["autoencoder config"]
    copy = tmp_path / "another-name.safetensors"
    copy.write_bytes(files["t5"].read_bytes())
    same = recipes(model(None, **{**files, "t5": copy}))
    assert (same.text, same.picture) == (first.text, first.picture)
    tensors = loose.published(folder, "t5")
    loose.save(tensors | {"encoder.final_layer_norm.weight": torch.ones(64)}, copy)
    changed = recipes(model(None, **{**files, "t5": copy}))
    assert changed.text != first.text and changed.picture == first.picture


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
