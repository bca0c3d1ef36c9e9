"""What a step draws besides noise and times: functions of seed, step and slot, each by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from scumble import families
from scumble.data.batch import Batch
from scumble.families.family import Knobs, Scene, Told
from scumble.objective import timesteps
from scumble.spec.model import GuidanceRange, ModelSpec
from scumble.spec.objective import ObjectiveSpec
from scumble.trainer.draws import Draw, Drawer

SHAPE = torch.Size((4, 6, 8))
SLOTS = list(range(64))


def drawer(seed: int = 7, *, spares: bool = False, **objective: Any) -> Drawer:
    return Drawer(seed, ObjectiveSpec.model_validate(objective), spares=spares)


def batch(count: int = 64, **settings: Any) -> Batch:
    return Batch(
        latents=torch.zeros(count, *SHAPE),
        words={},
        frames=torch.zeros(count, 8, dtype=torch.int64),
        weights=torch.ones(count),
        slots=tuple(range(count)),
        ids=tuple(map(str, range(count))),
        captions=("",) * count,
        **settings,
    )


def drawn(which: Drawer, step: int = 1, slots: list[int] = SLOTS) -> Draw:
    return which.draw(step, slots, SHAPE, which.times(step, 64))


def test_a_noise_offset_is_the_same_all_over_a_channel_and_known_to_the_target() -> None:
    plain, moved = drawn(drawer()), drawn(drawer(noise_offset={"amount": 0.1}))
    offset = moved.noise - plain.noise
    assert torch.equal(moved.shown, moved.noise)
    assert (offset.flatten(2).std(2) < 1e-6).all()
    assert offset[..., 0, 0].std().item() == pytest.approx(0.1, rel=0.15)
    assert torch.equal(plain.times, moved.times)


def test_a_noise_offset_goes_to_its_share_of_the_examples() -> None:
    told = {"amount": 0.1, "probability": 0.25}
    plain, moved = drawn(drawer()), drawn(drawer(noise_offset=told))
    changed = (moved.noise != plain.noise).flatten(1).any(1)
    assert 6 <= int(changed.sum()) <= 28
    single = drawn(drawer(noise_offset=told), slots=[9])
    assert torch.equal(single.noise[0], moved.noise[9])


def test_input_noise_falls_to_nothing_over_its_steps() -> None:
    which = drawer(input_noise={"gamma": 0.2, "steps": 4})
    spreads = []
    for step in range(1, 7):
        extra = drawn(which, step).extra
        assert extra is not None
        spreads.append(extra.std().item())
    assert spreads == pytest.approx([0.2, 0.15, 0.1, 0.05, 0, 0], rel=0.03)
    always = drawn(drawer(input_noise={"gamma": 0.2}), 500).extra
    assert always is not None and always.std().item() == pytest.approx(0.2, rel=0.03)


def test_a_list_in_turn_knows_how_many_examples_the_steps_before_had() -> None:
    which = drawer(times={"law": "listed", "levels": [0.2, 0.4, 0.6], "order": "in_turn"})
    found = torch.cat([which.times(step, 4) for step in (1, 2, 3)])
    torch.testing.assert_close(found, torch.tensor([0.2, 0.4, 0.6] * 4))


def test_the_offset_of_a_set_moves_its_examples_alone() -> None:
    which = drawer()
    times = which.times(1, 64)
    plain = which.for_batch(1, [3, 4], batch(2), times)
    moved = which.for_batch(1, [3, 4], batch(2, time_offset=0.5), times)
    assert torch.equal(plain.times, times[3:5])
    torch.testing.assert_close(moved.times, timesteps.offset(times[3:5], 0.5))
    assert (moved.times > plain.times).all() and torch.equal(moved.noise, plain.noise)


def test_taught_examples_are_not_walked() -> None:
    which = drawer(rollout={"most": 9, "draw": "late"})
    times = which.times(1, 64)
    back = which.for_batch(1, SLOTS, batch(), times).back
    teach = torch.tensor([slot % 2 == 0 for slot in SLOTS])
    mixed = which.for_batch(1, SLOTS, batch(teach=teach), times).back
    assert mixed == tuple(0 if slot % 2 == 0 else back[slot] for slot in SLOTS) and any(mixed)
    assert which.for_batch(1, SLOTS, batch(teach=torch.ones(64).bool()), times).back == ()
    assert which.back(1, [5]) == (back[5],), "by slot, whoever else is in the batch"


def heeded(which: Drawer, share: float, slots: list[int]) -> Tensor:
    masks = torch.zeros(len(slots), 1, 6, 8)
    seen = which.heeded(3, slots, batch(len(slots), masks=masks, masks_heeded=share)).masks
    assert seen is not None
    assert all(set(one.flatten().tolist()) in ({0.0}, {1.0}) for one in seen)
    return seen[:, 0, 0, 0]


def test_a_mask_is_heeded_with_its_probability() -> None:
    which = drawer()
    found = heeded(which, 0.3, SLOTS)
    assert 10 <= int((found == 0).sum()) <= 30
    assert torch.equal(heeded(which, 0.3, [5, 40]), found[[5, 40]])
    assert not heeded(which, 1.0, SLOTS).any()
    assert not torch.equal(heeded(replace(which, seed=8), 0.3, SLOTS), found)
    assert which.heeded(3, SLOTS, batch(masks_heeded=0.3)).masks is None


def test_spare_numbers_are_uniform_and_drawn_where_they_are_wanted() -> None:
    assert drawn(drawer()).spare is None
    which = drawer(spares=True)
    spare = drawn(which).spare
    assert spare is not None and spare.min() >= 0 and spare.max() < 1
    assert spare.mean().item() == pytest.approx(0.5, abs=0.1)
    other = drawn(which, slots=[9]).spare
    assert other is not None and other[0] == spare[9]
    moved = drawn(which).mapped(lambda tensor: tensor.to("meta"))
    assert moved.spare is not None and moved.spare.device.type == "meta"


def guidance(spare: Tensor | None) -> list[float]:
    """What flux is told where guidance goes from 1 to 4."""
    asked = GuidanceRange(low=1.0, high=4.0)
    spec = ModelSpec(family="flux", flavour="dev", path="x", guidance=asked)
    scene = Scene(frames=torch.zeros(3, 8, dtype=torch.int64), spare=spare)
    given = Told(values={"text": torch.zeros(3, 2, 4)})
    dev = families.find("flux", "dev")
    return dev.tell(given, scene, Knobs(*spec.guidance_told)).values["guidance"].tolist()


def test_guidance_is_drawn_for_each_example_and_fixed_where_nothing_is_drawn() -> None:
    assert guidance(torch.tensor([0.0, 0.5, 1.0])) == [1.0, 2.5, 4.0]
    assert guidance(None) == [2.5] * 3
    assert ModelSpec(family="flux", flavour="dev", path="x", guidance=3.5).guidance_told == (3.5, 0)
