from __future__ import annotations

import time

import pytest

from scumble.data.pairs.matching import Matching, Odd, matched
from scumble.data.pairs.names import shared_words, stem


def pairs(targets: list[str], others: list[str]) -> dict[str, str]:
    found = matched(targets, others)
    return {
        target: others[place]
        for target, place in zip(targets, found.partners, strict=True)
        if place is not None
    }


def reasons(odd: tuple[Odd, ...]) -> dict[str, str]:
    return {one.id: one.reason for one in odd}


def test_the_ending_does_not_matter_and_the_order_neither() -> None:
    assert pairs(["a.png", "s/b.jpg"], ["s/b.webp", "a.JPG"]) == {
        "a.png": "a.JPG",
        "s/b.jpg": "s/b.webp",
    }


def test_names_that_begin_alike_never_pair() -> None:
    names = ["img1.png", "img10.png", "img1_.png", "img1_0.png", "img.png"]
    assert pairs(names, names[::-1]) == {name: name for name in names}
    for left_out in names:
        rest = [name for name in names if name != left_out]
        assert pairs(names, rest) == {name: name for name in rest}
        assert [odd.id for odd in matched(names, rest).lonely] == [left_out]


@pytest.mark.parametrize(
    ("target", "other", "reason"),
    [
        ("img1.png", "zebra.png", "has no partner of that name"),
        ("img_1.png", "IMG_1.PNG", "has a partner that differs in case: IMG_1.PNG"),
        ("s/img1.png", "S/img1.png", "has a partner that differs in case: S/img1.png"),
        ("img1.png", "sub/img1.png", "has one in another folder: sub/img1.png"),
        ("sub/img1.png", "img1.png", "has one in another folder: img1.png"),
        ("img1.png", "img1_.png", "has one whose name goes on: img1_.png"),
        ("img1.png", "img10.png", "has one whose name goes on: img10.png"),
        ("img1.jpg", "img1.jpg.png", "has one whose name goes on: img1.jpg.png"),
        ("img1_after.png", "img1.png", "has one whose name is shorter: img1.png"),
        ("img1.png", "img001.png", "has one whose number is written otherwise: img001.png"),
        (
            "caf\u00e9.png",
            "cafe\u0301.png",
            "has a partner whose letters are other Unicode characters: cafe\u0301.png",
        ),
        ("a/x.png", "b/X.png", "has one in another folder that differs in case: b/X.png"),
    ],
)
def test_a_near_miss_is_named_and_not_paired(target: str, other: str, reason: str) -> None:
    found = matched([target], [other])
    assert found.partners == (None,)
    assert found.lonely == (Odd(target, reason),)
    assert [odd.id for odd in found.spare] == [other]
    assert found.ambiguous == ()


def test_what_has_its_own_partner_is_nobodys_near_miss() -> None:
    found = matched(["img1.png", "img10.png"], ["img10.png"])
    assert found.lonely == (Odd("img1.png", "has no partner of that name"),)


def test_two_with_one_name_are_ambiguous_unless_one_has_the_very_ending() -> None:
    assert matched(["a.webp"], ["a.png", "a.jpg"]) == Matching(
        partners=(None,),
        lonely=(),
        spare=(),
        ambiguous=(Odd("a.webp", "has one with two endings: a.png, a.jpg"),),
    )
    assert matched(["a.jpg"], ["a.png", "a.jpg"]) == Matching(
        partners=(1,),
        lonely=(),
        spare=(Odd("a.png", "has a namesake, which is taken: a.jpg"),),
        ambiguous=(),
    )


def test_targets_that_share_a_name_are_all_ambiguous() -> None:
    found = matched(["a.png", "b.png", "a.jpg"], ["a.png", "b.png"])
    assert found.partners == (None, 1, None)
    assert reasons(found.ambiguous).keys() == {"a.png", "a.jpg"}
    assert "a.png, a.jpg" in found.ambiguous[0].reason
    assert found.spare == ()


def test_targets_that_share_a_name_without_any_partner_are_lonely() -> None:
    found = matched(["a.png", "a.jpg"], [])
    assert [odd.id for odd in found.lonely] == ["a.jpg", "a.png"]
    assert found.ambiguous == ()


def test_only_the_endings_of_pictures_are_endings() -> None:
    assert stem("s.1/cat.left") == "s.1/cat.left"
    assert stem("s/cat.1.PNG") == "s/cat.1"
    assert stem("s/.png") == "s/.png"
    assert stem("row-12") == "row-12"
    assert pairs(["cat.left", "cat.right"], ["cat.right", "cat.left"]) == {
        "cat.left": "cat.left",
        "cat.right": "cat.right",
    }


def test_nothing_pairs_with_nothing() -> None:
    assert matched([], []) == Matching(partners=(), lonely=(), spare=(), ambiguous=())


def test_every_file_is_accounted_for_once() -> None:
    targets = ["a.png", "b.png", "b.jpg", "C.png", "d/e.png", "f.png", "g.webp"]
    others = ["a.jpg", "a.png", "b.png", "c.png", "e.png", "g.png", "g.jpg", "x.png"]
    found = matched(targets, others)
    taken = {others[place] for place in found.partners if place is not None}
    told = {one.id for one in (*found.lonely, *found.ambiguous)}
    alone = {t for t, place in zip(targets, found.partners, strict=True) if place is None}
    assert told == alone and len(found.lonely) + len(found.ambiguous) == len(alone)
    named = " ".join(one.reason for one in found.ambiguous)
    spare = {one.id for one in found.spare}
    assert all((one in taken) + (one in spare) + (one in named) == 1 for one in others)


@pytest.mark.parametrize(
    ("targets", "others", "said"),
    [
        ("{}_after", "{}_before", "end in `_after` here and `_before` there"),
        ("{}", "{}_mask", "end in nothing here and `_mask` there"),
        ("after_{}", "before_{}", "begin with `after_` here and `before_` there"),
        ("train/{}", "{}", "lie in `train/` here and nothing there"),
    ],
)
def test_what_all_names_miss_by_is_told_once(targets: str, others: str, said: str) -> None:
    numbers = [f"{n:03}.png" for n in range(100, 130)]
    if "_" in targets + others and not targets.startswith("after"):
        numbers = [f"{n:03}" for n in range(100, 130)]
    ours = [targets.format(n).removesuffix(".png") + ".png" for n in numbers]
    theirs = [others.format(n).removesuffix(".png") + ".jpg" for n in numbers]
    assert shared_words(ours, theirs) == f"30 would pair by name, did they not {said}"


def test_names_that_have_nothing_in_common_get_no_advice() -> None:
    assert (
        shared_words([f"{n}_a.png" for n in range(9)], [f"{n}_b.png" for n in "qwertzuio"]) is None
    )
    assert shared_words(["a_1.png"], ["b_1.png"]) is None


@pytest.mark.parametrize("others", ["p/{}.jpg", "p/{}_before.jpg", "q/{}.png", "P/{}.PNG"])
def test_ten_thousand_take_a_blink(others: str) -> None:
    numbers = range(10_000)
    started = time.process_time()
    matched([f"p/{n}.png" for n in numbers], [others.format(n) for n in numbers])
    assert time.process_time() - started < 5  # about 0.3 s without checks of types
