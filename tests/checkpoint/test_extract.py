"""The difference of two checkpoints as a LoRA."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scumble.checkpoint import combine, low_rank
from scumble.checkpoint.extract import Asked, Extracted, extracted, opened
from scumble.checkpoint.merge import Into, merged
from scumble.errors import FileError, leaves
from scumble.families.flux.keys import KEYS
from scumble.families.flux.model import FLUX_DEV
from tests.checkpoint import adapter_toys as toys
from tests.families import loose

CHANGED = ("attn", "norm_out", "mlp.fc1", "wo")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FLUX's transformer and CLIP as a diffusers folder."""
    root = loose.folder(tmp_path_factory.mktemp("model") / "flux")
    for name in ("vae", "text_encoder_2"):
        shutil.rmtree(root / name)
    return root


def file_of(model: Path, part: str, folder: Path) -> Path:
    """A part as a file of its own."""
    loose.save(loose.published(model, part), file := folder / f"{part}.safetensors")
    return file


def tuned(folder: Path, base: Path, *, rank: int = 2) -> tuple[Path, toys.Deltas]:
    """The model with a change of some layers merged in, and that change."""
    told = toys.changes(base, seed=1, rank=rank, only=CHANGED)
    adapter = toys.written(folder / "a.safetensors", told)
    summands = toys.summands({adapter: 1.0})
    out = folder / f"tuned{base.suffix}"
    total = combine.summed(summands, KEYS, authors=False)
    list(merged(FLUX_DEV, [Into(base, out)], summands, total, dtype=None))
    return out, toys.deltas(told)


def taken(base: Path, other: Path, asked: Asked) -> Extracted:
    pairings = opened(FLUX_DEV, base, other, base.with_name("out.safetensors"), asked)
    *_, end = extracted(pairings, asked)
    assert isinstance(end, Extracted)
    return end


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
@pytest.mark.parametrize("exact", [True, False])
def test_what_was_merged_comes_out_again(
    tmp_path: Path, model: Path, layout: str, exact: bool
) -> None:
    other, wanted = tuned(tmp_path, model)
    found = taken(model, other, Asked(rank=128, layout=layout, exact=exact))
    assert found.others == ()
    assert all(one.kept > 1 - 1e-6 for one in found.layers)
    every = toys.deltas(found.changes)
    toys.close({name: every[name] for name in wanted}, wanted, 1e-4)
    largest = max(float(one.norm()) for one in wanted.values())
    beside = every.keys() - wanted.keys()  # the rest of a fused layer
    assert all(float(every[name].norm()) < 1e-5 * largest for name in beside)
    assert bool(beside) == (layout == "kohya")
    groups = taken(model, other, Asked(rank=1, layout=layout, unchanged=True)).layers
    assert found.unchanged == len(groups) - len(found.layers) > 0


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_rank_keeps_what_the_best_of_that_rank_keeps(
    tmp_path: Path, model: Path, rank: int
) -> None:
    other, _ = tuned(tmp_path, model, rank=24)
    found = taken(model, other, Asked(rank=rank))
    before, after = toys.weights(model), toys.weights(other)
    for layer in found.layers:
        part, name = layer.name.split(" ")
        values = torch.linalg.svdvals(after[part, name] - before[part, name]).square()
        best = float(values[:rank].sum() / values.sum())
        assert layer.kept == pytest.approx(best, abs=1e-4)
        told = found.changes[part][name]
        assert (layer.rank, told.alpha, told.down.shape[0]) == (rank, rank, rank)


def test_an_energy_takes_no_more_columns_than_it_needs(tmp_path: Path, model: Path) -> None:
    other, _ = tuned(tmp_path, model, rank=24)
    found = taken(model, other, Asked(rank=64, energy=0.8))
    before, after = toys.weights(model), toys.weights(other)
    ranks = set()
    for layer in found.layers:
        part, name = layer.name.split(" ")
        values = torch.linalg.svdvals(after[part, name] - before[part, name]).square()
        shares = values.cumsum(0) / values.sum()
        assert layer.rank == int((shares < 0.8).sum()) + 1
        assert layer.kept == pytest.approx(float(shares[layer.rank - 1]), abs=1e-4)
        ranks.add(layer.rank)
    assert len(ranks) > 1, "each layer has its own"
    capped = taken(model, other, Asked(rank=2, energy=0.8))
    assert {one.rank for one in capped.layers} == {2}


def test_only_the_layers_that_are_meant_are_taken(tmp_path: Path, model: Path) -> None:
    other, _ = tuned(tmp_path, model)
    asked = Asked(rank=2, layers=("to_q", "single_transformer_blocks.*.attn.to_k"))
    names = {one.name.split(".", 1)[1] for one in taken(model, other, asked).layers}
    assert names == {"0.attn.to_q", "1.attn.to_q", "0.attn.to_k", "1.attn.to_k"}
    doubles = [n for n in taken(model, other, asked).changes["denoiser"] if n.endswith("to_k")]
    assert all(one.startswith("single") for one in doubles)


def test_a_clamp_bounds_both_matrices_and_its_loss_is_told(tmp_path: Path, model: Path) -> None:
    other, _ = tuned(tmp_path, model)
    plain = taken(model, other, Asked(rank=2))
    found = taken(model, other, Asked(rank=2, clamp=0.9))
    name = "transformer_blocks.0.attn.to_q"
    told, was = found.changes["denoiser"][name], plain.changes["denoiser"][name]
    every = torch.cat([was.up.flatten(), was.down.flatten()])
    bound = abs(float(torch.quantile(every, 0.9)))
    assert float(told.up.abs().max()) == pytest.approx(bound)
    by_name = {one.name: one.kept for one in found.layers}
    whole = toys.deltas(plain.changes)["denoiser", name]
    lost = toys.deltas(found.changes)["denoiser", name] - whole
    share = 1 - float(lost.square().sum() / whole.square().sum())
    assert by_name[f"denoiser {name}"] == pytest.approx(share, abs=1e-4) and share < 0.99


def test_unchanged_layers_are_left_out_or_zero(tmp_path: Path, model: Path) -> None:
    other, wanted = tuned(tmp_path, model)
    every = taken(model, other, Asked(rank=2, unchanged=True))
    assert len(every.layers) == len(toys.weights(model))
    rest = {n: one for n, one in toys.deltas(every.changes).items() if n not in wanted}
    assert rest and not any(bool(one.any()) for one in rest.values())


def test_what_a_lora_cannot_hold_is_named(tmp_path: Path, model: Path) -> None:
    base = file_of(model, "denoiser", tmp_path)
    found = load_file(base)
    found["img_in.bias"] += 1
    found["double_blocks.0.img_attn.norm.key_norm.scale"] *= 2
    other = tmp_path / "tuned.safetensors"
    save_file(found, other)
    told = taken(base, other, Asked(rank=2))
    assert set(told.others) == {"x_embedder.bias", "transformer_blocks.0.attn.norm_k.weight"}
    assert told.layers == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_layouts_and_number_types_may_differ(
    tmp_path: Path, model: Path, dtype: torch.dtype
) -> None:
    """A diffusers folder before, a file of the authors' after."""
    other, wanted = tuned(tmp_path, model)
    authors = tmp_path / "tuned.safetensors"
    theirs = loose.published(other, "denoiser")
    loose.save({name: one.to(dtype) for name, one in theirs.items()}, authors)
    found = toys.deltas(taken(model, authors, Asked(rank=2, layers=("to_q", "norm_out.*"))).changes)
    share = {torch.bfloat16: 0.05, torch.float16: 0.02, torch.float32: 1e-4}[dtype]
    for layer in ("transformer_blocks.0.attn.to_q", "norm_out.linear"):  # one with turned halves
        name = ("denoiser", layer)
        toys.close({name: found[name]}, {name: wanted[name]}, share)


Odd = Callable[[Path, Path], tuple[Path, Path]]


def missing(model: Path, folder: Path) -> tuple[Path, Path]:
    return model, folder / "none.safetensors"


def other_networks(model: Path, folder: Path) -> tuple[Path, Path]:
    return file_of(model, "clip", folder), file_of(model, "denoiser", folder)


def other_sizes(model: Path, folder: Path) -> tuple[Path, Path]:
    found = load_file(base := file_of(model, "clip", folder))
    found["text_model.encoder.layers.0.mlp.fc1.weight"] = torch.ones(8, 64)
    save_file(found, folder / "other.safetensors")
    return base, folder / "other.safetensors"


def fewer_blocks(model: Path, folder: Path) -> tuple[Path, Path]:
    base = file_of(model, "denoiser", folder)
    found = {k: v for k, v in load_file(base).items() if "single_blocks.1" not in k}
    save_file(found, folder / "pruned.safetensors")
    return base, folder / "pruned.safetensors"


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (missing, "no such file"),
        (other_networks, "name two checkpoints of one network"),
        (other_sizes, "(8, 64) there and (128, 64) in the base"),
        (fewer_blocks, "layers stand in one of the two"),
    ],
)
def test_two_files_that_are_no_pair_are_told_so(
    tmp_path: Path, model: Path, odd: Odd, words: str
) -> None:
    base, other = odd(model, tmp_path)
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX_DEV, base, other, tmp_path / "out.safetensors", Asked(rank=2))
    assert words in " ".join(str(one) for one in leaves(group.value))


def test_flags_that_cannot_be_are_told_at_once(tmp_path: Path, model: Path) -> None:
    asked = Asked(rank=0, energy=1.5, clamp=0.2)
    with pytest.raises(ExceptionGroup) as group:
        opened(FLUX_DEV, model, model, tmp_path / "out.pt", asked)
    assert len([*leaves(group.value)]) == 4
    with pytest.raises(ExceptionGroup, match="nothing can be extracted") as group:
        asked = Asked(rank=2, layers=("to_x",))
        opened(FLUX_DEV, model, model, tmp_path / "out.safetensors", asked)
    assert "to_x" in str(next(leaves(group.value)))


def test_a_spoilt_checkpoint_is_named(tmp_path: Path, model: Path) -> None:
    base, other = file_of(model, "denoiser", tmp_path), tmp_path / "tuned.safetensors"
    found = load_file(base)
    found["single_blocks.0.linear2.weight"][3, 3] = torch.inf
    save_file(found, other)
    pairings = opened(FLUX_DEV, base, other, tmp_path / "o.safetensors", asked := Asked(rank=2))
    with pytest.raises(FileError, match=r"proj_out' is not finite"):
        list(extracted(pairings, asked))


@pytest.mark.parametrize("shape", [(96, 40), (40, 96)])
def test_sketches_and_products_find_what_a_whole_decomposition_finds(
    shape: tuple[int, int],
) -> None:
    make = torch.Generator().manual_seed(0)
    matrix = torch.randn(*shape, generator=make) @ torch.diag(0.8 ** torch.arange(shape[1]))
    inner, values, outer = torch.linalg.svd(matrix.double(), full_matrices=False)
    for exact, count in ((True, 40), (True, 4), (False, 4)):
        draws = torch.Generator().manual_seed(1)
        found = low_rank.of_matrix(matrix, count, draws, exact=exact).first(count)
        nearest = inner[:, :count] * values[:count] @ outer[:count]
        off = (found.up @ found.down).double() - nearest
        assert float(off.norm() / values[0]) < 1e-4


MEASURED = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(2)
from scumble.cli.app import main
code = main(sys.argv[1:])
told = Path("/proc/self/status").read_text().split()
print(json.dumps([code, int(told[told.index("VmHWM:") + 1]) * 1024]))
"""
# getrusage would count the memory of the process that this one was started from
WIDE = 3072
BLOCKS = {
    "double_blocks.0.img_attn.qkv": (3 * WIDE, WIDE),
    "double_blocks.0.img_mlp.0": (4 * WIDE, WIDE),
    "double_blocks.0.img_mlp.2": (WIDE, 4 * WIDE),
    "single_blocks.0.linear1": (7 * WIDE, WIDE),
    "single_blocks.0.linear2": (WIDE, 5 * WIDE),
    "single_blocks.1.linear1": (7 * WIDE, WIDE),
}


@pytest.mark.acceptance
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by /proc")
@pytest.mark.parametrize(
    ("ways", "number_bytes"), [((), 2), (("--exact",), 4)], ids=["sketched", "exact"]
)
def test_layers_of_the_real_width_take_little_memory(
    tmp_path: Path, ways: tuple[str, ...], number_bytes: int
) -> None:
    """Less than three times the largest layer and half a gigabyte.

    The layer is counted as it is stored, in bf16; with `--exact`, in the float32 that it is
    computed in, for eigenvectors are found in float64.
    """
    make = torch.Generator().manual_seed(0)
    base, other, out = (tmp_path / f"{name}.safetensors" for name in ("base", "tuned", "out"))
    before, after = {}, {}
    for name, (rows, columns) in BLOCKS.items():
        weight = torch.randn(rows, columns, generator=make) * 0.02
        change = torch.randn(rows, 4, generator=make) @ torch.randn(4, columns, generator=make)
        before[f"{name}.weight"] = weight.bfloat16()
        after[f"{name}.weight"] = (weight + change * 0.005).bfloat16()
    largest = max(one.numel() for one in before.values()) * number_bytes
    save_file(before, base)
    save_file(after, other)
    del before, after
    words = ["adapter", "extract", str(other), "--from", str(base), "--out", str(out)]
    words += ["--rank", "16", "--layout", "kohya", *ways]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True
    )
    code, peak = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    bound = 3 * largest + 0.5e9
    assert peak < bound, f"{peak / 1e9:.2f} GB, at most {bound / 1e9:.2f}"
