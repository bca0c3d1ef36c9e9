"""Files that are not what they were by the time they are encoded never spoil the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scumble import families
from scumble.data.cache import Missing, Store, picture_key
from scumble.data.images import Unreached, pixels
from scumble.data.sizes.frame import Frame
from scumble.data.sources.record import Lent
from scumble.data.view import View
from scumble.errors import FileError
from scumble.families import opening
from scumble.families.encoding import Unreadable, encode_pictures
from scumble.families.weights import Model
from scumble.hardware.device import Place
from tests.toys import opened

PLACE = Place(torch.device("cpu"), torch.float32)
FLAT = View(Frame((16, 16), (16, 16), (0, 0), (16, 16)))


@pytest.fixture(scope="module")
def model() -> Model:
    return opened(families.find("flux", "dev"), "builtin:tiny-flux")


def drawn(file: Path, shade: int) -> Missing:
    Image.new("RGB", (16, 16), (shade, 0, 0)).save(file)
    source = blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return Missing(picture_key(bytes(16), source, FLAT), file, FLAT, f"cat/{file.name}", source)


def test_a_picture_that_was_painted_over_is_not_kept_under_its_old_key(
    tmp_path: Path, model: Model
) -> None:
    same, other = drawn(tmp_path / "a.png", 10), drawn(tmp_path / "b.png", 20)
    Image.new("RGB", (16, 16), (99, 0, 0)).save(tmp_path / "b.png")
    store, bad = Store(tmp_path / "cache", "cat"), list[Unreadable]()
    list(encode_pictures(model, PLACE, store, [same, other], "fp32", bad))
    assert store.missing([same.key, other.key]) == [1]
    assert [error.problem for _, error in bad] == ["has changed since it was looked at"]
    store.close()


def gone(file: Path) -> FileError:
    file.unlink()
    return seen(replace(drawn(file.with_name("x.png"), 1), file=file))


def painted_over(file: Path) -> FileError:
    return seen(replace(drawn(file, 3), source="00" * 16))


def cut(file: Path) -> FileError:
    os.truncate(file, 40)
    return seen(replace(drawn(file.with_name("x.png"), 1), file=file, source=""))


def unreachable(_: Path) -> FileError:
    def fail():
        raise ConnectionResetError(104, "reset")

    return told(lambda: pixels(Lent("s3://x/y", fail), FLAT))


def seen(one: Missing) -> FileError:
    return told(lambda: opening.seen(one))


def told(act: Callable[[], np.ndarray]) -> FileError:
    with pytest.raises(FileError) as caught:
        act()
    return caught.value


@pytest.mark.parametrize(
    ("harm", "for_good"),
    [(gone, False), (painted_over, False), (unreachable, False), (cut, True)],
)
def test_only_a_broken_picture_is_remembered_as_broken(
    tmp_path: Path, harm: Callable[[Path], FileError], for_good: bool
) -> None:
    drawn(tmp_path / "a.png", 10)
    assert isinstance(harm(tmp_path / "a.png"), Unreached) is not for_good
