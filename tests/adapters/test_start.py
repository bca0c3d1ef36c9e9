"""An adapter that goes on from a file, and one that is merged before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from scumble.adapters.attach import Adapters, attach, chosen
from scumble.adapters.keys import Network, Row
from scumble.adapters.lora import LoraTensors
from scumble.adapters.names import Names
from scumble.adapters.shapes import as_filed, resolved
from scumble.adapters.start import begun, fitted, sentences
from scumble.adapters.worn import Merged
from scumble.spec.adapter import LoraSpec

NAMES = Names(network=Network(rows=(Row("qkv", ("q", "k", "v"), (1, 1, 1)), Row("o", ("o",)))))


def toy() -> nn.Module:
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.Linear(6, 4) for name in "qkvo"})
    return model.requires_grad_(False)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filed(names: str, rank: int = 2, alpha: float = 1.0, shared: bool = False):
    one = drawn(rank, 6)
    return {
        name: LoraTensors(
            one if shared else drawn(rank, 6, seed=n), drawn(4, rank, seed=9 + n), alpha
        )
        for n, name in enumerate(names)
    }


def worn(told: dict[str, LoraTensors], **settings: object) -> Adapters:
    model, spec = toy(), LoraSpec.model_validate({"rank": 2, **settings})
    layers = chosen(model, "all", {"all": ("*",)})
    as_file = spec.start is not None and spec.start.shape == "file"
    shape = as_filed(told, layers, spec, NAMES) if as_file else resolved(layers, spec, NAMES)
    taken = {name: layers[name] for name in shape.slots}
    return attach(model, taken, spec, seed=1, shape=shape)


def change(one: LoraTensors) -> torch.Tensor:
    return one.alpha / len(one.down) * one.up @ one.down


def remarks(adapters: Adapters, told: dict[str, LoraTensors]) -> list[str]:
    layers = {name: one.base for name, one in adapters.layers.items()}
    return sentences(fitted(adapters.shape, layers, told))


@pytest.mark.parametrize(("fused", "shared"), [(False, False), (False, True), (True, True)])
def test_layers_of_the_jobs_shape_begin_as_strong_as_they_are_in_the_file(
    fused: bool, shared: bool
) -> None:
    told = filed("qkv", shared=shared)
    adapters = worn(told, fused=fused, alpha=8.0)
    begun(adapters, told)
    found = dict(adapters.branches())
    for name, one in told.items():
        torch.testing.assert_close(found[name].change(), change(one))
    assert not found["o"].up.any() and found["o"].scale == 4.0
    assert remarks(adapters, told) == ["1 layers begin anew: `adapter.start` has nothing for them."]


def test_what_does_not_fit_is_named_and_the_rest_is_taken() -> None:
    told = filed("qko") | filed("v", rank=3) | {"x": filed("q")["q"]}
    told["k"] = LoraTensors(drawn(2, 5), drawn(4, 2), 1.0)
    adapters = worn(told)
    begun(adapters, told)
    found = dict(adapters.branches())
    assert {n for n, one in found.items() if one.up.any()} == {"q", "o"}
    (left, anew) = remarks(adapters, told)
    assert left == (
        "`adapter.start` leaves 3 layers of the file out: k is 4 x 5 there and 4 x 6 here;"
        " v has rank 3 there and 2 here; x is not trained here."
    )
    assert anew.startswith("2 layers begin anew")


def test_layers_with_downs_of_their_own_do_not_fit_where_one_is_shared() -> None:
    told = filed("qkvo")
    adapters = worn(told, fused=True)
    begun(adapters, told)
    assert {n for n, one in adapters.branches() if one.up.any()} == {"o"}
    assert "have a `down` of their own, and here they share one" in remarks(adapters, told)[0]


@pytest.mark.parametrize(("fused", "shared"), [(True, True), (True, False), (False, True)])
def test_the_files_shape_is_taken_with_its_ranks_scales_and_layers(
    fused: bool, shared: bool
) -> None:
    told = filed("qkv", rank=3, alpha=2.0, shared=shared)
    adapters = worn(told, fused=fused, start={"file": "a", "shape": "file"})
    begun(adapters, told)
    assert list(adapters.layers) == ["q", "k", "v"]
    assert ("qkv.shared_down" in adapters.parameters()) is (fused and shared)
    delivered = adapters.tensors()
    for name, one in told.items():
        assert (len(delivered[name].down), delivered[name].alpha) == (3, pytest.approx(2.0))
        torch.testing.assert_close(change(delivered[name]), change(one))


def test_what_is_merged_is_added_in_float32_and_keeps_the_weights_type() -> None:
    model = toy().to(torch.bfloat16)
    told = filed("q")
    before = model.get_submodule("q").get_parameter("weight").clone()
    Merged(Path("a"), 0.5, {"denoiser": told}).into(model, "denoiser", ())
    after = model.get_submodule("q").get_parameter("weight")
    assert torch.equal(after, (before.float() + 0.5 * change(told["q"])).bfloat16())
    assert not any("base" in name for name, _ in model.named_parameters())
