"""Latents of another trainer are taken over when they are ours, and only then."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scumble import families
from scumble.data import npz
from scumble.data.cache import Missing, Store, picture_key
from scumble.data.images import pixels
from scumble.data.sizes.frame import Frame
from scumble.data.view import Colours, View
from scumble.families.adopting import adopt
from scumble.families.eyes import Eyes
from scumble.families.weights import Model
from scumble.hardware.device import Place
from tests.toys import opened

PLACE = Place(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return opened(families.find("flux", "dev"), "builtin:tiny-flux")


@pytest.fixture(scope="module")
def eyes(model: Model) -> Eyes:
    return Eyes(model, PLACE, "fp32")


def pictures(folder: Path, count: int) -> list[Missing]:
    """Of 100 x 80, resized to 80 x 64 and cut to 64 x 64 at the centre."""
    folder.mkdir()
    random, found = np.random.default_rng(1), []
    for number in range(count):
        file = folder / f"cat {number}.png"
        noise = random.integers(0, 255, (20, 25, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((100, 80), Image.Resampling.BICUBIC).save(file)
        view = View(Frame((80, 100), (64, 80), (0, 8), (64, 64)))
        found.append(Missing(picture_key(bytes(16), f"{number:032x}", view), file, view))
    return found


def theirs(one: Missing, eyes: Eyes, interpolation: str = "area") -> np.ndarray:
    """What another trainer would keep: another way to resize, and one sample of the posterior."""
    raw = pixels(one.file, replace(one.view, interpolation=interpolation))
    middle = eyes.entries(raw[None])[0]["latents"].numpy()
    noise = np.random.default_rng(2).standard_normal(middle.shape)
    return (middle + 1e-3 * noise).astype(np.float32)


def kept(one: Missing, latents: np.ndarray, **more: np.ndarray) -> Path:
    assert isinstance(one.file, Path)
    file = npz.beside(one.file, one.view)
    sizes = {"original_size_8x8": np.array([100, 80]), "crop_ltrb_8x8": np.array([8, 0, 72, 64])}
    np.savez(file, allow_pickle=False, latents_8x8=latents, **sizes, **more)
    dated(file, one.file.stat().st_mtime_ns + 10**9)
    return file


def dated(file: Path, time_ns: int) -> None:
    os.utime(file, ns=(time_ns, time_ns))


def told(model: Model, store: Store, wanted: list[Missing]) -> str:
    return " ".join(event.text for event in adopt(model, PLACE, store, wanted, "bf16"))


def test_latents_that_agree_are_copied_and_the_files_may_go(
    tmp_path: Path, model: Model, eyes: Eyes
) -> None:
    wanted, store = pictures(tmp_path / "p", 6), Store(tmp_path / "c", "cat")
    values = {one.key: theirs(one, eyes) for one in wanted[:5]}
    files = [kept(one, values[one.key]) for one in wanted[:5]]
    assert files[0].name == "cat 0_0100x0080_flux.npz"
    assert "latents of 5 pictures are taken over" in told(model, store, wanted)
    for file in files:
        file.unlink()
    assert store.missing([one.key for one in wanted]) == [5]
    for key, value in values.items():
        assert torch.equal(store.read(key)["latents"], torch.from_numpy(value).bfloat16())
    store.close()


@pytest.mark.parametrize("wrong", ["scale", "shift", "other picture", "mirrored", "one latent off"])
def test_latents_that_are_not_ours_are_refused(
    tmp_path: Path, model: Model, eyes: Eyes, wrong: str
) -> None:
    wanted, store = pictures(tmp_path / "p", 5), Store(tmp_path / "c", "cat")
    for number, one in enumerate(wanted):
        right = theirs(one, eyes)
        kept(
            one,
            {
                "scale": right / 0.3611,
                "shift": right - 0.1159 * 4.0,
                "other picture": theirs(wanted[number - 1], eyes),
                "mirrored": right[:, :, ::-1],
                "one latent off": np.roll(right, 1, axis=2),
            }[wrong],
        )
    assert "none are taken over" in told(model, store, wanted)
    assert not store.folder.exists()


def test_one_stranger_among_the_samples_stops_it(tmp_path: Path, model: Model, eyes: Eyes) -> None:
    wanted, store = pictures(tmp_path / "p", 6), Store(tmp_path / "c", "cat")
    for one in wanted:
        kept(one, theirs(one, eyes))
    third = sorted(wanted, key=lambda one: one.key)[2]
    kept(third, np.zeros((16, 8, 8), np.float32))
    assert "none are taken over" in told(model, store, wanted)


def test_few_are_encoded_rather_than_compared(tmp_path: Path, model: Model, eyes: Eyes) -> None:
    wanted, store = pictures(tmp_path / "p", 3), Store(tmp_path / "c", "cat")
    for one in wanted:
        kept(one, theirs(one, eyes))
    assert told(model, store, wanted) == ""


def test_it_is_told_when_there_is_nothing_to_take_over(tmp_path: Path, model: Model) -> None:
    wanted, store = pictures(tmp_path / "p", 4), Store(tmp_path / "c", "cat")
    assert "beside none of 4 pictures" in told(model, store, wanted)
    assert told(model, store, []) == ""


def test_files_that_cannot_be_it_are_passed_over(tmp_path: Path, eyes: Eyes) -> None:
    (one,) = pictures(tmp_path / "p", 1)
    assert isinstance(one.file, Path)
    right = theirs(one, eyes)
    assert npz.latents(one.file, one.view) is None, "there is none"
    file = kept(one, right, latents_flipped_8x8=right[:, :, ::-1])
    found = npz.latents(one.file, one.view)
    assert found is not None and np.array_equal(found, right)
    mirrored = npz.latents(one.file, replace(one.view, flipped=True))
    assert mirrored is not None and np.array_equal(mirrored, right[:, :, ::-1])
    frame = one.view.frame
    elsewhere = [
        View(replace(frame, corner=(0, 2))),
        View(replace(frame, size=(64, 80), corner=(0, 0))),
        View(replace(frame, original=(100, 80))),
        replace(one.view, colours=Colours(gamma=1.1)),
    ]
    assert [npz.latents(one.file, view) for view in elsewhere] == [None] * 4
    dated(one.file, file.stat().st_mtime_ns + 1)
    assert npz.latents(one.file, one.view) is None, "the picture is newer"


@pytest.mark.parametrize("content", ["pickle", "text", "cut", "nan", "flat"])
def test_files_that_are_no_latents_are_passed_over(
    tmp_path: Path, eyes: Eyes, content: str
) -> None:
    (one,) = pictures(tmp_path / "p", 1)
    assert isinstance(one.file, Path)
    right = theirs(one, eyes)
    file = kept(one, right)
    match content:
        case "pickle":
            np.savez(file, latents_8x8=np.array([print], dtype=object), allow_pickle=True)
        case "text":
            file.write_text("not an archive")
        case "cut":
            file.write_bytes(file.read_bytes()[:-200])
        case "nan":
            np.savez(file, latents_8x8=right * np.nan)
        case _:
            np.savez(file, latents_8x8=right[0])
    dated(file, one.file.stat().st_mtime_ns + 10**9)
    assert npz.latents(one.file, one.view) is None


@pytest.mark.parametrize("content", ["thin", "bomb", "secret", "plain"])
def test_archives_that_are_no_latents_are_passed_over(
    tmp_path: Path, eyes: Eyes, content: str
) -> None:
    (one,) = pictures(tmp_path / "p", 1)
    assert isinstance(one.file, Path)
    right = theirs(one, eyes)
    file = kept(one, right)
    match content:
        case "thin":
            np.savez(file, latents_8x8=right[:4])
        case "bomb":
            np.savez_compressed(file, latents_8x8=np.zeros((16, 8, 1 << 16), np.float32))
        case "secret":
            held = bytearray(file.read_bytes())
            held[held.index(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
            file.write_bytes(held)
        case _:
            with file.open("wb") as stream:
                np.save(stream, right)
    dated(file, one.file.stat().st_mtime_ns + 10**9)
    assert npz.latents(one.file, one.view) is None


def test_a_value_that_fp16_cannot_hold_is_not_taken_over(
    tmp_path: Path, model: Model, eyes: Eyes
) -> None:
    wanted, store = pictures(tmp_path / "p", 5), Store(tmp_path / "c", "cat")
    for one in wanted:
        kept(one, theirs(one, eyes))
    last = max(wanted, key=lambda one: one.key)
    kept(last, np.full((16, 8, 8), 1e6, np.float32))
    said = " ".join(event.text for event in adopt(model, PLACE, store, wanted, "fp16"))
    assert "latents of 4 pictures" in said
    assert store.missing([last.key]) == [0]


def test_a_sample_agrees_with_its_middle_as_far_as_it_is_spread() -> None:
    random = np.random.default_rng(0)
    middle = random.standard_normal((16, 12, 12)).astype(np.float32)
    for spread in (0.01, 0.3, 1.0):
        around = np.full_like(middle, spread)
        noise = random.standard_normal(middle.shape).astype(np.float32)
        assert npz.agrees(middle, middle + spread * noise, around)
        assert not npz.agrees(middle, middle + 4 * (spread + 0.1) * noise, around)
    narrow = np.full_like(middle, 0.01)
    assert npz.agrees(middle, middle, narrow)
    assert not npz.agrees(middle, middle[:, :, ::-1], narrow)
    assert not npz.agrees(middle, middle[:, :, :-1], narrow)
