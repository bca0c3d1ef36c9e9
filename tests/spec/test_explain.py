"""Every setting is explained from the field itself."""

from __future__ import annotations

import pytest

from scumble.errors import JobError
from scumble.spec.explain import Setting, find, rows
from scumble.spec.schema import PATTERNS, job_shape


def only(path: str) -> Setting:
    (found,) = find(path)
    return found


def test_every_setting_says_what_it_is_for() -> None:
    assert [row.path for row in rows() if not row.help] == []


def test_no_two_settings_share_a_path_unless_they_are_of_different_kinds() -> None:
    paths = [(row.path, row.when) for row in rows()]
    assert len(paths) == len(set(paths))


def test_a_setting_tells_its_type_default_and_limits() -> None:
    keep, steps = only("training.batch_size"), only("training.steps")
    assert (keep.type, keep.limits, keep.default) == ("whole number", "above 0", "1")
    assert steps.default == "required"
    assert only("training.clip_norm").type == "number or null"
    assert only("training.schedule.floor").limits == "from 0 to 1"
    assert only("objective.shift").wanted == "number above 0 or `resolution`"
    assert only("training.optimizer.options").default == "{}"


def test_kinds_of_a_section_are_shown_as_alternatives() -> None:
    assert only("objective.weighting").type == "`none`, `sigma_sqrt` or `cosmap`"
    laws = only("objective.times.law")
    assert laws.type == "`uniform`, `sigmoid`, `table`, `beta`, `cubic` or `listed`"
    assert only("objective.times.law").default == "sigmoid"
    assert only("objective.times.scale").when == "law: table"
    assert {one.when for one in find("objective.times.mean")} == {"law: sigmoid", "law: table"}
    assert only("objective.loss.delta").when == "kind: huber or smooth_l1"


@pytest.mark.parametrize("path", ["data.repeats", "data.0.repeats", "data.cat.repeats"])
def test_a_setting_of_a_list_is_found_by_any_entry(path: str) -> None:
    assert only(path).path == "data.ID.repeats"


def test_the_beginning_of_a_path_finds_all_under_it() -> None:
    found = [row.path for row in find("objective")]
    assert found[0] == "objective"
    assert "objective.times.mean" in found
    assert all(path.startswith("objective") for path in found)


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("steps", "did you mean `training.steps` or `validation.steps`?"),
        ("training.step", "did you mean `steps`?"),
        ("data.0.repeat", "did you mean `repeats`?"),
        ("lr", "did you mean `training.learning_rate`?"),
    ],
)
def test_an_unknown_setting_is_asked_back(asked: str, remedy: str) -> None:
    with pytest.raises(JobError, match="there is no such setting") as caught:
        find(asked)
    assert caught.value.remedy == remedy


def test_every_pattern_is_told_in_words() -> None:
    assert [row.path for row in rows() if "that matches" in row.wanted] == []
    assert len(PATTERNS) >= 1


def test_the_shape_knows_what_is_required() -> None:
    needed = {name for name, place in job_shape().fields.items() if place.required}
    assert {"name", "model", "data", "training"} <= needed
