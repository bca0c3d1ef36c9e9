from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from scumble.data import images, mixing, proofs
from scumble.data.example import Example, Image
from scumble.data.looks import looks
from scumble.data.order import Order, Row
from scumble.data.picture_set import PictureSet
from scumble.data.sheet import Card, Section
from scumble.data.shelving import Shelves
from scumble.spec.dataset import DatasetSpec
from scumble.spec.training import TrainingSpec

TRAINING = TrainingSpec(steps=40, batch_size=2, seed=1)


def picture(file: Path, width: int, height: int, *, mode: str = "RGB", caption: str = "") -> Image:
    """A picture of noise on disk, and what is known of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(file)) + width).integers(0, 256, (height, width, 3))
    Pillow.fromarray(noise.astype(np.uint8)).convert(mode).save(file)
    stat = file.stat()
    return Image(
        id=file.name,
        file=file,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        width=width,
        height=height,
        captions=(caption or f"a {file.stem}",),
    )


SIZES = [(64, 64), (70, 64), (128, 64), (100, 64), (64, 128), (65, 130), (64, 64)]


def plain(root: Path, **settings: object) -> PictureSet:
    examples = [
        Example(target=picture(root / f"p{number}.png", *size)) for number, size in enumerate(SIZES)
    ]
    return cut(examples, **settings)


def edits(root: Path, **settings: object) -> PictureSet:
    """Two targets, each with two references and a mask."""
    examples = [
        Example(
            target=picture(root / f"after/{n}.png", 96, 64),
            references=(
                picture(root / f"before/{n}.png", 192, 128),
                picture(root / f"style/{n}.png", 64, 64),
            ),
            mask=picture(root / f"masks/{n}.png", 48, 32, mode="L"),
        )
        for n in range(2)
    ]
    references = [{"folder": "before"}, {"id": "style", "folder": "style", "fit": "loose"}]
    return cut(examples, references=references, mask={"folder": "masks"}, **settings)


def cut(examples: list[Example], **settings: object) -> PictureSet:
    told = {"id": "cats", "folder": "cats", "resolution": 64, **settings}
    spec = DatasetSpec.model_validate(told)
    return PictureSet.of(spec, examples, TRAINING, step=16)


def shown(*sets: PictureSet, count: int = 20, epoch: int = 0) -> list[Section]:
    parts = [
        mixing.Part(
            spec=one.spec,
            count=len(one.examples),
            shelves=Shelves(one),
            steady=not one.framer.varies,
        )
        for one in sets
    ]
    order = Order(mixing.pools(parts), seed=1, units_per_step=1)
    return proofs.sections(sets, order, count=count, epoch=epoch)


def member(one: PictureSet, card: Card) -> int:
    return [f"{one.spec.id}/{each.id}" for each in one.examples].index(card.title)


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_a_card_has_the_very_pixels_of_training(tmp_path: Path, epoch: int, flip: bool) -> None:
    one = plain(tmp_path, sizing={"kind": "shapes", "crop": "random"}, flip=flip, variants=3)
    (section,) = shown(one, epoch=epoch)
    assert len(section.cards) == len(SIZES)
    for card in section.cards:
        row = Row(member(one, card), epoch, 0)
        look = looks(one, row.member, one.version(row)).target
        assert np.array_equal(card.pictures[0], images.pixels(look.image.file, look.view))
        assert any("mirrored" in line for line in card.lines) == look.view.flipped


def test_references_and_masks_stand_beside_their_target(tmp_path: Path) -> None:
    one = edits(tmp_path)
    (section,) = shown(one)
    for card in section.cards:
        seen = looks(one, member(one, card), 0)
        target, before, style, mask = card.pictures
        for found, look in zip((before, style), seen.references, strict=True):
            assert look is not None
            assert np.array_equal(found, images.pixels(look.image.file, look.view))
        assert mask.shape == target.shape and not np.array_equal(mask, target)
        size = f"{target.shape[1]} x {target.shape[0]}"
        assert card.labels[0] == f"target, {size}"
        assert card.labels[1] == f"reference 1, {size}"
        assert card.labels[2] == f"reference style, {style.shape[1]} x {style.shape[0]}"
        assert card.labels[3].startswith("mask, ")


def test_a_reference_that_is_not_drawn_this_time_is_told(tmp_path: Path) -> None:
    one = edits(tmp_path, reference_sampling="random")
    for epoch in range(4):
        for card in shown(one, epoch=epoch)[0].cards:
            told = ["not in this epoch" in label for label in card.labels[1:3]]
            (drawn,) = one.shown(Row(member(one, card), epoch, 0))
            assert told == [drawn != 0, drawn != 1]


def test_what_a_mask_leaves_out_is_tinted_and_the_rest_is_not() -> None:
    grey = np.full((4, 6, 3), 200, dtype=np.uint8)
    mask = np.zeros((4, 6), dtype=np.float32)
    mask[:, 3:] = 1
    over = proofs.overlay(grey, mask)
    assert (over[:, 3:] == 200).all()
    assert (over[:, :3, 0] > over[:, :3, 1]).all()


def test_the_table_counts_every_picture_and_batch(tmp_path: Path) -> None:
    (section,) = shown(plain(tmp_path, repeats=3))
    head, *rows = section.rows
    assert head[:4] == ("width x height", "references", "pictures", "batches")
    assert sum(int(row[2]) for row in rows) == len(SIZES)
    assert {row[0]: (int(row[2]), int(row[3])) for row in rows}["64 x 64"] == (3, 5)
    assert "7 pictures; epoch 1 has 21 examples in" in section.title


def test_the_table_says_how_much_is_cut_away(tmp_path: Path) -> None:
    one = plain(tmp_path, sizing={"kind": "shapes", "aspects": ["1:1"]})
    (section,) = shown(one)
    (row,) = section.rows[1:]
    assert row[5] == "50.0%", "half of 128 x 64"
    alarms = {card.title for card in section.cards if card.alarm}
    assert alarms == {f"cats/p{number}.png" for number in (2, 3, 4, 5)}


def test_pictures_of_the_right_size_are_taken_as_they_are(tmp_path: Path) -> None:
    cards = {card.title: card for card in shown(plain(tmp_path))[0].cards}
    assert "64 x 64, taken as it is" in cards["cats/p0.png"].lines[0]
    assert "resized to" in cards["cats/p1.png"].lines[0]


def test_every_size_shows_first_what_loses_most(tmp_path: Path) -> None:
    one = plain(tmp_path)
    (section,) = shown(one, count=3)
    sizes = [card.labels[0] for card in section.cards]
    assert len(set(sizes)) == 3
    by_size: dict[tuple[int, int], list[float]] = {}
    for frame in one.frames:
        by_size.setdefault(frame.size, []).append(proofs.lost(frame))
    for card in section.cards:
        frame = one.frames[member(one, card)]
        assert proofs.lost(frame) == max(by_size[frame.size])


def test_captions_are_those_of_training(tmp_path: Path) -> None:
    same = shown(plain(tmp_path, repeats=2))[0].cards[0]
    assert [line for line in same.lines if line.startswith("caption: a p")] == [same.lines[-1]]
    dropped = shown(plain(tmp_path, caption_dropout=1.0))[0].cards[0]
    assert dropped.lines[-1] == "caption: (empty)"
    one = plain(tmp_path, caption_dropout=0.5, repeats=2)
    card = next(
        card for card in shown(one)[0].cards if any(line[:5] == "epoch" for line in card.lines)
    )
    rows = [
        Row(member(one, card), 0, 0),
        Row(member(one, card), 0, 1),
        Row(member(one, card), 1, 0),
    ]
    assert card.lines[-3:] == tuple(
        f"epoch {row.epoch + 1}, time {row.turn + 1}: {one.caption(row, 1) or '(empty)'}"
        for row in rows
    )


def test_a_picture_that_cannot_be_read_is_a_red_card(tmp_path: Path) -> None:
    one = plain(tmp_path)
    (tmp_path / "p2.png").write_bytes(b"no picture")
    (section,) = shown(one)
    (bad,) = [card for card in section.cards if not card.pictures]
    assert bad.alarm and bad.title == "cats/p2.png" and "p2.png" in bad.lines[0]
    assert len(section.cards) == len(SIZES)


def test_a_set_that_is_not_there_yet_is_told(tmp_path: Path) -> None:
    one, late = plain(tmp_path / "a"), plain(tmp_path / "b", id="late", start_epoch=3)
    first, third = shown(one, late), shown(one, late, epoch=2)
    assert first[1].title == "late: not seen in epoch 1" and not first[1].cards
    assert third[1].cards


def test_a_run_of_one_epoch_shows_the_captions_it_has(tmp_path: Path) -> None:
    one = plain(tmp_path, end_epoch=1, caption_dropout=0.5)
    assert all(len(card.lines) == 2 for card in shown(one)[0].cards)


def test_sets_with_shares_have_epochs_of_their_own(tmp_path: Path) -> None:
    sets = [plain(tmp_path / "a", share=1.0), plain(tmp_path / "b", id="dogs", share=3.0)]
    assert [section.title.split(":")[0] for section in shown(*sets, epoch=5)] == ["cats", "dogs"]


def test_no_more_examples_are_decoded_than_asked_for(tmp_path: Path) -> None:
    assert len(shown(plain(tmp_path), count=2)[0].cards) == 2
