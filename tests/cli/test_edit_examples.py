"""The examples on models of the hub are jobs that can run, once somebody has the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scumble import families
from scumble.cli import examples
from scumble.cli.jobs import open_job
from scumble.preflight.mixture import refused
from scumble.preflight.plan import Plan, prepared
from tests.toys import job, pictures

MODELS = {
    "kontext-edit": "builtin:tiny-flux-kontext",
    "qwen-style": "builtin:tiny-qwen-image",
    "qwen-edit": "builtin:tiny-qwen-edit",
    "qwen-edit-plus": "builtin:tiny-qwen-edit-plus",
}


def planned(name: str, root: Path) -> Plan:
    """An example in a folder with pictures, on a toy in the place of its model."""
    told, _ = open_job(f"example={name}", [f"model.path={MODELS[name]}"])
    for one in told.data:
        pictures(root / str(one.folder), [(64, 64), (96, 64)] * 10)
        for number, reference in enumerate(one.references):
            pictures(root / str(reference.folder), [(64, 64), (96, 64)] * 10, seed=1 + number)
    return prepared(told, root, weigh=False)


@pytest.mark.parametrize("name", MODELS)
def test_an_example_of_the_hub_runs_on_a_model_of_its_kind(name: str, tmp_path: Path) -> None:
    plan = planned(name, tmp_path)
    (one,) = plan.sets
    shown = len(one.spec.references)
    assert plan.family.references >= shown and bool(shown) == bool(plan.family.references)
    assert (len(one.examples), plan.job.training.batch_size) == (18 - 2 * bool(shown), 1)
    assert plan.job.model.family == plan.family.name


@pytest.mark.parametrize("name", MODELS)
def test_its_model_is_named_as_its_publishers_do(name: str) -> None:
    model = open_job(f"example={name}")[0].model
    assert model.path is not None
    assert model.path.split("/")[0] in {"black-forest-labs", "Qwen"}
    assert families.find(model.family, model.flavour).pipeline


def test_each_says_in_a_line_what_it_is() -> None:
    for name in MODELS:
        first = examples.about(examples.find(name))
        assert first.endswith(".") and len(first) < 110 and "your own" in first


ONE, TWO = [{"folder": "a"}], [{"folder": "a"}, {"folder": "b"}]
EDIT = {"family": "qwen-image", "flavour": "edit-v1", "path": "builtin:tiny-qwen-edit"}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "edit-v1 needs a reference for every picture, and this set has none"),
        ({"references": TWO}, "edit-v1 takes one reference, not 2"),
        ({"references": ONE, "unpaired": "fewer"}, "`fewer` keeps those that have none"),
        ({"references": ONE}, ""),
        ({"references": TWO, "reference_sampling": "random"}, ""),
        ({"references": ONE, "unpaired": "skip"}, ""),
    ],
    ids=str,
)
def test_a_model_of_exactly_one_reference_says_so_before_a_file_is_opened(
    told: dict[str, Any], said: str, tmp_path: Path
) -> None:
    data = {"id": "a", "folder": "after", "resolution": 64, **told}
    wanted = job(tmp_path, model=EDIT, data=[data])
    found = refused(wanted, families.find("qwen-image", "edit-v1"))
    assert len(found) == bool(said) and all(said in str(one) for one in found)
