"""sd-scripts' small tools, as their own command lines have it, and ours of `scumble adapter`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scumble.checkpoint import export
from scumble.cli.app import main
from scumble.cli.kohya_inference import Picture, typed
from scumble.cli.kohya_tools import TOOLS
from scumble.cli.kohya_tools import main as tool
from scumble.cli.merge import strong
from scumble.errors import leaves
from scumble.families.flux.keys import KEYS
from tests.checkpoint import adapter_toys as toys
from tests.families import loose

GOLDEN = Path("tests/golden")
IN, OUT = GOLDEN / "flux_lora_{}_in.safetensors", GOLDEN / "flux_lora_{}_to_{}.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FLUX as a diffusers folder."""
    return loose.folder(tmp_path_factory.mktemp("model") / "flux")


@pytest.fixture(scope="module")
def files(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its parts as the files that others publish."""
    return loose.files(model, tmp_path_factory.mktemp("files"))


def run(name: str, **flags: object) -> int:
    """A tool with flags; a list is several words, True a switch."""
    words: list[str] = []
    for flag, value in flags.items():
        words.append(f"--{flag}")
        match value:
            case True:
                pass
            case list():
                words += [str(one) for one in value]
            case _:
                words.append(str(value))
    return tool(name, words)


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as stored:
        return dict(stored.metadata())


def parts_of(file: Path) -> toys.Deltas:
    return toys.deltas(export.layers(file, KEYS))


@pytest.mark.parametrize(
    ("src", "dst", "short", "other"),
    [
        ("sd-scripts", "ai-toolkit", "sdscripts", "aitoolkit"),
        ("ai-toolkit", "sd-scripts", "aitoolkit", "sdscripts"),
    ],
)
def test_convert_flux_lora_makes_the_same_numbers(
    tmp_path: Path, src: str, dst: str, short: str, other: str
) -> None:
    file, out = Path(str(IN).format(short)), tmp_path / "out.safetensors"
    assert run("convert_flux_lora", src=src, dst=dst, src_path=file, dst_path=out) == 0
    found, wanted = load_file(out), load_file(Path(str(OUT).format(short, other)))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key].float(), wanted[key].float()) for key in wanted)


def test_merging_lora_files_weighs_their_changes(tmp_path: Path, model: Path) -> None:
    """Not each matrix, which would square the ratios and add products that nobody trained."""
    a = toys.written(tmp_path / "a.safetensors", toys.changes(model, seed=1, only=("attn",)))
    told = toys.changes(model, seed=2, rank=5, alpha=1.0, only=("proj_mlp", "clip", "to_q"))
    b = toys.written(tmp_path / "b.safetensors", told, "diffusers")
    out = tmp_path / "out.safetensors"
    assert run("flux_merge_lora", save_to=out, models=[a, b], ratios=["0.7", "-0.3"]) == 0
    one, other, zero = parts_of(a), parts_of(b), torch.zeros(())
    wanted = {n: 0.7 * one.get(n, zero) - 0.3 * other.get(n, zero) for n in {**one, **other}}
    toys.close(parts_of(out), wanted, 1e-6)
    said = metadata(out)
    assert said["modelspec.merged_from"] == "a, b" and said["ss_v2"] == "False"
    assert said["modelspec.architecture"] == "flux-1-dev/lora"
    assert said["ss_network_module"] == "networks.lora_flux"
    assert {said["ss_network_dim"], said["ss_network_alpha"]} == {"Dynamic"}
    assert run("flux_merge_lora", save_to=out, models=[a], ratios=[1], no_metadata=True) == 0
    assert not any(name.startswith("modelspec.") for name in metadata(out))
    assert metadata(out)["ss_base_model_version"] == "flux1"


def test_merging_into_files_of_a_model(
    tmp_path: Path,
    model: Path,
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = toys.changes(model, seed=1, only=("denoiser single", "clip", "t5"))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    outs = {part: tmp_path / f"{part}.safetensors" for part in ("denoiser", "clip")}
    code = run(
        "flux_merge_lora",
        flux_model=files["denoiser"],
        clip_l=files["clip"],
        save_to=outs["denoiser"],
        clip_l_save_to=outs["clip"],
        models=[adapter],
        ratios=[0.5],
        save_precision="bf16",
        loading_device="cuda",
    )
    said = capsys.readouterr().out
    assert code == 0 and "note: --loading_device" in said
    assert "LEFT OUT: 14 layers for the t5" in said
    moved, zero = toys.deltas(told), torch.zeros(())
    for part, out in outs.items():
        before = toys.weights(files[part])
        wanted = {n: one + 0.5 * moved.get(n, zero) for n, one in before.items()}
        toys.close(toys.weights(out), wanted, 0.005)


def test_extracting_takes_every_layer_of_the_blocks(
    tmp_path: Path, model: Path, files: dict[str, Path]
) -> None:
    told = toys.changes(model, seed=1, rank=3, only=("to_q", "ff.net", "proj_out", "x_embedder"))
    adapter, tuned = toys.written(tmp_path / "a.safetensors", told), tmp_path / "t.safetensors"
    base, out = files["denoiser"], tmp_path / "out.safetensors"
    words = [str(adapter), "--into", str(base), "--out", str(tuned)]
    assert main(["adapter", "merge", *words]) == 0
    named = {"model_org": base, "model_tuned": tuned, "save_to": out, "dim": 8}
    assert run("flux_extract_lora", **named, clamp_quantile=1, mem_eff_safe_open=True) == 0
    found, said = load_file(out), metadata(out)
    stems = {key.split(".")[0] for key in found}
    assert len(stems) == 10 + 2 * 3 and all("_blocks_" in one for one in stems)
    assert said["ss_network_dim"] == "8" and said["ss_network_alpha"] == "8.0"
    wanted = {n: one for n, one in toys.deltas(told).items() if "block" in n[1]}
    every = parts_of(out)
    toys.close({n: every[n] for n in wanted}, wanted, 1e-4)
    assert run("flux_extract_lora", **named, save_precision="bf16") == 0
    kinds = {one.dtype for key, one in load_file(out).items() if not key.endswith("alpha")}
    assert kinds == {torch.bfloat16}
    clamped = parts_of(out)
    assert any(
        float((clamped[n] - one).norm()) > 0.01 * float(one.norm()) for n, one in wanted.items()
    )


def test_resizing_as_that_tool_does_it(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = toys.changes(model, seed=1, rank=8, alpha=4.0, only=("ff.net",))
    file, out = toys.written(tmp_path / "a.safetensors", told), tmp_path / "out.safetensors"
    assert run("resize_lora", model=file, save_to=out, new_rank=2, verbose=True) == 0
    assert "rank 8 -> 2" in capsys.readouterr().out
    assert {len(one) for key, one in load_file(out).items() if "down" in key} == {2}
    assert {float(one) for key, one in load_file(out).items() if "alpha" in key} == {1.0}
    said = metadata(out)
    assert said["ss_training_comment"] == "dimension is resized from 8 to 2; "
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("2", "1")
    flags = {"dynamic_method": "sv_fro", "dynamic_param": 0.7, "save_precision": "fp16"}
    assert run("resize_lora", model=file, save_to=out, new_rank=8, **flags) == 0
    assert metadata(out)["ss_training_comment"].startswith("Dynamic resize with sv_fro: 0.7 from 8")


WRONG = {
    "flux_extract_lora": (["--model_orig", "a", "--dim", "four", "--save_to"], 5),
    "flux_merge_lora": (["--models", "a", "--ratios", "1", "x", "--concat=1"], 2),
    "resize_lora": (["--new_rank", "2.5", "--dynamic_method", "sv"], 4),
    "convert_flux_lora": (["--src", "comfy", "words"], 3),
    "flux_minimal_inference": (["--width", "wide", "--guidanse", "3"], 6),
}


@pytest.mark.parametrize("name", list(TOOLS))
def test_everything_wrong_on_a_command_line_is_told_at_once(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, count = WRONG[name]
    assert tool(name, words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == count, said
    assert all(one.startswith("error: ") and "; " in one for one in said)


def test_a_misspelt_flag_is_answered_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tool("flux_extract_lora", ["--model_orig", "a"]) == 2
    assert "did you mean --model_org?" in capsys.readouterr().err


def test_pairs_that_cannot_be_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"models": ["a.safetensors"], "clip_l": "c.safetensors", "t5xxl_save_to": "t"}
    assert run("flux_merge_lora", **flags) == 2
    said = capsys.readouterr().err
    assert "1 models and 0 ratios" in said and "--clip_l_save_to: goes with" in said
    assert "--t5xxl: goes with" in said
    out = tmp_path / "o.safetensors"
    assert run("resize_lora", model="a", save_to=out, dynamic_method="sv_fro") == 2
    assert "goes with --dynamic_param" in capsys.readouterr().err
    words = ["adapter", "merge", "a", "--into", "x", "--out", "y", "--out", "z", "--rank", "3"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "1 models and 2 places" in said and "are for adapters" in said
    assert main(["adapter", "merge", "no.safetensors=0.5", "nor.safetensors", "-o", str(out)]) == 2
    assert capsys.readouterr().err.count("there is no such file") == 2
    assert not out.exists()


def test_every_tool_has_a_file_of_its_name_that_starts() -> None:
    named = {file.stem for file in Path("drop_in").rglob("*.py")}
    assert set(TOOLS) <= named
    for file in ("networks/flux_merge_lora.py", "flux_minimal_inference.py"):
        words = [sys.executable, f"drop_in/{file}", "--help"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert Path(file).stem in said and "--" in said


@pytest.mark.parametrize(
    ("text", "file", "strength"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors=0.5", "a.safetensors", 0.5),
        ("lr=1e-4/a.safetensors=-2", "lr=1e-4/a.safetensors", -2.0),
        ("lr=1e-4/a.safetensors", "lr=1e-4/a.safetensors", 1.0),
        ("a.safetensors=", "a.safetensors=", 1.0),
    ],
)
def test_a_strength_stands_after_the_last_sign(text: str, file: str, strength: float) -> None:
    assert strong(text) == (Path(file), strength)


def flags_of(files: dict[str, Path], out: Path) -> dict[str, object]:
    """What every call needs; small pictures, quickly made."""
    named = {"ckpt_path": "denoiser", "clip_l": "clip", "t5xxl": "t5", "ae": "autoencoder"}
    return {
        **{flag: files[part] for flag, part in named.items()},
        **{"output_dir": out, "width": 70, "height": 40, "steps": 2, "dtype": "fp32", "seed": 3},
    }


def test_minimal_inference_paints_with_several_adapters(
    tmp_path: Path, model: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told = toys.changes(model, seed=1, only=("attn", "clip"))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    flags = flags_of(files, tmp_path / "out")

    def picture(**more: object) -> tuple[Image.Image, dict[str, object]]:
        assert run("flux_minimal_inference", **{**flags, **more}) == 0
        file = Path(capsys.readouterr().out.splitlines()[-1])
        assert re.fullmatch(r"\d{8}_\d{6}(_\d+)?\.png", file.name)
        return seen(file), json.loads(file.with_suffix(".json").read_text())

    plain, about = picture()
    assert plain.size == (64, 32) and about["seed"] == 3
    halves, about = picture(lora_weights=[f"{adapter};0.25", f"{adapter};0.25"])
    whole, _ = picture(lora_weights=[f"{adapter};0.5"], merge_lora_weights=True)
    assert plain.tobytes() != halves.tobytes()
    assert off(halves, whole) <= 1, "attached or merged, one or two: the same picture"
    assert about["adapters"] == [{"adapter": "a.safetensors", "strength": 0.25}] * 2
    led, about = picture(negative_prompt="blurred", cfg_scale=2.5)
    assert led.tobytes() != plain.tobytes() and about["scale"] == 2.5
    unled, _ = picture(negative_prompt="blurred")
    assert unled.tobytes() == plain.tobytes(), "a scale of 1 leads nowhere"


def seen(file: Path) -> Image.Image:
    """The picture, its file closed."""
    with Image.open(file) as picture:
        return picture.copy()


def off(one: Image.Image, other: Image.Image) -> int:
    """The largest distance of two pictures, in levels."""
    first, second = (
        torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in (one, other)
    )
    return int((first.int() - second.int()).abs().max())


def test_typed_lines_are_painted_until_an_empty_one(
    tmp_path: Path,
    model: Path,
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = toys.changes(model, seed=1, only=("attn",))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    lines = ["a cat", "a cat --m 0", "a cat --w 32 --d 4 --g 1.5 --s 1 --n bad --c 2"]
    lines += ["a cat --z 1 --s no", "a cat --m 1,2", "", "never painted"]
    monkeypatch.setattr("sys.stdin", iter(f"{line}\n" for line in lines))
    flags = flags_of(files, tmp_path / "out") | {"lora_weights": [adapter]}
    assert run("flux_minimal_inference", **flags, interactive=True) == 0
    said = capsys.readouterr()
    painted = [Path(line) for line in said.out.splitlines() if line.endswith(".png")]
    assert len(painted) == 3 == len({*painted})
    with_adapter, without, small = (seen(file) for file in painted)
    assert with_adapter.tobytes() != without.tobytes() and small.size == (32, 32)
    about = json.loads(painted[2].with_suffix(".json").read_text())
    assert (about["seed"], about["steps"], about["guidance"], about["scale"]) == (4, 1, 1.5, 2.0)
    assert "--z: there is no such option" in said.err and "--s: 'no'" in said.err
    assert "2 strengths for 1 adapters" in said.err


def test_a_line_says_only_what_differs() -> None:
    before = Picture("x", 64, 32, 4, 3.5, 1, "bad", 2.0)
    line = typed("two cats --d 0 --n -", before)
    assert line == Picture("two cats", 64, 32, 4, 3.5, 0, "", 2.0)
    with pytest.raises(ExceptionGroup) as group:
        typed("a --m 1,x --h 0 --c y", before)
    assert len([*leaves(group.value)]) == 3


def test_minimal_inference_names_all_missing_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {
        name: tmp_path / f"{name}.safetensors" for name in ("ckpt_path", "clip_l", "t5xxl", "ae")
    }
    assert run("flux_minimal_inference", **flags, lora_weights=["none;much", "no.safetensors"]) == 2
    said = capsys.readouterr().err
    assert said.count("there is no such file or folder") == 4
    assert "'much' is no number" in said and "no.safetensors: there is no such file;" in said


def test_sample_wears_several_adapters(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = toys.changes(model, seed=1, only=("attn",))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    words = ["sample", "--model", str(model), "--family", "flux", "--flavour", "dev"]
    words += ["--prompt", "a cat", "--width", "32", "--height", "32", "--steps", "1"]
    words += ["--precision", "fp32", "--device", "cpu"]

    def picture(name: str, *more: str) -> Image.Image:
        assert main([*words, "--out", str(tmp_path / name), *more]) == 0, capsys.readouterr().err
        return seen(Path(capsys.readouterr().out.strip()))

    two = picture("two", "--adapter", f"{adapter}=0.75", "--adapter", f"{adapter}=-0.25")
    one = picture("one", "--adapter", str(adapter), "--strength", "0.5")
    assert off(one, two) <= 1
    assert picture("none").tobytes() != one.tobytes()
    merged = tmp_path / "m.safetensors"
    assert main(["adapter", "merge", f"{adapter}=0.75", f"{adapter}=-0.25", "-o", str(merged)]) == 0
    capsys.readouterr()
    assert off(picture("sum", "--adapter", str(merged), "--merge"), one) <= 1
    led = picture("led", "--negative", "grey", "--cfg-scale", "3")
    assert led.tobytes() != picture("unled").tobytes()
    assert main([*words, "--negative", "grey"]) == 2
    assert "changes nothing" in capsys.readouterr().err


def test_native_words_do_the_same(
    tmp_path: Path, model: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told = toys.changes(model, seed=1, rank=4, only=("ff.net",))
    adapter, base = toys.written(tmp_path / "a.safetensors", told), files["denoiser"]
    tuned, out, small = (tmp_path / f"{name}.safetensors" for name in ("tuned", "out", "small"))
    assert main(["adapter", "merge", str(adapter), "--into", str(base), "-o", str(tuned)]) == 0
    words = ["adapter", "extract", str(tuned), "--from", str(base), "-o", str(out)]
    assert main([*words, "--rank", "4", "--layers", "ff.net.2"]) == 0
    assert "keeps 100.00 %" in capsys.readouterr().out
    wanted = {n: one for n, one in toys.deltas(told).items() if n[1].endswith("ff.net.2")}
    toys.close(parts_of(out), wanted, 1e-4)
    assert main(["adapter", "resize", str(out), str(small), "--rank", "2", "--verbose"]) == 0
    assert "rank 4 -> 2" in capsys.readouterr().out
    assert main(["adapter", "extract", str(base), "--from", str(base), "-o", str(out)]) == 2
    assert "there is nothing to extract" in capsys.readouterr().err
    save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    words = ["adapter", "resize", str(tmp_path / "x.safetensors"), str(small), "--rank", "2"]
    assert main([*words, "--method", "sv_fro"]) == 2
    assert "goes with --param" in capsys.readouterr().err
