"""A moving average on the CPU beside a card: one copy that the card does not wait for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from scumble.spec.averaging import EmaSpec
from scumble.trainer.averages import begun, decay
from tests.gpu.test_card import CARD, PREVIEWS
from tests.toys import trained
from tests.trainer.test_averages import kept

SIZES = [(300, 500), (7,), (2000, 3000), (16, 16)]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("swapped", [False, True])
def test_what_arrives_is_the_weights_of_the_step_however_soon_they_move_again(
    dtype: torch.dtype, swapped: bool
) -> None:
    torch.manual_seed(0)
    weights = {
        str(number): nn.Parameter(torch.randn(size, device="cuda", dtype=dtype))
        for number, size in enumerate(SIZES)
    }
    spec = EmaSpec(decay=0.6)
    average = begun(spec, weights, swapped=swapped)
    assert average.conveyor is not None
    by_hand = {name: one.detach().float().cpu() for name, one in weights.items()}
    for step in range(1, 9):
        average.begin()
        average.before_move()
        with torch.no_grad():
            for one in weights.values():
                one.mul_(0.9).add_(step)
        average.after_move(step)
        for name, one in weights.items():
            by_hand[name].lerp_(one.detach().float().cpu(), 1 - decay(spec, step))
    found = average.kept()
    for name, value in found.items():
        assert value.device.type == "cpu" and value.dtype == torch.float32
        torch.testing.assert_close(value, by_hand[name], rtol=1e-6, atol=1e-6)
    before = {name: one.detach().clone() for name, one in weights.items()}
    with average.lent():
        assert all(torch.equal(one, found[n].cuda().to(dtype)) for n, one in weights.items())
    assert all(torch.equal(one, before[name]) for name, one in weights.items())


@pytest.mark.gpu
def test_sending_an_average_waits_for_nothing_on_the_card() -> None:
    weight = nn.Parameter(torch.randn(4096, 4096, device="cuda"))
    average = begun(EmaSpec(decay=0.9), {"a": weight})
    average.after_move(1)
    average.kept()
    torch.cuda.set_sync_debug_mode("error")
    try:
        average.begin()
        average.before_move()
        average.after_move(2)
        average.before_move()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    average.kept()


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cpu", "device"])
def test_an_average_is_kept_shown_and_resumed_on_a_card(tmp_path: Path, device: str) -> None:
    ema = {"training__ema": {"decay": 0.8, "device": device}}
    trained(tmp_path, name="parts", training__steps=3, **ema, **CARD)
    trained(tmp_path, name="parts", training__steps=6, **ema, **CARD, **PREVIEWS)
    trained(tmp_path, name="whole", training__steps=6, **ema, **CARD)
    whole, parts = (kept(tmp_path, 6, "ema", name) for name in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0.05, atol=1e-3)
