"""Adapter files at other ranks, against a full singular value decomposition of every layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export, low_rank, proof
from scumble.checkpoint.low_rank import Cut, Method
from scumble.checkpoint.resize import Asked, resized
from scumble.errors import FileError, leaves
from scumble.families.flux.keys import KEYS

QKV = "lora_unet_double_blocks_0_img_attn_qkv"
PROJ = "lora_unet_double_blocks_0_img_attn_proj"
T5 = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"


def product(rows: int, columns: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Up and down whose singular values fall by about a third from one to the next."""
    make = torch.Generator().manual_seed(seed)
    up = torch.randn(rows, rank, generator=make) * 0.7 ** torch.arange(rank)
    return up, torch.randn(rank, columns, generator=make)


def kohya_file(file: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A fused layer and a plain one of the denoiser, and one of T5, with alphas of three kinds."""
    found: dict[str, Tensor] = {}
    layers = ((QKV, 48, 6, torch.tensor(4)), (PROJ, 16, 8, torch.tensor(2.0)), (T5, 16, 3, None))
    for seed, (stem, rows, rank, alpha) in enumerate(layers):
        up, down = product(rows, 16, rank, seed)
        found |= {
            f"{stem}.lora_up.weight": up.to(dtype),
            f"{stem}.lora_down.weight": down.to(dtype),
        }
        found |= {} if alpha is None else {f"{stem}.alpha": alpha}
    about = {"ss_network_dim": "8", "ss_network_alpha": "2", "sshs_model_hash": "of another file"}
    save_file(found, file, about | {"scumble.marks": "of another change", "ss_steps": "7"})
    return file


def delta(found: dict[str, Tensor], stem: str) -> Tensor:
    """What a reader makes of a layer: missing alpha is the rank."""
    down = found[f"{stem}.lora_down.weight"].double().flatten(1)
    up = found[f"{stem}.lora_up.weight"].double().flatten(1)
    return float(found.get(f"{stem}.alpha", len(down))) / len(down) * up @ down


def by_the_book(values: Tensor, method: Method | None, param: float, cap: int) -> int:
    """The rules as sd-scripts' resize_lora states them, over all values of the whole matrix."""
    longest = len(values) - 1
    if values[0] <= 1e-6:
        return 1
    if method is None:
        return cap
    if method == "sv_ratio":
        at = sum(bool(one > values[0] / param) for one in values)
    else:
        powers = values if method == "sv_cumulative" else values**2
        bound = param if method == "sv_cumulative" else param**2
        shares = powers.cumsum(0) / powers.sum()
        at = next(number for number, one in enumerate(shares) if one >= bound) + 1
    return min(max(1, min(at, longest)) + 1, cap)


@pytest.mark.parametrize(
    ("method", "param"),
    [
        (None, 0.0),
        ("sv_ratio", 1.0),
        ("sv_ratio", 3.0),
        ("sv_ratio", 1e6),
        ("sv_fro", 0.5),
        ("sv_fro", 0.9),
        ("sv_fro", 0.99),
        ("sv_cumulative", 0.3),
        ("sv_cumulative", 0.8),
        ("sv_cumulative", 0.95),
    ],
)
@pytest.mark.parametrize("cap", [1, 2, 4, 64])
def test_each_layer_is_cut_as_its_whole_matrix_would_be(
    tmp_path: Path, method: Method | None, param: float, cap: int
) -> None:
    file, out = kohya_file(tmp_path / "in.safetensors"), tmp_path / "out.safetensors"
    made = resized(file, out, KEYS, Asked(cut=Cut(cap, method, param), alphas=True))
    before, after = load_file(file), load_file(out)
    assert after.keys() == before.keys() | {f"{T5}.alpha"}, "every layer has an alpha then"
    layers = {one.name: one for one in made.layers}
    assert layers.keys() == {QKV, PROJ, T5}
    for stem, layer in layers.items():
        whole = delta(before, stem)
        inner, values, outer = torch.linalg.svd(whole, full_matrices=False)
        there = len(before[f"{stem}.lora_down.weight"])
        scale = float(before.get(f"{stem}.alpha", there)) / there
        rank = min(by_the_book(values / scale, method, param, cap), there)
        assert (len(after[f"{stem}.lora_down.weight"]), layer.rank) == (rank, rank)
        assert float(after[f"{stem}.alpha"]) == pytest.approx(scale * rank)
        nearest = inner[:, :rank] * values[:rank] @ outer[:rank]
        torch.testing.assert_close(delta(after, stem), nearest, atol=1e-5, rtol=1e-5)
        share = float(values[:rank].square().sum() / values.square().sum())
        assert layer.kept == pytest.approx(share, abs=1e-6)


def test_a_layer_of_zeros_keeps_one_column(tmp_path: Path) -> None:
    file, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    zeros = {
        f"{PROJ}.lora_down.weight": torch.zeros(8, 16),
        f"{PROJ}.lora_up.weight": torch.zeros(16, 8),
    }
    save_file(zeros, file)
    made = resized(file, out, KEYS, Asked(cut=Cut(4, "sv_fro", 0.9)))
    assert [(one.rank, one.kept) for one in made.layers] == [(1, 1.0)]
    assert not delta(load_file(out), PROJ).any()


def test_what_the_file_says_of_itself_stays_true(tmp_path: Path) -> None:
    file, out = kohya_file(tmp_path / "in.safetensors"), tmp_path / "out.safetensors"
    resized(file, out, KEYS, Asked(cut=Cut(4, "sv_ratio", 3.0)))
    with safe_open(out, "pt") as stored:
        told = dict(stored.metadata())
    assert told["ss_network_dim"] == told["ss_network_alpha"] == "Dynamic"
    assert told["ss_training_comment"] == "Dynamic resize with sv_ratio: 3.0 from Dynamic; "
    assert told["ss_steps"] == "7" and len(told["sshs_model_hash"]) == 64
    assert len(told["sshs_legacy_hash"]) == 8
    changes = export.layers(out, KEYS)
    assert proof.compared(changes, told) == [], "the marks are those of the new change"


def test_a_diffusers_file_gets_no_alphas(tmp_path: Path) -> None:
    """Its readers take alpha from nowhere, so the scale of peft is put into the numbers."""
    stem = "base_model.model.transformer_blocks.0.attn.to_q"
    up, down = product(16, 16, 8, 0)
    file, out = tmp_path / "adapter_model.safetensors", tmp_path / "out.safetensors"
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, file)
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 2}')
    resized(file, out, KEYS, Asked(cut=Cut(8)))
    found = load_file(out)
    assert found.keys() == load_file(file).keys()
    made = found[f"{stem}.lora_B.weight"] @ found[f"{stem}.lora_A.weight"]
    torch.testing.assert_close(made, 2 / 8 * up @ down, atol=1e-5, rtol=1e-5)


def test_convolutions_of_other_models_are_resized_too(tmp_path: Path) -> None:
    stem = "lora_unet_input_blocks_1_0_in_layers_2"
    make = torch.Generator().manual_seed(0)
    found = {
        f"{stem}.lora_down.weight": torch.randn(4, 6, 3, 3, generator=make),
        f"{stem}.lora_up.weight": torch.randn(10, 4, 1, 1, generator=make),
        f"{stem}.alpha": torch.tensor(4.0),
    }
    file, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(found, file)
    resized(file, out, KEYS, Asked(cut=Cut(8), windows=Cut(2)))
    after = load_file(out)
    assert after[f"{stem}.lora_down.weight"].shape == (2, 6, 3, 3)
    assert after[f"{stem}.lora_up.weight"].shape == (10, 2, 1, 1)
    inner, values, outer = torch.linalg.svd(delta(found, stem), full_matrices=False)
    nearest = inner[:, :2] * values[:2] @ outer[:2]
    torch.testing.assert_close(delta(after, stem), nearest, atol=1e-5, rtol=1e-5)


def test_float16_loses_no_small_change(tmp_path: Path) -> None:
    stem, file, out = PROJ, tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    up, down = product(16, 16, 4, 0)
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up * 1e-7}, file)
    resized(file, out, KEYS, Asked(cut=Cut(4), dtype="float16"))
    after = load_file(out)
    assert {one.dtype for one in after.values()} == {torch.float16}
    whole = up.double() @ down.double() * 1e-7
    assert float((delta(after, stem) - whole).norm() / whole.norm()) < 2e-3


def test_numbers_stay_what_they_are_stored_in(tmp_path: Path) -> None:
    file, out = kohya_file(tmp_path / "in.safetensors", torch.bfloat16), tmp_path / "o.safetensors"
    resized(file, out, KEYS, Asked(cut=Cut(3)))
    kinds = {one.dtype for key, one in load_file(out).items() if not key.endswith(".alpha")}
    assert kinds == {torch.bfloat16}


Odd = Callable[[Path], Path]


def dora(folder: Path) -> Path:
    file = kohya_file(folder / "in.safetensors")
    save_file({**load_file(file), f"{PROJ}.dora_scale": torch.ones(16, 1)}, file)
    return file


def halved(folder: Path) -> Path:
    file = kohya_file(folder / "in.safetensors")
    save_file({k: v for k, v in load_file(file).items() if "lora_up" not in k}, file)
    return file


def spoilt(folder: Path) -> Path:
    file = kohya_file(folder / "in.safetensors")
    save_file({k: v * torch.nan if "up" in k else v for k, v in load_file(file).items()}, file)
    return file


def a_model(folder: Path) -> Path:
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(6, 2)}, folder / "m.safetensors")
    return folder / "m.safetensors"


@pytest.mark.parametrize(
    ("odd", "words"),
    [(dora, "DoRA"), (halved, "no pair of down and up"), (spoilt, "no finite"), (a_model, "model")],
)
def test_a_file_that_is_no_plain_lora_is_named_and_nothing_written(
    tmp_path: Path, odd: Odd, words: str
) -> None:
    file, out = odd(tmp_path), tmp_path / "out.safetensors"
    with pytest.raises(FileError, match=words):
        resized(file, out, KEYS, Asked(cut=Cut(4)))
    assert not out.exists()


def test_everything_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    file = kohya_file(tmp_path / "in.safetensors")
    with pytest.raises(ExceptionGroup) as group:
        resized(file, tmp_path / "out.pt", KEYS, Asked(cut=Cut(0, "sv_fro", 1.5)))
    said = " ".join(str(one) for one in leaves(group.value))
    assert "out.pt" in said and "fewer columns" in said and "1.5" in said
    with pytest.raises(ExceptionGroup, match="cannot be resized"):
        resized(file, file, KEYS, Asked(cut=Cut(4)))


def test_a_clamp_is_at_the_quantile_of_both_matrices() -> None:
    up, down = product(16, 24, 4, 3)
    every = torch.cat([up.flatten(), down.flatten()])
    for share in (0.5, 0.9, 0.99, 1.0):
        bound = abs(float(torch.quantile(every, share)))
        told = low_rank.clamped(LoraTensors(down, up, 4.0), share)
        torch.testing.assert_close(told.up, up.clamp(-bound, bound))
        torch.testing.assert_close(told.down, down.clamp(-bound, bound))
