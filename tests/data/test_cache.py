"""Keys stand for all that made an entry; what is kept comes back, in the size that was foretold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scumble.data.cache import Store, picture_key, recipe, text_key, value
from scumble.data.packing import entry_bytes, packed, precision, unpacked
from scumble.data.shards import HEADER_BYTES
from scumble.data.sizes.frame import Frame
from scumble.data.view import Colours, Degraded, View
from scumble.spec.degradation import Blur

FRAME = Frame((64, 96), (32, 48), (0, 8), (32, 32))
VIEW = View(FRAME)
SOURCE = "ab" * 16


def degraded(*, radius: float = 2.0, at: str = "trained", key: int = 1) -> View:
    return replace(VIEW, degraded=Degraded(Blur(kind="blur", radius=radius), at, key))


def test_every_part_of_a_key_alone_makes_another_key() -> None:
    base = recipe("picture", "flux", "fp32")
    keys = [
        picture_key(base, SOURCE, VIEW),
        picture_key(recipe("picture", "flux", "bf16"), SOURCE, VIEW),
        picture_key(recipe("picture", "fluxf", "p32"), SOURCE, VIEW),
        picture_key(base, "ac" * 16, VIEW),
        picture_key(base, SOURCE, View(replace(FRAME, corner=(0, 9)))),
        picture_key(base, SOURCE, View(replace(FRAME, size=(32, 16)))),
        picture_key(base, SOURCE, replace(VIEW, interpolation="area")),
        picture_key(base, SOURCE, replace(VIEW, flipped=True)),
        picture_key(base, SOURCE, replace(VIEW, colours=Colours())),
        picture_key(base, SOURCE, replace(VIEW, colours=Colours(gamma=1.1))),
        picture_key(base, SOURCE, degraded()),
        picture_key(base, SOURCE, degraded(radius=3.0)),
        picture_key(base, SOURCE, degraded(at="original")),
        picture_key(base, SOURCE, degraded(key=2)),
        text_key(base, "a cat"),
        text_key(base, "a cat "),
        text_key(base, ""),
    ]
    assert len(set(keys)) == len(keys) and {len(key) for key in keys} == {16}


ENTRY = {
    "text": torch.randn(7, 33, generator=torch.Generator().manual_seed(1)),
    "summary": torch.randn(5, generator=torch.Generator().manual_seed(2)),
    "length": torch.tensor(7),
}


def kept(tmp_path: Path, entry: dict[str, torch.Tensor], dtype: torch.dtype | None = None) -> Store:
    store = Store(tmp_path, "x", dtype)
    with store.writer({name: tensor.dtype for name, tensor in entry.items()}) as writer:
        writer.add(bytes(16), [value(tensor) for tensor in entry.values()])
    return store


@pytest.mark.parametrize(("told", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_numbers_come_back_as_they_were_kept(tmp_path: Path, told: str, dtype: torch.dtype) -> None:
    store = kept(tmp_path, packed(ENTRY, told))
    found = store.read(bytes(16))
    store.close()
    assert found["text"].dtype == dtype and found["length"].dtype == torch.int64
    assert all(torch.equal(found[name], ENTRY[name].to(found[name].dtype)) for name in ENTRY)
    assert store.missing([bytes(16), b"1" * 16, b"1" * 16]) == [1]


def test_codes_come_back_in_the_precision_that_is_computed_in(tmp_path: Path) -> None:
    store = kept(tmp_path, packed(ENTRY, "fp8"), torch.bfloat16)
    found = store.read(bytes(16))
    store.close()
    assert found.keys() == ENTRY.keys()
    assert found["text"].dtype == found["summary"].dtype == torch.bfloat16
    assert found["length"].item() == 7
    assert torch.equal(found["text"], unpacked(packed(ENTRY, "fp8"), torch.bfloat16)["text"])


@pytest.mark.parametrize("loudest", [1.0, 50.0])
def test_codes_move_a_token_by_less_than_three_percent_whatever_its_size(loudest: float) -> None:
    rows = torch.randn(512, 4096, generator=torch.Generator().manual_seed(0))
    rows[:, 7] *= loudest
    rows[3] *= 1e4
    rows[4] *= 1e-6
    rows[5] = 0.0
    back = unpacked(packed({"text": rows}, "fp8"))["text"]
    lost = (back - rows).norm(dim=-1) / rows.norm(dim=-1).clamp(min=1e-30)
    assert lost.max() < 0.03 and bool((back[5] == 0).all())
    assert loudest > 1 or lost[0] > 0.02, "the docstring says what is lost"
    rounded = unpacked(packed({"text": rows}, "bf16"))["text"].float()
    assert (rounded - rows)[0].norm() / rows[0].norm() == pytest.approx(0.0017, rel=0.3)


def test_auto_is_what_is_computed_in() -> None:
    assert precision("auto", torch.bfloat16) == "bf16"
    assert precision("auto", torch.float32) == "fp32"
    assert precision("fp8", torch.float32) == "fp8"


@pytest.mark.parametrize("told", ["fp32", "bf16", "fp16", "fp8"])
def test_the_size_is_foretold_to_the_byte(tmp_path: Path, told: str) -> None:
    entry = {"text": torch.randn(8, 40), "summary": torch.randn(8), "latents": torch.randn(4, 2, 6)}
    some, store = packed(entry, told), Store(tmp_path, "x")
    with store.writer({name: tensor.dtype for name, tensor in some.items()}) as writer:
        for number in range(10):
            row = [value(tensor) for tensor in some.values()]
            writer.add(number.to_bytes(16, "big"), row)
    (shard,) = tmp_path.iterdir()
    foretold = 10 * entry_bytes({name: tuple(t.shape) for name, t in entry.items()}, told)
    assert 0 <= shard.stat().st_size - HEADER_BYTES - foretold <= 8 + 8


def test_an_entry_of_nothing_comes_back(tmp_path: Path) -> None:
    store = kept(tmp_path, {"none": torch.empty(0, 3)})
    assert store.read(bytes(16))["none"].shape == (0, 3)
    store.close()
