"""Drift: how far the base model has moved on class prompts, along its own way to a picture."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scumble import families
from scumble.families.family import Entry
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.objective.solvers import walked
from scumble.observers import measurements
from scumble.preflight import class_prompts, measures
from scumble.preflight.plan import Plan, prepared
from scumble.preflight.survey import survey
from scumble.spec.validation import DriftSpec
from scumble.validation import drift
from scumble.validation.drift import Walker, Way
from scumble.validation.walks import Manner, path_of
from tests.toys import job, journal, pictures, trained

CPU = Place(torch.device("cpu"), torch.float32)
TEXT: Entry = {"text": torch.zeros(2)}
SMALL: dict[str, Any] = {"training__batch_size": 1, "training__units_per_step": 1}


class Scaled(nn.Module):
    """Answers with what it is asked, so many times, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.times, self.more = 1.0, 0.0
        self.asked: list[Tensor] = []

    def forward(self, noisy: Tensor) -> Tensor:
        self.asked.append(noisy.clone())
        return self.times * noisy + self.more


def scene(steps: int = 4) -> tuple[Scaled, Walker]:
    module = Scaled()
    family = replace(
        families.find("flux", "dev"),
        tell=lambda told, scene, knobs: told,
        predict=lambda net, noisy, times, told: net.module(noisy),
    )
    manner = Manner(steps=steps, guidance=1.0)
    return module, Walker(family=family, net=Net(module, plain), place=CPU, manner=manner)


def ways(walker: Walker, spec: DriftSpec, *prompts: str, together: int = 8) -> list[Way]:
    texts = [(prompt, TEXT) for prompt in prompts]
    begun = drift.starts(texts, spec, walker.family, 32, together)
    return [drift.way(walker, prompt, start, start.words) for prompt, start in begun]


def shares(walker: Walker, found: list[Way]) -> tuple[float, dict[str, float]]:
    whole, each = drift.shares(
        (one.prompt, drift.moved(walker, one, one.start.words)) for one in found
    )
    return whole, dict(each)


def test_answers_that_are_half_as_long_again_have_drifted_by_a_half() -> None:
    module, walker = scene()
    found = ways(walker, DriftSpec(), "a cat", "a dog")
    assert shares(walker, found) == (0.0, {"a cat": 0.0, "a dog": 0.0})
    module.times = 1.5
    whole, each = shares(walker, found)
    assert whole == pytest.approx(0.5, rel=1e-5)
    assert each == pytest.approx({"a cat": 0.5, "a dog": 0.5}, rel=1e-5)


def test_it_is_a_root_of_all_squares_and_no_mean_of_ratios() -> None:
    module, walker = scene()
    found = ways(walker, DriftSpec(noises=2), "a cat", "a dog")
    base = [float(point.answer.square().sum()) for one in found for point in one.points]
    numbers = sum(point.answer.numel() for one in found for point in one.points)
    module.more = 3.0
    whole, _ = shares(walker, found)
    assert whole == pytest.approx(math.sqrt(9.0 * numbers / math.fsum(base)), rel=1e-5)


def test_both_are_asked_at_the_points_of_the_base_model_s_own_way() -> None:
    module, walker = scene(steps=3)
    (one,) = ways(walker, DriftSpec(noises=1), "a cat")
    path = path_of(walker.family, one.start, 3)
    by_hand: list[Tensor] = []

    def base(noisy: Tensor, times: Tensor) -> Tensor:
        by_hand.append(noisy)
        return noisy

    walked(walker.family.process, base, one.start.noise, path)
    times = [float(point.times[0]) for point in one.points]
    assert times == pytest.approx(path[:-1].tolist()) and times[0] == 1.0
    module.asked.clear()
    module.times = -7.0  # wherever the adapted network would have gone
    shares(walker, [one])
    assert len(module.asked) == len(by_hand) == 3
    assert all(map(torch.equal, module.asked, by_hand))


def test_the_noise_is_that_of_the_prompt_and_its_number_in_any_batch() -> None:
    _, walker = scene()
    spec = DriftSpec(noises=3)
    together, apart = ways(walker, spec, "a cat"), ways(walker, spec, "a dog", "a cat", together=2)
    assert [len(one.start.noise) for one in together] == [3]
    assert [len(one.start.noise) for one in apart] == [2, 1, 2, 1]
    joined = torch.cat([one.start.noise for one in apart if one.prompt == "a cat"])
    assert torch.equal(joined, together[0].start.noise)
    assert not torch.equal(apart[0].start.noise, apart[2].start.noise)
    assert not torch.equal(joined[0], joined[1])


def sets(root: Path) -> list[dict[str, Any]]:
    if not (root / "square").exists():
        pictures(root / "square", [(64, 64)] * 2)
        pictures(root / "class", [(64, 64)] * 5, seed=3)
        (root / "class/p03.txt").write_text("picture 0 of class\n")
    prior = {"id": "class", "folder": "class", "resolution": 32, "prior_preservation": True}
    return [{"id": "square", "folder": "square", "resolution": 32}, prior]


def planned(root: Path, **changes: Any) -> Plan:
    return prepared(job(root, **{"data": sets(root), **changes}), root)


def asked(plan: Plan) -> tuple[str, ...]:
    return class_prompts.prompts(plan.job, plan.family, plan.parted)


def test_captions_of_class_pictures_are_asked_about_where_the_job_names_none(
    tmp_path: Path,
) -> None:
    whole = tuple(f"picture {number} of class" for number in (0, 1, 2, 4))
    assert asked(planned(tmp_path)) == whole
    few = planned(tmp_path, validation__drift={"limit": 2})
    assert asked(few) == whole[:2]
    own = planned(tmp_path, validation__drift={"prompts": ["a cat", "a cat", "a dog"], "limit": 1})
    assert asked(own) == ("a cat", "a dog")
    assert {("a cat", ()), ("a dog", ())} <= set(own.texts())
    none = planned(tmp_path, data=sets(tmp_path)[:1])
    assert asked(none) == () and measures.drift_every(none) is None
    assert measures.drift_sentence(none) is None


@pytest.mark.parametrize(
    ("changes", "every"),
    [
        ({"validation__drift": {"every": 3}, "validation__every": 5}, 3),
        ({"validation__drift": {"every": 0}}, 0),
        ({"saving__every": 4}, 4),
        ({"validation": {"every": 6, "prompts": ["a cat"]}}, 6),
        ({"validation": {"every": 6, "prompts": ["a cat"], "held_out": {"every": 2}}}, 2),
    ],
)
def test_it_keeps_the_rhythm_of_the_held_out_loss_or_of_previews(
    tmp_path: Path, changes: dict[str, Any], every: int
) -> None:
    held = sets(tmp_path)
    if "held_out" in changes.get("validation", {}):
        held[0]["held_out"] = 0.5
    assert measures.drift_every(planned(tmp_path, data=held, **changes)) == every


def test_the_square_is_about_as_large_as_the_first_picture(tmp_path: Path) -> None:
    pictures(tmp_path / "wide", [(96, 32)] * 2)
    wide = [{"id": "wide", "folder": "wide", "resolution": 64}]
    plan = planned(tmp_path, data=wide)
    side = class_prompts.side(plan.job, plan.family, plan.parted)
    assert side % plan.family.pixels_per_step == 0 and 48 <= side <= 64
    own = planned(tmp_path, data=wide, validation__drift={"side": 96})
    assert class_prompts.side(own.job, own.family, own.parted) == 96


def test_sides_that_do_not_fit_and_families_that_need_references_are_told(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        planned(tmp_path, validation__drift={"side": 40})
    assert "validation.drift.side: 40 does not fit" in str(caught.value.exceptions[0])
    family = families.find("qwen-image", "edit-v1")
    named = job(tmp_path, data=sets(tmp_path), validation__drift={"prompts": ["a cat"]})
    (problem,) = drift.check(named.validation.drift, family)
    assert "is shown a reference for every picture, and a prompt by itself has none" in str(problem)
    assert class_prompts.prompts(named, family, ()) == ()
    (words,) = class_prompts.remarks(named, family)
    assert "is not measured: qwen-image edit-v1 is shown a reference" in words
    assert class_prompts.remarks(named, families.find("flux", "dev")) == ()


def test_check_tells_what_it_costs(tmp_path: Path) -> None:
    settings = {"data": sets(tmp_path), "validation__drift": {"every": 2, "noises": 3}}
    settings["validation__held_out"] = {"times": [0.5]}
    plain = survey(job(tmp_path, **settings), tmp_path)
    assert plain.average is None
    averaged = survey(job(tmp_path, **settings, training__ema={}), tmp_path)
    assert averaged.average == "114.7 kB on the CPU"
    assert averaged.drift and averaged.drift.endswith("(240 together)")
    assert averaged.run_bytes > plain.run_bytes
    assert plain.drift == (
        "the base model's is measured on 4 class prompts, with 48 forward passes each time"
        " (144 together)"
    )


def test_a_run_tells_it_on_the_way_and_at_the_end_and_not_twice(tmp_path: Path) -> None:
    settings = {"data": sets(tmp_path), "validation__drift": {"every": 2, "limit": 2}, **SMALL}
    settings |= {"training__learning_rate": 3e-2, "cache__mode": "on_demand"}
    trained(tmp_path, **settings, training__steps=3)
    trained(tmp_path, **settings, training__steps=3)
    found = journal(tmp_path, "Drifted")
    assert [one["step"] for one in found] == [2, 3]
    assert list(found[0]["prompts"]) == ["picture 0 of class", "picture 1 of class"]
    assert 0 < found[1]["drift"] < 5 and found[1]["ema"] is None
    read = measurements.read_drifts(tmp_path / "out/toy")
    assert [one.drift for one in read] == [one["drift"] for one in found]


def test_a_rate_of_next_to_nothing_leaves_the_base_where_it_is(tmp_path: Path) -> None:
    settings = {"data": sets(tmp_path)[:1], "validation__drift": {"prompts": ["a cat"]}, **SMALL}
    trained(tmp_path, **settings, training__steps=1, training__learning_rate=1e-9)
    (told,) = journal(tmp_path, "Drifted")
    assert told["drift"] < 1e-5


def test_what_encoders_have_learnt_counts(tmp_path: Path) -> None:
    settings = {"data": sets(tmp_path)[:1], "validation__drift": {"prompts": ["a cat"]}, **SMALL}
    settings |= {"adapter__parts": ["t5"], "training__learning_rate": 3e-2}
    trained(tmp_path, **settings, training__steps=2)
    (told,) = journal(tmp_path, "Drifted")
    assert told["drift"] > 1e-4
