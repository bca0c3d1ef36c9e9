"""A step's losses: what is drawn, shifted and weighed, and what stays bare."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.assembly import source
from scumble.caching import encoded
from scumble.families import weights
from scumble.families.family import Knobs, Scene, Told
from scumble.hardware.blocks import Net, plain
from scumble.preflight.plan import Plan, prepared
from scumble.spec.objective import InputNoise, ObjectiveSpec
from scumble.trainer.draws import Draw, Drawer
from scumble.trainer.feeder import Fed
from scumble.trainer.step import Method, losses, losses_at
from tests.toys import checkpoint, job, journal, trained

STRANGE: dict[str, Any] = {
    "times": {"law": "table", "density": "mode"},
    "prediction": "sigma_scaled",
    "weighting": "cosmap",
    "input_noise": {"gamma": 0.3, "random": True},
    "loss": {"kind": "huber", "delta": 0.2, "schedule": "exponential", "scale": 1.5},
}
"""Every option that changes what an example's loss is."""

SHAPE = torch.Size((16, 4, 6))


def planned(root: Path, batch: int = 2, units: int = 1, **changes: Any) -> Plan:
    sizes = {"training__batch_size": batch, "training__units_per_step": units}
    return prepared(job(root, adapter__kind="lora", **sizes, **changes), root)


def method(plan: Plan, **changes: Any) -> Method:
    denoiser = weights.loaded(
        plan.model, "denoiser", dtype=torch.float32, device=torch.device("cpu")
    )
    return Method(
        family=plan.family,
        net=Net(denoiser, plain),
        place=plan.place,
        knobs=Knobs(guidance=1.0),
        objective=ObjectiveSpec.model_validate(plan.job.objective.model_dump() | changes),
    )


def fed(plan: Plan, steps: int = 1) -> Iterator[Fed]:
    with encoded(plan, lambda event: None) as library:
        where = source(plan, library)
        yield from (one for step in range(1, steps + 1) for one in where.step(step))


def weighed(one: Fed, how: Method) -> Tensor:
    """What the method is, told once more: in float64 where the network is not asked."""
    objective, batch, draw = how.objective, one.batch, one.draw
    height, width = batch.latents.shape[-2:]
    lean = math.exp(0.5 + 0.65 * ((height // 2) * (width // 2) - 256) / 3840)
    times = (lean * draw.times / (1 + (lean - 1) * draw.times)).double()
    at = times[:, None, None, None]
    clean, noise = batch.latents.double(), draw.noise.double()
    assert draw.extra is not None
    noisy = (1 - at) * clean + at * (noise + draw.extra.double())
    told = how.family.tell(
        Told(values=batch.words, references=()), Scene(frames=batch.frames), how.knobs
    )
    answer = how.family.predict(how.net, noisy.float(), times.float(), told).double()
    difference = (noisy - at * answer) - (noise - clean)
    delta = 1.5 * 0.2**at
    found = 2 * delta * (torch.sqrt(difference**2 + delta**2) - delta)
    factor = 2 / (math.pi * (1 - 2 * times + 2 * times**2))
    assert objective.weighting == "cosmap" and objective.prediction == "sigma_scaled"
    return batch.weights * factor * found.flatten(1).mean(1)


def test_a_loss_is_compared_weighed_and_averaged_as_it_is_written(tmp_path: Path) -> None:
    plan = planned(tmp_path, objective=STRANGE)
    how, sizes = method(plan), set()
    with torch.no_grad():
        for one in fed(plan, 4):
            theirs = replace(one.batch, weights=torch.full_like(one.batch.weights, 0.25))
            single = replace(one, batch=theirs)
            found = losses(how, single.batch, single.draw)
            torch.testing.assert_close(found.double(), weighed(single, how), rtol=1e-4, atol=1e-6)
            sizes.add(one.batch.latents.shape[-2:])
    assert len(sizes) == 2, "each size leans by its own count of tokens"


def test_the_bare_loss_is_the_step_s_where_nothing_leans_or_weighs(tmp_path: Path) -> None:
    plan = planned(tmp_path, objective={"shift": 1.0})
    how = method(plan)
    with torch.no_grad():
        for one in fed(plan, 2):
            bare = losses_at(how, one.batch, one.draw.noise, one.draw.times)
            assert torch.equal(losses(how, one.batch, one.draw), bare)
            heavy = replace(one.batch, weights=torch.full_like(one.batch.weights, 3.0))
            assert torch.equal(losses_at(how, heavy, one.draw.noise, one.draw.times), bare)
            assert torch.equal(losses(how, heavy, one.draw), 3 * bare)


@pytest.mark.parametrize(
    "change",
    [{"shift": 3.0}, {"weighting": "sigma_sqrt"}, {"times": {"law": "uniform"}}],
    ids=["shift", "weighting", "times"],
)
def test_the_bare_loss_knows_no_shift_and_no_weighting(tmp_path: Path, change: dict) -> None:
    plan = planned(tmp_path)
    usual, other = method(plan), method(plan, **change)
    with torch.no_grad():
        one = next(fed(plan))
        times = torch.full((len(one.batch.ids),), 0.2)
        left, right = (losses_at(how, one.batch, one.draw.noise, times) for how in (usual, other))
    assert torch.equal(left, right)


@pytest.mark.parametrize(
    "change",
    [{"prediction": "additive"}, {"loss": {"kind": "l1"}}],
    ids=["prediction", "loss"],
)
def test_the_bare_loss_is_measured_as_the_job_measures(tmp_path: Path, change: dict) -> None:
    plan = planned(tmp_path)
    usual, other = method(plan), method(plan, **change)
    with torch.no_grad():
        one = next(fed(plan))
        times = torch.full((len(one.batch.ids),), 0.6)
        left, right = (losses_at(how, one.batch, one.draw.noise, times) for how in (usual, other))
    assert not torch.isclose(left, right).any()


def gradient(root: Path, batch: int, units: int) -> Tensor:
    """Of one step over four examples, for the first layer's weight."""
    square = [{"id": "square", "folder": "square", "resolution": 32, "caption_dropout": 0.3}]
    plan = planned(root, batch, units, data=square, objective=STRANGE)
    how = method(plan)
    weight = next(iter(how.net.module.parameters())).requires_grad_()
    for one in fed(plan):
        assert one.examples_in_step == 4
        (losses(how, one.batch, one.draw).sum() / 4).backward()
    assert weight.grad is not None
    return weight.grad


def test_any_cutting_of_a_step_gives_the_same_gradient(tmp_path: Path) -> None:
    job(tmp_path, adapter__kind="lora")
    whole = gradient(tmp_path, 4, 1)
    assert whole.abs().max() > 0
    for batch, units in ((2, 2), (1, 4)):
        cut = gradient(tmp_path, batch, units)
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-6 * whole.abs().max().item())


def test_a_resumed_run_with_every_option_takes_the_steps_of_an_unbroken_one(tmp_path: Path) -> None:
    changes = {"adapter__kind": "lora", "objective": STRANGE}
    trained(tmp_path, name="whole", training__steps=4, **changes)
    trained(tmp_path, name="parts", training__steps=2, **changes)
    trained(tmp_path, name="parts", training__steps=4, **changes)
    whole, parts = (checkpoint(tmp_path, 4, name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    told = [
        [record["loss"] for record in journal(tmp_path, "StepDone", name)]
        for name in ("whole", "parts")
    ]
    assert told[0] == told[1] and all(math.isfinite(loss) for loss in told[0])


def drawer(seed: int = 7, **noise: Any) -> Drawer:
    return Drawer(seed, ObjectiveSpec(input_noise=InputNoise(**noise) if noise else None))


def drawn(which: Drawer, slots: list[int], step: int = 1) -> Draw:
    return which.draw(step, slots, SHAPE, which.times(step, 64))


def test_more_noise_for_the_input_leaves_every_other_draw_as_it_was() -> None:
    without, with_it = drawn(drawer(), [0, 1]), drawn(drawer(gamma=0.1), [0, 1])
    assert without.extra is None and torch.equal(without.shown, without.noise)
    assert torch.equal(without.noise, with_it.noise) and torch.equal(without.times, with_it.times)
    assert with_it.extra is not None
    assert torch.equal(with_it.shown, with_it.noise + with_it.extra)


@pytest.mark.parametrize("random", [False, True])
def test_input_noise_depends_on_seed_step_and_slot_alone(random: bool) -> None:
    which = drawer(gamma=0.1, random=random)
    pair, single = drawn(which, [4, 9]).extra, drawn(which, [9]).extra
    assert pair is not None and single is not None
    assert torch.equal(pair[1], single[0]) and not torch.equal(pair[0], pair[1])
    for other in (drawn(which, [9], step=2), drawn(replace(which, seed=8), [9])):
        assert other.extra is not None and not torch.equal(other.extra, single)


def test_input_noise_has_the_spread_that_was_asked_for_and_is_news_to_the_noise() -> None:
    draw = drawn(drawer(gamma=0.1), list(range(64)))
    assert draw.extra is not None
    assert draw.extra.std().item() == pytest.approx(0.1, rel=0.03)
    together = torch.corrcoef(torch.stack([draw.extra.flatten(), draw.noise.flatten()]))
    assert abs(together[0, 1].item()) < 0.02


def test_a_random_spread_is_even_between_nothing_and_gamma() -> None:
    draw = drawn(drawer(gamma=0.1, random=True), list(range(64)))
    assert draw.extra is not None
    spreads = draw.extra.flatten(1).std(1)
    assert spreads.max() < 0.11 and spreads.min() < 0.02
    assert spreads.mean().item() == pytest.approx(0.05, abs=0.012)


def test_a_draw_is_moved_with_all_it_holds() -> None:
    moved = drawn(drawer(gamma=0.1), [0, 1]).mapped(lambda tensor: tensor.to("meta"))
    assert moved.extra is not None
    kinds = {one.device.type for one in (moved.noise, moved.times, moved.seeds, moved.extra)}
    assert kinds == {"meta"} and moved.shown.device.type == "meta"
