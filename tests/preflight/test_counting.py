"""Epochs and shares of a run, as steps: from the data that is really there."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from scumble.preflight.plan import prepared
from scumble.spec.job import JobSpec
from scumble.spec.load import read_job, resolved
from tests import toys


def counted_in_epochs(root: Path, **changes: object) -> JobSpec:
    """The toy job, in which two batches make a step."""
    schedule = changes.pop("training__schedule", {})
    made = toys.job(root, **changes).model_dump()
    del made["training"]["steps"]
    made["training"] |= {"epochs": 3, "schedule": schedule}
    return JobSpec.model_validate(made)


def test_an_epoch_has_the_steps_that_its_batches_fill_rounded_up(tmp_path: Path) -> None:
    plan = prepared(
        counted_in_epochs(
            tmp_path,
            saving__every_epochs=2,
            validation__every_epochs=1,
            validation__held_out={"every_epochs": 3},
            training__schedule={"kind": "cosine", "warmup_share": 0.25},
        ),
        tmp_path,
        weigh=False,
    )
    per_epoch = math.ceil(plan.order.units_in_epoch(0) / 2)
    job = plan.job
    assert (job.training.steps, job.training.epochs) == (3 * per_epoch, None)
    assert (job.saving.every, job.saving.every_epochs) == (2 * per_epoch, None)
    assert (job.validation.every, job.validation.held_out.every) == (per_epoch, 3 * per_epoch)
    warmup = job.training.schedule
    assert (warmup.warmup_steps, warmup.warmup_share) == (int(0.25 * 3 * per_epoch), 0.0)


def test_a_warm_up_beyond_the_counted_steps_is_an_error(tmp_path: Path) -> None:
    asked = counted_in_epochs(tmp_path, training__schedule={"warmup_steps": 10_000})
    with pytest.raises(Exception, match=r"steps in all .schedule.warmup_steps. is more than"):
        prepared(asked, tmp_path, weigh=False)


def test_epochs_and_steps_together_are_refused_and_epochs_are_written_alone(
    tmp_path: Path,
) -> None:
    asked = counted_in_epochs(tmp_path)
    text = resolved(asked, full=False)
    assert "epochs: 3" in text and " steps: 3" not in text.partition("training:")[2][:40]
    assert read_job(text, name="a", format="yaml") == asked
    with pytest.raises(ExceptionGroup) as caught:
        read_job(text.replace("epochs: 3", "epochs: 3\n  steps: 5"), name="a", format="yaml")
    assert "say the same" in str(caught.value.exceptions[0])
