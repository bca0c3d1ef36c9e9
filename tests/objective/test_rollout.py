"""Walks along flows that are known in closed form: whoever walks right stays on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from scumble.objective import rollout
from scumble.objective.process import Process, RectifiedFlow
from scumble.objective.stepping import Sampler, Stepper, levels
from scumble.spec.rollout import ReflexSpec, RolloutSpec

FLOW = RectifiedFlow()
MEAN, SPREAD = 0.7, 0.4
"""Of the clean latents, which are normal numbers: their flow scales them and moves them."""

SAMPLERS: tuple[Sampler, ...] = ("euler", "unipc", "dpm++", "rk4")

Answer = Callable[[Tensor, Tensor], Tensor]


class Cosine:
    """Signal cos and noise sin of time, answered by the noise: nothing of a flow is left in it."""

    def snapped(self, times: Tensor) -> Tensor:
        return times

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        angle = times[:, None, None, None] * math.pi / 2
        return torch.cos(angle) * clean + torch.sin(angle) * noise

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return noise

    def split(self, noisy: Tensor, answer: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        angle = times[:, None, None, None] * math.pi / 2
        return (noisy - torch.sin(angle) * answer) / torch.cos(angle), answer

    def signal(self, times: Tensor) -> Tensor:
        return torch.tan(times * math.pi / 2) ** -2

    def path(self, steps: int, tokens: int) -> Tensor:
        raise NotImplementedError

    def shift(self, tokens: int) -> float:
        return 1.0


def deviation(process: Process, times: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of noisy latents."""
    signal, noise = levels(process, times)
    mean, spread = signal * MEAN, torch.sqrt((signal * SPREAD) ** 2 + noise**2)
    return mean[:, None, None, None], spread[:, None, None, None]


def exact(process: Process, latents: Tensor, times: Tensor, there: Tensor) -> Tensor:
    """Where the flow itself brings latents: as many deviations from the mean as before."""
    (mean, spread), (end, wide) = deviation(process, times), deviation(process, there)
    return end + (latents - mean) / spread * wide


def normal(process: Process) -> Answer:
    """What a perfect model answers where clean latents are normal numbers."""

    def answer(latents: Tensor, times: Tensor) -> Tensor:
        mean, spread = deviation(process, times)
        signal, noise = (one[:, None, None, None] for one in levels(process, times))
        clean = MEAN + signal * SPREAD**2 * (latents - mean) / spread**2
        return process.target(clean, (latents - signal * clean) / noise, times)

    return answer


def stepper(
    process: Process,
    answer: Answer,
    sampler: Sampler,
    order: int = 2,
    rows: list[int] | None = None,
) -> Stepper:
    def ask(latents: Tensor, times: Tensor) -> Tensor:
        if rows is not None:
            rows.append(len(latents))
        return answer(latents, times)

    return Stepper(process=process, ask=ask, sampler=sampler, order=order)


def latents(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 3, 4, dtype=torch.float64, generator=generator)


def ends(count: int, begin: float = 0.9, end: float = 0.3) -> tuple[Tensor, Tensor]:
    return torch.full((count,), begin).double(), torch.full((count,), end).double()


def error(process: Process, sampler: Sampler, order: int, steps: int) -> float:
    begin, end = ends(3)
    start = latents(3)
    how = stepper(process, normal(process), sampler, order)
    found = rollout.walked(how, start, (begin, end), [steps] * 3)
    return (found - exact(process, start, begin, end)).abs().max().item()


@pytest.mark.parametrize("process", [FLOW, Cosine()], ids=["flow", "epsilon"])
@pytest.mark.parametrize(
    ("sampler", "order", "wanted"),
    [
        ("euler", 2, 1),
        ("dpm++", 1, 1),
        ("dpm++", 2, 2),
        ("unipc", 1, 2),
        ("unipc", 2, 2.8),
        ("rk4", 2, 4),
    ],
)
def test_a_walk_nears_the_flow_as_fast_as_its_method_s_order(
    process: Process, sampler: Sampler, order: int, wanted: float
) -> None:
    coarse, fine = (error(process, sampler, order, steps) for steps in (64, 128))
    lowest = 3 if isinstance(process, Cosine) and sampler == "rk4" else wanted
    assert math.log2(coarse / fine) > lowest - 0.35
    assert fine < 0.01


@pytest.mark.parametrize("sampler", ["dpm++", "unipc"])
def test_more_answers_taken_together_come_nearer(sampler: Sampler) -> None:
    found = [error(FLOW, sampler, order, 64) for order in (1, 2, 3)]
    assert found == sorted(found, reverse=True) and found[0] > 2 * found[2]


def test_a_better_method_is_better_at_as_many_steps() -> None:
    found = [
        error(FLOW, "euler", 1, 16),
        error(FLOW, "dpm++", 2, 16),
        error(FLOW, "unipc", 2, 16),
        error(FLOW, "rk4", 1, 16),
    ]
    assert found == sorted(found, reverse=True) and found[-1] < 1e-4


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("begin", [0.5, 1.0])
def test_a_straight_flow_is_walked_exactly(sampler: Sampler, begin: float) -> None:
    """All clean latents are one point, so that every way to it is straight."""
    clean, noise = latents(2, 1), latents(2, 2)
    start_at, end = ends(2, begin, 0.2)

    def point(noisy: Tensor, times: Tensor) -> Tensor:
        return (noisy - clean) / times[:, None, None, None]

    start = FLOW.noised(clean, noise, start_at)
    found = rollout.walked(stepper(FLOW, point, sampler), start, (start_at, end), [7, 7])
    torch.testing.assert_close(found, FLOW.noised(clean, noise, end))
    led = rollout.corrected(FLOW, clean, found, end)
    torch.testing.assert_close(led, FLOW.target(clean, noise, end))


@pytest.mark.parametrize("process", [FLOW, Cosine()], ids=["flow", "epsilon"])
def test_the_corrected_answer_leads_from_anywhere_to_the_clean_latents(process: Process) -> None:
    clean, astray, times = latents(3, 1), latents(3, 2), torch.tensor([0.2, 0.5, 0.9]).double()
    answer = rollout.corrected(process, clean, astray, times)
    torch.testing.assert_close(process.split(astray, answer, times)[0], clean)
    if process is FLOW:
        torch.testing.assert_close(answer, (astray - clean) / times[:, None, None, None])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_examples_walk_together_and_come_as_far_as_each_by_itself(sampler: Sampler) -> None:
    steps, rows = [9, 4, 4, 1], []
    begin = torch.tensor([0.9, 0.7, 0.6, 0.31]).double()
    end = torch.tensor([0.2, 0.3, 0.55, 0.3]).double()
    start = latents(4)
    how = stepper(FLOW, normal(FLOW), sampler, rows=rows)
    together = rollout.walked(how, start, (begin, end), steps)
    for row, count in enumerate(steps):
        one = slice(row, row + 1)
        alone = rollout.walked(
            stepper(FLOW, normal(FLOW), sampler), start[one], (begin[one], end[one]), [count]
        )
        torch.testing.assert_close(together[one], alone)
    each = 4 if sampler == "rk4" else 1
    assert rows == [count for count in (4, 3, 3, 3, 1, 1, 1, 1, 1) for _ in range(each)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_walk_that_has_no_way_to_go_stays_where_it_is(sampler: Sampler) -> None:
    """At pure noise a source cannot lie any further out, as with the levels of schnell."""
    times = torch.ones(2)
    begin = rollout.source(FLOW, times, torch.tensor([3.0, 2.0]))
    assert begin.tolist() == [1.0, 1.0]
    noise = latents(2).float()
    how = stepper(FLOW, normal(FLOW), sampler)
    found = rollout.walked(how, noise, (begin, times), [3, 2])
    torch.testing.assert_close(found, noise)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("end", [1e-7, 1e-3, 0.5, 0.999, 1 - 1e-6])
def test_a_walk_of_thousandths_is_finite_at_both_ends(sampler: Sampler, end: float) -> None:
    times = torch.full((2,), end)
    begin = rollout.source(FLOW, times, torch.tensor([5.0, 1.0]))
    start = latents(2).float()
    found = rollout.walked(stepper(FLOW, normal(FLOW), sampler), start, (begin, times), [5, 1])
    wanted = exact(FLOW, start.double(), begin.double(), times.double())
    torch.testing.assert_close(found.double(), wanted, rtol=0.02, atol=0.02)


def spec(**settings: object) -> RolloutSpec:
    return RolloutSpec.model_validate({"most": 10, **settings})


def counted(law: RolloutSpec, step: int = 1, examples: int = 4000) -> Counter[int]:
    return Counter(rollout.drawn(law, 7, step, slot) for slot in range(examples))


def mean(counts: Counter[int]) -> float:
    return sum(steps * count for steps, count in counts.items()) / counts.total()


def test_steps_are_drawn_evenly_from_none_to_the_most() -> None:
    counts = counted(spec())
    assert set(counts) == set(range(11))
    assert all(count == pytest.approx(4000 / 11, rel=0.25) for count in counts.values())


def test_early_crowds_at_few_steps_and_late_at_many() -> None:
    early, late = counted(spec(draw="early")), counted(spec(draw="late"))
    assert mean(early) == pytest.approx(10 / 3, rel=0.05)
    assert mean(late) == pytest.approx(20 / 3, rel=0.05)
    assert max(early) == 10 and min(late) == 0


def test_the_share_that_walks_is_the_probability() -> None:
    walked = 4000 - counted(spec(probability=0.25, draw="late", most=900))[0]
    assert walked / 4000 == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"probability": 0.0}, "`probability` is 0, so nothing is ever walked; raise it"),
        ({"ramp": "cosine"}, "`ramp` goes with `ramp_steps`; leave it out"),
        ({"sampler": "rk4", "order": 3}, "`order` is for unipc and dpm"),
        ({"most": 1000}, "less than or equal to 999"),
    ],
)
def test_settings_that_change_nothing_are_refused(settings: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValidationError, match=wanted):
        spec(**settings)


@pytest.mark.parametrize("ramp", ["linear", "cosine"])
def test_a_ramp_begins_at_its_step_and_ends_where_it_should(ramp: str) -> None:
    law = spec(start_step=100, ramp_steps=40, ramp=ramp, start_probability=0.2, probability=0.6)
    assert [rollout.share(law, step) for step in (1, 100)] == [0, 0]
    assert rollout.share(law, 101) == 0.2
    assert rollout.share(law, 121) == pytest.approx(0.4)
    assert [rollout.share(law, step) for step in (141, 5000)] == [0.6, 0.6]
    quarter = rollout.share(law, 111)
    wanted = 0.3 if ramp == "linear" else 0.2 + 0.4 * (1 - math.cos(math.pi / 4)) / 2
    assert quarter == pytest.approx(wanted)


def test_a_ramp_may_fall() -> None:
    law = spec(ramp_steps=10, start_probability=1.0, probability=0.5)
    found = [rollout.share(law, step) for step in range(1, 13)]
    assert found == sorted(found, reverse=True) and (found[0], found[-1]) == (1.0, 0.5)


def test_draws_are_functions_of_seed_step_and_slot() -> None:
    law = spec(most=900)
    first = [rollout.drawn(law, 7, 3, slot) for slot in range(20)]
    assert first == [rollout.drawn(law, 7, 3, slot) for slot in range(20)]
    for other in ((8, 3), (7, 4)):
        assert first != [rollout.drawn(law, *other, slot) for slot in range(20)]


def test_a_source_lies_so_many_thousandths_nearer_to_noise() -> None:
    found = rollout.source(FLOW, torch.tensor([0.5, 0.998]), torch.tensor([20.0, 20.0]))
    assert found.tolist() == [pytest.approx(0.52), 1.0]


def test_places_count_more_where_the_network_went_astray() -> None:
    plain, noisy = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    factors = rollout.astray(ReflexSpec(alpha=0.5, weight=2.0), plain, noisy)
    assert factors.flatten().tolist() == [2.0, 3.0, 2.0, 5.0]
    same = rollout.astray(ReflexSpec(alpha=0.5, weight=2.0), noisy, noisy)
    assert same.flatten().tolist() == [2.0] * 4


def directions(left: Sequence[float], right: Sequence[float], mask: Tensor | None) -> float:
    answers = [torch.tensor(one).reshape(1, 1, 1, -1) for one in (left, right)]
    noisy, times = torch.zeros_like(answers[0]), torch.tensor([0.5])
    found = rollout.turned(FLOW, (answers[0], answers[1]), noisy, times, mask)
    return found.item()


def test_directions_are_compared_whatever_their_lengths() -> None:
    assert directions([1.0, 0.0], [5.0, 0.0], None) == pytest.approx(0)
    assert directions([1.0, 0.0], [0.0, 0.1], None) == pytest.approx(2)
    assert directions([1.0, 0.0], [-9.0, 0.0], None) == pytest.approx(4)
    assert directions([0.0, 0.0], [1.0, 0.0], None) == pytest.approx(1), "finite for no answer"


def test_directions_do_not_look_beyond_a_mask() -> None:
    mask = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert directions([1.0, 7.0], [1.0, -7.0], mask) == pytest.approx(0)
    assert directions([1.0, 7.0], [1.0, -7.0], None) > 1
