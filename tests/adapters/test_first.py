"""First values: drawn, or taken out of the layer, whose weight stays as it is all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from scumble import dice
from scumble.adapters.attach import Adapters, attach, attach_tensors, chosen
from scumble.adapters.first import drawn, orthogonal, principal, taken
from scumble.adapters.names import Names
from scumble.adapters.norms import change_norm
from scumble.adapters.shapes import resolved
from scumble.errors import JobError
from scumble.hardware.quantisers.layer import QuantisedLinear
from scumble.spec.adapter import LoraSpec
from tests.toys import checkpoint, journal, trained

TAKEN = ["pissa", "olora"]
RANK, ALPHA = 3, 6.0


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(12, 8)
        self.to_k = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_k(functional.silu(self.to_q(x)))


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy().requires_grad_(False)


def worn(model: nn.Module, first: str, **settings: Any) -> Adapters:
    spec = LoraSpec.model_validate({"rank": RANK, "alpha": ALPHA, "first": first, **settings})
    return attach(model, chosen(model, ("to_q", "to_k"), {}), spec, seed=0)


def moved(adapters: Adapters, spread: float = 0.1) -> Adapters:
    for number, one in enumerate(adapters.parameters().values()):
        with torch.no_grad():
            one += spread * torch.randn(one.shape, generator=dice.generator(0, "test", number))
    return adapters


INPUT = torch.linspace(-1, 1, 5 * 7 * 12).reshape(5, 7, 12)
WIDE = torch.randn(48, 96, generator=dice.generator(0, "wide")) * torch.arange(1, 97) ** -0.7


@pytest.mark.parametrize("first", ["uniform", "gaussian", *TAKEN])
@pytest.mark.parametrize("drops", [{}, {"dropout": 0.3, "rank_dropout": 0.3}])
def test_whatever_the_first_values_training_begins_with_the_base(first: str, drops: dict) -> None:
    model = toy()
    weights = {name: one.clone() for name, one in model.named_parameters()}
    base = model(INPUT)
    adapters = worn(model, first, **drops)
    assert torch.equal(model(INPUT), base)
    with adapters.dropping(torch.arange(5)):
        assert torch.equal(model(INPUT), base)
    adapters.detach()
    assert all(torch.equal(one, weights[name]) for name, one in model.named_parameters())


def test_gaussian_values_have_a_spread_of_one_over_the_rank() -> None:
    down = drawn((0, "layer"), (16, 4096), "gaussian", torch.float32)
    assert down.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert down.abs().max() > 3 / 16
    assert not torch.equal(down, drawn((1, "layer"), (16, 4096), "gaussian", torch.float32))


def test_pissa_takes_the_largest_singular_directions_at_the_strength_of_the_adapter() -> None:
    for rank, scale in ((4, 1.0), (4, 2.0), (48, 0.5)):
        pair = principal(WIDE, (0, "layer"), rank, scale)
        left, values, right = torch.linalg.svd(WIDE, full_matrices=False)
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        torch.testing.assert_close(scale * pair.up @ pair.down, best, atol=1e-4, rtol=1e-3)
        halves = pair.up.norm(dim=0), pair.down.norm(dim=1)
        torch.testing.assert_close(*halves)


def test_of_large_layers_pissa_finds_nearly_all_that_there_is_to_find() -> None:
    large = torch.randn(300, 200, generator=dice.generator(0, "large"))
    even = principal(large, (0, "a"), 8, 1.0)
    best = torch.linalg.svdvals(large)[:8].square().sum()
    assert (even.up @ even.down).square().sum() > 0.95 * best
    assert torch.equal(even.up, principal(large, (0, "a"), 8, 1.0).up)


def test_olora_takes_the_first_columns_of_q_and_rows_of_r() -> None:
    pair = orthogonal(WIDE, 5)
    torch.testing.assert_close(pair.up.T @ pair.up, torch.eye(5), atol=1e-5, rtol=0.0)
    q, r = torch.linalg.qr(WIDE)
    torch.testing.assert_close(pair.up @ pair.down, q[:, :5] @ r[:5], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close((pair.up @ pair.down)[:, :5], WIDE[:, :5], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("first", TAKEN)
def test_gradients_are_those_of_the_methods_own_form(first: str) -> None:
    """W - s B0 A0 frozen, and B, A trained from B0, A0 on, as their papers have it."""
    model = toy()
    adapters = worn(model, first)
    scale = ALPHA / RANK
    down, up = (adapters.first()[f"to_q.{word}"].clone() for word in ("down", "up"))
    rest = model.to_q.weight.detach() - scale * up @ down  # the layer as it is shown
    moved(adapters)
    a = (down + adapters.parameters()["to_q.down"].detach()).requires_grad_()
    b = (up + adapters.parameters()["to_q.up"].detach()).requires_grad_()
    theirs = functional.linear(INPUT, rest + scale * b @ a, model.to_q.bias)
    ours = model.to_q(INPUT)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    goal = torch.randn(ours.shape, generator=dice.generator(0, "goal"))
    (theirs * goal).sum().backward()
    (ours * goal).sum().backward()
    for word, one in (("down", a), ("up", b)):
        found = adapters.parameters()[f"to_q.{word}"].grad
        torch.testing.assert_close(found, one.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("first", TAKEN)
def test_what_is_delivered_is_the_change_as_a_lora_of_twice_the_rank(first: str) -> None:
    model = toy()
    base = model(INPUT)
    adapters = moved(worn(model, first))
    changed = model(INPUT)
    told = adapters.tensors()
    assert {len(one.down) for one in told.values()} == {2 * RANK}
    assert {one.alpha for one in told.values()} == {2 * ALPHA}
    norm = change_norm([dict(adapters.branches())["to_q"]])
    whole = dict(adapters.branches())["to_q"].change().norm()
    torch.testing.assert_close(norm, whole, atol=1e-6, rtol=1e-4)
    with adapters.off():
        assert torch.equal(model(INPUT), base)
    plain = toy()
    attach_tensors(plain, told)
    torch.testing.assert_close(plain(INPUT), changed)
    adapters.merge()
    torch.testing.assert_close(model(INPUT), changed)


@pytest.mark.parametrize("first", TAKEN)
def test_a_small_change_survives_bf16_for_nothing_large_is_taken_from_anything_large(
    first: str,
) -> None:
    model = toy()
    base = model(INPUT)
    adapters = moved(worn(model, first), spread=1e-4)
    branch = dict(adapters.branches())["to_q"]
    exact = model(INPUT) - base
    with torch.autocast("cpu", torch.bfloat16):
        narrow = branch(INPUT)
    wide = branch(INPUT)
    assert (narrow - wide).norm() < 0.01 * wide.norm()
    assert 0 < exact.norm() < 0.01 * base.norm()


@pytest.mark.parametrize("first", TAKEN)
def test_dropout_leaves_the_same_out_of_both_halves(first: str) -> None:
    model = toy()
    adapters = moved(worn(model, first, module_dropout=0.5))
    base, whole = toy()(INPUT), model(INPUT)
    seeds = torch.arange(5)
    with adapters.dropping(seeds):
        mixed = model.to_q(INPUT)
    with adapters.off():
        without = model.to_q(INPUT)
    kinds = [torch.equal(mixed[n], without[n]) for n in range(5)]
    assert any(kinds) and not all(kinds)
    assert not torch.allclose(whole, base)


@pytest.mark.parametrize("first", TAKEN)
@pytest.mark.parametrize(
    "other",
    [
        {"fused": True},
        {"max_norm": 1.0},
        {"ggpo": {"sigma": 0.1, "beta": 0.1}},
        {"start": {"file": "a.safetensors"}},
    ],
)
def test_what_does_not_go_together_is_refused(first: str, other: dict) -> None:
    (setting,) = other
    with pytest.raises(ValidationError, match=f"`first: {first}` and `{setting}` do not go"):
        LoraSpec.model_validate({"first": first, **other})
    assert LoraSpec.model_validate({"first": "gaussian", **other})


def test_a_layer_with_too_few_directions_is_named() -> None:
    layers = chosen(toy(), ("to_q", "to_k"), {})
    spec = LoraSpec(rank=9, first="pissa")
    with pytest.raises(JobError, match=r"first: to_q is 8 x 12, and has no 9 directions; lower"):
        resolved(layers, spec, Names()).sizes(layers)
    fits = LoraSpec(rank=8, first="pissa")
    assert resolved(layers, fits, Names()).numbers(layers, authors=False) == 2 * 8 * (20 + 18)


def test_directions_of_a_layer_in_bf16_are_found_in_float32() -> None:
    narrow = WIDE.to(torch.bfloat16)
    pair = taken(narrow, (0, "layer"), first="pissa", rank=4, scale=1.0)
    best = torch.linalg.svdvals(narrow.float())[:4].square().sum()
    assert pair.up.dtype == torch.float32
    assert (pair.up @ pair.down).square().sum() == pytest.approx(best.item(), rel=1e-3)


@pytest.mark.parametrize("first", TAKEN)
def test_directions_of_a_quantised_layer_are_those_that_it_computes_with(first: str) -> None:
    model = toy()
    model.to_q = QuantisedLinear.of(model.to_q, "int8-torchao")
    base, shown = model(INPUT), model.to_q.weight
    adapters = worn(model, first)
    assert torch.equal(model(INPUT), base)
    wide = toy()
    wide.to_q.weight.copy_(shown)
    theirs = worn(wide, first).first()
    assert all(torch.equal(one, theirs[name]) for name, one in adapters.first().items())
    assert all(one.any() for one in theirs.values())


def test_in_bf16_it_begins_with_the_base_too() -> None:
    model = toy()
    base = model(INPUT)
    spec = LoraSpec(rank=2, first="olora")
    adapters = attach(model, chosen(model, ("to_q",), {}), spec, seed=0, dtype=torch.bfloat16)
    kept = [*adapters.parameters().values(), *adapters.first().values()]
    assert {one.dtype for one in kept} == {torch.bfloat16}
    assert torch.equal(model(INPUT), base)


def test_a_run_resumes_bit_for_bit_and_its_file_holds_the_difference(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "adapter": {"kind": "lora", "rank": 2, "first": "pissa", "dropout": 0.1},
        "training__units_per_step": 1,
        "export__layout": ["diffusers", "kohya"],
        "export__dtype": "float32",
    }
    trained(tmp_path, name="whole", training__steps=4, **settings)
    trained(tmp_path, name="parts", training__steps=2, **settings)
    kept = tmp_path / "out/parts/checkpoints/step-000002/optimizer.safetensors"
    begun = {name: one for name, one in load_file(kept).items() if name.startswith("first/")}
    assert begun and all(one.any() for one in begun.values())
    trained(tmp_path, name="parts", training__steps=4, **settings)
    whole, parts = (checkpoint(tmp_path, 4, name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    delivered = load_file(tmp_path / "out/parts/parts.safetensors")
    stem = next(name for name in delivered if name.endswith("lora_A.weight"))
    assert len(delivered[stem]) == 4
    verdicts = [one for told in journal(tmp_path, "Proven", "parts") for one in told["verdicts"]]
    assert verdicts and not any(one["state"] == "failed" for one in verdicts)


def test_a_run_does_not_go_on_with_other_first_values(tmp_path: Path) -> None:
    trained(tmp_path, training__steps=1)
    with pytest.raises(ExceptionGroup) as caught:
        trained(tmp_path, training__steps=2, adapter__first="pissa")
    (told,) = caught.value.exceptions
    assert "adapter.first: was uniform, is now pissa" in str(told)
