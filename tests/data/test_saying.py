"""Texts that are read with pictures: which pictures, at what size, and under what keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scumble import families
from scumble.data.batch import TEXT_MASK, stacked
from scumble.data.cache import text_key
from scumble.data.images import pixels
from scumble.data.library import Library, keeps_words, sayings
from scumble.data.looks import Look, looks
from scumble.data.saying import Saying, glanced, saying
from scumble.data.sizes.frame import Frame, at_size, of_area
from scumble.data.view import Degraded, View
from scumble.families import encoding
from scumble.preflight.plan import Plan, prepared
from scumble.spec.degradation import Blur
from tests.toys import job, pictures

QWEN = {"family": "qwen-image", "flavour": "edit-v2", "path": "builtin:tiny-qwen-edit-plus"}
KONTEXT = {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"}


def small(height: int, width: int) -> tuple[int, int]:
    """A glance for tests: as wide as tall, so that the shape changes too."""
    return 16, 16


def plan(root: Path, model: dict[str, str] = QWEN, **changes: Any) -> Plan:
    """Three pairs with one reference."""
    if not (root / "after").exists():
        pictures(root / "after", [(64, 64)] * 3)
        pictures(root / "before", [(64, 64)] * 3, seed=1)
    one = {"id": "p", "folder": "after", "resolution": 32, "references": [{"folder": "before"}]}
    return prepared(job(root, model=model, data=[one | changes]), root)


def library(made: Plan) -> Library:
    recipes = encoding.recipes(made.model, made.place, made.tokens, made.job.cache, read=True)
    assert recipes is not None
    return made.library(recipes, made.hashes(read=True))


def view(**changes: Any) -> View:
    """The right half of a picture twice as wide as tall, at half its size."""
    return replace(View(Frame((40, 80), (20, 40), (0, 20), (20, 20))), **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Red on the left, a slope from black to green on the right."""
    values = np.zeros((40, 80, 3), np.uint8)
    values[:, :40, 0] = 255
    values[:, 40:, 1] = np.linspace(0, 255, 40).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_glance_shows_the_same_part_of_the_file_at_another_size(file: Path) -> None:
    seen = pixels(file, glanced(view(), lambda h, w: (h * 2, w * 2)))
    assert seen.shape == (40, 40, 3)
    own = np.asarray(Image.open(file))[:, 40:]
    assert np.abs(seen.astype(int)[:, 2:] - own.astype(int)[:, 2:]).max() <= 2
    assert seen[:, 2:, 0].max() <= 2  # nothing of the other half


def test_a_glance_is_mirrored_and_coloured_as_the_picture_that_is_trained(file: Path) -> None:
    plain = pixels(file, glanced(view(), small))
    turned = pixels(file, glanced(view(flipped=True), small))
    assert plain.shape == (16, 16, 3)
    assert np.array_equal(turned, plain[:, ::-1]) and not np.array_equal(turned, plain)


def test_what_is_degraded_as_trained_is_made_smaller_afterwards(file: Path) -> None:
    spec = Blur.model_validate({"kind": "blur"})
    trained = view(degraded=Degraded(spec, "trained", 5))
    looked = glanced(trained, small)
    assert (looked.frame, looked.shown) == (trained.frame, (16, 16))
    whole = Image.fromarray(pixels(file, trained)).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(pixels(file, looked), np.asarray(whole))
    original = glanced(replace(trained, degraded=Degraded(spec, "original", 5)), small)
    assert original.shown is None and original.frame.size == (16, 16)


def test_a_size_of_its_own_is_part_of_the_key_and_no_other_key_has_changed() -> None:
    assert view().facts() == "(40, 80, 20, 40, 0, 20, 20, 20) ('lanczos', False, None) "
    assert view(shown=(8, 8)).facts() not in (view().facts(), view(shown=(8, 16)).facts())
    assert text_key(bytes(16), "a cat").hex() == "7b54accb5d2226d9f3334ca31ff9be0e"


def test_the_frame_at_another_size_never_leaves_the_picture() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        height, width = (int(one) for one in random.integers(8, 200, 2))
        top, left = (int(one) for one in random.integers(0, 50, 2))
        free = [int(one) for one in random.integers(0, 50, 2)]
        whole = (height + top + free[0], width + left + free[1])
        frame = Frame((500, 700), whole, (top, left), (height, width))
        rows, columns = (int(one) for one in random.integers(1, 300, 2))
        made = at_size(frame, (rows, columns))
        assert made.size == (rows, columns) and made.original == frame.original
        for begin, side, all_of_it in zip(made.corner, made.size, made.resized, strict=True):
            assert begin >= 0 and begin + side <= all_of_it
        shares = [made.corner[n] / made.resized[n] - frame.corner[n] / whole[n] for n in (0, 1)]
        assert max(map(abs, shares)) <= 2 / min(rows, columns)
        assert at_size(frame, frame.size) is frame


@pytest.mark.parametrize(
    ("size", "area", "packed"),
    [((512, 512), 1024, (1024, 1024)), ((384, 640), 1024, (800, 1328)), ((64, 4), 16, (64, 16))],
)
def test_a_reference_is_packed_at_an_area_in_its_own_shape(
    size: tuple[int, int], area: int, packed: tuple[int, int]
) -> None:
    assert of_area(size, area, 16) == packed


def test_texts_that_differ_in_length_are_padded_and_masked() -> None:
    entries = [{"text": torch.ones(n, 3) * n, "other": torch.zeros(2)} for n in (2, 4, 1)]
    made = stacked(entries)
    assert made["text"].shape == (3, 4, 3) and made["other"].shape == (3, 2)
    assert made[TEXT_MASK].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert made["text"].sum(-1).tolist() == [[6, 6, 0, 0], [12, 12, 12, 12], [3, 0, 0, 0]]
    assert TEXT_MASK not in stacked(entries[:1] * 2)


def test_texts_that_bring_a_mask_keep_it() -> None:
    mask = torch.tensor([1, 0], dtype=torch.uint8)
    one = {"text": torch.ones(2, 3), TEXT_MASK: mask}
    assert stacked([one, one])[TEXT_MASK].tolist() == [[1, 0]] * 2
    longer = {"text": torch.ones(3, 3), TEXT_MASK: torch.ones(3, dtype=torch.uint8)}
    assert stacked([one, longer])[TEXT_MASK].tolist() == [[1, 0, 0], [1, 1, 1]]


def test_families_that_read_texts_alone_have_sayings_without_pictures(tmp_path: Path) -> None:
    made = plan(tmp_path, KONTEXT)
    kept = library(made)
    look = looks(kept.sets["p"], 0, 0).references[0]
    assert look and kept.saying("a cat", [look]) == Saying("a cat")
    assert kept.text_key(Saying("a cat")) == text_key(kept.text_recipe, "a cat")
    assert all(not seen for _, seen in made.texts())
    assert kept.texts.folder.name == "texts"


def test_a_text_has_another_key_with_every_picture_it_is_read_with(tmp_path: Path) -> None:
    kept = library(plan(tmp_path, flip=True))
    assert kept.texts.folder.name == "conditioning_image_embeds"
    one = kept.sets["p"]

    def look(member: int, version: int = 0) -> Look:
        (found,) = looks(one, member, version).references
        assert found is not None
        return found

    keys = [
        kept.text_key(kept.saying(text, seen))
        for text, seen in [
            ("a cat", []),
            ("a cat", [look(0)]),
            ("a cat", [look(1)]),
            ("a cat", [look(0, 1)]),  # mirrored
            ("", [look(0)]),
            ("a cat", [look(0), look(1)]),
            ("a cat", [look(1), look(0)]),
        ]
    ]
    assert len(set(keys)) == len(keys)
    assert keys[1] == kept.text_key(kept.saying("a cat", [look(0)]))
    (sight,) = kept.saying("a cat", [look(0)]).sights
    assert sight.view.frame.size == (384, 384) and sight.source == kept.hash_of(look(0))


def test_pictures_whose_bytes_were_never_read_are_told_apart_all_the_same(tmp_path: Path) -> None:
    made = plan(tmp_path)
    unread = made.library(encoding.Recipes({}, {}), made.hashes(read=False))
    every = sayings(unread, made.texts())
    assert len({unread.text_key(one) for one in every}) == len(every) == 3
    assert all(one.source == "" for each in every for one in each.sights)


def spoken(made: Plan) -> list[tuple[str, int, list[bool]]]:
    """Text, number of references, and whether each is mirrored."""
    return sorted((text, len(seen), [x.view.flipped for x in seen]) for text, seen in made.texts())


def test_every_text_is_asked_for_with_every_version_of_what_it_is_read_with(
    tmp_path: Path,
) -> None:
    pictures(tmp_path / "other", [(64, 64)] * 3, seed=2)
    both = [{"folder": "before"}, {"folder": "other"}]
    changes = {"flip": True, "references": both}
    drawn = {"reference_sampling": "random", "caption_dropout": 0.5}
    told = spoken(plan(tmp_path, **changes, **drawn))
    assert len(told) == 3 * 2 * 2 * 2  # pictures, mirrored, dropped, one of two references
    assert {count for _, count, _ in told} == {1}
    told = spoken(plan(tmp_path, **changes, reference_sampling="combined"))
    assert [row[1:] for row in told] == [(2, [False, False]), (2, [True, True])] * 3


def test_what_is_told_without_pictures_is_asked_for_once(tmp_path: Path) -> None:
    made = plan(tmp_path, references=[], flip=True)
    assert spoken(made) == [(f"picture {n} of after", 0, []) for n in range(3)]


def test_captions_drawn_anew_come_with_what_is_shown_at_their_turn(tmp_path: Path) -> None:
    edits = {"shuffle": True, "separator": " "}
    made = plan(tmp_path, flip=True, caption_edits=edits)
    assert made.asked.walked == ("p",)
    kept = library(made)
    steps = made.job.training.steps
    turns = [
        (made.sets[0].caption(row, step), made.sets[0].version(row))
        for step in range(1, steps + 1)
        for unit in made.order.step(step)
        for row in unit.rows
    ]
    told = {(text, seen[0].view.flipped) for text, seen in made.texts()}
    assert {(text, version % 2 == 1) for text, version in turns} == told
    assert len(kept.missing_texts(sayings(kept, made.texts()))) == len(made.texts())


def test_nothing_is_read_ahead_with_pictures_that_are_new_each_time(tmp_path: Path) -> None:
    made = plan(tmp_path, variants="fresh", flip=True)
    assert made.texts() == [] and not keeps_words(library(made), made.sets[0])
    plain = plan(tmp_path, variants="fresh", flip=True, references=[])
    assert len(plain.texts()) == 3 and keeps_words(library(plain), plain.sets[0])


def test_a_saying_outside_a_cache_needs_no_key() -> None:
    image_less = saying("a cat", [], families.find("qwen-image", "edit-v2").glance)
    assert image_less == Saying("a cat") and image_less.sizes == []


@pytest.mark.parametrize("fit", ["strict", "loose"])
def test_references_keep_their_cut_at_another_area(tmp_path: Path, fit: str) -> None:
    pictures(tmp_path / "after", [(64, 96)] * 2)
    pictures(tmp_path / "before", [(64, 96)] * 2, seed=1)
    plain = plan(tmp_path, references=[{"folder": "before", "fit": fit}])
    large = plan(tmp_path, references=[{"folder": "before", "fit": fit, "area": 64}])
    one, other = (looks(each.sets[0], 0, 0) for each in (plain, large))
    assert one.target == other.target and one.references[0] and other.references[0]
    small_frame, frame = one.references[0].view.frame, other.references[0].view.frame
    assert frame == at_size(small_frame, of_area(small_frame.size, 64, 16))
    assert frame.size == (80, 48) or frame.size == (80, 64)
    assert large.order.shelves(0, 0)[0].size[2:] == frame.size
    assert plain.order.shelves(0, 0)[0].size[2:] == small_frame.size
