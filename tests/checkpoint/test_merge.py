"""Adapters merged with one another and into the files of a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scumble.adapters.layouts import Changes
from scumble.checkpoint import combine, export, proof
from scumble.checkpoint.combine import MERGED_FROM, RECIPE
from scumble.checkpoint.merge import Into, merged
from scumble.errors import leaves
from scumble.families import weights
from scumble.families.flux.keys import KEYS
from scumble.families.flux.model import FLUX_DEV
from scumble.families.tensor_files import header
from scumble.spec.model import ModelSpec
from tests.checkpoint import adapter_toys as toys
from tests.families import loose


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FLUX as a diffusers folder."""
    return loose.folder(tmp_path_factory.mktemp("model") / "flux")


@pytest.fixture(scope="module")
def single(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its parts as the files that others publish."""
    return loose.files(model, tmp_path_factory.mktemp("files"))


def two(
    folder: Path, model: Path, one: str = "kohya", other: str = "diffusers"
) -> tuple[Path, Path]:
    """A has fused attention of rank 4 and CLIP; B has rank 2, less layers, another scale."""
    only = ("denoiser", "clip")
    a = toys.shared(toys.changes(model, seed=1, rank=4, alpha=1.0, only=only))
    b = toys.changes(model, seed=2, only=("to_q", "proj_mlp", "ff.net", "norm_out", "t5"))
    files = folder / "a.safetensors", folder / "b.safetensors"
    toys.written(files[0], a, one)
    toys.written(files[1], b, other)
    return files


def parts_of(file: Path) -> toys.Deltas:
    return toys.deltas(export.layers(file, KEYS))


def weighted(a: toys.Deltas, b: toys.Deltas, first: float, second: float) -> toys.Deltas:
    zero = torch.zeros(())
    return {n: first * a.get(n, zero) + second * b.get(n, zero) for n in {**a, **b}}


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "comfy"])
@pytest.mark.parametrize(("one", "other"), [("kohya", "diffusers"), ("comfy", "kohya")])
def test_adapters_add_up_exactly(
    tmp_path: Path, model: Path, layout: str, one: str, other: str
) -> None:
    a, b = two(tmp_path, model, one, other)
    out = tmp_path / "sum.safetensors"
    summands = toys.summands({a: 0.7, b: 0.3})
    total = combine.summed(summands, KEYS, authors=layout != "diffusers")
    told = combine.about(summands, "sum")
    combine.write(out, total, KEYS, layout=layout, dtype="float32", told=told)
    toys.close(parts_of(out), weighted(parts_of(a), parts_of(b), 0.7, 0.3), 1e-6)


def test_strengths_may_be_negative_zero_or_above_one(tmp_path: Path, model: Path) -> None:
    a, b = two(tmp_path, model)
    total = combine.summed(toys.summands({a: -1.5, b: 0.0}), KEYS, authors=True)
    toys.close(toys.deltas(total), weighted(parts_of(a), {}, -1.5, 0.0) | {
        name: torch.zeros(()) * one for name, one in parts_of(b).items() if name not in parts_of(a)
    }, 1e-6)  # fmt: skip


def test_layers_that_share_their_down_go_on_sharing_it(tmp_path: Path, model: Path) -> None:
    """Twice rank 4 of a fused layer is rank 8, not 24."""
    told = toys.shared(toys.changes(model, seed=1, rank=4, only=("to_q", "to_k", "to_v")))
    other = toys.shared(toys.changes(model, seed=2, rank=4, only=("to_q", "to_k", "to_v")))
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    toys.written(a, told)
    toys.written(b, other)
    out = tmp_path / "sum.safetensors"
    total = combine.summed(toys.summands({a: 1.0, b: 1.0}), KEYS, authors=True)
    combine.write(out, total, KEYS, layout="kohya", dtype="float32", told={})
    ranks = {len(one) for key, one in load_file(out).items() if "double" in key and "down" in key}
    assert ranks == {8}


def test_no_layer_gets_more_rank_than_it_can_use(tmp_path: Path, model: Path) -> None:
    told = toys.changes(model, seed=1, rank=40, only=("clip",))
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    toys.written(a, told)
    toys.written(b, toys.changes(model, seed=2, rank=40, only=("clip",)))
    total = combine.summed(toys.summands({a: 1.0, b: 2.0}), KEYS, authors=True)
    assert {len(one.down) for one in total["clip"].values()} == {64}
    toys.close(toys.deltas(total), weighted(parts_of(a), parts_of(b), 1.0, 2.0), 1e-6)


@pytest.mark.parametrize("authors", [True, False])
def test_a_sum_is_refitted_as_near_as_a_rank_allows(
    tmp_path: Path, model: Path, authors: bool
) -> None:
    a, b = two(tmp_path, model)
    total = combine.summed(toys.summands({a: 1.0, b: 1.0}), KEYS, authors=authors)
    fewer, report = combine.lowered(total, KEYS, 2, authors=authors)
    assert max(one.rank for one in report) == 2
    before, after = toys.deltas(total), toys.deltas(fewer)
    name = ("denoiser", "transformer_blocks.0.ff.net.2")
    inner, values, outer = torch.linalg.svd(before[name])
    nearest = inner[:, :2] * values[:2] @ outer[:2]
    torch.testing.assert_close(after[name], nearest, atol=1e-5, rtol=1e-4)
    (layer,) = (one for one in report if one.name.endswith(("img_mlp.2", "_blocks.0.ff.net.2")))
    assert layer.kept == pytest.approx(float(values[:2].square().sum() / values.square().sum()))


def test_a_merged_adapter_says_what_it_is_of_and_proves_itself(tmp_path: Path, model: Path) -> None:
    a, b = two(tmp_path, model)
    summands = toys.summands({a: 0.7, b: 0.3})
    total, out = combine.summed(summands, KEYS, authors=True), tmp_path / "sum.safetensors"
    told = combine.about(summands, "sum")
    combine.write(out, total, KEYS, layout="kohya", dtype="bfloat16", told=told)
    with safe_open(out, "pt") as stored:
        metadata = dict(stored.metadata())
    assert metadata[MERGED_FROM] == "a, b"
    assert [one["strength"] for one in json.loads(metadata[RECIPE])] == [0.7, 0.3]
    assert proof.compared(export.layers(out, KEYS), metadata) == []


def test_adapters_of_different_models_are_told_apart(tmp_path: Path, model: Path) -> None:
    a, _ = two(tmp_path, model)
    wide = toys.changes(model, seed=3, only=("to_q",))
    for part in wide.values():
        for name, one in part.items():
            part_ = torch.cat([one.down, one.down], dim=1)
            wide = {"denoiser": {name: combine.LoraTensors(part_, one.up, one.alpha)}}
    b, missing = toys.written(tmp_path / "b.safetensors", wide), tmp_path / "none.safetensors"
    with pytest.raises(ExceptionGroup) as group:
        toys.summands({a: 1.0, b: float("nan"), missing: 1.0})
    assert len([*leaves(group.value)]) == 2
    with pytest.raises(ExceptionGroup) as group:
        toys.summands({a: 1.0, b: 1.0})
    assert "different models" in str(next(leaves(group.value)))


Make = Callable[[Path, dict[str, Path]], Path]


def in_folder(model: Path, files: dict[str, Path]) -> Path:
    return model


def in_file(model: Path, files: dict[str, Path]) -> Path:
    return files["denoiser"]


def in_one(model: Path, files: dict[str, Path]) -> Path:
    return loose.all_in_one(model, files["denoiser"].with_name("whole.safetensors"))


def kept_to(told: Changes, there: toys.Deltas) -> Changes:
    parts = {part for part, _ in there}
    return {part: layers for part, layers in told.items() if part in parts}


@pytest.mark.parametrize("make", [in_folder, in_file, in_one])
def test_a_model_gets_the_change_and_nothing_else_moves(
    tmp_path: Path, model: Path, single: dict[str, Path], make: Make
) -> None:
    base = make(model, single)
    before = toys.weights(base)
    told = kept_to(toys.changes(model, seed=1, only=("attn", "norm_out", "mlp", "Dense")), before)
    adapter = toys.written(tmp_path / "a.safetensors", told)
    out = tmp_path / "new" / f"merged{base.suffix}"
    summands = toys.summands({adapter: 0.5})
    total = combine.summed(summands, KEYS, authors=False)
    (done,) = merged(FLUX_DEV, [Into(base, out)], summands, total, dtype=None)
    assert dict(done.layers) == {part: len(layers) for part, layers in told.items()}
    moved, after = toys.deltas(told), toys.weights(out)
    zero = torch.zeros(())
    toys.close(after, {n: one + 0.5 * moved.get(n, zero) for n, one in before.items()}, 1e-6)
    touched = {name for _, name in moved}
    same_elsewhere(base, out, touched)


def same_elsewhere(base: Path, out: Path, touched: set[str]) -> None:
    """Names, their order, kinds of numbers, and all files and tensors that were not to change."""
    for old in [base] if base.is_file() else sorted(base.rglob("*")):
        new = out / old.relative_to(base) if base.is_dir() else out
        if old.is_file() and old.suffix != ".safetensors":
            assert new.read_bytes() == old.read_bytes(), old
        elif old.is_file():
            one, other = load_file(old), load_file(new)
            assert [*header(old)] == [*header(new)]
            assert all(one[key].dtype == other[key].dtype for key in one)
            moved = {key for key in one if not one[key].equal(other[key])}
            assert not any("bias" in key or "embed" in key for key in moved)
            assert moved or not touched or "vae" in str(old)


def test_a_merged_file_opens_as_a_model(
    tmp_path: Path, model: Path, single: dict[str, Path]
) -> None:
    told = toys.changes(model, seed=1, only=("denoiser",))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    out, summands = tmp_path / "merged.safetensors", toys.summands({adapter: 1.0})
    total = combine.summed(summands, KEYS, authors=False)
    list(merged(FLUX_DEV, [Into(single["denoiser"], out)], summands, total, dtype="bfloat16"))
    parts = {name: str(file) for name, file in single.items()} | {"denoiser": str(out)}
    wanted = ModelSpec(family="flux", flavour="dev", parts=parts)
    found = weights.opened(FLUX_DEV, wanted, Path())
    module = weights.loaded(found, "denoiser", dtype=torch.float32, device=torch.device("cpu"))
    name = "transformer_blocks.0.attn.to_q"
    whole = toys.weights(single["denoiser"])["denoiser", name]
    wanted_weight = (whole + toys.deltas(told)["denoiser", name]).bfloat16().float()
    torch.testing.assert_close(module.get_submodule(name).weight, wanted_weight, atol=0, rtol=0.01)
    assert {one.dtype for one in load_file(out).values()} == {torch.bfloat16}


def test_diffusers_loads_a_merged_folder(tmp_path: Path, model: Path) -> None:
    from diffusers import FluxTransformer2DModel

    told = toys.changes(model, seed=1, only=("denoiser",))
    adapter, out = toys.written(tmp_path / "a.safetensors", told), tmp_path / "merged"
    summands = toys.summands({adapter: 1.0})
    total = combine.summed(summands, KEYS, authors=False)
    list(merged(FLUX_DEV, [Into(model, out)], summands, total, dtype=None))
    module = FluxTransformer2DModel.from_pretrained(out / "transformer")
    weight = module.get_submodule("single_transformer_blocks.1.proj_mlp").weight
    wanted = toys.weights(out)["denoiser", "single_transformer_blocks.1.proj_mlp"]
    torch.testing.assert_close(weight.double(), wanted)


@pytest.mark.parametrize("newer", [True, False])
def test_fp8_is_widened_on_request_and_else_refused(
    tmp_path: Path, model: Path, newer: bool
) -> None:
    base = tmp_path / "fp8.safetensors"
    ours = loose.published(model, "denoiser")
    loose.save(loose.scaled(ours, newer=newer, layers="blocks"), base)
    told = toys.changes(model, seed=1, only=("denoiser single",))
    adapter, out = toys.written(tmp_path / "a.safetensors", told), tmp_path / "m.safetensors"
    summands = toys.summands({adapter: 1.0})
    total = combine.summed(summands, KEYS, authors=False)
    with pytest.raises(ExceptionGroup) as group:
        list(merged(FLUX_DEV, [Into(base, out)], summands, total, dtype=None))
    assert "fp8" in str(next(leaves(group.value))) and not out.exists()
    (done,) = merged(FLUX_DEV, [Into(base, out)], summands, total, dtype="bfloat16")
    assert done.widened
    found = load_file(out)
    assert {one.dtype for one in found.values()} == {torch.bfloat16}
    assert not any("scale_" in key or "_scale" in key or "quant" in key for key in found)
    moved, zero = toys.deltas(told), torch.zeros(())
    wanted = {n: one + moved.get(n, zero) for n, one in toys.weights(base).items()}
    toys.close(toys.weights(out), wanted, 0.005)


def test_all_that_does_not_fit_is_told_before_anything_is_written(
    tmp_path: Path, model: Path, single: dict[str, Path]
) -> None:
    told = toys.changes(model, seed=1, only=("denoiser", "clip"))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    summands = toys.summands({adapter: 1.0})
    total = combine.summed(summands, KEYS, authors=False)
    places = [Into(single["denoiser"], tmp_path / "m.safetensors")]

    def said(*where: Into) -> str:
        with pytest.raises(ExceptionGroup) as group:
            list(merged(FLUX_DEV, where, summands, total, dtype=None))
        return " ".join(str(one) for one in leaves(group.value))

    assert "are for the clip, which is not among the models" in said(*places)
    wrong = Into(single["autoencoder"], tmp_path / "m.pt")
    words = said(*places, wrong, Into(tmp_path / "no.safetensors", tmp_path / "n.safetensors"))
    assert "no .safetensors file" in words and "no such file" in words
    assert "seems to be" in words
    assert "is the file that is read" in said(Into(single["denoiser"], single["denoiser"]))
    double = Into(single["denoiser"], tmp_path / "2.safetensors")
    assert "2 models have a denoiser" in said(*places, double)
    save_file({"single_blocks.0.linear1.weight": torch.ones(7, 2)}, tmp_path / "x.safetensors")
    assert [*tmp_path.glob("m.*")] == [*tmp_path.glob("2.*")] == []


def test_a_number_that_overflows_leaves_no_file(
    tmp_path: Path, model: Path, single: dict[str, Path]
) -> None:
    told = toys.changes(model, seed=1, only=("single_transformer_blocks.1.proj_out",))
    adapter = toys.written(tmp_path / "a.safetensors", told)
    summands = toys.summands({adapter: 1e6})
    total = combine.summed(summands, KEYS, authors=False)
    out = tmp_path / "new/m.safetensors"
    with pytest.raises(combine.FileError, match="not be finite as float16"):
        list(merged(FLUX_DEV, [Into(single["denoiser"], out)], summands, total, dtype="float16"))
    assert [*out.parent.iterdir()] == []
