"""How the held-out loss is told: in a line, in the report, to trackers, in the time left."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from scumble.events import Band, Compared, Measured
from scumble.observers import charts, measurements
from scumble.observers.console import Console
from scumble.observers.eta import Eta
from scumble.observers.journal import Journal
from scumble.observers.report import page
from scumble.observers.sentences import sentence
from scumble.observers.trackers import _held_out
from tests.observers.runs import started, step


def measured(number: int, mean: float, first: Compared | None = None) -> Measured:
    band = Band(mean=mean, low=mean - 0.1, high=mean + 0.1, pictures=2)
    return Measured(
        step=number,
        mean=mean,
        low=band.low,
        high=band.high,
        by_time=((0.1, band), (0.9, replace(band, mean=2 * mean))),
        sets={"cats": band, "<dogs>": band},
        examples={"cats/a.png": mean, "<dogs>/b.png": mean},
        conditions="same",
        first=first,
        lowest=first,
        seconds=3.0,
    )


def since(change: float, low: float | None, high: float | None) -> Compared:
    return Compared(step=0, mean=0.412, change=change, low=low, high=high)


FELL = measured(500, 0.347, since(-0.158, -0.171, -0.145))


def test_a_line_tells_what_became_of_it() -> None:
    first = sentence(measured(0, 0.412))
    assert first == (
        "Held-out loss 0.4120 (95 %: 0.3120 to 0.5120) at step 0, on 2 held-out pictures, in 3.0 s."
    )
    assert sentence(FELL) == (
        "Held-out loss 0.4120 -> 0.3470 at step 500, -15.8 % (95 %: -17.1 to -14.5 %)"
        " since step 0, in 3.0 s."
    )
    stream = io.StringIO()
    Console(stream, interactive=False)(FELL)
    assert stream.getvalue() == f"{sentence(FELL)}\n"


def test_a_change_that_may_be_chance_and_one_of_a_single_picture_are_told_as_such() -> None:
    unsure = sentence(measured(9, 0.41, since(-0.01, -0.03, 0.01)))
    assert "-1.0 % (95 %: -3.0 to +1.0 %, which may be chance)" in unsure
    single = sentence(measured(9, 0.5, since(0.2, None, None)))
    assert "+20.0 % since step 0" in single and "95 %" not in single


def test_a_line_names_the_lowest_where_it_is_left_behind() -> None:
    lowest = Compared(step=300, mean=0.3, change=0.1, low=0.05, high=0.15)
    told = sentence(replace(FELL, lowest=lowest))
    assert told.endswith("since step 0; lowest 0.3000 at step 300, in 3.0 s.")
    assert "lowest" not in sentence(replace(FELL, lowest=replace(lowest, change=-0.1)))


def test_a_journal_gives_back_what_it_was_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    alone = replace(FELL, step=700, low=None, high=None, first=since(0.1, None, None))
    for event in (started(tmp_path), measured(0, 0.412), FELL, alone):
        journal(event)
    assert measurements.read(tmp_path) == [measured(0, 0.412), FELL, alone]
    journal(started(tmp_path, after=500))
    assert [one.step for one in measurements.read(tmp_path)] == [0, 500]


def test_the_report_shows_the_course_with_its_band_and_levels(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for event in (started(tmp_path), measured(0, 0.412), step(1), FELL):
        journal(event)
    text = page(tmp_path)
    assert '<path class="band"' in text and "<th>Step 500</th>" in text
    assert "<td>0.1</td><td>0.4120 (0.3120 to 0.5120)</td>" in text and "<td>-15.8 %</td>" in text
    assert "&lt;dogs&gt;" in text and "<dogs>" not in text
    assert "0.3470 (-15.8 %)" in text and "-15.8 % (95 %: -17.1 to -14.5 %)" in text


def test_a_report_without_measurements_says_nothing_of_them(tmp_path: Path) -> None:
    Journal(tmp_path)(started(tmp_path))
    assert "eld-out" not in page(tmp_path)


def test_a_chart_bears_one_point_and_values_that_are_no_numbers() -> None:
    nan = float("nan")
    nothing = charts.band_chart([(1, nan, 1.0, 1.0)], name="loss")
    assert nothing == charts.band_chart([], name="loss") == ""
    assert "band" not in charts.band_chart([(0, 0.5, 0.5, 0.5)], name="loss")
    both = charts.band_chart(
        [(0, 0.5, 0.5, 0.5), (1, nan, nan, nan), (9, 1.0, 0.9, 1.1)], name="loss"
    )
    assert both.count('class="band"') == 1 and "nan" not in both


def test_trackers_are_told_the_mean_each_level_and_each_set() -> None:
    assert _held_out(FELL) == {
        "held_out/loss": 0.347,
        "held_out/loss at 0.1": 0.347,
        "held_out/loss at 0.9": 0.694,
        "held_out/loss of cats": 0.347,
        "held_out/loss of <dogs>": 0.347,
    }
    single = replace(FELL, sets={"cats": FELL.sets["cats"]})
    assert "held_out/loss of cats" not in _held_out(single)


def test_the_time_left_counts_measurements_to_come(tmp_path: Path) -> None:
    eta = Eta()
    eta(replace(started(tmp_path, steps=20), measure_every=5))
    eta(measured(0, 0.4))
    for number in range(1, 11):
        eta(step(number))
    eta(measured(10, 0.3))
    left = eta.seconds_left()
    assert left is not None and round(left) == 10 + 2 * 3
