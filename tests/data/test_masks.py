"""What a mask becomes before it weighs the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.assembly import source
from scumble.caching import encoded
from scumble.data import masks
from scumble.preflight.plan import prepared
from scumble.spec.references import MaskSpec
from tests.toys import job, pictures


def square(size: int = 32, side: int = 8) -> np.ndarray:
    grey = np.zeros((size, size), np.uint8)
    start = (size - side) // 2
    grey[start : start + side, start : start + side] = 255
    return grey


def values(grey: np.ndarray, **settings: object) -> np.ndarray:
    return masks.values(grey, MaskSpec.model_validate({"alpha": True, **settings}))


def plainly_grown(grey: np.ndarray, radius: int) -> np.ndarray:
    """The definition, pixel by pixel."""
    result = np.zeros_like(grey)
    rows, columns = np.indices(grey.shape)
    for row, column in np.ndindex(*grey.shape):
        near = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        result[row, column] = grey[near].max()
    return result


def test_black_stays_nothing_white_is_everything_and_grey_is_a_share() -> None:
    weights = values(np.array([[0, 51, 255]], np.uint8))
    assert weights.dtype == np.float32
    assert weights.tolist() == [[0.0, pytest.approx(0.2), 1.0]]


def test_inverting_comes_first() -> None:
    weights = values(square(), invert=True, grow=2)
    assert weights[16, 16] == 0 and weights[0, 0] == 1
    assert (weights == 0).sum() < 64, "the white around it grows into the hole"


@pytest.mark.parametrize("radius", [1, 2, 5, 40])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (16, 9)])
def test_growing_takes_the_lightest_within_a_disc(radius: int, shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(radius).integers(0, 256, shape).astype(np.uint8)
    assert (masks.grown(grey, radius) == plainly_grown(grey, radius)).all()
    assert (masks.grown(grey, -radius) == 255 - plainly_grown(255 - grey, radius)).all()


def test_a_point_grows_into_a_disc() -> None:
    point = np.zeros((41, 41), np.uint8)
    point[20, 20] = 255
    disc = masks.grown(point, 10) == 255
    assert disc.sum() == pytest.approx(np.pi * 100, rel=0.03)
    assert disc[20, 10] and not disc[20, 9] and not disc[12, 12]


def test_shrinking_does_not_gnaw_at_the_edge_of_the_picture() -> None:
    white = np.full((8, 8), 255, np.uint8)
    assert (masks.grown(white, -3) == 255).all()
    assert not masks.grown(square(side=6), -3).any()


def test_without_softening_a_hard_mask_is_hard() -> None:
    assert set(np.unique(values(square(), grow=3))) == {0.0, 1.0}


def test_softening_keeps_the_sum_and_makes_an_even_slope() -> None:
    hard, soft = values(square()), values(square(), blur=2)
    assert soft.sum() == pytest.approx(hard.sum(), rel=0.02)
    slope = soft[16, 16:]
    assert (np.diff(slope) <= 0).all() and len(set(slope.tolist())) > 6
    assert soft[0, 0] == 0


def test_the_least_is_what_black_counts_and_lighter_is_left_alone() -> None:
    weights = values(np.array([[0, 25, 128]], np.uint8), minimum=0.25)
    assert weights.tolist() == [[0.25, 0.25, pytest.approx(128 / 255)]]


def test_latents_get_the_mean_of_their_pixels() -> None:
    weights = np.zeros((16, 24), np.float32)
    weights[:8, :4] = 1
    reduced = masks.reduced(weights, 8)
    assert reduced.dtype == np.float32
    assert reduced.tolist() == [[0.5, 0, 0], [0, 0, 0]]
    assert masks.reduced(weights, 1).tolist() == weights.tolist()


def test_the_mask_that_was_given_is_left_alone() -> None:
    grey = square()
    before = grey.copy()
    values(grey, invert=True, grow=4, blur=2, minimum=0.1)
    masks.grown(grey, -2)
    assert (grey == before).all()


def binary(grey: np.ndarray, cells: int = 8, **settings: object) -> np.ndarray:
    spec = MaskSpec.model_validate({"alpha": True, "binary": True, **settings})
    return masks.weights(grey, spec, cells)


def test_a_binary_mask_counts_any_place_that_is_not_black() -> None:
    grey = np.zeros((32, 32), np.uint8)
    grey[9, 9], grey[20:, 20:] = 3, 200
    found = binary(grey)
    assert set(np.unique(found)) == {0.0, 1.0}
    assert found[1, 1] == 1 and found[2, 2] == 1 and found.sum() == 5
    assert binary(grey, minimum=0.25)[0, 0] == np.float32(0.25), "what black counts all the same"
    assert binary(grey, grow=20).all()


def test_other_masks_are_as_they_were_once_they_are_small() -> None:
    spec = MaskSpec.model_validate({"alpha": True, "minimum": 0.3, "blur": 1})
    found = masks.weights(square(), spec, 8)
    assert (found == masks.reduced(masks.values(square(), spec), 8)).all()
    assert found.min() == pytest.approx(0.3) and found.min() < found.max() <= 1


def colours(file: Path) -> Path:
    """Black, dark blue, which is black in grey, and white."""
    picture = np.zeros((16, 48, 3), np.uint8)
    picture[:, 16:32, 2], picture[:, 32:] = 2, 255
    Image.fromarray(picture).save(file)
    return file


def mask_of(root: Path, **settings: Any) -> torch.Tensor:
    """The mask of a training batch, as the job's set gets it."""
    pictures(root / "set", [(48, 16)])
    (root / "masks").mkdir(exist_ok=True)
    colours(root / "masks" / "p00.png")
    data = [
        {"id": "set", "folder": "set", "resolution": [48, 16]}
        | {"sizing": {"kind": "buckets", "step": 16, "minimum": 16}}
        | {"mask": {"folder": "masks", **settings}}
    ]
    plan = prepared(job(root, data=data, training__units_per_step=1), root)
    with encoded(plan, lambda event: None) as library:
        batch = next(source(plan, library).step(1)).batch
    assert batch.masks is not None
    return batch.masks


def test_masks_of_a_set_are_made_binary_and_divided_by_their_mean(tmp_path: Path) -> None:
    grey, lit = mask_of(tmp_path), mask_of(tmp_path, binary=True)
    columns = [one[0, 0, 0, [0, 2, 4]].tolist() for one in (grey, lit)]
    assert columns == [[0, 0, 1], [0, 1, 1]], "the cache knows one from the other"
    even = mask_of(tmp_path, normalise=True)
    torch.testing.assert_close(even, 3 * grey)
    assert even.mean().item() == pytest.approx(1)
    assert mask_of(tmp_path, normalise=True, invert=True, binary=True).isfinite().all()
