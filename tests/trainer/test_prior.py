"""Prior preservation and walks: what the network is asked besides, and what it is then taught."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from scumble.adapters.names import DENOISER
from scumble.assembly import source
from scumble.caching import encoded
from scumble.data.batch import Batch
from scumble.families import weights
from scumble.families.family import Knobs, Told
from scumble.hardware.blocks import Net, plain, recomputed
from scumble.objective import rollout
from scumble.objective.timesteps import shifted
from scumble.preflight.plan import Plan, prepared
from scumble.spec.adapter import LoraSpec
from scumble.spec.objective import ObjectiveSpec
from scumble.trainer.draws import Draw
from scumble.trainer.dressing import dressed
from scumble.trainer.step import Method, extra_passes, losses, prior_of
from scumble.trainer.tally import Extra, Tally
from tests.toys import checkpoint, job, journal, pictures, trained

SQUARE = [{"id": "square", "folder": "square", "resolution": 32}]
WALK: dict[str, Any] = {"most": 6, "draw": "late"}
SEED = 11


@contextmanager
def method(plan: Plan, **objective: Any) -> Iterator[Method]:
    """With an adapter that changes the network's answers, and dropout in it."""
    denoiser = weights.loaded(
        plan.model, "denoiser", dtype=torch.float32, device=torch.device("cpu")
    )
    assert isinstance(plan.job.adapter, LoraSpec)
    worn = dressed({DENOISER: denoiser}, plan.shapes, plan.job.adapter, plan.job.training, {})
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for one in worn.adapters.parameters().values():
            one.add_(0.05 * torch.randn(one.shape, generator=generator))
    yield Method(
        family=plan.family,
        net=Net(denoiser, plain),
        place=plan.place,
        knobs=Knobs(guidance=2.0, spread=1.0),
        objective=ObjectiveSpec.model_validate(objective),
        adapters=worn.adapters,
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("prior")
    sizes = {"training__batch_size": 4, "training__units_per_step": 1}
    return prepared(job(root, data=SQUARE, adapter__kind="lora", **sizes), root)


@pytest.fixture(scope="module")
def four(plan: Plan) -> tuple[Batch, Draw]:
    """Four pictures of one size, with numbers of their own."""
    with encoded(plan, lambda event: None) as library:
        steps = (one for step in range(1, 5) for one in source(plan, library).step(step))
        fed = next(one for one in steps if len(one.batch.ids) == 4)
    return fed.batch, replace(fed.draw, spare=torch.tensor([0.0, 0.3, 0.6, 0.9]))


def taught(batch: Batch, *rows: int) -> Batch:
    return replace(batch, teach=torch.tensor([row in rows for row in range(len(batch.ids))]))


def picked(batch: Batch, draw: Draw, rows: list[int]) -> tuple[Batch, Draw]:
    """Some examples as a batch of their own."""
    part = replace(
        batch,
        latents=batch.latents[rows],
        words={name: words[rows] for name, words in batch.words.items()},
        frames=batch.frames[rows],
        weights=batch.weights[rows],
        ids=tuple(batch.ids[row] for row in rows),
        masks=None if batch.masks is None else batch.masks[rows],
        teach=None if batch.teach is None else batch.teach[rows],
    )
    moved = draw.mapped(lambda tensor: tensor[rows])
    return part, replace(moved, back=tuple(draw.back[row] for row in rows) if draw.back else ())


def told(how: Method, batch: Batch, draw: Draw) -> Told:
    assert draw.spare is not None
    guidance = 2.0 + (2 * draw.spare - 1)
    return Told(values=batch.words | {"guidance": guidance})


def plainly(how: Method, batch: Batch, draw: Draw, *, base: bool = False) -> Tensor:
    """What the network says of the batch, asked by hand."""
    lean = how.family.process.shift(4)
    times = shifted(draw.times, lean)
    noisy = how.family.process.noised(batch.latents, draw.noise, times)
    assert how.adapters is not None
    with torch.no_grad(), how.adapters.dropping(None if base else draw.seeds):
        if not base:
            return how.family.predict(how.net, noisy, times, told(how, batch, draw))
        with how.adapters.off():
            return how.family.predict(how.net, noisy, times, told(how, batch, draw))


def dropped(how: Method, batch: Batch, draw: Draw) -> Tensor:
    assert how.adapters is not None
    with how.adapters.dropping(draw.seeds):
        return losses(how, batch, draw)


def test_examples_of_both_kinds_in_one_batch_have_each_their_own_target(
    plan: Plan, four: tuple[Batch, Draw]
) -> None:
    batch, draw = four
    with method(plan) as how:
        usual, mixed = dropped(how, batch, draw), dropped(how, taught(batch, 1, 3), draw)
        distance = plainly(how, batch, draw) - plainly(how, batch, draw, base=True)
        wanted = distance.square().flatten(1).mean(1)
    assert torch.equal(mixed[[0, 2]], usual[[0, 2]])
    torch.testing.assert_close(mixed[[1, 3]], wanted[[1, 3]], rtol=1e-3, atol=1e-7)
    assert (mixed[[1, 3]] < usual[[1, 3]]).all(), "the base is nearer than noise"


def test_the_teacher_is_the_base_bit_for_bit_and_drops_nothing(
    plan: Plan, four: tuple[Batch, Draw]
) -> None:
    batch, draw = four
    with method(plan) as how:
        found = dropped(how, taught(batch, 0, 1, 2, 3), draw)
        distance = plainly(how, batch, draw) - plainly(how, batch, draw, base=True)
    assert torch.equal(found.detach(), distance.square().flatten(1).mean(1))


@pytest.mark.parametrize("run", [plain, recomputed])
def test_no_gradient_goes_to_the_teacher(plan: Plan, four: tuple[Batch, Draw], run: Any) -> None:
    """The gradient is that of a fixed target."""
    batch, draw = four
    with method(plan) as how:
        how = replace(how, net=Net(how.net.module, run))
        assert how.adapters is not None
        parameters = list(how.adapters.parameters().values())
        loss = dropped(how, taught(batch, 0, 1, 2, 3), draw).sum()
        with how.adapters.dropping(draw.seeds):
            found = torch.autograd.grad(loss, parameters)
        target, times = plainly(how, batch, draw, base=True), shifted(draw.times, 1.0)
        lean = how.family.process.shift(4)
        times = shifted(draw.times, lean)
        noisy = how.family.process.noised(batch.latents, draw.noise, times)
        with how.adapters.dropping(draw.seeds):
            answer = how.family.predict(how.net, noisy, times, told(how, batch, draw))
            plain_loss = (answer - target).square().flatten(1).mean(1).sum()
            wanted = torch.autograd.grad(plain_loss, parameters)
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right)


def test_the_prior_s_share_of_a_loss_is_told_apart(four: tuple[Batch, Draw]) -> None:
    found = torch.tensor([1.0, 2.0, 4.0, 8.0])
    assert prior_of(four[0], found) == (None, 0)
    total, count = prior_of(taught(four[0], 1, 3), found)
    assert total is not None and (total.item(), count) == (10.0, 2)


def test_what_several_processes_did_besides_is_read_in_the_step_s_one_wait() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    marks = torch.tensor([0.0, 3.0, 5.0, 0.0, 1.0, 2.0])  # failed, taught, passes, votes, gradients
    both = Extra().and_also(torch.tensor(1.5), 1, 2).and_also(None, 0, 3)
    alone = both.and_also(torch.tensor(2.5), 2, 0)
    parts = [torch.tensor(1.0), torch.tensor(2.0)]
    tally = Tally(losses=parts, marks=marks, parameters=[weight], extra=alone)
    numbers = tally.numbers([torch.tensor(9.0)])
    assert (numbers.loss, numbers.prior, numbers.others) == (3.0, 4.0, [9.0])
    told = tally.read(numbers.marks)
    assert (told.taught, told.passes, told.stop, told.failed) == (3, 5, "SIGTERM", False)
    single = replace(tally, marks=None)
    told = single.read(single.numbers([torch.tensor(9.0)]).marks)
    assert (told.taught, told.passes, told.stop) == (3, 5, None)
    plain_one = replace(single, extra=Extra()).numbers([torch.tensor(9.0)])
    assert (plain_one.loss, plain_one.prior, plain_one.others) == (3.0, 0.0, [9.0])


def test_a_walk_takes_the_network_s_own_steps_without_its_dropout(
    plan: Plan, four: tuple[Batch, Draw]
) -> None:
    batch, draw = four
    back = (0, 3, 1, 3)
    with method(plan, rollout=WALK | {"sampler": "euler"}) as how:
        seen: list[Tensor] = []

        def predict(net: Net, noisy: Tensor, times: Tensor, what: Told) -> Tensor:
            seen.append(noisy)
            return plan.family.predict(net, noisy, times, what)

        spied = replace(how, family=replace(how.family, predict=predict))
        dropped(spied, batch, replace(draw, back=back))
        assert extra_passes(how, batch, replace(draw, back=back)) == len(seen) - 1 == 3
        assert [len(one) for one in seen] == [3, 2, 2, 4]
        walked, process = seen[-1], how.family.process
        times = shifted(draw.times, process.shift(4))
        assert how.adapters is not None
        for row, count in enumerate(back):
            one, mine = picked(batch, draw, [row])
            end = times[row : row + 1]
            begin = end + count / 1000
            x = process.noised(one.latents, mine.noise, begin)
            for done in range(count):
                here = begin + (end - begin) * done / count
                with torch.no_grad():
                    said = how.family.predict(how.net, x, here, told(how, one, mine))
                x = x + (end - begin) / count * said[0]
            torch.testing.assert_close(walked[row : row + 1], x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", ["euler", "unipc", "dpm++", "rk4"])
def test_a_perfect_network_gains_and_loses_nothing_by_walking(
    plan: Plan, four: tuple[Batch, Draw], sampler: str
) -> None:
    """All pictures are one, so a perfect network knows the way from everywhere."""
    batch, draw = four
    batch = replace(batch, latents=batch.latents[:1].expand_as(batch.latents).contiguous())
    asked = 0

    def predict(net: Net, noisy: Tensor, times: Tensor, what: Told) -> Tensor:
        nonlocal asked
        asked += 1
        return (noisy - batch.latents[: len(noisy)]) / times[:, None, None, None]

    walked = replace(draw, back=(5, 0, 2, 6))
    for target in ("corrected", "unchanged"):
        with method(plan, rollout=WALK | {"sampler": sampler, "target": target}) as how:
            how = replace(how, family=replace(how.family, predict=predict))
            asked = 0
            assert losses(how, batch, walked).abs().max() < 1e-7
            assert asked == 1 + extra_passes(how, batch, walked)
            assert asked == 1 + 6 * (4 if sampler == "rk4" else 1)


def test_the_corrected_target_leads_back_from_where_the_walk_has_come(
    plan: Plan, four: tuple[Batch, Draw]
) -> None:
    """A network that answers 0 stands still: it comes with the latents of its source."""
    batch, draw = four
    draw = replace(draw, back=(6, 0, 6, 0))

    def still(net: Net, noisy: Tensor, times: Tensor, what: Told) -> Tensor:
        return torch.zeros_like(noisy)

    found = {}
    for target in ("corrected", "unchanged"):
        with method(plan, rollout=WALK | {"target": target}) as how:
            found[target] = losses(
                replace(how, family=replace(how.family, predict=still)), batch, draw
            )
    velocity = draw.noise - batch.latents
    times = shifted(draw.times, plan.family.process.shift(4))
    further = (times + 0.006).clamp(max=1) / times
    plain_loss = velocity.square().flatten(1).mean(1)
    torch.testing.assert_close(found["unchanged"], plain_loss)
    wanted = torch.where(torch.tensor(draw.back) > 0, further**2, 1.0) * plain_loss
    torch.testing.assert_close(found["corrected"], wanted)


def test_reflexes_count_for_walked_examples_alone(plan: Plan, four: tuple[Batch, Draw]) -> None:
    batch, draw = four
    draw = replace(draw, back=(6, 0, 6, 0))
    with method(plan, rollout=WALK) as how:
        usual = losses(how, batch, draw)
    settings = {"alpha": 0.5, "direction": 3.0, "weight": 2.0}
    with method(plan, rollout=WALK | {"reflex": settings}) as how:
        found = losses(how, batch, draw)
    assert torch.equal(found[[1, 3]], usual[[1, 3]])
    more = found[[0, 2]] - usual[[0, 2]]
    assert (more > usual[[0, 2]]).all(), "at least the weight, and the direction on top"
    bare = {"alpha": 0.0, "direction": 0.0, "weight": 1.0}
    with method(plan, rollout=WALK | {"reflex": bare}) as how:
        torch.testing.assert_close(losses(how, batch, draw), usual)


REFLEX = {"rollout": WALK | {"reflex": {}}}


@pytest.mark.parametrize("objective", [{}, {"loss": {"kind": "huber"}}, REFLEX, {"rollout": WALK}])
@pytest.mark.parametrize("rows", [(), (1, 3), (0, 1, 2, 3)])
def test_beyond_a_hard_mask_the_gradient_is_exactly_zero(
    plan: Plan, four: tuple[Batch, Draw], objective: dict[str, Any], rows: tuple[int, ...]
) -> None:
    batch, draw = four
    masks = torch.zeros(4, 1, *batch.latents.shape[-2:])
    masks[..., :2] = 2.0  # as `normalise` makes it
    batch = taught(replace(batch, masks=masks), *rows)
    draw = replace(draw, back=(3, 0, 2, 0) if objective and not rows else ())
    answers: list[Tensor] = []

    def predict(net: Net, noisy: Tensor, times: Tensor, what: Told) -> Tensor:
        answer = plan.family.predict(net, noisy, times, what)
        if answer.requires_grad:
            answer.retain_grad()
            answers.append(answer)
        return answer

    with method(plan, **objective) as how:
        how = replace(how, family=replace(how.family, predict=predict))
        losses(how, batch, draw).sum().backward()
    (answer,) = answers
    assert answer.grad is not None
    assert (answer.grad[..., 2:] == 0).all() and (answer.grad[..., :2] != 0).any()


def test_any_cutting_of_a_batch_gives_the_same_gradient(
    plan: Plan, four: tuple[Batch, Draw]
) -> None:
    batch, draw = four
    masks = torch.rand(4, 1, *batch.latents.shape[-2:])
    batch, draw = taught(replace(batch, masks=masks), 1), replace(draw, back=(3, 0, 5, 1))
    reflex = {"rollout": WALK | {"sampler": "unipc", "reflex": {}}}

    def gradient(cuts: list[list[int]]) -> Tensor:
        with method(plan, **reflex) as how:
            assert how.adapters is not None
            for rows in cuts:
                part, drawn = picked(batch, draw, rows)
                with how.adapters.dropping(drawn.seeds):
                    (losses(how, part, drawn).sum() / 4).backward()
            grads = [one.grad for one in how.adapters.parameters().values()]
            return torch.cat([one.flatten() for one in grads if one is not None])

    whole = gradient([[0, 1, 2, 3]])
    assert whole.abs().max() > 0
    for cuts in ([[0], [1], [2], [3]], [[3, 1], [2, 0]], [[1, 2, 3], [0]]):
        most = 2e-5 * whole.abs().max().item()
        torch.testing.assert_close(gradient(cuts), whole, rtol=1e-3, atol=most)


def masked(root: Path, name: str) -> None:
    for file in (root / name).glob("*.png"):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, :32] = 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / file.name)


EVERYTHING: dict[str, Any] = {
    "training__clip_value": 0.01,
    "model__guidance": {"low": 1.0, "high": 4.0},
    "objective": {
        "rollout": {
            "most": 4, "draw": "late", "sampler": "unipc", "reflex": {"alpha": 2.0},
            "ramp_steps": 3, "start_probability": 1.0, "probability": 0.7,
        },
        "noise_offset": {"amount": 0.1, "probability": 0.5},
        "input_noise": {"gamma": 0.1, "steps": 3},
        "loss": {"kind": "huber", "schedule": "snr"},
    },
}  # fmt: skip


def everything(root: Path, name: str, steps: int, **changes: Any) -> list[dict[str, Any]]:
    if not (root / "square").exists():
        pictures(root / "square", [(64, 64)] * 5)
        pictures(root / "class", [(64, 64)] * 4, seed=3)
        masked(root, "square")
    mask = {"folder": "masks", "probability": 0.6, "normalise": True}
    data = [
        {"id": "square", "folder": "square", "resolution": 32, "mask": mask, "time_offset": -0.5},
        {"id": "class", "folder": "class", "resolution": 32, "prior_preservation": True},
    ]
    trained(root, name=name, data=data, training__steps=steps, **{**EVERYTHING, **changes})
    return journal(root, "StepDone", name)


def test_a_resumed_run_with_all_of_it_takes_the_steps_of_an_unbroken_one(tmp_path: Path) -> None:
    whole = everything(tmp_path, "whole", 4)
    everything(tmp_path, "parts", 2)
    parts = everything(tmp_path, "parts", 4)
    left, right = (checkpoint(tmp_path, 4, name) for name in ("whole", "parts"))
    assert all(torch.equal(left[key], right[key]) for key in left)
    names = ("loss", "prior_loss", "extra_passes", "gradient_norm")
    numbers = [[tuple(one[name] for name in names) for one in steps] for steps in (whole, parts)]
    assert numbers[0] == numbers[1] and len(numbers[0]) == 4
    priors = [one["prior_loss"] for one in whole]
    assert priors[0] is None or priors[0] == 0, "an adapter begins with no change"
    assert any(one for one in priors if one) and any(one["extra_passes"] > 1 for one in whole)
    assert all(math.isfinite(one["loss"]) for one in whole)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"adapter__parts": ["denoiser", "clip"]},
        {"hardware__gradient_checkpointing": True},
        {"adapter": {"kind": "lycoris", "algo": "lokr", "rank": 4, "options": {"factor": 4}}},
        {"adapter": {"kind": "lycoris", "algo": "dora", "rank": 4}},
    ],
    ids=["plain", "with a text encoder", "recomputed", "lokr", "dora"],
)
def test_what_is_kept_costs_nothing_before_the_first_move(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    data = [
        {"id": "square", "folder": "square", "resolution": 32, "loss_weight": 1e-9},
        {"id": "wide", "folder": "wide", "resolution": 32, "prior_preservation": True},
    ]
    trained(
        tmp_path,
        data=data,
        training__steps=2,
        training__units_per_step=4,
        training__optimizer={"name": "adamw", "options": {"eps": 1.0}},
        **change,
    )
    first, second = journal(tmp_path, "StepDone")
    assert first["prior_loss"] == 0 and first["loss"] < 1e-6
    assert first["extra_passes"] > 0 and second["prior_loss"] is not None


def test_walks_begin_at_their_step(tmp_path: Path) -> None:
    law = {"most": 3, "draw": "late", "start_step": 2}
    trained(tmp_path, training__steps=4, objective={"rollout": law})
    passes = [one["extra_passes"] for one in journal(tmp_path, "StepDone")]
    assert passes[:2] == [0, 0] and all(passes[2:])
    assert rollout.share(plan_of(law), 3) == 1


def plan_of(law: dict[str, Any]) -> Any:
    wanted = ObjectiveSpec.model_validate({"rollout": law}).rollout
    assert wanted is not None
    return wanted
