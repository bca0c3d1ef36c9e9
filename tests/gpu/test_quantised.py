"""Quantised layers on a CUDA card; `make gpu` on a machine that has one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from scumble.families import weights
from scumble.hardware.quantisers.layer import QuantisedLinear
from scumble.hardware.quantisers.numbers import kept
from scumble.hardware.quantisers.table import QUANTISERS, refusal
from scumble.spec.model import Quantiser
from tests.families.test_quantised import opened, same
from tests.hardware.test_quantisers import NAMES, PASSED, cosine, gradient, inputs, layer, off
from tests.toys import trained

CARD = torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_card_answers_and_passes_gradients_as_the_wide_layer_does(name: str) -> None:
    wide, x = layer().to(CARD), inputs().detach().to(CARD).requires_grad_()
    narrow = QuantisedLinear.of(wide, name)
    assert {one.device.type for one in narrow.kept().values()} == {"cuda"}
    assert off(narrow(x), wide(x)) < 1.25 * {one.name: one.error for one in QUANTISERS}[name]
    assert cosine(gradient(narrow, x), gradient(wide, x)) >= PASSED.get(name, 0.999)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_layers_quantised_on_the_cpu_and_on_the_card_mean_the_same(name: str) -> None:
    wide = layer()
    here, there = kept(name, wide.weight), kept(name, wide.weight.to(CARD))
    assert here.keys() == there.keys()
    on_card = QuantisedLinear.of(wide, name).to(CARD).weight
    assert off(QuantisedLinear.of(wide.to(CARD), name).weight, on_card) < 1e-2


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_on_a_card_holds_no_wide_weights(name: str) -> None:
    wide = nn.Linear(4096, 4096, dtype=torch.bfloat16, device=CARD).requires_grad_(False)
    narrow = QuantisedLinear.of(wide, name)
    size = wide.weight.nbytes
    del wide
    x = torch.randn(8, 4096, dtype=torch.bfloat16, device=CARD, requires_grad=True)
    narrow(x).sum().backward()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    answer = narrow(x)
    assert torch.cuda.memory_allocated() - before <= 2 * answer.nbytes + 2**21 < size


@pytest.mark.gpu
@pytest.mark.parametrize("name", get_args(Quantiser))
def test_kept_layers_come_back_to_the_card(tmp_path: Path, name: Quantiser) -> None:
    model = opened({"denoiser": name}, tmp_path)
    first = weights.loaded(model, "denoiser", dtype=torch.bfloat16, device=CARD)
    again = weights.loaded(model, "denoiser", dtype=torch.bfloat16, device=CARD)
    assert len(list(tmp_path.iterdir())) == 1
    assert same(first, again)
    assert {one.device.type for one in again.state_dict().values()} == {"cuda"}


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_a_quantised_base_trains_on_a_card(tmp_path: Path, name: str) -> None:
    assert refusal(name, "lora", "cuda") is None
    outcome = trained(
        tmp_path,
        model__quantised={"denoiser": name, "t5": name},
        hardware__device="cuda",
        hardware__precision="bf16",
        hardware__gradient_checkpointing=True,
        training__steps=2,
        export__proof="fresh_process",
    )
    assert outcome.code == 0
