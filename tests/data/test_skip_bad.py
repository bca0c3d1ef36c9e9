"""What cannot be decoded is left out, told and remembered, whenever it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.caching import complete
from scumble.data.library import Library
from scumble.errors import FileError
from scumble.events import Event, Warned
from scumble.preflight.plan import Plan, prepared
from tests.conftest import told
from tests.toys import job, journal, pictures, trained


def damaged(file: Path) -> None:
    """In the middle, where only decoding finds it."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    file.write_bytes(data)


def a_set(root: Path, **changes: Any) -> list[dict[str, Any]]:
    if not (root / "a").exists():
        pictures(root / "a", [(64, 64)] * 6)
        (root / "m").mkdir()
        for place in range(6):
            mask = Image.effect_noise((64, 64), 80 + place)
            mask.save(root / "m" / f"p{place:02d}.png")
    return [{"id": "a", "folder": "a", "resolution": 32, "skip_bad": True, **changes}]


def completed(root: Path, data: list[dict[str, Any]]) -> tuple[Plan, Library, str]:
    said: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Warned):
            said.append(event.text)

    wanted = job(root, data=data)
    plan, library = complete(wanted, root, prepared(wanted, root), tell)
    return plan, library, "\n".join(said)


@pytest.mark.parametrize("folder", ["a", "m"])
def test_damaged_pictures_and_masks_are_left_out_and_stay_so(tmp_path: Path, folder: str) -> None:
    data = a_set(tmp_path, mask={"folder": "m"})
    for place in (1, 4):
        damaged(tmp_path / folder / f"p{place:02d}.png")
    kept = ["p00.png", "p02.png", "p03.png", "p05.png"]
    plan, _, said = completed(tmp_path, data)
    assert [one.id for one in plan.sets[0].examples] == kept
    assert "2 pictures left out" in said and f"{folder}/p01.png" in said
    plan, _, said = completed(tmp_path, data)
    assert [one.id for one in plan.sets[0].examples] == kept and said == ""


def test_all_damaged_masks_are_named_in_one_error(tmp_path: Path) -> None:
    data = a_set(tmp_path, mask={"folder": "m"}, skip_bad=False)
    for place in (1, 4):
        damaged(tmp_path / "m" / f"p{place:02d}.png")
    with pytest.raises(ExceptionGroup) as caught:
        completed(tmp_path, data)
    assert "m/p01.png" in told(caught.value) and "m/p04.png" in told(caught.value)


def test_a_set_of_damaged_masks_alone_ends_in_words(tmp_path: Path) -> None:
    data = a_set(tmp_path, mask={"folder": "m"})
    for place in range(6):
        damaged(tmp_path / "m" / f"p{place:02d}.png")
    with pytest.raises(ExceptionGroup) as caught:
        completed(tmp_path, data)
    assert "no picture is left" in told(caught.value)


def test_a_picture_that_is_away_for_a_moment_is_not_called_damaged(tmp_path: Path) -> None:
    data = a_set(tmp_path)
    wanted = job(tmp_path, data=data)
    plan = prepared(wanted, tmp_path)
    plan.hashes(read=True)
    here, away = tmp_path / "a/p02.png", tmp_path / "away.png"
    here.rename(away)
    with pytest.raises(ExceptionGroup) as caught:
        complete(wanted, tmp_path, plan, lambda event: None)
    assert "p02.png: cannot be opened" in told(caught.value)
    away.rename(here)
    assert len(completed(tmp_path, data)[0].sets[0].examples) == 6


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({"data": {"variants": "fresh", "flip": True}}, "a"),
        ({"data": {"variants": "fresh", "flip": True, "mask": {"folder": "m"}}}, "m"),
        ({"data": {}, "cache": {"mode": "on_demand"}}, "a"),
    ],
)
def test_what_shows_only_when_its_turn_comes_is_left_out_from_the_next_start(
    tmp_path: Path, changes: dict[str, Any], folder: str
) -> None:
    data = a_set(tmp_path, **changes.pop("data"))
    trained(tmp_path, data=data, training__steps=1, **changes)
    damaged(tmp_path / folder / "p03.png")
    with pytest.raises(FileError, match="start again: `skip_bad`"):
        trained(tmp_path, data=data, training__steps=5, **changes)
    assert trained(tmp_path, data=data, training__steps=5, **changes).code == 0
    assert journal(tmp_path, "Scanned")[-1]["funnel"]["in a bucket"] == 5
    with pytest.raises(FileError, match="save it again"):
        data[0]["skip_bad"] = False
        damaged(tmp_path / folder / "p02.png")
        (tmp_path / folder / "p03.png").write_bytes((tmp_path / folder / "p00.png").read_bytes())
        trained(tmp_path, name="other", data=data, training__steps=5, **changes)
