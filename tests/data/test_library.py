"""The cache is asked for what made an entry, and only for that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from scumble.assembly import source
from scumble.caching import encoded
from scumble.data.cache import Store, picture_key, recipe, text_key, value
from scumble.data.serving import batches
from scumble.data.sizes.frame import Frame
from scumble.data.view import View
from scumble.events import Encoded, Event, Warned
from scumble.preflight import mixture
from scumble.preflight.plan import prepared
from tests.toys import job, pictures

FRAME = Frame((64, 96), (32, 48), (0, 8), (32, 32))


def made(root: Path, **changes) -> Counter[str]:
    """How many entries of each kind a start had to make."""
    counts: Counter[str] = Counter()

    def tell(event: Event) -> None:
        match event:
            case Warned():
                counts["warnings"] += 1
            case Encoded():
                counts[event.kind] = max(counts[event.kind], event.total)
            case _:
                raise AssertionError(event)

    with encoded(prepared(job(root, **changes), root), tell):
        return counts


def one_set(root: Path, **changes) -> list[dict]:
    return [{"id": "square", "folder": "square", "resolution": 32, **changes}]


def test_pictures_with_one_caption_share_one_text(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 10)
    data = one_set(tmp_path, captions="prompt", prompt="a cat")
    assert made(tmp_path, data=data) == {"pictures": 10, "texts": 1}
    assert made(tmp_path, data=data) == {}


def test_a_changed_crop_reads_no_text_again(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(96, 64)] * 4)
    whole = one_set(tmp_path, sizing={"kind": "shapes", "crop": "none"})
    square = one_set(tmp_path, sizing={"kind": "shapes", "aspects": ["1:1"]})
    assert made(tmp_path, data=whole) == {"pictures": 4, "texts": 4}
    assert made(tmp_path, data=square) == {"pictures": 4}
    assert made(tmp_path, data=whole) == {}


def test_a_touched_picture_and_a_new_caption_cost_one_entry_each(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 4)
    data = one_set(tmp_path)
    made(tmp_path, data=data)
    pictures(tmp_path / "square", [(64, 64)], seed=5)
    assert made(tmp_path, data=data) == {"pictures": 1}
    (tmp_path / "square/p02.txt").write_text("something else")
    assert made(tmp_path, data=data) == {"texts": 1}


def test_another_length_or_precision_makes_other_entries(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 2)
    data = one_set(tmp_path)
    made(tmp_path, data=data)
    assert made(tmp_path, data=data, model__text_tokens=50) == {"texts": 2}
    assert made(tmp_path, data=data, hardware__precision="bf16") == {"pictures": 2, "texts": 2}


def test_texts_that_are_cut_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 2)
    data = one_set(tmp_path)
    assert made(tmp_path, data=data, model__text_tokens=4)["warnings"] == 1
    assert made(tmp_path, data=data, model__text_tokens=60)["warnings"] == 0


def test_random_crops_are_kept_side_by_side_and_the_order_picks(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(96, 64)] * 3)
    random = {"kind": "shapes", "crop": "random", "aspects": ["1:1"]}
    data = one_set(tmp_path, sizing=random, variants=3, repeats=8)
    counts = made(tmp_path, data=data)
    assert counts["texts"] == 3 and 6 < counts["pictures"] <= 9, "equal cuts are kept once"
    plan = prepared(job(tmp_path, data=data), tmp_path)
    with encoded(plan, lambda event: None) as library:
        where = source(plan, library)
        seen = {
            (name, tuple(frame))
            for step in range(1, 7)
            for fed in where.step(step)
            for name, frame in zip(fed.batch.ids, fed.batch.frames.tolist(), strict=True)
        }
    assert len(seen) > 3 and len({name for name, _ in seen}) == 3


def test_captions_are_dropped_at_their_rate_and_come_back_the_same(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 5)
    data = one_set(tmp_path, caption_dropout=0.4, repeats=40)
    plan = prepared(job(tmp_path, data=data), tmp_path)
    with encoded(plan, lambda event: None) as library:
        told = [
            text
            for number in range(plan.order.units_in_epoch(0))
            for text in batches(library, plan.order.unit(number), 1)[0].captions
        ]
        again = batches(library, plan.order.unit(0), 1)[0].captions
    assert len(told) == 200 and 0.3 < told.count("") / 200 < 0.5
    assert again == tuple(told[: len(again)])


def test_every_part_of_a_key_alone_makes_another_key() -> None:
    base = recipe("picture", "flux", "fp32")
    other = Frame((64, 96), (32, 48), (0, 9), (32, 32))
    keys = [
        picture_key(base, "ab" * 16, View(FRAME)),
        picture_key(recipe("picture", "flux", "bf16"), "ab" * 16, View(FRAME)),
        picture_key(recipe("picture", "fluxf", "p32"), "ab" * 16, View(FRAME)),
        picture_key(base, "ac" * 16, View(FRAME)),
        picture_key(base, "ab" * 16, View(other)),
        picture_key(base, "ab" * 16, View(FRAME, "area")),
        picture_key(base, "ab" * 16, View(FRAME, flipped=True)),
        text_key(base, "a cat"),
        text_key(base, "a cat "),
    ]
    assert len(set(keys)) == len(keys) and {len(key) for key in keys} == {16}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tensors_come_back_as_they_went_in(tmp_path: Path, dtype: torch.dtype) -> None:
    store = Store(tmp_path, "x")
    entry = {"a": torch.randn(3, 4).to(dtype), "b": torch.tensor(2.5).to(dtype)}
    with store.writer(dict.fromkeys(entry, dtype)) as writer:
        writer.add(bytes(16), [value(tensor) for tensor in entry.values()])
    found = store.read(bytes(16))
    store.close()
    assert all(torch.equal(found[name], entry[name]) for name in entry)
    assert store.missing([bytes(16), b"1" * 16, b"1" * 16]) == [1]


def test_of_versions_by_epoch_only_those_that_are_shown_are_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(96, 64)] * 4)
    pictures(tmp_path / "other", [(64, 64)] * 4)
    random = {"kind": "shapes", "crop": "random", "aspects": ["1:1"]}
    timed = one_set(tmp_path, sizing=random, variants="epoch", start_epoch=2, end_epoch=3)
    data = [*timed, {"id": "other", "folder": "other", "resolution": 32}]
    plan = prepared(job(tmp_path, data=data, training__steps=30), tmp_path)
    epochs = mixture.epochs(plan.sets, plan.order, plan.job.training.steps)["square"]
    assert epochs > 5
    assert plan.sets[0].versions(epochs) == range(1, 3)
    with encoded(plan, lambda event: None) as library:
        where = source(plan, library)
        seen = [fed.batch.ids for step in range(1, 31) for fed in where.step(step)]
    assert sum(name.startswith("square/") for ids in seen for name in ids) == 8


CHANGES = {
    "interpolation": {"interpolation": "area"},
    "crop": {"sizing": {"kind": "shapes", "crop": "corner", "aspects": ["1:1"]}},
    "resolution": {"resolution": 48},
    "flip": {"flip": True},
    "colour": {"colour": True},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_setting_of_the_view_makes_just_the_pictures_and_masks_it_changes_new(
    tmp_path: Path, what: str
) -> None:
    pictures(tmp_path / "square", [(96, 64)] * 12)
    pictures(tmp_path / "m", [(96, 64)] * 12, seed=1)
    square = {"kind": "shapes", "aspects": ["1:1"]}
    settings = {"sizing": square, "mask": {"folder": "m"}, "captions": "prompt", "prompt": "x"}
    assert made(tmp_path, data=one_set(tmp_path, **settings)) == {
        "pictures": 12,
        "masks": 12,
        "texts": 1,
    }
    counts = made(tmp_path, data=one_set(tmp_path, **{**settings, **CHANGES[what]}))
    if what == "colour":
        assert counts.keys() == {"pictures"} and 0 < counts["pictures"] < 12
    else:
        assert counts == {"pictures": 12, "masks": 12}
    assert made(tmp_path, data=one_set(tmp_path, **settings)) == {}


@pytest.mark.parametrize(
    "changed", [{"grow": 2}, {"blur": 1.5}, {"invert": True}, {"minimum": 0.2}]
)
def test_a_setting_of_the_mask_makes_masks_new_and_nothing_else(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 3)
    pictures(tmp_path / "m", [(64, 64)] * 3, seed=1)
    made(tmp_path, data=one_set(tmp_path, mask={"folder": "m"}))
    assert made(tmp_path, data=one_set(tmp_path, mask={"folder": "m", **changed})) == {"masks": 3}
    weighed = {"folder": "m", "weight": 2.0, "missing": "whole"}
    assert made(tmp_path, data=one_set(tmp_path, mask=weighed)) == {}


def test_weights_of_set_and_mask_reach_the_loss(tmp_path: Path) -> None:
    pictures(tmp_path / "square", [(64, 64)] * 4)
    pictures(tmp_path / "m", [(64, 64)] * 2, seed=1)
    mask = {"folder": "m", "weight": 3.0, "missing": "whole"}
    data = one_set(tmp_path, loss_weight=0.5, mask=mask)
    plan = prepared(job(tmp_path, data=data), tmp_path)
    found = {}
    with encoded(plan, lambda event: None) as library:
        for fed in source(plan, library).step(1):
            found |= dict(zip(fed.batch.ids, fed.batch.weights.tolist(), strict=True))
    assert found == {f"square/p{n:02d}.png": 1.5 if n < 2 else 0.5 for n in range(4)}
