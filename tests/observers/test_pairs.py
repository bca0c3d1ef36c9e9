"""How held-out pairs are told of: in sentences, in the report, in the picture of both ends."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from scumble.events import Band, Finished, Scored
from scumble.observers import journal, measurements, pairs, pictures, report
from scumble.observers.console import Console
from scumble.observers.eta import Eta
from scumble.observers.grid import before_after
from scumble.observers.journal import Journal
from scumble.observers.sentences import sentence
from tests.observers.runs import started, step

WON = Scored(
    step=100,
    ratio=Band(mean=0.62, low=0.55, high=0.7, pictures=20),
    better=17,
    pairs={f"set/p{number:02d}.png": (0.6, 1.0) for number in range(20)},
    alike=(),
    conditions="alike",
    seconds=12.0,
)
LOST = replace(WON, ratio=Band(mean=1.3, low=1.1, high=1.5, pictures=20), better=2)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            WON,
            "Closer to the target than a copy of the input on 17 of 20 held-out pairs"
            " (ratio 0.62, 95 % 0.55 to 0.70) at step 100, in 12 s.",
        ),
        (
            LOST,
            "A copy of the input is closer to the target on 18 of 20 held-out pairs"
            " (ratio 1.30, 95 % 1.10 to 1.50) at step 100, in 12 s.",
        ),
        (
            replace(WON, ratio=Band(mean=0.9, low=0.7, high=1.1, pictures=20)),
            "Closer to the target than a copy of the input on 17 of 20 held-out pairs"
            " (ratio 0.90, 95 % 0.70 to 1.10, which may be chance) at step 100, in 12 s.",
        ),
        (
            replace(WON, ratio=None, better=0, pairs={}, alike=("set/p00.png",)),
            "No held-out pair to compare with a copy of its input; 1 pair left out, input and"
            " target being alike at step 100, in 12 s.",
        ),
    ],
)
def test_a_comparison_is_told_in_a_sentence(event: Scored, words: str) -> None:
    assert sentence(event) == words


def test_a_picture_that_is_no_number_is_no_victory() -> None:
    odd = replace(WON, ratio=Band(mean=math.nan, low=math.nan, high=math.nan, pictures=20))
    assert not odd.won and sentence(odd).startswith("A copy of the input is closer")


def told(folder: Path, *events: Scored) -> str:
    """The report of a run that told this."""
    write = Journal(folder)
    write(started(folder))
    for event in events:
        write(event)
    return report.page(folder)


def test_the_report_tells_each_pair_and_both_ends_of_the_run(tmp_path: Path) -> None:
    page = told(tmp_path, replace(LOST, step=0), WON)
    assert "17 of 20 pairs" in page and "At step 0: 2 of 20 pairs nearer than a copy" in page
    assert page.count("set/p0") == 10 and "swapped" not in page
    assert 'aria-label="ratio over steps"' in page
    assert measurements.read_scores(tmp_path)[-1] == WON


def test_the_report_asks_only_at_the_end_whether_pairs_are_swapped(tmp_path: Path) -> None:
    assert "swapped" not in told(tmp_path / "begun", replace(LOST, step=50))
    assert "Are reference and target swapped?" in told(tmp_path / "ended", LOST)


def test_a_long_list_shows_the_worst(tmp_path: Path) -> None:
    many = {f"set/p{number:03d}.png": (number / 100, 1.0) for number in range(60)}
    odd = {**many, "set/<odd>.png": (math.nan, 1.0)}
    body = pairs.body([replace(WON, pairs=odd, alike=("set/x.png",))], 100)
    assert "21 more pairs came out better" in body and "set/p059.png" in body
    assert "set/p000.png" not in body and "set/&lt;odd&gt;.png" in body and "set/x.png" in body


def test_comparisons_of_a_course_that_was_left_are_forgotten(tmp_path: Path) -> None:
    write = Journal(tmp_path)
    for event in (started(tmp_path), LOST, started(tmp_path, after=50), replace(WON, step=60)):
        write(event)
    assert [one.step for one in measurements.scores(journal.read(tmp_path))] == [60]


def test_the_time_left_counts_comparisons(tmp_path: Path) -> None:
    eta, plain = Eta(), Eta()
    for watch, every in ((eta, 50), (plain, None)):
        watch(replace(started(tmp_path), score_every=every))
        watch(replace(WON, step=0, seconds=30.0))
        for number in range(1, 11):
            watch(step(number))
    left, less = eta.seconds_left(), plain.seconds_left()
    assert left is not None and less is not None and left == less + 2 * 30


def stitched(folder: Path, number: int, colour: int) -> None:
    place = folder / "samples" / f"step-{number:06d}"
    place.mkdir(parents=True)
    whole = Image.new("RGB", (64 * 3 + 2, 48), (255, 255, 255))
    for left, level in ((0, 10), (65, colour), (130, 90)):
        whole.paste((level, level, level), (left, 0, left + 64, 48))
    whole.save(place / "00-cat.png")
    shows = {"reference": [0, 0, 64, 48], "output": [65, 0, 129, 48], "target": [130, 0, 194, 48]}
    about = {"prompt": "a cat", "width": 64, "height": 48, "shows": shows, "references": []}
    (place / "00-cat.json").write_text(json.dumps(about))


def test_before_and_after_stand_between_what_was_shown_and_what_is_wanted(tmp_path: Path) -> None:
    stitched(tmp_path, 0, 200)
    stitched(tmp_path, 10, 50)
    file = before_after(tmp_path)
    assert file is not None
    with Image.open(file) as sheet:
        levels = [sheet.getpixel((32 + 5 + n * (384 + 16), 32 + 44 + 5)) for n in range(4)]
        assert levels == [(10,) * 3, (200,) * 3, (50,) * 3, (90,) * 3]
        assert sheet.width == 2 * 32 + 4 * 384 + 3 * 16


def test_the_report_shows_every_step_once_and_what_does_not_change_once(tmp_path: Path) -> None:
    stitched(tmp_path, 0, 200)
    stitched(tmp_path, 10, 50)
    page = report.page(tmp_path)
    captions = ["reference", "step 0", "step 10", "target"]
    places = [page.index(f"<figcaption>{words}</figcaption>") for words in captions]
    assert places == sorted(places) and page.count("<figcaption>") == 4
    (row,) = pictures.previews(tmp_path).values()
    assert row[0].output == (65, 0, 129, 48)


def test_a_request_is_known_again_with_all_that_it_shows(tmp_path: Path) -> None:
    stitched(tmp_path, 0, 200)
    folder = tmp_path / "samples/step-000000"
    asked = {"prompt": "a cat", "references": ()}
    assert pictures.made_as(folder, asked) == folder / "00-cat.png"
    assert pictures.made_as(folder, {**asked, "references": ({"file": "b.png"},)}) is None


def test_the_console_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(interactive=False)
    console(WON)
    console(Finished(step=100, seconds=1.0))
    assert "Closer to the target than a copy" in capsys.readouterr().err
