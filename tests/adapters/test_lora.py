import pytest
import torch
from torch import nn

from scumble.adapters.attach import Adapters, attach, attach_tensors, chosen, matches
from scumble.adapters.lora import kept
from scumble.errors import JobError
from scumble.spec.adapter import LoraSpec


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict({"to_q": nn.Linear(8, 6)}) for _ in range(2)])
        self.proj_out = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = (self.get_submodule(f"blocks.{n}.to_q") for n in (0, 1))
        return self.proj_out(first(x) + second(x))


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy().requires_grad_(False)


def worn(model: nn.Module, seed: int = 0, dropout: float = 0.0, moved: bool = True) -> Adapters:
    layers = chosen(model, ("to_q",), {})
    adapters = attach(model, layers, LoraSpec(rank=2, alpha=1.0, dropout=dropout), seed=seed)
    if moved:
        for number, branch in enumerate(dict(adapters.branches()).values()):
            nn.init.normal_(branch.up, generator=torch.Generator().manual_seed(number))
    return adapters


INPUT = torch.linspace(-1, 1, 3 * 5 * 8).reshape(3, 5, 8)


def test_a_fresh_adapter_changes_nothing() -> None:
    model = toy()
    before = model(INPUT)
    worn(model, moved=False)
    assert torch.equal(model(INPUT), before)


def test_two_builds_from_one_seed_are_equal_and_another_seed_differs() -> None:
    first, again, other = (worn(toy(), seed=seed, moved=False).parameters() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.to_q.down"], other["blocks.0.to_q.down"])


def test_off_shows_the_base_and_nests() -> None:
    model = toy()
    base = model(INPUT)
    adapters = worn(model)
    changed = model(INPUT)
    assert not torch.allclose(changed, base)
    with adapters.off():
        with adapters.off():
            assert torch.equal(model(INPUT), base)
        assert torch.equal(model(INPUT), base)
    assert torch.equal(model(INPUT), changed)


def test_taken_out_it_leaves_no_trace() -> None:
    model = toy()
    names, values = list(model.state_dict()), [v.clone() for v in model.state_dict().values()]
    modules = [type(module) for module in model.modules()]
    worn(model).detach()
    assert list(model.state_dict()) == names
    assert [type(module) for module in model.modules()] == modules
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), values, strict=True))


def test_merged_it_computes_what_it_computed_beside() -> None:
    model = toy()
    adapters = worn(model)
    beside = model(INPUT)
    adapters.merge()
    torch.testing.assert_close(model(INPUT), beside, atol=1e-6, rtol=1e-5)
    assert not any("base" in name for name, _ in model.named_modules())


def test_what_a_file_holds_computes_the_same() -> None:
    model, other = toy(), toy()
    adapters = worn(model)
    attach_tensors(other, adapters.tensors())
    torch.testing.assert_close(other(INPUT), model(INPUT), atol=1e-6, rtol=1e-6)


def test_strength_scales_the_change() -> None:
    model, half, base = toy(), toy(), toy()(INPUT)
    adapters = worn(model)
    attach_tensors(half, adapters.tensors(), strength=0.5)
    torch.testing.assert_close(half(INPUT) - base, (model(INPUT) - base) / 2, atol=1e-6, rtol=1e-5)


def test_a_wrapped_layer_shows_its_weight_and_bias() -> None:
    adapters = worn(toy())
    layer = adapters.layers["blocks.0.to_q"]
    assert layer.weight is layer.base.weight and layer.bias is layer.base.bias


def test_only_the_adapter_is_trained() -> None:
    model = toy()
    adapters = worn(model)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in adapters.parameters().values()}


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("to_q", "blocks.0.attn.to_q", True),
        ("to_q", "blocks.0.attn.add_to_q", False),
        ("o", "encoder.wo", False),
        ("single.*.proj_out", "single.7.proj_out", True),
        ("single.*.proj_out", "proj_out", False),
        ("*", "anything.at.all", True),
    ],
)
def test_targets_match_whole_dotted_parts(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


def test_targets_that_find_nothing_are_named() -> None:
    with pytest.raises(JobError, match=r"'to_k'.*layers are called blocks.0.to_q"):
        chosen(toy(), ("to_q", "to_k"), {})
    with pytest.raises(JobError, match=r"no preset 'atention'; known: attention"):
        chosen(toy(), "atention", {"attention": ("to_q",)})


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    mask = kept(torch.arange(4), torch.Size((4, 1000, 16)), 0.25)
    assert (mask == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert mask.mean().item() == pytest.approx(1.0, abs=0.01)


def test_dropout_is_a_function_of_the_examples_seed_alone() -> None:
    seeds = torch.tensor([5, 9, 1 << 55])
    together = kept(seeds, torch.Size((3, 7, 4)), 0.5)
    for number, seed in enumerate(seeds):
        assert torch.equal(kept(seed[None], torch.Size((1, 7, 4)), 0.5)[0], together[number])
    assert not torch.equal(together[0], together[1])


def test_layers_drop_different_places_and_previews_drop_none() -> None:
    model = toy()
    adapters = worn(model, dropout=0.5)
    quiet = model(INPUT)
    with adapters.dropping(torch.arange(3)):
        first, again = model(INPUT), model(INPUT)
    assert torch.equal(first, again) and not torch.equal(first, quiet)
    assert torch.equal(model(INPUT), quiet)
    salts = {branch.bottleneck.salt for _, branch in adapters.branches()}
    assert len(salts) == 2


def test_the_change_is_alpha_over_rank_times_up_down() -> None:
    model = nn.Sequential(nn.Linear(8, 6))
    layers = chosen(model, ("0",), {})
    ((_, branch),) = attach(model, layers, LoraSpec(rank=4, alpha=2.0), seed=0).branches()
    nn.init.ones_(branch.up)
    torch.testing.assert_close(branch.change(), 0.5 * branch.up @ branch.down)


def worn_in_bf16(model: nn.Module, dropout: float = 0.0) -> Adapters:
    layers = chosen(model, ("to_q",), {})
    spec = LoraSpec(rank=2, alpha=1.0, dropout=dropout)
    adapters = attach(model, layers, spec, seed=0, dtype=torch.bfloat16)
    for number, branch in enumerate(dict(adapters.branches()).values()):
        nn.init.normal_(branch.up, generator=torch.Generator().manual_seed(number))
    return adapters


def test_bf16_weights_are_the_same_draws_rounded() -> None:
    fine, coarse = worn(toy()).parameters(), worn_in_bf16(toy()).parameters()
    assert all(one.dtype == torch.bfloat16 for one in coarse.values())
    name = "blocks.0.to_q.down"
    assert torch.equal(fine[name].bfloat16(), coarse[name])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_bf16_weights_compute_in_the_type_of_what_comes_in(dropout: float) -> None:
    model, fine = toy(), toy()
    adapters = worn_in_bf16(model, dropout)
    attach_tensors(fine, adapters.tensors())
    seeds = torch.arange(3)
    with adapters.dropping(seeds if dropout else None):
        answer = model(INPUT)
    assert answer.dtype == torch.float32
    if not dropout:  # in float32 nothing but the weights is rounded
        torch.testing.assert_close(answer, fine(INPUT), atol=1e-6, rtol=1e-6)
    with torch.autocast("cpu", torch.bfloat16), adapters.dropping(seeds if dropout else None):
        lower = model(INPUT)
    assert lower.dtype == torch.bfloat16
    torch.testing.assert_close(lower.float(), answer, atol=0.05, rtol=0.05)
    lower.sum().backward()
    gradients = [one.grad for one in adapters.parameters().values()]
    assert all(one is not None and one.dtype == torch.bfloat16 for one in gradients)


def test_autocast_sees_the_same_kernels_as_before() -> None:
    model = toy()
    worn(model)
    with torch.autocast("cpu", torch.bfloat16):
        first = model(INPUT)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(INPUT), first)


def test_a_merge_of_bf16_weights_multiplies_in_float32() -> None:
    model = toy()
    adapters = worn_in_bf16(model)
    beside = model(INPUT)
    changes = {name: branch.change() for name, branch in adapters.branches()}
    assert all(one.dtype == torch.float32 for one in changes.values())
    adapters.merge()
    torch.testing.assert_close(model(INPUT), beside, atol=1e-6, rtol=1e-5)
