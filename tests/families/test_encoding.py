"""The cache is filled whatever room there is and whatever lies in the folder, and read back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scumble import families
from scumble.data import packing
from scumble.data.cache import Missing, Store, hashed, picture_key, text_key
from scumble.data.saying import Saying
from scumble.data.sizes.frame import Frame
from scumble.data.view import View
from scumble.errors import FileError, JobError, NotFinite
from scumble.events import Encoded, Warned
from scumble.families import encoding, room
from scumble.families.encoding import encode_pictures, encode_texts
from scumble.families.eyes import Eyes
from scumble.families.opening import Unreadable
from scumble.families.reader import Reader
from scumble.families.weights import Model
from scumble.hardware.device import Place
from scumble.spec.saving import CacheSpec
from tests.toys import opened

PLACE = Place(torch.device("cpu"), torch.float32)
BF16 = Place(torch.device("cpu"), torch.bfloat16)
TOKENS = 24
TEXTS = ["a cat", "", "a cat on a mat", "zebra"] * 5
NO_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
)


@pytest.fixture(scope="module")
def model() -> Model:
    return opened(families.find("flux", "dev"), "builtin:tiny-flux")


def wanted(folder: Path, sizes: list[tuple[int, int]]) -> list[Missing]:
    """Pictures of these widths and heights, seen as they are; the first is the most colourful."""
    folder.mkdir(exist_ok=True)
    random, found = np.random.default_rng(len(sizes)), []
    for number, (width, height) in enumerate(sizes):
        file = folder / f"p{number:02}.png"
        small = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(file)
        view = View(Frame((height, width), (height, width), (0, 0), (height, width)))
        key = picture_key(bytes(16), f"{number:032x}", view)
        found.append(Missing(key, file, view, f"cat/{file.name}"))
    return found


def reading(model: Model, kept: str = "auto") -> Callable[[], Reader]:
    """What reads texts and gives entries as they are kept so."""
    return partial(Reader, model, PLACE, TOKENS, packing.precision(kept, PLACE.dtype))


def keyed(texts: list[str]) -> list[tuple[bytes, Saying]]:
    return [(text_key(bytes(16), text), Saying(text)) for text in dict.fromkeys(texts)]


def tight(model: Model, refuse: Callable[[torch.nn.Module, int, int], bool], error: Exception):
    """The same model with a device that refuses some numbers of pictures of some areas."""

    def see(modules, pixels):
        if refuse(modules["autoencoder"], len(pixels), math.prod(pixels.shape[2:])):
            raise error
        return model.family.see(modules, pixels)

    return replace(model, family=replace(model.family, see=see))


def written(model: Model, store: Store, pictures: list[Missing], precision: str = "fp32"):
    events = list(encode_pictures(model, PLACE, store, pictures, precision))
    warned = [event.text for event in events if isinstance(event, Warned)]
    entries = [store.read(one.key)["latents"] for one in pictures]
    store.close()
    return entries, warned


def test_latents_are_kept_in_the_precision_that_is_told(tmp_path: Path, model: Model) -> None:
    pictures = wanted(tmp_path / "p", [(64, 32)] * 3 + [(32, 32)])
    exact, _ = written(model, Store(tmp_path / "32", "cat"), pictures)
    half, _ = written(model, Store(tmp_path / "16", "cat"), pictures, "bf16")
    assert [tuple(one.shape) for one in exact] == [(16, 4, 8)] * 3 + [(16, 4, 4)]
    assert (
        all(torch.equal(a.to(torch.bfloat16), b) for a, b in zip(exact, half, strict=True))
        and half[0].dtype == torch.bfloat16
    )


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(NO_MEMORY)], ids=type
)
def test_a_batch_without_room_is_halved_until_it_fits(
    tmp_path: Path, model: Model, error: Exception
) -> None:
    pictures = wanted(tmp_path / "p", [(32, 32)] * 13 + [(64, 32)] * 5)
    asked: list[int] = []

    def refuse(_: torch.nn.Module, count: int, area: int) -> bool:
        asked.append(count * area // 1024)
        return count * area > 4 * 1024

    found, warned = written(tight(model, refuse, error), Store(tmp_path / "a", "cat"), pictures)
    plain, none = written(model, Store(tmp_path / "b", "cat"), pictures)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, plain, strict=True))
    assert len(warned) == 1 and "13 pictures together do not fit" in warned[0] and none == []
    assert asked[:3] == [13, 6, 3], "halved, and then not tried again"
    assert max(asked[3:]) <= 3


def test_a_picture_without_room_goes_through_in_tiles(tmp_path: Path, model: Model) -> None:
    pictures = wanted(tmp_path / "p", [(256, 192), (256, 192), (64, 64)])

    def refuse(autoencoder: torch.nn.Module, _: int, area: int) -> bool:
        return area > 64 * 64 and not autoencoder.use_tiling

    error = torch.OutOfMemoryError()
    found, warned = written(tight(model, refuse, error), Store(tmp_path / "a", "cat"), pictures)
    plain, _ = written(model, Store(tmp_path / "b", "cat"), pictures)
    assert [one.shape for one in found] == [one.shape for one in plain]
    assert torch.allclose(found[2], plain[2], atol=1e-6)
    assert (found[0] - plain[0]).abs().mean() < 0.05 * plain[0].std()
    assert len(warned) == 2 and "256x192 and more do not fit into memory whole" in warned[1]
    assert "in tiles, which changes their latents a little" in warned[1]


def test_a_picture_for_which_there_is_no_room_at_all_is_told(tmp_path: Path, model: Model) -> None:
    pictures = wanted(tmp_path / "p", [(64, 32)])
    never = tight(model, lambda *_: True, torch.OutOfMemoryError())
    with pytest.raises(JobError, match="64x32, even in tiles; lower `resolution`"):
        written(never, Store(tmp_path / "a", "cat"), pictures)


def test_another_error_is_no_lack_of_room(tmp_path: Path, model: Model) -> None:
    pictures = wanted(tmp_path / "p", [(32, 32)] * 2)
    broken = tight(model, lambda *_: True, RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        written(broken, Store(tmp_path / "a", "cat"), pictures)


@pytest.mark.parametrize(
    ("error", "lack"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("expected scalar type Half"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_room_is_known_by_its_words(error: Exception, lack: bool) -> None:
    assert room.exhausted(error) is lack
    if lack:
        with pytest.raises((RuntimeError, MemoryError)):
            torch.empty(10**15)


def test_a_card_has_one_way_out_more() -> None:
    card = room.Room(torch.device("cuda"))
    assert card.ways(10) == [room.WHOLE, room.TILED, room.ON_CPU]
    card.too_large(room.WHOLE, (2, 5))
    card.too_large(room.TILED, (2, 5))
    assert card.ways(10) == [room.ON_CPU] and card.ways(9) == [room.WHOLE, room.TILED, room.ON_CPU]
    assert len(card.notes) == 2 and "on the CPU, which takes much longer" in card.notes[1]
    card.too_large(room.WHOLE, (2, 2))
    assert len(card.notes) == 2, "told once"
    assert room.Room(torch.device("cpu")).ways(10) == [room.WHOLE, room.TILED]


def spoilt(pictures: list[Missing], *numbers: int) -> None:
    for number in numbers:
        file = pictures[number].file
        assert isinstance(file, Path)
        file.write_bytes(file.read_bytes()[:90])


def test_one_night_is_not_lost_to_one_file(tmp_path: Path, model: Model) -> None:
    pictures, store = wanted(tmp_path / "p", [(32, 32)] * 6 + [(64, 64)]), Store(tmp_path, "cat")
    spoilt(pictures, 1, 4, 6)
    with pytest.raises(ExceptionGroup) as caught:
        list(encode_pictures(model, PLACE, store, pictures, "fp32"))
    named = {Path(error.where).name for error in caught.value.exceptions}  # pyright: ignore[reportAttributeAccessIssue]
    assert named == {"p01.png", "p04.png", "p06.png"}
    assert store.missing([one.key for one in pictures]) == [1, 4, 6]


def test_bad_pictures_are_left_out_where_the_job_says_so(tmp_path: Path, model: Model) -> None:
    pictures, store = wanted(tmp_path / "p", [(32, 32)] * 6), Store(tmp_path, "cat")
    spoilt(pictures, 0, 1)
    bad: list[Unreadable] = []
    events = list(encode_pictures(model, PLACE, store, pictures, "fp32", bad))
    assert [one.id for one, _ in bad] == ["cat/p00.png", "cat/p01.png"]
    last = events[-1]
    assert isinstance(last, Encoded) and (last.done, last.total) == (4, 4)
    (told,) = encoding.left_out(bad, "cat")
    assert "2 pictures left out" in told.text and "p01.png" in told.text
    assert list(encoding.left_out([], "cat")) == []


def test_a_set_of_nothing_but_bad_pictures_is_told_and_writes_nothing(
    tmp_path: Path, model: Model
) -> None:
    pictures, store = wanted(tmp_path / "p", [(32, 32)] * 2), Store(tmp_path / "c", "cat")
    spoilt(pictures, 0, 1)
    with pytest.raises(ExceptionGroup):
        list(encode_pictures(model, PLACE, store, pictures, "fp32"))
    assert not store.folder.exists()


def test_a_picture_that_gives_no_number_is_never_written(tmp_path: Path, model: Model) -> None:
    def see(modules, pixels):
        entries = model.family.see(modules, pixels)
        return [{"latents": entry["latents"] * 1e6} for entry in entries]

    loud = replace(model, family=replace(model.family, see=see))
    pictures = wanted(tmp_path / "p", [(32, 32)])
    with pytest.raises(NotFinite, match=r"p00.png.*keep no fp16"):
        list(encode_pictures(loud, PLACE, Store(tmp_path, "cat"), pictures, "fp16"))
    assert Store(tmp_path, "cat").missing([pictures[0].key]) == [0]


def test_parts_cut_the_work_without_overlap_or_rest(tmp_path: Path, model: Model) -> None:
    keys = [hashed(bytes([number % 256, number // 256])) for number in range(3000)]
    shares = [sum(encoding.part_of(key, (own, 3)) for key in keys) for own in range(3)]
    assert sum(shares) == 3000 and min(shares) > 900
    assert all(encoding.part_of(key, (0, 1)) for key in keys)


def test_two_that_make_the_same_do_no_harm(tmp_path: Path, model: Model) -> None:
    pictures = wanted(tmp_path / "p", [(32, 32)] * 5)
    one, store = Store(tmp_path / "one", "cat"), Store(tmp_path / "two", "cat")
    plain, _ = written(model, one, pictures)
    written(model, store, pictures[:4])
    both, _ = written(model, store, pictures)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, both, strict=True))


@pytest.mark.parametrize(("place", "kept"), [(PLACE, "fp32"), (PLACE, "bf16"), (BF16, "fp16")])
def test_on_demand_gives_what_the_cache_gives_back(
    tmp_path: Path, model: Model, place: Place, kept: str
) -> None:
    pictures, store = wanted(tmp_path / "p", [(48, 32)] * 5), Store(tmp_path, "cat")
    list(encode_pictures(model, place, store, pictures, kept))
    cached = [store.read(one.key) for one in pictures]
    store.close()
    fresh = Eyes(model, place, kept).see(pictures)
    for a, b in zip(cached, fresh, strict=True):
        assert a["latents"].dtype == b["latents"].dtype
        step = {"fp32": 1e-6, "bf16": 2**-7, "fp16": 2**-10}[kept]
        assert torch.allclose(a["latents"].float(), b["latents"].float(), atol=1e-6, rtol=step)
        assert (a["latents"] != b["latents"]).float().mean() < (0.01 if kept == "bf16" else 1.1)
        (b["latents"].float() * torch.ones(1, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("kept", ["fp32", "bf16", "fp8"])
def test_texts_on_demand_are_what_the_cache_gives_back(
    tmp_path: Path, model: Model, kept: str
) -> None:
    store, rows = Store(tmp_path, "text", torch.float32), keyed(TEXTS)
    *_, last = encode_texts(reading(model, kept), store, rows)
    assert isinstance(last, Encoded) and (last.done, last.total) == (4, 4)
    cached = [store.read(key) for key, _ in rows]
    store.close()
    fresh = Reader(model, PLACE, TOKENS, kept).read([text for _, text in rows])
    for a, b in zip(cached, fresh, strict=True):
        assert a.keys() == b.keys() == {"text", "summary"}
        for name in a:
            assert a[name].dtype == b[name].dtype == torch.float32
            close = 1e-5 if kept == "fp32" else 0.02
            assert torch.allclose(a[name], b[name], atol=close, rtol=close)


def test_codes_of_texts_are_near_what_they_stand_for(tmp_path: Path, model: Model) -> None:
    exact = Reader(model, PLACE, TOKENS, "fp32").read([Saying("a cat on a mat")])[0]
    coded = Reader(model, PLACE, TOKENS, "fp8").read([Saying("a cat on a mat")])[0]
    lost = (coded["text"] - exact["text"]).norm(dim=-1) / exact["text"].norm(dim=-1)
    assert 0.005 < lost.max() < 0.04


def test_texts_without_room_are_read_fewer_at_a_time(tmp_path: Path, model: Model) -> None:
    def read(modules, entries):
        if len(entries) > 3:
            raise torch.OutOfMemoryError
        return model.family.read(modules, entries)

    small = replace(model, family=replace(model.family, read=read))
    rows = keyed([f"a cat {number}" for number in range(11)])
    store = Store(tmp_path, "text")
    events = list(encode_texts(reading(small), store, rows))
    assert [event.text[:25] for event in events if isinstance(event, Warned)] == [
        "Texts do not fit into mem"
    ]
    assert store.missing([key for key, _ in rows]) == []


def test_a_text_for_which_there_is_no_room_at_all_is_told(tmp_path: Path, model: Model) -> None:
    def read(modules, entries):
        raise torch.OutOfMemoryError

    none = replace(model, family=replace(model.family, read=read))
    with pytest.raises(JobError, match="no memory to read a text"):
        list(encode_texts(reading(none), Store(tmp_path, "t"), keyed(["a"])))


def test_texts_that_are_cut_are_counted(tmp_path: Path, model: Model) -> None:
    rows = keyed(["a cat", "much too long " * 20])
    events = list(encode_texts(reading(model), Store(tmp_path, "text"), rows))
    told = [event.text for event in events if isinstance(event, Warned)]
    assert len(told) == 1 and "1 texts are longer than 24 tokens" in told[0]


@pytest.mark.parametrize("kept", ["fp32", "bf16"])
def test_sizes_are_foretold(tmp_path: Path, model: Model, kept: str) -> None:
    spec = CacheSpec.model_validate({"picture_dtype": kept, "text_dtype": "fp8"})
    pictures = wanted(tmp_path / "p", [(64, 32)] * 3)
    written(model, Store(tmp_path / "a", "cat"), pictures, kept)
    list(encode_texts(reading(model, "fp8"), Store(tmp_path / "b", "t"), keyed(TEXTS)))
    foretold = {
        "a": 3 * encoding.picture_bytes(model, spec, (32, 64)),
        "b": 4 * encoding.text_bytes(model, PLACE, TOKENS, spec),
    }
    for name, count in foretold.items():
        (shard,) = (tmp_path / name).iterdir()
        assert 0 <= shard.stat().st_size - 4096 - count <= 16


def test_a_recipe_names_what_it_is_made_of(model: Model) -> None:
    def of(place: Place = PLACE, tokens: int = TOKENS, **kept: str) -> encoding.Recipes:
        spec = CacheSpec.model_validate(kept)
        found = encoding.recipes(model, place, tokens, spec, read=True)
        assert found is not None
        return found

    base = of()
    assert base.pictures.keys() == {
        "family", "precision", "code version", "kept as", "autoencoder config",
        "autoencoder weights",
    }  # fmt: skip
    assert {"clip weights", "t5 tokenizer", "text length"} <= base.texts.keys()
    assert of().picture == base.picture and of(text_dtype="fp32").text == base.text
    assert of(picture_dtype="bf16").picture != base.picture
    assert of(picture_dtype="bf16").text == base.text
    assert of(text_dtype="fp8").text != base.text and of(text_dtype="fp8").picture == base.picture
    assert of(tokens=9).text != base.text and of(tokens=9).picture == base.picture
    assert of(BF16).text != base.text and of(BF16).picture != base.picture


def test_an_unreadable_picture_on_demand_is_named(tmp_path: Path, model: Model) -> None:
    pictures = wanted(tmp_path / "p", [(32, 32)] * 2)
    spoilt(pictures, 1)
    with pytest.raises(FileError, match=r"p01.png"):
        Eyes(model, PLACE, "fp32").see(pictures)
