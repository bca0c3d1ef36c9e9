"""Qwen2.5-VL's files in every spelling: folders of two releases, and single files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble.errors import FileError
from scumble.families import sources
from scumble.families.encoders import qwen_vl
from scumble.families.qwen import text, text_toy
from scumble.families.tokenizers import shipped
from tests.families.test_qwen_text import family, loaded


def respelt(values: Mapping[str, Tensor], *, v5: bool) -> dict[str, Tensor]:
    """The published names as transformers 5 has them in memory."""
    if not v5:
        return dict(values)
    renamed = {}
    for name, one in values.items():
        inner = name.removeprefix("model.")
        is_words = name.startswith("model.")
        own = f"model.language_model.{inner}" if is_words else f"model.{name}"
        renamed[name if name.startswith("lm_head") else own] = one
    return renamed


@pytest.mark.parametrize("v5", [False, True], ids=["v4", "v5"])
@pytest.mark.parametrize("seeing", [False, True], ids=["words", "pictures"])
def test_both_spellings_of_a_folder_are_read(tmp_path: Path, *, seeing: bool, v5: bool) -> None:
    text_toy.write_toy(tmp_path, vision=True)
    file = tmp_path / "text_encoder" / "model.safetensors"
    want = loaded(file.parent, seeing=seeing).state_dict()
    save_file(respelt(load_file(file), v5=v5), file)
    got = loaded(file.parent, seeing=seeing)
    assert any(name.startswith("visual.") for name in want) == seeing
    assert {name: one.tolist() for name, one in got.state_dict().items()} == {
        name: one.tolist() for name, one in want.items()
    }


@pytest.mark.parametrize("kind", ["mrope", "default"])
def test_configs_of_older_releases_mean_the_same_and_are_left_as_they_are(kind: str) -> None:
    """Flat, and with `rope_scaling`: the keys of a cache hash them."""
    new = text_toy.WORDS | {"vocab_size": 64, "vision_config": text_toy.EYES, "rms_norm_eps": 1e-6}
    old = {name: one for name, one in new.items() if name != "rope_parameters"}
    scaling = {"type": kind, "mrope_section": [4, 6, 6]}
    old |= {"rope_theta": 1e6, "rope_scaling": scaling, "model_type": "qwen2_5_vl"}
    before, told = json.dumps(old, sort_keys=True), []
    words = {qwen_vl.IDS: torch.arange(9), qwen_vl.PLACES: torch.arange(27).reshape(3, 9) % 7}
    for config in (new, old):
        made = text.skeleton(config, sees=True)
        generator = torch.Generator().manual_seed(0)
        shapes = {name: one.shape for name, one in made.state_dict().items()}
        drawn = {name: torch.randn(s, generator=generator) * 0.2 for name, s in shapes.items()}
        made.load_state_dict(drawn, assign=True)
        with torch.no_grad():
            told.append(qwen_vl.read(made.eval(), words))
    assert torch.equal(told[0], told[1]) and told[0].std() > 0.1
    assert json.dumps(old, sort_keys=True) == before


def single(folder: Path, *, scaled: bool) -> tuple[Path, dict[str, Tensor]]:
    """A file as ComfyUI has it, of a model whose heads are as wide as the real one's."""
    shape = {"hidden_size": 256, "num_attention_heads": 2, "intermediate_size": 32}
    rope = text.CONFIG["rope_parameters"]
    words = text_toy.WORDS | shape | {"vocab_size": 64, "rope_parameters": rope}
    eyes = text_toy.EYES | {"out_hidden_size": 256, "num_heads": 2}
    own = text.skeleton({**words, "vision_config": eyes}, sees=True).state_dict()
    generator = torch.Generator().manual_seed(1)
    values = {
        text_toy.published(name): torch.randn(one.shape, generator=generator) * 0.1
        for name, one in own.items()
    }
    plain = dict(values)
    if scaled:
        values["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    for name in list(plain) if scaled else ():
        if name.endswith("proj.weight") and "layers" in name:
            scale = plain[name].abs().max() / 448
            values[name] = (plain[name] / scale).to(torch.float8_e4m3fn)
            values[name.removesuffix("weight") + "scale_weight"] = scale
            plain[name] = values[name].float() * scale
    file = folder / "qwen_2.5_vl_7b_fp8_scaled.safetensors"
    save_file(values, file)
    return file, plain


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "fp8"])
def test_a_single_file_is_read_from_its_shapes(tmp_path: Path, *, scaled: bool) -> None:
    file, values = single(tmp_path, scaled=scaled)
    told = sources.in_file(sources.Sought(family(seeing=True), text.NAME), file)
    assert (told.config["hidden_size"], told.config["num_hidden_layers"]) == (256, 2)
    assert told.config["num_key_value_heads"] == 1
    assert told.config["vision_config"]["out_hidden_size"] == 256
    assert told.tokenizer == shipped("qwen")
    words = loaded(file, seeing=False).state_dict()
    assert len(words) == sum(name.startswith("model.") for name in values)
    for name, one in words.items():
        want = values[name.replace("language_model.", "model.")]
        assert torch.allclose(one, want, atol=1e-7), name


def test_a_file_without_eyes_is_refused_where_pictures_are_read(tmp_path: Path) -> None:
    file, _ = single(tmp_path, scaled=False)
    kept = {n: one for n, one in load_file(file).items() if not n.startswith("visual.")}
    save_file(kept, file)
    assert loaded(file, seeing=False)
    with pytest.raises(FileError, match="holds little of a Qwen2"):
        loaded(file, seeing=True)
