"""A network's own weights as what is trained: which they are, in what they are kept, and the way
back to the base."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from scumble.adapters.full import chosen, opened
from scumble.errors import JobError
from scumble.families.family import Told
from scumble.families.flux.model import FLUX_DEV
from scumble.families.flux.network import FluxConfig, FluxTransformer
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.validation import probes

TINY = FluxConfig(
    num_layers=1,
    num_single_layers=1,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=24,
    pooled_projection_dim=12,
    guidance_embeds=True,
    axes_dims_rope=(2, 2, 4),
)
CPU = torch.device("cpu")


def network(dtype: torch.dtype = torch.float32) -> FluxTransformer:
    torch.manual_seed(0)
    return FluxTransformer(TINY).to(dtype).requires_grad_(False)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: one.clone() for name, one in model.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@torch.no_grad()
def moved(parameters: Mapping[str, nn.Parameter]) -> None:
    for one in parameters.values():
        one.add_(torch.randn_like(one))


def test_everything_is_every_number_of_the_network() -> None:
    model = network()
    assert chosen(model, "everything", {}).keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (
            ("norm_q",),
            {"transformer_blocks.0.attn.norm_q", "single_transformer_blocks.0.attn.norm_q"},
        ),
        (("x_embedder",), {"x_embedder"}),
        (("transformer_blocks.*.norm1.linear",), {"transformer_blocks.0.norm1.linear"}),
        (
            ("timestep_embedder",),
            {
                "time_text_embed.timestep_embedder.linear_1",
                "time_text_embed.timestep_embedder.linear_2",
            },
        ),
    ],
)
def test_a_name_means_layers_of_any_kind_else_all_in_the_blocks_of_that_name(
    targets: tuple[str, ...], expected: set[str]
) -> None:
    found = chosen(network(), targets, {})
    assert {name.rpartition(".")[0] for name in found} == expected


def test_a_preset_means_the_same_layers_as_for_an_adapter_with_their_biases() -> None:
    found = chosen(network(), "attention", FLUX_DEV.targets)
    assert "transformer_blocks.0.attn.to_q.weight" in found
    assert "transformer_blocks.0.attn.to_q.bias" in found
    assert not any("norm" in name or "ff" in name for name in found)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("atention", "no preset 'atention'; known: everything, attention"),
        (("to_qq",), "no layer's name ends in 'to_qq'"),
        ((), "no layer is named"),
    ],
)
def test_targets_that_mean_nothing_are_refused(targets: str | tuple[str, ...], words: str) -> None:
    with pytest.raises(JobError, match=words):
        chosen(network(), targets, FLUX_DEV.targets)


def test_the_base_comes_back_bit_for_bit_and_so_does_what_was_trained() -> None:
    model = network()
    base, asked = state(model), list[int]()

    def again() -> dict[str, Tensor]:
        asked.append(1)
        return base

    full = opened(model, chosen(model, "everything", {}), again)
    moved(full.parameters())
    trained = state(model)
    assert not asked  # nothing is held twice before somebody wants the base
    with full.off():
        assert same(state(model), base)
        with full.off():
            assert same(state(model), base)
        assert same(state(model), base)
    assert same(state(model), trained)
    moved(full.parameters())
    with full.off():
        assert same(state(model), base)
    assert len(asked) == 1


def test_an_error_within_leaves_what_was_trained() -> None:
    model = network()
    base = state(model)
    full = opened(model, ["proj_out.weight"], lambda: base)
    moved(full.parameters())
    trained = state(model)
    with pytest.raises(ZeroDivisionError), full.off():
        raise ZeroDivisionError
    assert same(state(model), trained)


def test_detached_the_network_is_the_base_and_frozen() -> None:
    model = network()
    base = state(model)
    full = opened(model, chosen(model, "everything", {}), lambda: base)
    moved(full.parameters())
    full.detach()
    assert same(state(model), base)
    assert not any(one.requires_grad for one in model.parameters())


def test_trained_weights_are_float32_and_the_others_stay_as_they_are() -> None:
    model = network(torch.bfloat16)
    base = state(model)
    full = opened(model, chosen(model, "attention", FLUX_DEV.targets), lambda: base)
    kinds = {name: one.dtype for name, one in model.named_parameters()}
    for name, kind in kinds.items():
        assert kind == (torch.float32 if name in full.parameters() else torch.bfloat16)
    for name, one in full.parameters().items():
        assert torch.equal(one, base[name].float())
        assert one.requires_grad and one is full.parameters()[name]
    learning = {name for name, one in model.named_parameters() if one.requires_grad}
    assert learning == full.parameters().keys()


@pytest.mark.parametrize("targets", ["everything", ("norm_q", "x_embedder", "norm_added_k")])
def test_a_network_in_bf16_hands_float32_gradients_to_every_trained_weight(
    targets: str | tuple[str, ...],
) -> None:
    model, place = network(torch.bfloat16), Place(CPU, torch.bfloat16)
    full = opened(model, chosen(model, targets, {}), lambda: {})
    values = {"text": torch.randn(1, 5, 24).bfloat16(), "summary": torch.randn(1, 12).bfloat16()}
    told = Told(values={**values, "guidance": torch.ones(1)})
    with place.autocast():
        answer = FLUX_DEV.predict(
            Net(model, plain), torch.randn(1, 16, 4, 4), torch.tensor([0.5]), told
        )
    answer.float().square().mean().backward()
    for name, one in full.parameters().items():
        assert one.grad is not None and one.grad.dtype == torch.float32, name
        assert bool(one.grad.isfinite().all()) and bool(one.grad.any()), name


def test_float32_weights_in_bf16_answer_as_bf16_weights_of_the_same_values_do() -> None:
    kept, model = network(torch.bfloat16), network(torch.bfloat16)
    opened(model, chosen(model, "everything", {}), lambda: {})
    place = Place(CPU, torch.bfloat16)
    text = {"text": torch.randn(5, 24).bfloat16(), "summary": torch.randn(12).bfloat16()}
    asked = probes.about_text(FLUX_DEV, text, (32, 32), 1.0)
    one, other = (
        probes.velocities(FLUX_DEV, Net(each, plain), place, asked) for each in (kept, model)
    )
    assert torch.equal(one, other)
