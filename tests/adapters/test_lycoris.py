"""LyCORIS' forms: made by the library, computed by formulas of ours that are held to the library's
own answers, kept in files that it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scumble.adapters.lycoris import formulas, making, slots, spelling
from scumble.adapters.lycoris.forms import Form, recognised, size
from scumble.adapters.lycoris.slots import Slot
from scumble.adapters.lycoris.worn import Losses, Lycoris, attached
from scumble.adapters.names import Names
from scumble.checkpoint import lycoris as files
from scumble.checkpoint import lycoris_proof
from scumble.checkpoint.bases import linears as linear_shapes
from scumble.checkpoint.verdicts import Base
from scumble.errors import FileError, JobError
from scumble.families.flux.keys import KEYS
from scumble.families.flux.network import FluxTransformer
from scumble.hardware.imports import imported
from scumble.spec.lycoris import LycorisRule, LycorisSpec
from tests.adapters.flux_toys import TOY

INPUTS, OUTPUTS = 24, 32
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("lokr", 4, {}),
    ("lokr", 2, {"factor": 4, "decompose_both": True}),
    ("lokr", 10_000, {}),
    ("lokr", 4, {"full_matrix": True}),
    ("lokr", 2, {"unbalanced_factorization": True, "factor": 3}),
    ("lokr", 4, {"dora_wd": True}),
    ("lokr", 2, {"use_scalar": True}),
    ("loha", 4, {}),
    ("loha", 3, {"dora_wd": True}),
    ("locon", 4, {}),
    ("locon", 4, {"rs_lora": True}),
    ("locon", 4, {"dora_wd": True}),
    ("locon", 4, {"dora_wd": True, "wd_on_output": False}),
    ("full", 4, {}),
    ("ia3", 4, {}),
    ("ia3", 4, {"train_on_input": True}),
    ("dylora", 8, {}),
    ("glora", 4, {}),
    ("boft", 4, {}),
    ("boft", 8, {"rescaled": True, "constraint": 1e-3}),
    ("diag-oft", 4, {}),
    ("diag-oft", 4, {"rescaled": True, "constraint": 1e-3}),
]
NAMED = [f"{algo}-{rank}-{'-'.join(options)}" for algo, rank, options in CASES]
every_form = pytest.mark.parametrize(("algo", "rank", "options"), CASES, ids=NAMED)
NAME = "transformer_blocks.0.attn.to_q"


@pytest.fixture(autouse=True, scope="module")
def library() -> None:
    """Loaded as runs load it, for it says much."""
    imported("lycoris.modules")


def layer(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(INPUTS, OUTPUTS))
    model.requires_grad_(False)
    return model


def worn(model: nn.Sequential, slot: Slot, *, moved: float = 0.1, seed: int = 1) -> Lycoris:
    """A change on the one layer, moved from where it starts."""
    base = model[0]
    assert isinstance(base, nn.Linear)
    adapters = attached(model, {"0": making.fresh(slot, "0", base, seed=seed)}, {"0": slot})
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for one in adapters.parameters().values():
            one.add_(moved * torch.randn(one.shape, generator=generator))
    return adapters


def slot_for(algo: str, rank: int, options: dict[str, Any]) -> Slot:
    return Slot(algo=algo, rank=rank, alpha=3.0, options=options)


def x() -> Tensor:
    return torch.randn(2, 5, INPUTS, generator=torch.Generator().manual_seed(3))


def by_the_library(base: nn.Linear, slot: Slot, tensors: dict[str, Tensor]) -> Tensor:
    """The library's own answer with these tensors."""
    import lycoris.modules as theirs

    if slot.algo == "full":
        module: Any = theirs.FullModule("", base, 1.0)
        renamed = {"weight": tensors["diff"], "bias": tensors["diff_b"]}
    else:
        told = {n: one for n, one in slot.options.items() if n not in making.DECOMPOSED}
        if slot.options.get("dora_wd"):
            told |= {"weight_decompose": True, "wd_on_out": slot.options.get("wd_on_output", True)}
        module = making._kinds()[slot.algo]("", base, 1.0, slot.rank, slot.alpha, **told)
        renamed = tensors
    there = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, value in renamed.items():
            (module.dora_scale if name == "dora_scale" else there[name]).copy_(value)
        return module.eval()(x())


@every_form
def test_a_fresh_form_changes_nothing_and_gives_its_layer_back(
    algo: str, rank: int, options: dict[str, Any]
) -> None:
    model = layer()
    base, before = model[0], model(x())
    adapters = worn(model, slot_for(algo, rank, options), moved=0.0)
    assert (model(x()) - before).abs().max() <= 5e-7
    adapters.detach()
    assert model[0] is base


@every_form
def test_it_answers_as_the_library_does(algo: str, rank: int, options: dict[str, Any]) -> None:
    if algo == "dylora":
        pytest.skip("the library draws one of its widths at every call")
    model, slot = layer(), slot_for(algo, rank, options)
    base = model[0]
    assert isinstance(base, nn.Linear)
    adapters = worn(model, slot)
    told = adapters.layers["0"].form.tensors
    theirs, plain, ours = by_the_library(base, slot, dict(told)), base(x()), model(x())
    assert (ours - plain).abs().max() > 1e-3
    assert (ours - theirs).norm() <= 1e-4 * (theirs - plain).norm()


@every_form
def test_merged_it_answers_as_beside_the_layer(
    algo: str, rank: int, options: dict[str, Any]
) -> None:
    model = layer()
    plain = model(x())
    adapters = worn(model, slot_for(algo, rank, options))
    beside = model(x())
    adapters.merge()
    assert type(model[0]) is nn.Linear
    assert (model(x()) - beside).norm() <= 1e-4 * (beside - plain).norm()


@every_form
def test_half_of_it_is_half_of_the_change(algo: str, rank: int, options: dict[str, Any]) -> None:
    model = layer()
    plain = model(x())
    adapters = worn(model, slot_for(algo, rank, options))
    whole, form = model(x()) - plain, adapters.forms()["0"]
    adapters.detach()
    attached(model, {"0": form.times(0.5)})
    assert torch.allclose(model(x()) - plain, 0.5 * whole, atol=1e-5)


@every_form
def test_off_is_the_base_bit_for_bit_and_nests(
    algo: str, rank: int, options: dict[str, Any]
) -> None:
    model = layer()
    plain = model(x())
    adapters = worn(model, slot_for(algo, rank, options))
    moved = model(x())
    with adapters.off():
        with adapters.off():
            assert torch.equal(model(x()), plain)
        assert torch.equal(model(x()), plain)
    assert torch.equal(model(x()), moved)
    assert not torch.equal(moved, plain)


@every_form
def test_it_learns(algo: str, rank: int, options: dict[str, Any]) -> None:
    """A target that every form can come nearer to: the layer with its answers scaled."""
    model = layer()
    wanted = 1.1 * model(x()).detach()
    adapters = worn(model, slot_for(algo, rank, options), moved=0.0)
    if algo in ("boft", "diag-oft"):  # a rotation scales nothing
        wanted = model(x()).detach().roll(1, -1)
    optimizer = torch.optim.Adam(adapters.parameters().values(), lr=1e-2)
    losses = []
    for step in range(20):
        with adapters.dropping(torch.tensor([step, step + 100])):
            loss = (model(x()) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@every_form
def test_a_file_holds_it_and_gives_it_back(
    algo: str, rank: int, options: dict[str, Any], tmp_path: Path
) -> None:
    model = layer()
    adapters = worn(model, slot_for(algo, rank, options))
    answer, form = model(x()), adapters.forms()["0"]
    file = tmp_path / "a.safetensors"
    files.write(file, {NAME: form}, dtype="float32", about={})
    assert files.is_one(file) == (algo not in ("locon", "dylora") or form.decomposed)
    found = files.forms(file, KEYS)
    assert list(found) == [NAME]
    assert found[NAME].algo == form.algo
    sides = size(found[NAME])
    assert sides[0] in (OUTPUTS, None) and sides[1] in (INPUTS, None)
    adapters.detach()
    attached(model, {"0": found[NAME]})
    assert (model(x()) - answer).abs().max() <= 1e-6


def test_first_values_are_a_function_of_seed_and_name() -> None:
    model, slot = layer(), slot_for("lokr", 2, {"factor": 4})
    base = model[0]
    assert isinstance(base, nn.Linear)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = making.fresh(slot, "a", base, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, other, third = (
        making.fresh(slot, name, base, seed=seed) for name, seed in (("a", 1), ("b", 1), ("a", 2))
    )
    assert torch.equal(first["lokr_w1"], again["lokr_w1"])
    assert not torch.equal(first["lokr_w1"], other["lokr_w1"])
    assert not torch.equal(first["lokr_w1"], third["lokr_w1"])


def test_sizes_are_told_without_making_it() -> None:
    base = layer()[0]
    assert isinstance(base, nn.Linear)
    for algo, rank, options in CASES:
        slot = slot_for(algo, rank, options)
        made = making.fresh(slot, "0", base, seed=1).tensors
        assert making.sizes(slot, "0", base) == {n: tuple(one.shape) for n, one in made.items()}


def test_lokr_starts_from_noise_like_the_layers_own_weights() -> None:
    base = layer()[0]
    assert isinstance(base, nn.Linear)
    whole = slot_for("lokr", 4, {"full_matrix": True, "factor": 4})
    form = making.fresh(whole, "0", base, seed=1, start_norm=1e-3)
    assert torch.equal(form["lokr_w1"], torch.ones_like(form["lokr_w1"]))
    assert float(form["lokr_w2"].std()) == pytest.approx(1e-3 * float(base.weight.std()), rel=1e-4)
    with pytest.raises(JobError, match="full_matrix"):
        making.fresh(slot_for("lokr", 2, {"factor": 4}), "0", base, seed=1, start_norm=1e-3)


def test_dropout_is_drawn_from_the_examples_seeds_and_only_while_training() -> None:
    for name in ("dropout", "rank_dropout", "module_dropout"):
        model = layer()
        plain = model(x())
        adapters = worn(model, slot_for("lokr", 4, {name: 0.5}))
        whole, seeds = model(x()), torch.tensor([11, 12])
        with adapters.dropping(seeds):
            first, again = model(x()), model(x())
        with adapters.dropping(seeds.flip(0)):
            other = model(x())
        assert torch.equal(first, again)
        assert not torch.equal(first, whole) or name == "module_dropout"
        assert not torch.equal(first - plain, other - plain) or name == "module_dropout"
    both = torch.arange(200)
    with adapters.dropping(both):
        many = model(x()[:1].expand(200, -1, -1))
    left = (many - plain[:1]).abs().amax((1, 2)) == 0
    assert 70 < int(left.sum()) < 130


def test_dylora_trains_one_block_and_shows_all_of_them() -> None:
    model, slot = layer(), slot_for("dylora", 8, {"block_size": 2})
    adapters = worn(model, slot)
    down = adapters.parameters()["0.lora_down.weight"]
    trained = set()
    for seed in range(12):
        down.grad = None
        with adapters.dropping(torch.tensor([seed])):
            model(x()[:1]).square().sum().backward()
        assert down.grad is not None
        moved = down.grad.abs().amax(1).reshape(4, 2).amax(1) > 0
        assert int(moved.sum()) == 1
        trained.add(int(moved.nonzero()))
    assert len(trained) > 1
    form = adapters.forms()["0"]
    plain = adapters.layers["0"].base(x())
    assert torch.allclose(model(x()) - plain, x() @ formulas.matrix(form).T, atol=1e-5)


def test_a_wrong_option_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="it has factor, full_matrix"):
        LycorisSpec(kind="lycoris", options={"factr": 4})
    with pytest.raises(ValueError, match="loha has no option 'factor'"):
        LycorisSpec(kind="lycoris", algo="loha", options={"factor": 4})
    with pytest.raises(ValueError, match="a number from 0 to below 1"):
        LycorisSpec(kind="lycoris", options={"dropout": 1})
    with pytest.raises(ValueError, match="true or false"):
        LycorisSpec(kind="lycoris", options={"full_matrix": 1})
    with pytest.raises(ValueError, match="computed beside the frozen layer"):
        LycorisSpec(kind="lycoris", options={"bypass_mode": True})
    with pytest.raises(ValueError, match="no regular expression"):
        LycorisSpec(kind="lycoris", targets=("/(/",))


def test_what_an_algorithm_cannot_be_on_is_told_with_the_layer() -> None:
    base = nn.Linear(7, 7)
    with pytest.raises(JobError, match=r"boft cannot be on blocks\.0, which is 7 x 7"):
        making.fresh(slot_for("boft", 4, {}), "blocks.0", base, seed=1)
    with pytest.raises(JobError, match="use a multiple of 4"):
        making.fresh(slot_for("dylora", 6, {}), "0", base, seed=1)


def test_rules_give_layers_other_algorithms_and_sizes() -> None:
    with torch.device("meta"):
        model = FluxTransformer(TOY)
    spec = LycorisSpec(
        kind="lycoris",
        targets=(r"/\.attn\./", "ff.net.2"),
        options={"factor": 4, "dropout": 0.1},
        rules=(
            LycorisRule(layers=r"/to_out\.0$/", algo="none"),
            LycorisRule(layers="transformer_blocks.*.ff.**", algo="loha", rank=2),
            LycorisRule(layers="single_transformer_blocks.**", options={"factor": 2}),
        ),
    )
    found = slots.resolved(slots.chosen(model, spec, {}), spec, Names())
    assert not any(name.endswith("to_out.0") for name in found)
    assert found["transformer_blocks.0.ff.net.2"] == Slot(
        algo="loha", rank=2, alpha=2.0, options={"dropout": 0.1}
    )
    assert found["single_transformer_blocks.0.attn.to_q"].options["factor"] == 2
    assert found[NAME] == Slot(
        algo="lokr", rank=16, alpha=16.0, options={"factor": 4, "dropout": 0.1}
    )
    with pytest.raises(JobError, match="no layer's name is found by"):
        slots.chosen(model, LycorisSpec(kind="lycoris", targets=("/nothing/",)), {})


def on_flux(options: dict[str, Any], *, algo: str = "lokr") -> tuple[nn.Module, Lycoris]:
    """The attention of a small FLUX with moved changes on it."""
    torch.manual_seed(0)
    model = FluxTransformer(TOY).requires_grad_(False)
    section = {"kind": "lycoris", "algo": algo, "rank": 2, "targets": ["attn.*"]}
    spec = LycorisSpec.model_validate({**section, "options": options})
    told = slots.resolved(slots.chosen(model, spec, {}), spec, Names())
    forms = {
        name: making.fresh(slot, name, model.get_submodule(name), seed=1)  # type: ignore[arg-type]
        for name, slot in told.items()
    }
    adapters = attached(model, forms, told, Names(network=KEYS["denoiser"]))
    with torch.no_grad():
        for one in adapters.parameters().values():
            one.add_(0.1 * torch.randn(one.shape))
    return model, adapters


def test_the_library_makes_the_same_layers_from_the_config_that_is_written() -> None:
    _, adapters = on_flux({"factor": 4})
    told = dict(adapters.told())
    told["single_transformer_blocks.0.attn.to_k"] = Slot(algo="loha", rank=3, alpha=2.0)
    config = json.loads(json.dumps(files.config(told)))
    from lycoris import LycorisNetwork, create_lycoris

    before = dict(vars(LycorisNetwork))
    try:
        LycorisNetwork.apply_preset(config.pop("apply_preset"))
        torch.manual_seed(0)
        network = create_lycoris(FluxTransformer(TOY), **config)
    finally:
        for name in ("TARGET_REPLACE_MODULE", "TARGET_REPLACE_NAME", "NAME_ALGO_MAP"):
            setattr(LycorisNetwork, name, before[name])
        LycorisNetwork.USE_FNMATCH = before["USE_FNMATCH"]
    theirs = {
        f"{one.lora_name}.{end}": tuple(value.shape)
        for one in network.loras
        for end, value in one.state_dict().items()
    }
    ours = {key: tuple(one.shape) for key, one in spelling.spelt(adapters.forms()).items()}
    loha = {key for key in theirs if "single_transformer_blocks_0_attn_to_k" in key}
    assert {key for key in loha if "hada" in key}
    assert {k: s for k, s in theirs.items() if k not in loha} == {
        k: s for k, s in ours.items() if "single_transformer_blocks_0_attn_to_k" not in k
    }


def looked(file: Path, model: nn.Module) -> dict[str, tuple[str, str]]:
    base = Base(keys=KEYS, shapes={"denoiser": linear_shapes(model)}, told="a small flux")
    found = lycoris_proof.looked(file, base).verdicts
    return {one.name: (one.state, one.text) for one in found}


def delivered(folder: Path, options: dict[str, Any], algo: str = "lokr") -> tuple[Path, nn.Module]:
    model, adapters = on_flux(options, algo=algo)
    forms, file = adapters.forms(), folder / "a.safetensors"
    files.write(file, forms, dtype="bfloat16", about=lycoris_proof.marks(forms))
    adapters.detach()
    return file, model


@pytest.mark.parametrize("algo", ["lokr", "dora", "ia3", "glora", "diag-oft", "full"])
def test_a_delivered_file_is_found_whole(algo: str, tmp_path: Path) -> None:
    file, model = delivered(tmp_path, {}, algo)
    assert {state for state, _ in looked(file, model).values()} == {"ok"}


def test_a_renamed_key_a_doubled_alpha_and_a_zeroed_weight_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file, model = delivered(tmp_path, {"factor": 1})
    about = {"scumble.marks": files.read(file, KEYS).metadata["scumble.marks"]}
    key = f"{spelling.stem(NAME)}.lokr_w2_a"

    def spoilt(**changed: Tensor | None) -> dict[str, tuple[str, str]]:
        tensors = load_file(file)
        for name, value in changed.items():
            whole = name.replace("__", ".")
            tensors.pop(whole, None)
            if value is not None:
                tensors[whole] = value
        other = tmp_path / "b.safetensors"
        save_file(tensors, other, about)
        return looked(other, model)

    held = load_file(file)
    renamed = spoilt(
        **{
            key.replace(".", "__"): None,
            "lycoris_transformer_blocks_0_attn_to_qq__lokr_w2_a": held[key],
        }
    )
    assert renamed["keys"][0] == "failed"
    assert f"did you mean '{key}'" in renamed["keys"][1]
    assert renamed["whole"][0] == "failed" and NAME in renamed["whole"][1]
    alpha = f"{spelling.stem(NAME)}.alpha"
    doubled = spoilt(**{alpha.replace(".", "__"): 2 * held[alpha]})
    assert doubled["alpha"] == ("failed", f"'{NAME}' is 2 times as strong as it was trained")
    zeroed = spoilt(**{key.replace(".", "__"): torch.zeros_like(held[key])})
    assert zeroed["layers"] == ("failed", f"'{NAME}' is zero, and was not when it was trained")
    wrong = spoilt(**{key.replace(".", "__"): torch.full_like(held[key], torch.nan)})
    assert wrong["finite"][0] == "failed"


def test_small_numbers_near_large_ones_keep_their_digits(tmp_path: Path) -> None:
    forms = {NAME: Form("lokr", {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.full((2, 2), 1e-9)})}
    file = tmp_path / "a.safetensors"
    files.write(file, forms, dtype="float16", about={})
    assert float(files.forms(file, KEYS)[NAME]["lokr_w2"].max()) == pytest.approx(1e-9, rel=1e-3)
    turned = {"oft_blocks": torch.zeros(4, 2, 2), "rescale": torch.full((8, 1), 1.0001)}
    files.write(file, {NAME: Form("diag-oft", turned, 0.0)}, dtype="bfloat16", about={})
    assert float(files.forms(file, KEYS)[NAME]["rescale"][0]) == pytest.approx(1.0001, abs=1e-6)


def test_what_is_no_whole_layer_is_told(tmp_path: Path) -> None:
    assert isinstance(recognised({"lokr_w1": torch.ones(2, 2)}), str)
    assert isinstance(recognised({"lokr_w1": torch.ones(2, 2), "diff": torch.ones(2, 2)}), str)
    assert isinstance(recognised({"oft_blocks": torch.ones(2, 2)}), str)
    file, _ = delivered(tmp_path, {})
    other = tmp_path / "c.safetensors"
    files.write(other, {"nowhere.0": files.forms(file, KEYS)[NAME]}, dtype="float32", about={})
    with pytest.raises(FileError, match="keys are not known, first 'lycoris_nowhere_0"):
        files.forms(other, KEYS)


def test_what_is_dropped_is_the_jobs() -> None:
    told = {"dropout": 0.1, "rank_dropout": 0.2, "module_dropout": 0.3, "rank_dropout_scale": True}
    assert Losses.of(slot_for("lokr", 4, told)) == Losses(
        values=0.1, rows=0.2, whole=0.3, even=True
    )
    assert Losses.of(slot_for("dylora", 8, {})).block == 4


def test_a_small_change_is_not_lost_beside_bf16_weights() -> None:
    """The library adds it to the weights first, whose grid is coarser than the change."""
    model, slot = layer(), slot_for("lokr", 4, {"full_matrix": True, "factor": 4})
    model.to(torch.bfloat16)
    adapters = worn(model, slot, moved=0.0)
    second = adapters.parameters()["0.lokr_w2"]
    with torch.no_grad():
        second.copy_(1e-4 * torch.randn(second.shape, generator=torch.Generator().manual_seed(4)))
    low = x().to(torch.bfloat16)
    wanted = low.float() @ formulas.matrix(adapters.forms()["0"]).T
    base, form = adapters.layers["0"].base, adapters.layers["0"].form
    assert isinstance(base, nn.Linear)
    seen = formulas.Seen(base, base.bias, lambda: base.weight, low, base(low))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        added = formulas.beside(form, seen).float()
    assert (added - wanted).norm() <= 0.01 * wanted.norm()
