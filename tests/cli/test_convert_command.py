"""`scumble adapter convert` and `info`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scumble.adapters.layouts import LAYOUTS, Changes
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export
from scumble.cli.app import main
from scumble.families.flux.keys import KEYS

GOLDEN = Path("tests/golden")
QKV = [f"transformer_blocks.3.attn.to_{letter}" for letter in "qkv"]


def changes(alpha: float = 3.0) -> Changes:
    make = torch.Generator().manual_seed(0)

    def layer(rows: int) -> LoraTensors:
        down = torch.randn(2, 8, generator=make)
        return LoraTensors(down, torch.randn(rows, 2, generator=make), alpha)

    return {
        "denoiser": {name: layer(8) for name in QKV},
        "clip": {"text_model.encoder.layers.0.mlp.fc1": layer(8)},
        "t5": {"encoder.block.0.layer.0.SelfAttention.q": layer(8)},
    }


def written(folder: Path, layout: str, name: str = "in.safetensors") -> Path:
    about = {"ss_tag_frequency": '{"a": {"cat": 3}}', "modelspec.title": "My cat \N{CAT FACE}"}
    export.write(folder / name, changes(), KEYS, layout=layout, dtype="float32", about=about)
    return folder / name


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as tensors:
        return dict(tensors.metadata() or {})


def deltas(file: Path) -> dict[str, torch.Tensor]:
    return {
        name: one.alpha / len(one.down) * one.up @ one.down
        for layers in export.layers(file, KEYS).values()
        for name, one in layers.items()
    }


@pytest.mark.parametrize("start", list(LAYOUTS))
@pytest.mark.parametrize("to", list(LAYOUTS))
def test_every_layout_becomes_every_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str, to: str
) -> None:
    file, out = written(tmp_path, start), tmp_path / "new/out.safetensors"
    assert main(["adapter", "convert", str(file), str(out), "--to", to]) == 0
    said = capsys.readouterr().out
    assert "3 layers, rank 2" in said and "CLIP" in said and "T5" in said and " MB" in said
    before, after = deltas(file), deltas(out)
    assert before.keys() == after.keys()
    for name, one in before.items():
        torch.testing.assert_close(after[name], one)
    told = {name: one for name, one in metadata(file).items() if not name.startswith("sshs_")}
    assert metadata(out).items() >= told.items(), "metadata goes along, but for the file's hashes"


def test_the_numbers_stay_as_they_are_unless_asked(tmp_path: Path) -> None:
    file = GOLDEN / "flux_lora_sdscripts_in.safetensors"
    out, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert main(["adapter", "convert", str(file), str(out), "--to", "ai-toolkit"]) == 0
    wanted = load_file(GOLDEN / "flux_lora_sdscripts_to_aitoolkit.safetensors")
    found = load_file(out)
    assert found.keys() == wanted.keys()
    assert all(found[key].equal(wanted[key]) for key in wanted)
    assert (
        main(["adapter", "convert", str(out), str(other), "--to", "kohya", "--dtype", "bfloat16"])
        == 0
    )
    assert {one.dtype for one in load_file(other).values()} == {torch.bfloat16}


def test_its_own_input_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "diffusers")
    before = file.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(file)
    for out in (file, tmp_path / "link.safetensors", tmp_path / "x/../in.safetensors"):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert main(["adapter", "convert", str(file), str(out), "--to", "kohya"]) == 2
        assert "is the file that is read" in capsys.readouterr().err
    assert main(["adapter", "convert", str(file), str(tmp_path / "a.pt"), "--to", "kohya"]) == 2
    assert "give OUT that ending" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_unknown_keys_stop_it_unless_they_may_be_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = written(tmp_path, "diffusers"), tmp_path / "out.safetensors"
    save_file(load_file(file) | {"transformer.odd.lora_A.weight": torch.ones(2, 2)}, file)
    command = ["adapter", "convert", str(file), str(out), "--to", "kohya"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "transformer.odd.lora_A.weight" in said and "--drop-unknown" in said
    assert not out.exists()
    assert main([*command, "--drop-unknown"]) == 0
    said = capsys.readouterr().out
    assert "LEFT OUT" in said and "transformer.odd.lora_A.weight" in said
    assert export.read(out, KEYS).unread() == ""


def test_a_file_of_nothing_known_is_not_converted_to_an_empty_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "sdxl.safetensors", tmp_path / "out.safetensors"
    save_file({"lora_unet_input_blocks_1.lora_up.weight": torch.ones(2, 2)}, file)
    command = ["adapter", "convert", str(file), str(out), "--to", "kohya", "--drop-unknown"]
    assert main(command) == 2
    assert "an adapter of SDXL" in capsys.readouterr().err and not out.exists()


def test_settings_of_peft_go_into_the_numbers_and_not_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """diffusers would scale by them once more."""
    file, out = written(tmp_path, "diffusers"), tmp_path / "out.safetensors"
    settings = json.dumps({"transformer.r": 2, "transformer.lora_alpha": 8})
    save_file(load_file(file), file, {"lora_adapter_metadata": settings})
    before = deltas(file)
    assert main(["adapter", "convert", str(file), str(out), "--to", "diffusers"]) == 0
    assert "lora_adapter_metadata" in capsys.readouterr().out
    assert "lora_adapter_metadata" not in metadata(out)
    for name, one in deltas(out).items():
        torch.testing.assert_close(one, before[name])


def test_what_the_metadata_says_of_the_file_is_true_of_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hashes of other bytes are none of it, and a kohya file has the rank and alpha it says."""
    file, there = written(tmp_path, "kohya"), tmp_path / "diffusers.safetensors"
    stale = {"sshs_model_hash": "abc", "modelspec.hash_sha256": "def"}
    ours = {"scumble.family": "flux", "scumble.flavour": "dev"}
    save_file(load_file(file), file, {**metadata(file), **stale, **ours})
    assert metadata(file)["ss_network_alpha"] == "3.0"
    assert main(["adapter", "convert", str(file), str(there), "--to", "diffusers"]) == 0
    assert (
        "sshs_model_hash" in capsys.readouterr().out and not stale.keys() & metadata(there).keys()
    )
    for layout in ("kohya", "comfy"):
        back = tmp_path / f"{layout}.safetensors"
        assert main(["adapter", "convert", str(there), str(back), "--to", layout]) == 0
        found = metadata(back)
        assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("2", "2.0")
        assert found["modelspec.title"] == "My cat \N{CAT FACE}"
        assert found["modelspec.architecture"] == "flux-1-dev/lora"


def test_info_tells_of_foreign_files_and_says_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "kohya")
    key = "lora_unet_double_blocks_3_img_attn_qkv.dora_scale"
    save_file(load_file(file) | {key: torch.ones(24)}, file)
    assert main(["adapter", "info", str(file)]) == 0
    said = capsys.readouterr().out
    assert "kohya" in said and "CLIP" in said and "CANNOT BE READ" in said and "DoRA" in said


def test_a_family_or_a_layout_that_is_not_known_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, "kohya")
    assert main(["adapter", "info", str(file), "--family", "flax"]) == 2
    assert "did you mean 'flux'?" in capsys.readouterr().err
    assert main(["adapter", "convert", str(file), "out.safetensors", "--to", "koya"]) == 2
