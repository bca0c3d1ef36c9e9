"""What of the objective cannot be, said before anything is loaded; and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scumble import dice
from scumble.errors import leaves
from scumble.objective import rollout
from scumble.preflight import extra_passes, forecast, objective_fit, pace
from scumble.preflight.plan import prepared
from scumble.spec.job import JobSpec
from scumble.spec.rollout import RolloutSpec
from tests.toys import job


def sets(**settings: Any) -> list[dict[str, Any]]:
    return [
        {"id": "square", "folder": "square", "resolution": 32, **settings},
        {"id": "wide", "folder": "wide", "resolution": 32},
    ]


def problems(wanted: JobSpec) -> list[str]:
    try:
        objective_fit.checked(wanted)
    except ExceptionGroup as group:
        return [str(one) for one in leaves(group)]
    return []


PRIOR = {"prior_preservation": True}
CASES: list[tuple[dict[str, Any], str]] = [
    (
        {"data": sets(time_offset=0.5), "objective": {"times": {"law": "uniform"}}},
        "data.square.time_offset: it moves the law `sigmoid` alone, and `objective.times.law` is "
        "uniform; leave it out, or set `objective.times.law: sigmoid`",
    ),
    (
        {"data": sets(**PRIOR)[:1]},
        "data.square.prior_preservation: every set has it, so that nothing but the base model is "
        "learnt; leave it out for the pictures that are to be learnt",
    ),
    (
        {"data": [*sets(**PRIOR)[:1], sets()[1] | {"held_out": 1.0}]},
        "data.square.prior_preservation: every set has it",
    ),
    (
        {"data": sets(**PRIOR), "adapter": {"kind": "full"}},
        "data.square.prior_preservation: the base model is asked at every step, and "
        "`adapter.kind: full` would have to fetch all of its weights and put them back each time; "
        "train an adapter, or set `regularisation: true`",
    ),
    (
        {"objective": {"rollout": {"most": 3}, "prediction": "additive"}},
        "objective.rollout: a walk follows the network's answers as velocities; leave "
        "`objective.prediction` at raw, or leave `rollout` out",
    ),
    (
        {"objective": {"rollout": {"most": 3, "start_step": 4}}},
        "objective.rollout.start_step: the run has 4 steps, so that nothing is ever walked; lower "
        "it, or leave `rollout` out",
    ),
]


@pytest.mark.parametrize(("changes", "wanted"), CASES)
def test_what_does_not_fit_is_said_with_its_way_out(
    tmp_path: Path, changes: dict[str, Any], wanted: str
) -> None:
    (found,) = problems(job(tmp_path, **changes))
    assert found.startswith(wanted)


def test_what_fits_is_let_through(tmp_path: Path) -> None:
    assert problems(job(tmp_path, data=sets(**PRIOR, time_offset=0.5))) == []
    assert problems(job(tmp_path, objective={"rollout": {"most": 3, "start_step": 3}})) == []
    assert objective_fit.remarks(job(tmp_path)) == ()


def test_all_of_it_is_said_at_once_and_guidance_is_refused_where_none_is_taken(
    tmp_path: Path,
) -> None:
    schnell = {"flavour": "schnell", "path": "builtin:tiny-flux-schnell", "family": "flux"}
    wrong = {"rollout": {"most": 3}, "prediction": "additive", "times": {"law": "uniform"}}
    wanted = job(
        tmp_path,
        model={**schnell, "guidance": {"low": 1, "high": 4}},
        data=sets(time_offset=0.5),
        objective=wrong,
    )
    with pytest.raises(ExceptionGroup) as caught:
        prepared(wanted, tmp_path)
    found = sorted(str(one).split(";")[0] for one in leaves(caught.value))
    assert found == [
        "data.square.time_offset: it moves the law `sigmoid` alone, and `objective.times.law` is "
        "uniform",
        "model.guidance: flux schnell takes no guidance",
        "objective.rollout: a walk follows the network's answers as velocities",
    ]


@pytest.mark.parametrize("draw", ["uniform", "early", "late"])
@pytest.mark.parametrize("examples", [1, 4])
def test_the_cost_of_walks_is_that_of_the_draws(draw: str, examples: int) -> None:
    law = RolloutSpec.model_validate({"most": 7, "draw": draw, "probability": 0.6})
    drawn = [
        max(rollout.drawn(law, 3, 1, examples * batch + slot) for slot in range(examples))
        for batch in range(3000)
    ]
    told = objective_fit.walks(law, 100, examples)
    assert told == pytest.approx(sum(drawn) / len(drawn), rel=0.06)
    assert dice.uniform("another", 1) < 1


def test_a_run_that_walks_is_told_how_often_it_asks(tmp_path: Path) -> None:
    law = {"most": 4, "draw": "late", "sampler": "rk4", "start_step": 2}
    (said,) = objective_fit.remarks(job(tmp_path, objective={"rollout": law}))
    assert said.startswith("`objective.rollout` asks the network about ")
    assert said.endswith("without gradients (rk4, up to 4 steps for an example).")
    assert (
        objective_fit.about(1.04) == "about once" and objective_fit.about(23.6) == "about 24 times"
    )


def test_a_step_that_asks_more_often_is_forecast_to_take_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "speed", lambda place: 1e11)
    plain = prepared(job(tmp_path), tmp_path)
    walks = prepared(job(tmp_path, objective={"rollout": {"most": 8}}), tmp_path)
    prior = prepared(job(tmp_path, data=sets(**PRIOR)), tmp_path)
    assert extra_passes.forwards(plain) == 0
    assert extra_passes.forwards(walks) == pytest.approx(4)
    assert extra_passes.forwards(prior) == pytest.approx(5 / 8)
    seconds = [forecast.expected(one).seconds for one in (plain, walks)]
    assert seconds[1] > 2 * seconds[0]
    named = {pace.file_of(pace.work(one, 100.0)) for one in (plain, walks, prior)}
    assert len(named) == 3, "their pace is remembered apart"
    assert any("asks the network" in one for one in walks.remarks)
