"""The held-out loss: the same each time it is asked for, and without a trace in the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import torch

from scumble.assembly import assembled, source
from scumble.caching import encoded, measured
from scumble.data.batch import Batch
from scumble.data.held_out import units
from scumble.data.serving import measured as batches_of
from scumble.events import Measured
from scumble.measuring import Measuring
from scumble.observers import measurements
from scumble.preflight import measures
from scumble.preflight.plan import Plan, prepared
from scumble.spec.validation import HeldOutSpec
from scumble.trainer.feeder import Feeder
from scumble.trainer.loop import Dates, Parts, train
from scumble.trainer.signals import Signals
from scumble.trainer.step import losses_at
from scumble.validation import held_out
from scumble.validation.held_out import Course, band_of, compared, quantile
from tests.toys import checkpoint, job, journal, pictures, trained

FEW = {"times": [0.2, 0.7]}


def sets(root: Path, **changes: Any) -> list[dict[str, Any]]:
    if not (root / "square").exists():
        pictures(root / "square", [(64, 64), (96, 64)] * 4)
    return [{"id": "square", "folder": "square", "resolution": 32, "held_out": 0.5, **changes}]


def settings(root: Path, **changes: Any) -> dict[str, Any]:
    told = {"data": sets(root), "validation__held_out": FEW, "training__units_per_step": 1}
    return {"adapter__kind": "lora", **told, **changes}


@contextmanager
def running(root: Path, **changes: Any) -> Iterator[tuple[Plan, Parts, Measuring]]:
    """A run that has taken two steps, and what measures it."""
    plan = prepared(job(root, **settings(root, **changes)), root)
    with encoded(plan, lambda event: None) as library:
        feeder = Feeder(source(plan, library), first=1, last=2)
        parts = assembled(plan, [], feeder, Signals())
        parts = replace(parts, save=lambda step: pytest.fail("nothing is saved here"))
        steps = plan.job.training.model_copy(update={"steps": 3})
        with feeder:
            taken = train(parts, steps, Dates(previews=0, saves=0))
            for _ in range(2):
                next(taken)
            yield plan, parts, Measuring(plan, library, parts)


def measure(measuring: Measuring, step: int = 2) -> Measured:
    (told,) = measuring(step)
    assert isinstance(told, Measured)
    return told


def fingerprint(parts: Parts) -> str:
    """Of everything that goes on living: weights, optimizer, global generators."""
    tensors = [one.detach() for one in parts.method.net.module.parameters()]
    tensors += list(parts.adapters.parameters().values())
    for entries in parts.optimizer.state.values():
        tensors += [value for value in entries.values() if torch.is_tensor(value)]
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        for group in parts.optimizer.param_groups
    ]
    digest = blake2b(repr(groups).encode())
    for tensor in (*tensors, torch.get_rng_state()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"hardware__gradient_checkpointing": True, "adapter__dropout": 0.5},
        {"training__optimizer": {"name": "adamw-schedulefree"}, "training__units_per_step": 2},
    ],
)
def test_measuring_repeats_itself_and_leaves_no_trace(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with running(tmp_path, **changes) as (_, parts, measuring):
        before = fingerprint(parts)
        first, again = (measure(measuring) for _ in range(2))
        assert fingerprint(parts) == before
        assert first.examples.keys() == again.examples.keys() and len(first.examples) == 4
        for id, loss in first.examples.items():
            assert math.isclose(loss, again.examples[id], rel_tol=1e-6)


def test_what_is_measured_is_the_bare_loss_in_any_batch_size(tmp_path: Path) -> None:
    changes = {"data": sets(tmp_path, loss_weight=7.0), "objective__loss": {"kind": "l1"}}
    with running(tmp_path, **changes) as (plan, parts, measuring):
        told = measure(measuring)
        times = torch.tensor([0.7])
        with encoded(plan, lambda event: None) as library, torch.no_grad():
            single = replace(library.held["square"], batch=1)
            for unit in units(single):
                (batch,) = batches_of(library, unit)
                noise = held_out.noise_for(42, batch, 0)
                loss = losses_at(parts.method, batch, noise, times)
                other = losses_at(parts.method, batch, noise, torch.tensor([0.2]))
                mean = float((loss + other) / 2)
                assert math.isclose(told.examples[batch.ids[0]], mean, rel_tol=1e-5)
        (_, at_02), (_, at_07) = told.by_time
        assert math.isclose(told.mean, (at_02.mean + at_07.mean) / 2, rel_tol=1e-9)
        assert told.sets["square"].mean == told.mean and at_07.pictures == 4


def test_without_a_cache_the_same_is_measured(tmp_path: Path) -> None:
    found = []
    for mode in ("ahead", "on_demand"):
        with running(tmp_path, cache__mode=mode) as (_, _, measuring):
            found.append(measure(measuring))
    assert found[0].examples.keys() == found[1].examples.keys()
    assert math.isclose(found[0].mean, found[1].mean, rel_tol=1e-3)


def test_more_noises_are_averaged(tmp_path: Path) -> None:
    with running(tmp_path, validation__held_out={"times": [0.5], "noises": 3}) as (plan, _, _):
        with encoded(plan, lambda event: None) as library:
            batches = list(measured(plan, library))
        wanted, device = plan.job.validation.held_out, torch.device("cpu")

        def said(batch: Batch, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
            """Something that tells the noises apart."""
            return noise.flatten(1)[:, 0]

        found = held_out.losses(batches, said, wanted, device)
        for batch in batches:
            noises = [held_out.noise_for(wanted.seed, batch, k)[0].flatten()[0] for k in range(3)]
            expected = float(torch.stack(noises).mean())
            assert math.isclose(found[batch.ids[0]][0], expected, rel_tol=1e-5, abs_tol=1e-7)


def test_a_run_tells_its_course_and_goes_on_with_it(tmp_path: Path) -> None:
    often = {**FEW, "every": 2}
    changes = settings(tmp_path, validation__held_out=often, saving__every=2)
    trained(tmp_path, **changes, training__steps=3)
    assert [one["step"] for one in journal(tmp_path, "Measured")] == [0, 2, 3]
    trained(tmp_path, **changes, training__steps=5)
    course = measurements.read(tmp_path / "out" / "toy")
    assert [one.step for one in course] == [0, 2, 3, 4, 5], "nothing is measured twice"
    assert len(journal(tmp_path, "Measured")) == 5
    assert course[0].first is None and {one.first.step for one in course[1:] if one.first} == {0}
    assert course[-1].first and course[-1].first.mean == course[0].mean
    change = course[-1].mean / course[0].mean - 1
    assert math.isclose(course[-1].first.change, change, rel_tol=1e-9)
    page = (tmp_path / "out" / "toy" / "report.html").read_text()
    assert "Held-out loss" in page and 'class="band"' in page and "<th>Noise level</th>" in page
    trained(tmp_path, **{**changes, "validation__held_out": {"times": [0.5]}}, training__steps=6)
    course = measurements.read(tmp_path / "out" / "toy")
    assert [one.step for one in course if one.first is None] == [0, 5], "others are not compared"
    assert course[-1].first and course[-1].first.step == 5


def test_measuring_changes_no_step(tmp_path: Path) -> None:
    for name, every in (("measured", 1), ("not", 0)):
        often = {**FEW, "every": every}
        trained(tmp_path, **settings(tmp_path, validation__held_out=often), name=name)
    one, other = (checkpoint(tmp_path, 4, name) for name in ("measured", "not"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert len(journal(tmp_path, "Measured", "measured")) == 5
    assert journal(tmp_path, "Measured", "not") == []


@pytest.mark.parametrize(
    ("held", "previews", "saves", "steps"),
    [
        ({}, 0, 4, [4, 8, 10]),
        ({}, 0, 0, [10]),
        ({"every": 3}, 5, 0, [3, 6, 9, 10]),
        ({}, 5, 2, [5, 10]),
        ({"every": 0}, 5, 2, []),
    ],
)
def test_it_is_measured_when_the_job_says_so(
    tmp_path: Path, held: dict[str, int], previews: int, saves: int, steps: list[int]
) -> None:
    changes = {"prompts": ["a cat"] if previews else [], "every": previews, "held_out": held}
    changes |= {"width": 32, "height": 32}
    wanted = settings(tmp_path) | {"validation": changes, "saving__every": saves}
    del wanted["validation__held_out"]
    plan = prepared(job(tmp_path, **wanted), tmp_path)
    dates = Dates(previews=0, saves=0, measures=measures.every(plan))
    assert [step for step in range(1, 11) if dates.measure(step, 10)] == steps


def one(step: int, *losses: float, earlier: list[Measured]) -> Measured:
    """A measurement at one level, of a picture for each loss."""
    found = {f"cats/{number}.png": (loss,) for number, loss in enumerate(losses)}
    return held_out.measured(step, found, HeldOutSpec(times=(0.5,)), "same", earlier)


def course_of(*rows: tuple[float, ...]) -> tuple[list[Measured], list[int | None]]:
    course, told = Course([]), []
    for step, row in enumerate(rows):
        told.append(course.add(one(100 * step, *row, earlier=course.taken)))
    return course.taken, told


def test_a_rise_is_told_once_with_the_step_of_the_lowest_loss() -> None:
    falls = [(1.0, 2.0, 3.0), (0.8, 1.6, 2.4), (0.7, 1.4, 2.1)]
    rises = [(0.75, 1.5, 2.25), (0.8, 1.61, 2.4), (0.9, 1.8, 2.71)]
    taken, told = course_of(*falls, *rises)
    assert told == [None, None, None, None, 200, None]
    assert taken[4].lowest and taken[4].lowest.step == 200
    again = Course(list(taken))
    assert again.add(one(600, 1.0, 2.0, 3.0, earlier=taken)) is None, "a resumed run has told it"


def test_a_loss_that_wavers_is_no_rise() -> None:
    once = course_of((1.0, 2.0), (0.7, 1.4), (0.8, 1.6), (0.69, 1.39), (0.75, 1.49))[1]
    little = course_of((1.0, 2.0), (0.7, 1.4), (0.703, 1.406), (0.705, 1.41))[1]
    chance = course_of((1.0, 2.0), (0.7, 1.4), (0.9, 1.3), (1.0, 1.2))[1]
    assert {*once, *little, *chance} == {None}


def test_the_interval_of_a_change_is_that_of_pairs() -> None:
    """Losses a hundred times apart that all fall by about a tenth: certain, though the two means'
    own intervals overlap."""
    then = [0.1, 1.0, 10.0, 3.0]
    now = [0.0905, 0.9, 8.98, 2.71]
    first = one(0, *then, earlier=[])
    second = one(10, *now, earlier=[first])
    assert first.low is not None and second.high is not None and first.low < second.high
    change = compared(first, second.examples)
    assert change.low is not None and change.high is not None
    assert -0.11 < change.low < change.change < change.high < -0.09
    single = one(10, 0.5, earlier=[one(0, 1.0, earlier=[])])
    assert single.first and (single.first.change, single.first.low) == (-0.5, None)
    assert single.low is None


def test_intervals_are_those_of_students_t() -> None:
    """Exact values from published tables of the distribution."""
    exact = {1: 12.706, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    for freedom, value in exact.items():
        assert math.isclose(quantile(freedom), value, rel_tol=2e-3)
    band = band_of([1.0, 2.0, 3.0])
    assert band.high is not None and math.isclose(band.high, 2 + 4.303 / math.sqrt(3), rel_tol=1e-6)
    assert band.low == 0.0, "no loss is below zero"


def test_a_loss_that_is_no_number_is_never_the_lowest() -> None:
    taken, _ = course_of((1.0, 2.0), (math.nan, 1.0), (0.9, 1.8))
    assert taken[2].lowest and taken[2].lowest.step == 0
