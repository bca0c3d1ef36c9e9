from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble.data.pairs import words
from scumble.data.pairs.collecting import of_folders
from scumble.data.pairs.contact import cards
from scumble.data.pairs.doctor import Look, doctor
from scumble.data.pairs.report import Report
from scumble.data.sheet import png

from .pair_toys import (
    SIZES,
    blurred,
    edges,
    grey,
    kept,
    moved,
    noisy,
    painted,
    picture,
    recoloured,
)

ALL = Look(sample=None)
NAMES = [f"img{n}" for n in range(1, 27)] + [f"sub/b{n:02}" for n in range(4)]


def clean(folder: Path) -> Path:
    """30 pictures, blurred as references and with masks; half of them JPEG."""
    for number, name in enumerate(NAMES):
        ending = ".png" if number % 2 else ".jpg"
        whole = picture(number, SIZES[number % len(SIZES)])
        kept(whole, folder / "targets" / f"{name}{ending}")
        kept(blurred(whole), folder / "before" / f"{name}.jpg")
        kept(edges(whole).convert("L"), folder / "masks" / f"{name}.png")
    return folder


def looked_at(folder: Path, *, loose: bool = False, look: Look | None = ALL) -> Report:
    masks = folder / "masks"
    sides = of_folders(
        folder / "targets", [folder / "before"], masks if masks.is_dir() else None, loose=loose
    )
    return doctor(sides, look)


def told(report: Report) -> dict[str, set[str]]:
    """Ids by kind, with the side unless it is that of the references."""
    found: dict[str, set[str]] = {}
    for one in report.findings:
        kind = one.kind if one.side == "references" else f"{one.kind} {one.side}"
        found.setdefault(kind, set()).add(one.id)
    return found


def reason(report: Report, id: str, kind: str) -> str:
    return next(one.said for one in report.findings if (one.id, one.kind) == (id, kind))


def test_nothing_is_wrong_with_the_clean_set(tmp_path: Path) -> None:
    report = looked_at(clean(tmp_path))
    assert report.findings == ()
    assert report.hints == ()
    assert (report.targets, report.pairs, report.counts) == (30, 60, {1: 30})
    assert report.directions == ("references: the target is sharper in 30 of 30 pairs",)
    assert list(words.lines(report))[-1] == "no problem found in 60 pairs"
    assert cards(report) == []


def spoilt_names(folder: Path) -> None:
    """Everything that can be wrong with names."""
    targets, before, masks = (folder / name for name in ("targets", "before", "masks"))
    (before / "img2.jpg").unlink()  # unmatched target
    kept(picture(90), before / "extra.png")  # unmatched reference
    (before / "img3.jpg").rename(before / "IMG3.jpg")  # case
    kept(blurred(picture(3, SIZES[3])), before / "img4.png")  # two, of which one is named alike
    (before / "img5.jpg").rename(before / "img5.webp")
    kept(blurred(picture(4, SIZES[4])), before / "img5.png")  # two, neither named alike
    (before / "sub/b00.jpg").rename(before / "b00.jpg")  # subfolder
    (before / "img1.jpg").rename(before / "img1_.jpg")  # prefix, with img10 to img19 around
    kept(Image.open(targets / "img6.png").copy(), targets / "img6.jpg")  # two targets
    (masks / "img18.png").unlink()  # missing mask
    (masks / "more").mkdir()
    (masks / "img20.png").rename(masks / "more/img20.png")  # mask in a subfolder


def spoilt_pictures(folder: Path) -> None:
    """Everything that can be wrong with what is in the files."""
    targets, before = folder / "targets", folder / "before"
    kept(Image.open(before / "img8.jpg").copy(), before / "img8.jpg", orientation=6)
    kept(Image.open(before / "img9.jpg").resize((384, 280)), before / "img9.jpg")  # aspect
    kept(Image.open(targets / "img12.png").copy(), before / "img12.jpg")  # the same but for JPEG
    (before / "img13.jpg").write_bytes((targets / "img13.jpg").read_bytes())  # the same bytes
    kept(moved(Image.open(before / "img14.jpg"), 5, 0), before / "img14.jpg")  # shifted
    first, second = Image.open(targets / "img16.png").copy(), Image.open(before / "img16.jpg")
    kept(second.copy(), targets / "img16.png")
    kept(first, before / "img16.jpg")  # swapped
    (before / "img22.jpg").write_bytes((before / "img22.jpg").read_bytes()[:900])  # cut short


def test_every_planted_fault_is_named_and_nothing_else(tmp_path: Path) -> None:
    folder = clean(tmp_path)
    spoilt_names(folder)
    spoilt_pictures(folder)
    report = looked_at(folder)

    assert told(report) == {
        "no partner": {"img2.png", "img3.jpg", "img1.jpg", "sub/b00.jpg"},
        "spare": {"extra.png", "IMG3.jpg", "img1_.jpg", "b00.jpg", "img4.jpg"},
        "ambiguous": {"img5.jpg", "img6.png", "img6.jpg"},
        "turned": {"img8.png"},
        "aspect": {"img9.jpg"},
        "alike": {"img12.png"},
        "copied": {"img13.jpg"},
        "shifted": {"img14.png"},
        "swapped": {"img16.png"},
        "unreadable": {"img22.jpg"},
        "no partner masks": {"img18.png", "img20.png"},
        "spare masks": {"more/img20.png"},
        "ambiguous masks": {"img6.png", "img6.jpg"},
    }
    assert reason(report, "img3.jpg", "no partner").endswith("differs in case: IMG3.jpg")
    assert reason(report, "img1.jpg", "no partner").endswith("goes on: img1_.jpg")
    assert reason(report, "sub/b00.jpg", "no partner").endswith("another folder: b00.jpg")
    assert reason(report, "img20.png", "no partner").endswith("another folder: more/img20.png")
    assert "EXIF tag, its partner is turned by one (6)" in reason(report, "img8.png", "turned")
    assert (
        reason(report, "img14.png", "shifted")
        == "has a partner that lies 5.0 px right of its place"
    )
    assert "in 20 of 23 pairs" in reason(report, "img16.png", "swapped")


def test_the_sheet_shows_each_doubtful_pair_once(tmp_path: Path) -> None:
    folder = clean(tmp_path)
    for name in ("img3", "img5"):
        kept(moved(Image.open(folder / f"before/{name}.jpg"), 3, -6), folder / f"before/{name}.jpg")
    shown = cards(looked_at(folder))
    assert [card.title for card in shown] == ["img3.jpg", "img5.jpg"]
    assert shown[0].lines == (
        "not in the same place: has a partner that lies 3.0 px right and 6.0 px up of its place",
    )
    assert [len(card.pictures) for card in shown] == [3, 3]
    assert png(shown).width > 600


SMALL = ((256, 256), (288, 224), (224, 256))

EDITS: tuple[Callable[[Image.Image, int], Image.Image], ...] = (
    lambda one, _: blurred(one),
    recoloured,
    noisy,
    lambda one, _: edges(one),
    lambda one, seed: painted(one, seed + 500),
    lambda one, _: grey(one),
    lambda one, _: Image.fromarray(255 - np.asarray(one)),
    lambda one, _: one.resize((one.width // 2, one.height // 2)),
)


def test_no_alarm_for_two_hundred_pairs_of_many_kinds(tmp_path: Path) -> None:
    for number in range(200):
        whole = picture(number, SMALL[number % len(SMALL)])
        made = EDITS[number % len(EDITS)](whole, number)
        kept(whole, tmp_path / f"targets/{number}.png")
        kept(made, tmp_path / f"before/{number}.jpg")
    report = looked_at(tmp_path)
    assert report.findings == ()
    assert report.looked is not None and report.looked.pairs == 200


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda one, _: grey(one), "the target is more colourful in 9 of 10 pairs"),
        (noisy, "the partner is noisier in 9 of 10 pairs"),
        (lambda one, _: one.resize((one.width // 2, one.height // 2)), "the target is larger"),
        (lambda one, _: blurred(one, 1.2), "the target is sharper in 9 of 10 pairs"),
    ],
)
def test_the_one_that_goes_backwards_is_named(
    tmp_path: Path, edit: Callable[[Image.Image, int], Image.Image], said: str
) -> None:
    for number in range(10):
        whole = picture(number)
        both = [whole, edit(whole, number)]
        first, second = both[::-1] if number == 7 else both
        kept(first, tmp_path / f"targets/{number}.png")
        kept(second, tmp_path / f"before/{number}.png")
    report = looked_at(tmp_path)
    assert told(report) == {"swapped": {"7.png"}}
    assert said in reason(report, "7.png", "swapped")


def test_four_pairs_have_no_direction(tmp_path: Path) -> None:
    for number in range(4):
        both = [picture(number), blurred(picture(number))]
        first, second = both[::-1] if number == 3 else both
        kept(first, tmp_path / f"targets/{number}.png")
        kept(second, tmp_path / f"before/{number}.png")
    assert looked_at(tmp_path).findings == ()


def test_a_tag_that_changes_nothing_is_a_note(tmp_path: Path) -> None:
    whole = picture(1, (384, 256))
    lying = whole.transpose(Image.Transpose.ROTATE_90)
    kept(whole, tmp_path / "targets/a.png")
    kept(blurred(lying), tmp_path / "before/a.jpg", orientation=6)
    report = looked_at(tmp_path)
    assert told(report) == {"tag": {"a.png"}}
    assert list(words.lines(report))[-1] == "no problem found in 1 pair"


@pytest.mark.parametrize(("turned", "kind"), [(False, "turned"), (True, "tag")])
def test_of_a_square_only_the_pixels_tell_whether_its_tag_is_right(
    tmp_path: Path, turned: bool, kind: str
) -> None:
    whole = picture(1)
    kept(whole, tmp_path / "targets/a.png")
    held = whole.transpose(Image.Transpose.ROTATE_180) if turned else whole
    kept(blurred(held), tmp_path / "before/a.png", orientation=3)
    assert told(looked_at(tmp_path)) == {kind: {"a.png"}}
    assert told(looked_at(tmp_path, look=None)) == {"turned": {"a.png"}}


def test_loose_references_may_have_any_shape_and_place(tmp_path: Path) -> None:
    whole = picture(1)
    kept(whole, tmp_path / "targets/a.png")
    kept(picture(2, (384, 256)), tmp_path / "before/a.png")
    kept(picture(3), tmp_path / "targets/b.png")
    kept(moved(picture(3), 30, 9), tmp_path / "before/b.png")
    assert looked_at(tmp_path, loose=True).findings == ()
    assert told(looked_at(tmp_path)) == {"aspect": {"a.png"}, "shifted": {"b.png"}}


def test_a_small_shift_of_a_large_picture_is_found_in_its_own_pixels(tmp_path: Path) -> None:
    whole = picture(1, (1600, 1200))
    kept(whole, tmp_path / "targets/a.jpg")
    kept(moved(blurred(whole), 3, 0), tmp_path / "before/a.jpg")
    kept(whole, tmp_path / "targets/b.jpg")
    kept(blurred(whole, 1), tmp_path / "before/b.jpg")
    report = looked_at(tmp_path)
    assert told(report) == {"shifted": {"a.jpg"}}
    found = re.search(r"lies ([\d.]+) px right", reason(report, "a.jpg", "shifted"))
    assert found is not None and float(found[1]) == pytest.approx(3, abs=0.3)


def test_the_same_file_in_another_pair_is_told(tmp_path: Path) -> None:
    for number in range(3):
        kept(picture(number), tmp_path / f"targets/{number}.png")
        kept(picture(number + 1), tmp_path / f"before/{number}.png")
    report = looked_at(tmp_path, look=None)
    assert told(report) == {"crossed": {"1.png", "2.png"}}
    assert report.of_grade("doubt") == []


def test_how_many_references_each_target_has_is_counted(tmp_path: Path) -> None:
    for number in range(4):
        kept(picture(number, (64, 64)), tmp_path / f"targets/{number}.png")
        for side in range(number):
            kept(picture(10 * side + 40, (64, 64)), tmp_path / f"r{side}/{number}.png")
    sides = of_folders(tmp_path / "targets", [tmp_path / f"r{n}" for n in range(3)], None)
    report = doctor(sides, None)
    assert report.counts == {0: 1, 1: 1, 2: 1, 3: 1}
    assert {(one.side, one.id) for one in report.of_grade("wrong")} == {
        ("references 1", "0.png"),
        ("references 2", "0.png"),
        ("references 2", "1.png"),
        ("references 3", "0.png"),
        ("references 3", "1.png"),
        ("references 3", "2.png"),
    }


def test_what_need_not_be_paired_is_a_note(tmp_path: Path) -> None:
    kept(picture(1), tmp_path / "targets/a.png")
    kept(picture(2), tmp_path / "targets/b.png")
    kept(blurred(picture(1)), tmp_path / "before/a.png")
    sides = of_folders(tmp_path / "targets", [tmp_path / "before"], None)
    free = tuple(replace(one, optional=True) for one in sides.references)
    report = doctor(replace(sides, references=free), None)
    assert told(report) == {"left out": {"b.png"}}
    assert report.of_grade("wrong") == []


def test_a_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    folder = clean(tmp_path)
    first = looked_at(folder, look=Look(sample=7)).looked
    assert first is not None and (first.pairs, first.of) == (7, 30)
    assert "7 pairs of 30" in "\n".join(words.lines(looked_at(folder, look=Look(sample=7))))


def test_the_json_holds_every_finding_with_its_files(tmp_path: Path) -> None:
    for number in range(30):
        kept(picture(number, (64, 64)), tmp_path / f"targets/{number}.png")
    kept(picture(99, (64, 64)), tmp_path / "before/x.png")
    report = looked_at(tmp_path, look=None)
    value = json.loads(json.dumps(words.plain(report)))
    assert len(value["findings"]) == 31
    assert value["findings"][0]["files"] == [str(tmp_path / "targets/0.png")]
    text = list(words.lines(report))
    assert sum(line.startswith("       ") for line in text) == 22
    assert any("and 10 more" in line for line in text)
