"""Sets that would get in each other's way are refused before anything is encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.preflight import forecast
from scumble.preflight.plan import prepared
from tests.conftest import told
from tests.toys import job, pictures

KONTEXT = {
    "family": "flux",
    "flavour": "kontext",
    "path": "builtin:tiny-flux-kontext",
    "text_tokens": 16,
}


def set_of(root: Path, **changes: Any) -> dict[str, Any]:
    for number, name in enumerate(("a", "r", "q")):
        if not (root / name).exists():
            pictures(root / name, [(64, 64)] * 3, seed=number)
    return {"id": "a", "folder": "a", "resolution": 32, **changes}


def refused(root: Path, *data: dict[str, Any]) -> str:
    with pytest.raises(ExceptionGroup) as caught:
        prepared(job(root, data=list(data), model=KONTEXT), root)
    return told(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "name"), [("x", "x", "a.x"), ("2", None, "a.2"), (None, "1", "a.1")]
)
def test_two_references_of_one_name_are_refused(
    tmp_path: Path, first: str | None, second: str | None, name: str
) -> None:
    both = [{"id": first, "folder": "r"}, {"id": second, "folder": "q"}]
    said = refused(tmp_path, set_of(tmp_path, references=both))
    assert said.count(f"'{name}'") == 1 and "references.0.id" in said and "another `id`" in said


def test_a_reference_called_like_the_masks_or_a_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for place in range(3):
        Image.new("L", (64, 64), 255).save(tmp_path / "m" / f"p{place:02d}.png")
    masked = {"references": [{"id": "mask", "folder": "r"}], "mask": {"folder": "m"}}
    assert "'a.mask'" in refused(tmp_path, set_of(tmp_path, **masked))
    one = set_of(tmp_path, references=[{"folder": "r"}])
    assert "'a.1'" in refused(tmp_path, one, {**set_of(tmp_path), "id": "a.1"})


@pytest.mark.parametrize(
    ("resolution", "law"),
    [
        (0.5, {"kind": "aspect", "resolution_type": "area"}),
        ((128, 192), {"kind": "buckets", "minimum": 64}),
    ],
)
def test_a_reference_does_not_take_a_resolution_its_own_law_cannot_read(
    tmp_path: Path, resolution: Any, law: dict[str, Any]
) -> None:
    reference: dict[str, Any] = {"folder": "r", "fit": "loose", "sizing": {"kind": "shapes"}}
    one = set_of(tmp_path, resolution=resolution, sizing=law, references=[reference])
    said = refused(tmp_path, one)
    assert "references.0.resolution" in said and "a whole number of pixels" in said
    reference["resolution"] = 48
    prepared(job(tmp_path, data=[one], model=KONTEXT), tmp_path)


def test_a_resolution_below_one_step_of_the_model_is_refused(tmp_path: Path) -> None:
    assert "less than one step of 16" in refused(tmp_path, set_of(tmp_path, resolution=8))


@pytest.mark.parametrize("sampling", ["combined", "random"])
def test_time_is_forecast_with_references_and_the_sets_own_batches(
    tmp_path: Path, sampling: str
) -> None:
    alone = set_of(tmp_path, batch_size=1, repeats=3)
    plan = prepared(job(tmp_path, data=[alone], model=KONTEXT), tmp_path)
    assert forecast.tokens_per_unit(plan) == 2 * 2 + 16
    two = [{"folder": "r"}, {"folder": "q"}]
    shown = set_of(tmp_path, batch_size=3, references=two, reference_sampling=sampling)
    plan = prepared(job(tmp_path, data=[shown], model=KONTEXT), tmp_path)
    pictures_shown = 3 if sampling == "combined" else 2
    assert forecast.tokens_per_unit(plan) == 3 * (pictures_shown * 2 * 2 + 16)
