"""Rates of single networks, layers and matrices: groups of an optimizer, and whole small runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import nn

from scumble.adapters.attach import Role
from scumble.errors import FileError, JobError, leaves
from scumble.hardware.imports import quietly
from scumble.preflight.plan import prepared
from scumble.preflight.survey import survey
from scumble.spec.adapter import LoraSpec
from scumble.spec.training import OptimizerSpec, TrainingSpec
from scumble.trainer import optimizers
from scumble.trainer.groups import Group, factors, grouped
from scumble.trainer.optimizer_state import restore, state_of
from scumble.trainer.optimizer_table import OPTIMIZERS
from tests.toys import checkpoint, job, journal, trained

TRAINING = TrainingSpec(steps=1, learning_rate=1e-3, rates={"clip": 1e-5, "t5": 0.0})


def told(adapter: LoraSpec) -> dict[float, list[str]]:
    """Names by rate, for a down and an up of each part and one layer with a rule's rate."""
    matrices = [
        (f"{part}{rate or ''}.{'up' if up else 'down'}", nn.Parameter(torch.ones(2, 2)), role)
        for part, rate in (("denoiser", None), ("denoiser", 2e-4), ("clip", None), ("t5", None))
        for up in (False, True)
        for role in [Role(part, up=up, rate=rate)]
    ]
    names = {id(one): name for name, one, _ in matrices}
    groups = grouped(matrices, adapter, TRAINING)
    still = {name for name, one, _ in matrices if not one.requires_grad}
    assert still == {"t5.down", "t5.up"}
    assert factors(groups, TRAINING) == tuple(one.rate / 1e-3 for one in groups)
    return {one.rate: [names[id(each)] for each in one.parameters] for one in groups}


def test_a_rules_rate_comes_before_its_parts_and_that_before_the_jobs() -> None:
    assert told(LoraSpec()) == {
        1e-3: ["denoiser.down", "denoiser.up"],
        2e-4: ["denoiser0.0002.down", "denoiser0.0002.up"],
        1e-5: ["clip.down", "clip.up"],
    }


def test_up_matrices_take_their_factor_on_top_of_any_rate() -> None:
    found = told(LoraSpec(up_rate={"denoiser": 16.0}))
    assert found[16e-3] == ["denoiser.up"] and found[16 * 2e-4] == ["denoiser0.0002.up"]
    assert found[1e-5] == ["clip.down", "clip.up"]
    assert len(told(LoraSpec(up_rate=16.0))) == 6


def walked(spec: OptimizerSpec, broken: bool) -> list[torch.Tensor]:
    """Twelve steps of two groups, saved and put back in the middle or not."""
    kind, side = optimizers.weights_dtype(spec), 8 * OPTIMIZERS[spec.name].scale
    start = [torch.linspace(-1, 1, side * side).reshape(side, side), torch.zeros(side, side)]
    ways = [nn.Parameter(one.to(kind)) for one in start]

    def made() -> torch.optim.Optimizer:
        groups = [Group((way,), rate) for way, rate in zip(ways, (1e-2, 1e-3), strict=True)]
        return optimizers.made_of(spec, groups)

    optimizer = made()
    for step in range(12):
        if broken and step == 6:
            tensors, others = state_of(optimizer, {str(n): one for n, one in enumerate(ways)})
            ways = [nn.Parameter(one.detach().clone()) for one in ways]
            optimizer, named = made(), {str(n): one for n, one in enumerate(ways)}
            restore(optimizer, named, load(save(tensors)), json.loads(json.dumps(others)))
        for group, rate in zip(optimizer.param_groups, (1e-2, 1e-3), strict=True):
            group["lr"] = rate
        for way in ways:
            way.grad = way.detach() - 1
        optimizer.step()
    return [one.detach().float() for one in ways]


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "prodigy"])
def test_every_optimizer_of_the_table_moves_groups_at_their_rates_and_resumes(name: str) -> None:
    spec = OptimizerSpec(name=name)
    optimizers.checked_rates(spec, [1e-2, 1e-3])
    with quietly():
        whole, parts = walked(spec, broken=False), walked(spec, broken=True)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))
    fast, slow = (whole[0] - walked_start(whole[0])).abs().mean(), whole[1].abs().mean()
    assert fast > 2 * slow > 0


def walked_start(like: torch.Tensor) -> torch.Tensor:
    return torch.linspace(-1, 1, like.numel()).reshape(like.shape)


def test_an_optimizer_that_finds_its_rate_is_refused_with_several() -> None:
    spec = OptimizerSpec(name="prodigy")
    optimizers.checked_rates(spec, [1.0])
    with pytest.raises(JobError, match=r"prodigy cannot move weights at several rates \(0.5, 1\)"):
        optimizers.checked_rates(spec, [1.0, 0.5])


EVERYTHING: dict[str, Any] = {
    "kind": "lora",
    "rank": 4,
    "alpha": 2.0,
    "targets": "sd-scripts",
    "fused": True,
    "rules": [
        {"layers": "single_transformer_blocks.0.**", "rank": 2},
        {"layers": "/double_blocks_0_txt_mlp/", "rate": 0.0},
        {"layers": "/_mod_lin/", "rate": 1e-3},
        {"layers": "nowhere.**", "rank": 3},
    ],
    "dropout": 0.1,
    "rank_dropout": 0.2,
    "module_dropout": 0.1,
    "up_rate": 4.0,
    "max_norm": 0.02,
    "ggpo": {"sigma": 0.03, "beta": 0.01},
}


def test_everything_at_once_resumes_bit_for_bit_and_is_delivered_at_its_ranks(
    tmp_path: Path,
) -> None:
    changes = {"adapter": EVERYTHING, "export__layout": ["kohya", "diffusers"]}
    changes |= {"training__units_per_step": 1}
    trained(tmp_path, name="whole", training__steps=4, **changes)
    trained(tmp_path, name="parts", training__steps=2, **changes)
    trained(tmp_path, name="parts", training__steps=4, **changes)
    whole, parts = (checkpoint(tmp_path, 4, name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert "double_blocks.0.img_attn.qkv.shared_down" in whole
    assert "transformer_blocks.0.attn.to_q.down" not in whole
    still = "transformer_blocks.0.ff_context.net.2"
    assert not whole[f"{still}.up"].any() and f"{still}.up/exp_avg" not in whole
    steps = journal(tmp_path, "StepDone", "whole")
    assert [one["learning_rate"] for one in steps] == [1e-2] * 4
    assert steps[0]["largest_change"] is None
    assert all(0 < one["largest_change"] <= 0.02 * 1.001 for one in steps[1:])
    assert all(one["scaled_layers"] > 0 for one in steps[1:])
    warned = [one["text"] for one in journal(tmp_path, "Warned", "whole")]
    assert any("`nowhere.**`" in text for text in warned)
    with safe_open(tmp_path / "out/whole/whole.safetensors", "pt") as file:
        stem = "lora_unet_double_blocks_0_img_attn_qkv"
        assert len(file.get_tensor(f"{stem}.lora_down.weight")) == 4
        assert float(file.get_tensor(f"{stem}.alpha")) == 2.0
        single = file.get_tensor("lora_unet_single_blocks_0_linear1.lora_down.weight")
        assert len(single) == 2


def test_a_run_goes_on_from_anothers_file_and_on_another_base(tmp_path: Path) -> None:
    few = {"training__steps": 2, "training__units_per_step": 1, "adapter__dropout": 0.0}
    trained(tmp_path, name="first", export__layout=["kohya"], export__dtype="float32", **few)
    file = str(tmp_path / "out/first/first.safetensors")
    last = checkpoint(tmp_path, 2, "first")
    trained(
        tmp_path,
        name="second",
        adapter__start={"file": file, "shape": "file"},
        training__rates={"denoiser": 1e-12},
        **few,
    )
    second = checkpoint(tmp_path, 2, "second")
    layer = "transformer_blocks.0.attn.to_q"
    left, right = (one[f"{layer}.up"] @ one[f"{layer}.down"] for one in (last, second))
    assert left.any()
    torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-4)
    merged = {"model__merged": [{"file": file, "strength": 0.5}]}
    plain, other = (prepared(job(tmp_path, name="x", **c), tmp_path) for c in ({}, merged))
    assert plain.facts["base_model"] != other.facts["base_model"]
    assert plain.facts["weights.clip"] == other.facts["weights.clip"]
    trained(tmp_path, name="third", **few, **merged)
    with pytest.raises(ExceptionGroup) as refused:
        trained(tmp_path, name="third", **(few | {"training__steps": 3}))
    assert any("base_model" in str(one) for one in leaves(refused.value))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapter__parts": ["vae"]}, "flux has no part 'vae'; known: denoiser, clip, t5"),
        ({"training__rates": {"clip": 1e-5}}, "training.rates: 'clip' is not trained"),
        ({"adapter__up_rate": {"t5": 2.0}}, "adapter.up_rate: 't5' is not trained"),
        ({"training__rates": {"denoiser": 0.0}}, "no layer has a learning rate above 0"),
        ({"adapter__rules": [{"layers": "**", "rank": 0}]}, "no layer is left"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        prepared(job(tmp_path, **changes), tmp_path)
    assert any(said in str(one) for one in leaves(refused.value)), refused.value.exceptions


def test_a_file_that_fits_nothing_is_an_error_and_one_that_is_not_there_too(tmp_path: Path) -> None:
    few = {"training__steps": 1, "training__units_per_step": 1}
    trained(tmp_path, name="first", **few)
    file = str(tmp_path / "out/first/first.safetensors")
    start = {"adapter__start": {"file": file}, "adapter__rank": 3}
    with pytest.raises(ExceptionGroup) as refused:
        prepared(job(tmp_path, name="x", **start), tmp_path)
    (error,) = leaves(refused.value)
    assert isinstance(error, FileError) and "nothing of it fits" in str(error)
    assert "has rank 4 there and 3 here" in str(error)
    with pytest.raises(ExceptionGroup):
        prepared(job(tmp_path, name="x", adapter__start={"file": "nowhere"}), tmp_path)


def test_check_says_how_many_layers_have_which_rank(tmp_path: Path) -> None:
    told = [{"layers": "single_transformer_blocks.**", "rank": 2}]
    seen = survey(job(tmp_path, adapter__rules=told), tmp_path)
    assert set(seen.ranks) == {4, 2} and list(seen.ranks) == [4, 2]
