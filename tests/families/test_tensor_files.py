"""Safetensors files: whole, damaged, or something else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scumble.errors import FileError
from scumble.families.recognising import by_names
from scumble.families.tensor_files import DTYPES, header, read


def write(file: Path, told: Any, body: bytes = b"") -> Path:
    """A file with this list of tensors, right or wrong."""
    text = told if type(told) is bytes else json.dumps(told).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return file


def entry(start: int, end: int, shape: Any = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def problem(file: Path) -> str:
    with pytest.raises(FileError) as error:
        header(file)
    return str(error.value)


@pytest.mark.parametrize("dtype", [one for one in DTYPES.values() if one != torch.bool])
def test_every_kind_of_number_is_read_as_it_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    wide = torch.randint(0, 7, (5, 3), generator=torch.manual_seed(0))
    tensors = {"a": wide.to(dtype), "number": torch.ones((), dtype=dtype), "b": wide.T.to(dtype)}
    tensors = {name: one.contiguous() for name, one in tensors.items()}
    tensors["none"] = torch.empty(0, 4, dtype=dtype)
    file = tmp_path / "f.safetensors"
    save_file(tensors, file, {"about": "this"})
    stored = header(file)
    assert stored.keys() == tensors.keys()
    with file.open("rb", buffering=0) as stream:
        for name, tensor in tensors.items():
            found = read(file, stream, stored[name], [(0, stored[name].rows)])
            assert found.dtype == dtype and found.shape == tensor.shape
            assert torch.equal(found.float(), tensor.float())
        cut = read(file, stream, stored["a"], [(3, 5), (0, 2)])
    assert torch.equal(cut.float(), torch.cat([tensors["a"][3:], tensors["a"][:2]]).float())


def test_a_piece_of_a_tensor_keeps_no_more_than_its_own_memory(tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    save_file({"fused": torch.zeros(300, 100)}, file)
    with file.open("rb", buffering=0) as stream:
        piece = read(file, stream, header(file)["fused"], [(100, 200)])
    assert piece.untyped_storage().nbytes() == 100 * 100 * 4


def test_a_download_that_ended_early_says_how_far_it_came(tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    save_file({"a": torch.zeros(1000)}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 62 // 100 + 1])
    assert "the download ended early, at 62 %" in problem(file)
    file.write_bytes(whole[:40])
    assert "the download ended early, within the list of its tensors" in problem(file)


@pytest.mark.parametrize(
    ("told", "body", "words"),
    [
        (b"{\xff}", b"", "is damaged"),
        (b"{" + b"[" * 5000, b"", "is damaged"),
        ({"a": entry(0, 8, dtype="F4")}, b"12345678", "kind F4, which is not read here; use the"),
        ({"a": entry(0, 12)}, b"123456789012", "a needs 8 bytes and has 12"),
        ({"a": entry(0, 8, (-2,))}, b"12345678", r"a has the shape \(-2,\)"),
        ({"a": entry(0, 8, "xy")}, b"12345678", "is damaged"),
        ({"a": {"dtype": "F32"}}, b"", "is damaged"),
        ({"a": 7}, b"", "is damaged"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, b"1" * 12, "does not fit its"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, b"1" * 20, "does not fit its"),
        ({"a": entry(0, 8)}, b"1" * 9, "does not fit its"),
        ({"a": entry(0, 8)}, b"1" * 4, "the download ended early"),
    ],
)
def test_a_list_of_tensors_that_cannot_be_is_refused(
    tmp_path: Path, told: Any, body: bytes, words: str
) -> None:
    with pytest.raises(FileError, match=words):
        header(write(tmp_path / "f.safetensors", told, body))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty: nothing was written into it"),
        (bytes(4096), "zeros only"),
        (b"GGUF\x03\0\0\0" + bytes(64), "a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>403</body>", "a web page"),
        (b"\n  <HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an XML page"),
        (b'{"error": "Repository not found"}', "JSON text"),
        (b"\x80\x02}q\x00X\x01\x00", "pickled weights, which can run any code"),
        (b"\x1f\x8b\x08" + bytes(9), "a gzip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "a picture"),
        (b"something that nobody has ever seen", "damaged or something unknown"),
    ],
)
def test_what_is_no_safetensors_file_is_named_as_what_it_seems(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert words in problem(file)


def test_a_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    torch.save({"a": torch.zeros(3)}, file)
    assert zipfile.is_zipfile(file)
    assert "pickled weights, which can run any code" in problem(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "f.safetensors: this file is missing" in problem(tmp_path / "f.safetensors")


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["lora_unet_double_blocks_0_img_attn_proj.lora_down.weight"], "LoRA .* kohya"),
        (["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], "LoRA .* diffusers"),
        (["diffusion_model.double_blocks.0.img_attn.proj.lora_A.weight"], "LoRA .* ComfyUI"),
        (["lycoris_transformer_blocks_0_attn_to_q.lokr_w1"], "LyCORIS"),
        (["model.diffusion_model.input_blocks.1.1.norm.bias", "cond_stage_model.transformer.x"],
         r"Stable Diffusion 1\.5 checkpoint"),
        (["conditioner.embedders.0.transformer.x", "model.diffusion_model.label_emb.0.0.bias"],
         "SDXL checkpoint"),
        (["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "Stable Diffusion 3"),
        (["transformer_blocks.0.img_mod.1.weight", "txt_norm.weight"], "Qwen-Image transformer"),
        (["blocks.0.cross_attn.q.weight", "patch_embedding.weight"], "Wan"),
        (["double_stream_modulation_img.lin.weight", "double_blocks.0.img_attn.qkv.weight"],
         r"FLUX\.2"),
        (["distilled_guidance_layer.layers.0.in_layer.bias", "double_blocks.0.img_attn.qkv.weight"],
         "Chroma"),
        (["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"],
         r"a FLUX\.1 transformer"),
        (["encoder.conv_in.weight", "decoder.mid.block_1.conv1.weight"], "an autoencoder"),
        (["encoder.block.0.layer.0.SelfAttention.q.weight"], "T5 text encoder"),
        (["text_model.encoder.layers.0.self_attn.q_proj.weight",
          "text_model.embeddings.token_embedding.weight"], "a CLIP text encoder"),
        (["transformer.resblocks.0.attn.in_proj_weight"], "OpenCLIP"),
        (["model.layers.0.self_attn.q_proj.weight"], "language model"),
        (["a.b", "c"], r"unknown \(its first tensor is a\.b\)"),
        ([], "empty"),
    ],
)  # fmt: skip
def test_names_tell_the_kind_of_file(names: list[str], what: str) -> None:
    assert re.search(what, by_names(names))


MEASURED = """
import sys
from pathlib import Path
import torch
from scumble import families
from scumble.families import weights
from scumble.families.sources import Sought, in_file

torch.set_num_threads(1)
flux = families.find("flux", "dev")
small, large = (Path(one) for one in sys.argv[1:])

def load(file):
    model = weights.Model(flux, {"denoiser": in_file(Sought(flux, "denoiser"), file)})
    return weights.loaded(model, "denoiser", dtype=torch.bfloat16, device=torch.device("cpu"))

def memory(of):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(of))

load(small)  # what the first use of the libraries takes is not the file's
before = memory("VmRSS:")
kept = load(large)
print(memory("VmHWM:") - before)
"""
LARGE = {"num_layers": 1, "num_single_layers": 4, "num_attention_heads": 8}
ALLOWANCE = 8 * 2**20  # measured: the file, and nothing besides


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_loading_takes_no_more_memory_than_the_file_is_long(tmp_path: Path) -> None:
    small = sparse(tmp_path / "small.safetensors", {**LARGE, "num_attention_heads": 1})
    large = sparse(tmp_path / "large.safetensors", LARGE)
    command = [sys.executable, "-c", MEASURED, str(small), str(large)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    largest = max(stored.bytes for stored in header(large).values())
    size = large.stat().st_size
    assert size > 180 * 2**20 and largest > ALLOWANCE
    assert 0.9 * size < int(told.stdout) < size + ALLOWANCE


def sparse(file: Path, sizes: dict[str, int]) -> Path:
    """A transformer of zeros in bf16, in the authors' layout, that takes no room on the disk."""
    from scumble.families import spelling
    from scumble.families.flux import files as flux_files
    from scumble.families.flux import model as flux
    from scumble.families.flux.keys import TRANSFORMER

    module = flux.skeleton("denoiser", {**flux_files.DENOISER, **sizes})
    shapes = spelling.fused(module.state_dict(), TRANSFORMER)
    told, end = {}, 0
    for name, tensor in shapes.items():
        told[name] = entry(end, end + 2 * tensor.numel(), tuple(tensor.shape), "BF16")
        end += 2 * tensor.numel()
    write(file, told)
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size + end)
    return file
