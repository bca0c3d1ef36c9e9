"""Pictures that are held out: few, always the same, never trained on, shown in one way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from scumble.caching import encoded, measured
from scumble.cli.app import app
from scumble.data import asked, held_out
from scumble.data.batch import Batch
from scumble.data.looks import looks
from scumble.data.manifest import samples
from scumble.data.picture_set import PictureSet
from scumble.errors import JobError
from scumble.events import Event, Warned
from scumble.preflight import measures, mixture
from scumble.preflight.plan import Plan, prepared
from scumble.preflight.survey import survey
from scumble.spec.dataset import DatasetSpec
from tests.toys import job, pictures

MODEL = {"family": "flux", "flavour": "dev", "path": "builtin:tiny-flux"}


def planned(root: Path, *data: dict[str, Any], **changes: Any) -> Plan:
    sets = [{"resolution": 32, "folder": one["id"], **one} for one in data]
    return prepared(job(root, data=sets, adapter__kind="lora", **changes), root)


def seen(plan: Plan, steps: int = 12) -> set[str]:
    """Everything that so many steps train on."""
    sets = {one.spec.id: one for one in plan.sets}
    units = [unit for step in range(1, steps + 1) for unit in plan.order.step(step)]
    return {
        f"{unit.dataset}/{sets[unit.dataset].examples[row.member].id}"
        for unit in units
        for row in unit.rows
    }


def measured_of(plan: Plan) -> tuple[PictureSet, ...]:
    return held_out.measured(plan.parted)


def kept(plan: Plan) -> set[str]:
    """Everything that is measured."""
    return {f"{one.spec.id}/{example.id}" for one in measured_of(plan) for example in one.examples}


def batches(plan: Plan) -> list[Batch]:
    with encoded(plan, lambda event: None) as library:
        return list(measured(plan, library))


@pytest.mark.parametrize(
    ("pictures", "share", "held"),
    [(10, 0.0, 0), (10, 0.01, 1), (10, 0.26, 3), (2, 0.9, 1), (1, 0.5, 0), (1, 1.0, 1), (9, 1, 9)],
)
def test_one_at_least_is_held_out_and_one_at_least_is_not(
    pictures: int, share: float, held: int
) -> None:
    assert held_out.count(pictures, float(share)) == held


def test_what_is_measured_is_never_trained_on_and_is_the_same_at_every_start(
    tmp_path: Path,
) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 10)
    plans = [planned(tmp_path, {"id": "cats", "held_out": 0.3}) for _ in range(2)]
    assert kept(plans[0]) == kept(plans[1]) and len(kept(plans[0])) == 3
    assert len(seen(plans[0])) == 7 and not seen(plans[0]) & kept(plans[0])
    other = planned(tmp_path, {"id": "cats", "held_out": 0.3, "held_out_seed": 1})
    assert kept(other) != kept(plans[0])


def test_new_pictures_move_few_of_those_that_are_held_out() -> None:
    spec = DatasetSpec(id="cats", folder="cats", held_out=0.1)
    ids = [f"p{number}.png" for number in range(300)]
    before = held_out.drawn(spec, ids, 7)
    after = held_out.drawn(spec, [*ids, *(f"new{number}.png" for number in range(10))], 7)
    assert len(before) == 30 and len(after) == 31
    assert len(before & after) >= 26, "each new one pushes at most one out"


def test_one_folder_at_two_sizes_holds_out_the_same_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 10)
    both = [{"id": name, "folder": "cats", "held_out": 0.2} for name in ("small", "large")]
    plan = planned(tmp_path, both[0], both[1] | {"resolution": 48})
    names = Counter(name.split("/")[1] for name in kept(plan))
    assert len(names) == 2 and set(names.values()) == {2}
    assert not {name.split("/")[1] for name in seen(plan)} & names.keys()
    assert not plan.notes


def test_a_folder_that_lies_in_one_that_is_trained_on_is_taken_out_there(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 4)
    pictures(tmp_path / "cats" / "check", [(64, 64)] * 2)
    plan = planned(
        tmp_path, {"id": "cats"}, {"id": "check", "folder": "cats/check", "held_out": 1.0}
    )
    assert seen(plan) == {f"cats/p{number:02d}.png" for number in range(4)}
    assert kept(plan) == {"check/p00.png", "check/p01.png"}
    notes = " ".join(text for name, text in plan.notes if name == "cats")
    assert "2 pictures are held out by another set and not trained on here" in notes
    assert [measures.funnel(plan, n)["not held out"] for n in (0, 1)] == [4, 0]


def test_a_set_for_measuring_alone_has_no_batches_and_counts_for_nothing(tmp_path: Path) -> None:
    for name in ("cats", "dogs", "check"):
        pictures(tmp_path / name, [(64, 64)] * 4, seed=len(name))
    mixed = [{"id": "cats", "share": 3}, {"id": "dogs", "share": 1}]
    plan = planned(tmp_path, {"id": "check", "held_out": 1.0, "repeats": 3}, *mixed)
    assert {name.split("/")[0] for name in seen(plan, 40)} == {"cats", "dogs"}
    epochs = mixture.epochs(plan.sets, plan.order, 400)
    assert epochs["check"] == 0 and epochs["cats"] > epochs["dogs"]
    assert plan.examples_per_epoch == 8 and len(kept(plan)) == 4
    assert ("check", "is only measured: `repeats` changes nothing") in plan.notes
    balanced = planned(
        tmp_path,
        {"id": "check", "held_out": 1.0},
        {"id": "cats", "regularisation": True},
        {"id": "dogs", "repeats": 2},
    )
    assert balanced.examples_per_epoch == 16, "as many of the class as of the others"


def test_a_job_with_nothing_left_to_train_on_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 4)
    with pytest.raises(ValidationError, match="every set is held out"):
        planned(tmp_path, {"id": "cats", "held_out": 1.0})
    pictures(tmp_path / "class", [(64, 64)] * 2)
    check = {"id": "check", "folder": "cats", "held_out": 1.0}
    for other in ([], [{"id": "class", "regularisation": True}]):
        with pytest.raises(JobError, match="none is left to train on"):
            planned(tmp_path, {"id": "cats"}, check, *other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regularisation": True, "held_out": 0.5}, "leave `held_out` out"),
        ({"share": 2.0, "held_out": 1.0}, "leave `share` out"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DatasetSpec(id="cats", folder="cats", **changes)


def test_a_single_picture_is_trained_on_and_that_is_said(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)])
    plan = planned(tmp_path, {"id": "cats", "held_out": 0.5})
    assert seen(plan) == {"cats/p00.png"} and not measured_of(plan)
    assert "`held_out` takes none away" in plan.notes[0][1]


def test_measured_pictures_are_shown_in_one_way(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(96, 64)] * 6)
    for file in (tmp_path / "cats").glob("*.txt"):
        file.write_text("a cat ||| red, big, old\nsomething else")
    edits = {
        "lines": "choose",
        "prefix": "photo,",
        "shuffle": True,
        "keep_tokens_separator": "|||",
        "tag_dropout": 0.5,
        "dropout_every_epochs": 2,
    }
    data = {
        "id": "cats",
        "held_out": 0.5,
        "flip": True,
        "colour": True,
        "variants": 4,
        "caption_dropout": 0.9,
        "caption_edits": edits,
        "sizing": {"kind": "shapes", "crop": "random", "aspects": ["1:1"]},
    }
    plan = planned(tmp_path, data, training__batch_size=4)
    one = measured_of(plan)[0]
    views = [looks(one, member, 0).target.view for member in range(3)]
    assert not any(view.flipped or view.colours for view in views)
    found = batches(plan)
    assert [batch.captions for batch in found] == [("photo, a cat, red, big, old",) * 3]
    again = planned(tmp_path, data | {"held_out_seed": 7}, training__seed=99)
    assert measured_of(again)[0].frames == one.frames, (
        "the crop follows the seed of what is held out"
    )


def test_pictures_of_one_size_are_measured_together_in_the_order_of_their_ids(
    tmp_path: Path,
) -> None:
    pictures(tmp_path / "cats", [(64, 64), (96, 64)] * 5)
    found = batches(planned(tmp_path, {"id": "cats", "held_out": 0.8}, training__batch_size=3))
    sizes = [tuple(batch.latents.shape[2:]) for batch in found]
    assert sizes == sorted(sizes) and len(set(sizes)) == 2
    for size in set(sizes):
        ids = [id for batch in found for id in batch.ids if tuple(batch.latents.shape[2:]) == size]
        assert ids == sorted(ids)
    assert sorted(id for batch in found for id in batch.ids) == sorted(kept(plan_of(tmp_path)))


def plan_of(root: Path) -> Plan:
    return planned(root, {"id": "cats", "held_out": 0.8}, training__batch_size=3)


def test_masks_and_references_go_along(tmp_path: Path) -> None:
    pictures(tmp_path / "after", [(64, 64)] * 4)
    pictures(tmp_path / "before", [(64, 64)] * 4, seed=3)
    pictures(tmp_path / "masks", [(64, 64)] * 4, seed=4)
    for text in (tmp_path / "masks").glob("*.txt"):
        text.unlink()
    kontext = {"flavour": "kontext", "path": "builtin:tiny-flux-kontext", "family": "flux"}
    data = {
        "id": "after",
        "held_out": 0.5,
        "references": [{"folder": "before"}],
        "mask": {"folder": "masks"},
        "loss_weight": 3.0,
    }
    plan = planned(tmp_path, data, model={**kontext, "text_tokens": 16})
    (batch,) = batches(plan)
    assert len(batch.ids) == 2 and len(batch.references) == 1 and batch.masks is not None


def test_they_are_encoded_ahead_and_kept_and_marked(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 6)
    plan = planned(tmp_path, {"id": "cats", "held_out": 0.34, "variants": "fresh", "flip": True})
    assert survey(plan.job, tmp_path).missing_entries == 6 + 2, "texts, and what is measured"
    with encoded(plan, lambda event: None) as library:
        assert {one.id for one in asked.pictures(library)["cats"]} == kept(plan)
        marked = {row["picture"] for row in samples(library) if row["held_out"]}
        assert len(list(samples(library))) == 6
        assert {f"cats/{name}" for name in marked} == kept(plan)
    assert survey(plan.job, tmp_path).missing_entries == 0


def test_check_and_scan_say_how_many_and_which(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 10)
    plan = planned(tmp_path, {"id": "cats", "held_out": 0.2}, training__steps=20)
    found = survey(plan.job, tmp_path)
    assert list(found.sets[0].funnel.items())[-2:] == [("in a bucket", 10), ("not held out", 8)]
    assert any("2 pictures are held out" in note for note in found.sets[0].notes)
    words = "2 pictures are measured 11 times, with 10 forward passes each time (110 together)"
    assert found.held_out == words and not any("left out" in text for text in found.warnings)
    sets = [{"id": "cats", "folder": "cats", "held_out": 0.2}]
    wanted = {"name": "toy", "model": MODEL}
    wanted |= {
        "data": sets,
        "training": {"steps": 1, "learning_rate": 1e-4},
        "output_dir": str(tmp_path / "out"),
    }
    (tmp_path / "job.json").write_text(json.dumps(wanted))
    said = CliRunner().invoke(app, ["data", "scan", str(tmp_path / "job.json")]).output
    assert "2 pictures are held out: measured, not trained on" in said


def test_a_limit_measures_some_and_trains_on_no_more(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 10)
    data = {"id": "cats", "held_out": 0.5}
    few = planned(tmp_path, data, validation__held_out={"limit": 2})
    assert len(kept(few)) == 2 and len(seen(few)) == 5
    assert "2 of 5 held-out pictures measured" in few.notes[0][1]
    never = planned(tmp_path, data, validation__held_out={"every": 0})
    assert (
        not measured_of(never) and len(seen(never)) == 5 and "never measured" in never.notes[0][1]
    )


def test_the_same_bytes_under_another_name_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 4)
    plan = planned(tmp_path, {"id": "cats", "held_out": 0.25})
    (name,) = (one.split("/")[1] for one in kept(plan))
    copy = tmp_path / "more" / "copy.png"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "cats" / name).read_bytes())
    copy.with_suffix(".txt").write_text("a cat")
    events: list[Event] = []
    again = planned(tmp_path, {"id": "cats", "held_out": 0.25}, {"id": "more"})
    with encoded(again, events.append):
        words = [one.text for one in events if isinstance(one, Warned)]
    assert len(words) == 1 and f"(cats/{name} as more/copy.png)" in words[0]


def test_another_choice_of_pictures_is_told_at_the_next_start(tmp_path: Path) -> None:
    pictures(tmp_path / "cats", [(64, 64)] * 6)
    first, second = (
        planned(tmp_path, {"id": "cats", "held_out": 0.34, "held_out_seed": seed}).facts
        for seed in (1, 2)
    )
    place = "data.0.pictures held out"
    assert first[place] != second[place] and json.dumps([first[place], second[place]])
