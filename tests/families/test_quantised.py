"""Parts whose linear layers are quantised while they are loaded, and kept on disk so."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from scumble import families
from scumble.adapters.attach import attach, chosen
from scumble.adapters.ggpo import noisy
from scumble.adapters.lora import LoraTensors
from scumble.adapters.worn import Merged
from scumble.data import inventory
from scumble.data.quantised import FOLDER
from scumble.families import encoding, weights
from scumble.families.family import Told
from scumble.families.quantised import split
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.hardware.quantisers.layer import QuantisedLinear
from scumble.hardware.quantisers.numbers import kept
from scumble.hardware.quantisers.table import QUANTISERS
from scumble.spec.adapter import GgpoSpec, LoraSpec
from scumble.spec.model import ModelSpec, Quantiser
from scumble.spec.saving import CacheSpec
from tests.families import loose

FLUX = families.find("flux", "dev")
CPU = torch.device("cpu")
TINY = "builtin:tiny-flux"
QUICK: tuple[Quantiser, ...] = ("int8-quanto", "fp8-torchao", "nf4-bnb")


def opened(
    quantised: Mapping[str, Quantiser], folder: Path | None = None, path: str = TINY
) -> weights.Model:
    spec = ModelSpec(family="flux", flavour="dev", path=path, quantised=dict(quantised))
    model = weights.opened(FLUX, spec, Path())
    return model if folder is None else weights.kept_in(model, folder)


def load(model: weights.Model, part: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    return weights.loaded(model, part, dtype=dtype, device=CPU)


def narrow(module: nn.Module) -> dict[str, QuantisedLinear]:
    return {n: one for n, one in module.named_modules() if isinstance(one, QuantisedLinear)}


def same(one: nn.Module, other: nn.Module) -> bool:
    here, there = one.state_dict(), other.state_dict()
    return here.keys() == there.keys() and all(torch.equal(here[n], there[n]) for n in here)


def test_layers_that_published_practice_leaves_alone_stay_wide() -> None:
    model = opened({"denoiser": "int8-quanto"})
    module = load(model, "denoiser")
    still = [name for name, one in module.named_modules() if type(one) is nn.Linear]
    assert {"x_embedder", "context_embedder", "norm_out.linear", "proj_out"} <= set(still)
    assert {"transformer_blocks.1.norm1_context.linear"} <= set(still)
    assert {"single_transformer_blocks.3.norm.linear"} <= set(still)
    assert len(still) == 12 and len(narrow(module)) == 50
    assert {"single_transformer_blocks.0.proj_out"} <= narrow(module).keys()
    told = split(FLUX.parts["denoiser"], weights.skeleton(model, "denoiser"), "int8-quanto")
    assert (set(told.narrow), list(told.wide)) == (set(narrow(module)), still)


def test_modulation_is_quantised_where_published_files_have_it_so() -> None:
    told = split(FLUX.parts["denoiser"], weights.skeleton(opened({}), "denoiser"), "nf4-bnb")
    assert set(told.wide) == {"x_embedder", "context_embedder", "norm_out.linear", "proj_out"}


def test_qwen_image_keeps_its_edges_wide() -> None:
    family = families.find("qwen-image", "base")
    spec = ModelSpec(family="qwen-image", flavour="base", path="builtin:tiny-qwen-image")
    model = weights.opened(family, spec, Path())
    told = split(family.parts["denoiser"], weights.skeleton(model, "denoiser"), "int8-quanto")
    assert set(told.wide) == {"img_in", "txt_in", "norm_out.linear", "proj_out"}
    assert {"transformer_blocks.0.img_mod.1"} <= told.narrow.keys()


@pytest.mark.parametrize("name", QUICK)
def test_every_layer_is_what_the_wide_one_becomes(name: Quantiser) -> None:
    wide, module = load(opened({}), "denoiser"), load(opened({"denoiser": name}), "denoiser")
    for layer, one in narrow(module).items():
        wanted = kept(name, wide.get_parameter(f"{layer}.weight"))
        assert one.kept().keys() == wanted.keys()
        assert all(torch.equal(one.kept()[key], wanted[key]) for key in wanted)
        assert one.bias is None or torch.equal(one.bias, wide.get_parameter(f"{layer}.bias"))
    others = {n: p for n, p in module.named_parameters() if not n.endswith("bias")}
    assert all(torch.equal(one, wide.get_parameter(name)) for name, one in others.items())
    assert not any(one.is_meta or one.requires_grad for one in module.parameters())


@pytest.mark.parametrize("name", QUICK)
def test_the_second_start_reads_what_the_first_has_kept(tmp_path: Path, name: Quantiser) -> None:
    model = opened({"clip": name, "t5": name}, tmp_path)
    for part in ("clip", "t5"):
        assert weights.packed(model, part, torch.float32, read=True) is None
        first = load(model, part)
        file = weights.packed(model, part, torch.float32, read=True)
        assert file is not None
        assert same(load(model, part), first)
        edited = load_file(file)
        for key in edited:
            if key.endswith("codes"):
                edited[key].zero_()
        with safe_open(file, "pt") as opened_file:
            metadata = opened_file.metadata()
        save_file(edited, file, metadata)
        again = load(model, part)  # whoever quantised would not see the zeros
        assert not any(one.kept()["codes"].float().any() for one in narrow(again).values())
    assert sorted(one.name.split("-")[0] for one in tmp_path.iterdir()) == ["clip", "t5"]


def test_a_file_that_is_cut_short_is_made_again(tmp_path: Path) -> None:
    model = opened({"denoiser": "int8-quanto"}, tmp_path)
    first = load(model, "denoiser")
    (file,) = tmp_path.iterdir()
    size = file.stat().st_size
    os.truncate(file, size - 100)
    assert same(load(model, "denoiser"), first)
    assert file.stat().st_size == size


def test_a_disk_that_takes_nothing_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file in the place of the folder")
    module = load(opened({"clip": "int8-quanto"}, tmp_path / FOLDER), "clip")
    assert narrow(module)


def test_whatever_makes_other_layers_makes_another_file(tmp_path: Path) -> None:
    def file(model: weights.Model, dtype: torch.dtype = torch.float32) -> str:
        before = set(tmp_path.iterdir())
        load(model, "denoiser", dtype)
        (new,) = set(tmp_path.iterdir()) - before or {None}
        return "" if new is None else new.name

    model = opened({"denoiser": "int8-quanto"}, tmp_path)
    names = [file(model), file(model, torch.bfloat16), file(merged_into(model, tmp_path / "m"))]
    other = load_file(model.files("denoiser")[0])
    other["proj_out.bias"] += 1
    parts = tmp_path.parent / f"{tmp_path.name}.safetensors"
    save_file(other, parts)
    source = replace(model.parts["denoiser"], files=(parts,))
    names.append(file(replace(model, parts={**model.parts, "denoiser": source})))
    names.append(file(opened({"denoiser": "fp8-quanto"}, tmp_path)))
    assert all(names) and len(set(names)) == 5
    assert file(model) == ""


LAYER, WIDE_LAYER = "transformer_blocks.0.attn.to_q", "transformer_blocks.0.norm1.linear"


def merged_into(model: weights.Model, file: Path) -> weights.Model:
    """With a change of a layer that is quantised, twice, and of one that is not."""
    generator = torch.Generator().manual_seed(3)

    def change(rows: int) -> LoraTensors:
        down, up = (torch.randn(size, generator=generator) for size in ((4, 128), (rows, 4)))
        return LoraTensors(0.1 * down, 0.1 * up, 4.0)

    file.with_suffix(".bin").write_bytes(b"stands for the adapter")
    place = file.with_suffix(".bin").rename(file.parent.parent / f"{file.parent.name}-{file.name}")
    changes = {"denoiser": {LAYER: change(128), WIDE_LAYER: change(768)}}
    return replace(model, merged=(Merged(place, 0.5, changes), Merged(place, 0.25, changes)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_merged_is_added_before_a_layer_is_quantised(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    wide = load(merged_into(opened({}), inside / "adapter"), "denoiser", dtype)
    model = merged_into(opened({"denoiser": "int8-quanto"}), inside / "adapter")
    module = load(model, "denoiser", dtype)
    wanted = QuantisedLinear.of(wide.get_submodule(LAYER), "int8-quanto")  # pyright: ignore
    assert torch.equal(narrow(module)[LAYER].weight, wanted.weight)
    plain_one = load(opened({"denoiser": "int8-quanto"}), "denoiser", dtype)
    assert not torch.equal(narrow(module)[LAYER].weight, narrow(plain_one)[LAYER].weight)
    name = f"{WIDE_LAYER}.weight"
    assert torch.equal(module.get_parameter(name), wide.get_parameter(name))
    assert not torch.equal(module.get_parameter(name), plain_one.get_parameter(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loose.folder(tmp_path_factory.mktemp("model") / "flux")


def test_fused_layers_of_the_authors_files_are_quantised_as_ours(
    tmp_path: Path, folder: Path
) -> None:
    file = loose.all_in_one(folder, tmp_path / "all.safetensors")
    wanted: Mapping[str, Quantiser] = {"denoiser": "int8-quanto", "clip": "int8-quanto"}
    ours, theirs = opened(wanted, path=str(folder)), opened(wanted, path=str(file))
    for part in wanted:
        assert same(load(ours, part), load(theirs, part))


@pytest.mark.parametrize("newer", [False, True])
def test_fp8_files_are_widened_and_then_quantised(
    tmp_path: Path, folder: Path, newer: bool
) -> None:
    published = loose.published(folder, "denoiser")
    file = tmp_path / "flux1-dev.safetensors"
    loose.save(loose.scaled(published, newer=newer, layers="blocks"), file)
    parts = {**{n: str(p) for n, p in loose.files(folder, tmp_path / "parts").items()}}
    spec = {"family": "flux", "flavour": "dev", "parts": {**parts, "denoiser": str(file)}}

    def model(quantised: dict[str, str]) -> weights.Model:
        told = ModelSpec.model_validate({**spec, "quantised": quantised})
        return weights.opened(FLUX, told, Path())

    wide, module = load(model({}), "denoiser"), load(model({"denoiser": "int8-quanto"}), "denoiser")
    for layer, one in narrow(module).items():
        wanted = kept("int8-quanto", wide.get_parameter(f"{layer}.weight"))
        assert torch.equal(one.kept()["codes"], wanted["codes"])


def test_a_cpu_that_quantises_makes_the_same_layers() -> None:
    spec = ModelSpec(
        family="flux",
        flavour="dev",
        path=TINY,
        quantised={"denoiser": "int8-quanto"},
        quantise_on="cpu",
    )
    on_cpu = load(weights.opened(FLUX, spec, Path()), "denoiser")
    assert same(on_cpu, load(opened({"denoiser": "int8-quanto"}), "denoiser"))


def texts(model: weights.Model) -> dict[str, Tensor]:
    place = Place(CPU, torch.float32)
    asked = [encoding.Saying(text) for text in ("a red cat", "two houses at night, in the rain")]
    read = encoding.read_texts(model, weights.tools(model), place, asked, 24)
    entries = list(read)
    return {name: torch.stack([one[name] for one in entries]) for name in entries[0]}


@pytest.mark.parametrize(("name", "bar"), [("int8-quanto", 0.999), ("nf4-bnb", 0.85)])
def test_quantised_encoders_read_nearly_the_same(name: Quantiser, bar: float) -> None:
    wide, found = texts(opened({})), texts(opened({"clip": name, "t5": name}))
    for field, one in wide.items():
        alike = functional.cosine_similarity(found[field].flatten(), one.flatten(), dim=0)
        assert bar < alike.item() < 1 - 1e-7


def test_texts_of_a_quantised_encoder_have_other_keys_and_pictures_the_same() -> None:
    def recipes(quantised: Mapping[str, Quantiser]) -> encoding.Recipes:
        place = Place(CPU, torch.float32)
        found = encoding.recipes(opened(quantised), place, 24, CacheSpec(), read=True)
        assert found is not None
        return found

    wide, narrow_t5 = recipes({}), recipes({"t5": "int8-quanto"})
    assert wide.text != narrow_t5.text != recipes({"t5": "int8-torchao"}).text
    assert wide.picture == narrow_t5.picture
    assert recipes({"denoiser": "int8-quanto"}).text == wide.text
    assert narrow_t5.texts.keys() - wide.texts.keys() == {"t5 quantiser"}


def losses(module: nn.Module, steps: int = 30) -> list[float]:
    """Of a LoRA that learns one answer, as the base is given."""
    layers = chosen(module, "attention", FLUX.targets)
    adapters = attach(module, layers, LoraSpec(rank=4), seed=1)
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    noisy_one, target, times = drawn(2, 16, 4, 4), drawn(2, 16, 4, 4), torch.tensor([0.3, 0.7])
    values = {"text": drawn(2, 8, 64), "summary": drawn(2, 64), "guidance": torch.ones(2)}
    optimizer = torch.optim.AdamW(adapters.parameters().values(), lr=1e-2)
    found = []
    for _ in range(steps):
        answer = FLUX.predict(Net(module, plain), noisy_one, times, Told(values=values))
        loss = (answer - target).square().mean()
        loss.backward()
        assert all(one.grad is not None for one in adapters.parameters().values())
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.fixture(scope="module")
def wide_losses() -> list[float]:
    return losses(load(opened({}), "denoiser"))


def falls_alike(name: Quantiser, wanted: list[float]) -> None:
    found = losses(load(opened({"denoiser": name}), "denoiser"))
    fallen = (found[0] - found[-1]) / (wanted[0] - wanted[-1])
    assert wanted[-1] < 0.8 * wanted[0]
    assert fallen == pytest.approx(1, abs=0.3 if name == "int2-quanto" else 0.1)


def test_a_lora_learns_on_an_int8_base_as_on_the_wide_one(wide_losses: list[float]) -> None:
    falls_alike("int8-quanto", wide_losses)


@pytest.mark.acceptance
@pytest.mark.parametrize("name", [one for one in get_args(Quantiser) if one != "int8-quanto"])
def test_a_lora_learns_on_every_quantised_base(name: Quantiser, wide_losses: list[float]) -> None:
    falls_alike(name, wide_losses)


def test_an_adapter_on_quantised_layers_changes_nothing_at_first_and_is_never_merged() -> None:
    module = load(opened({"denoiser": "nf4-bnb"}), "denoiser")
    one, x = narrow(module)[LAYER], torch.randn(2, 3, 128)
    before = one(x)
    adapters = attach(module, {LAYER: one}, LoraSpec(rank=2), seed=1)
    assert torch.equal(module.get_submodule(LAYER)(x), before)
    with pytest.raises(AttributeError, match="is not an nn"):
        adapters.merge()


def test_noise_by_row_norms_is_measured_on_what_the_weights_mean() -> None:
    module = load(opened({"denoiser": "int8-quanto"}), "denoiser")
    one = narrow(module)[LAYER]
    adapters = attach(module, {LAYER: one}, LoraSpec(rank=2), seed=1)
    ggpo = noisy(adapters, GgpoSpec(sigma=0.1, beta=0.1), seed=1)
    for parameter in adapters.parameters().values():
        parameter.grad = torch.ones_like(parameter)
    ggpo.measure()
    mean = next(iter(ggpo.means.values()))
    assert mean == pytest.approx(one.weight.norm(dim=1).mean().item(), rel=1e-5)


def test_the_cache_lists_quantised_layers_and_sees_their_damage(tmp_path: Path) -> None:
    load(opened({"denoiser": "int8-quanto"}, tmp_path / FOLDER), "denoiser")
    (found,) = inventory.shards(tmp_path)
    assert (found.shelf, found.entries) == (f"{FOLDER}/denoiser", 50)
    assert inventory.fault(found) is None
    raw = bytearray(found.path.read_bytes())
    raw[-1] ^= 1
    found.path.write_bytes(raw)
    (flipped,) = inventory.shards(tmp_path)
    assert inventory.fault(flipped) == inventory.OTHERS
    found.path.write_bytes(raw[:-1])
    (cut,) = inventory.shards(tmp_path)
    assert inventory.fault(cut) == inventory.GONE


def test_the_file_says_what_it_was_made_from(tmp_path: Path) -> None:
    load(opened({"denoiser": "fp8-torchao"}, tmp_path), "denoiser", torch.bfloat16)
    (file,) = tmp_path.iterdir()
    with safe_open(file, "pt") as opened_file:
        about = json.loads(opened_file.metadata()["scumble.quantised"])
    assert about["quantiser"] == "fp8-torchao" and about["made by"].startswith("torchao 0.")
    assert (about["read in"], about["layers"], about["part"]) == ("bfloat16", 58, "denoiser")


@pytest.mark.parametrize("name", [one.name for one in QUANTISERS])
def test_a_part_holds_what_is_forecast(name: Quantiser) -> None:
    for part in ("clip", "t5") if name != "int8-quanto" else ("denoiser",):
        model = opened({part: name})
        module = load(model, part, torch.bfloat16)
        wide = sum(one.nbytes for one in module.parameters())
        few = sum(one.nbytes for each in narrow(module).values() for one in each.kept().values())
        assert weights.held_bytes(model, part, 2) == wide + few
