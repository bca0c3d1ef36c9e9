"""A moving average and the drift of the base model, as they are told: in a line, in the report, to
trackers, in the time left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scumble.events import Compared, Drifted, Event, Exported, Measured, Previewed
from scumble.observers import charts, drift, measurements
from scumble.observers.eta import Eta
from scumble.observers.grid import before_after
from scumble.observers.history import drifts, history
from scumble.observers.journal import Journal
from scumble.observers.pictures import previews
from scumble.observers.report import page
from scumble.observers.sentences import sentence
from scumble.observers.trackers import _of_held_out, _pictures
from tests.observers.runs import preview, started, step
from tests.observers.test_held_out import FELL, measured, since
from tests.observers.test_pairs import WON


def both(number: int, raw: float, ema: float, against: Compared) -> Measured:
    """The held-out loss of the weights and of their average."""
    return replace(measured(number, raw), ema=replace(measured(number, ema), raw=against))


LOWER = both(
    500, 0.347, 0.337, Compared(step=500, mean=0.347, change=-0.0288, low=-0.04, high=-0.02)
)
DRIFTED = Drifted(
    step=250,
    drift=0.0314,
    prompts={"a photo of a cat": 0.0412, "a <b>dog</b>": 0.02},
    conditions="same",
    seconds=2.5,
    ema=0.025,
)


def run(folder: Path, *events: Event) -> Path:
    journal = Journal(folder)
    for event in (started(folder, steps=500), step(1), *events):
        journal(event)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (since(-0.0288, -0.04, -0.02), "; EMA 0.3370, 2.9 % lower than raw, in 3.0 s."),
        (since(0.05, None, None), "; EMA 0.3370, 5.0 % higher than raw, in 3.0 s."),
        (since(-0.01, -0.03, 0.01), "; EMA 0.3370, 1.0 % lower than raw, which may be chance, in"),
        (since(0.0, 0.0, 0.0), "; EMA 0.3370, the same as raw, in 3.0 s."),
    ],
)
def test_a_line_says_which_of_both_loses_less(change: Compared, words: str) -> None:
    assert words in sentence(both(500, 0.347, 0.337, change))


def test_a_line_tells_how_far_the_base_model_moved_and_where_the_most() -> None:
    assert sentence(DRIFTED) == (
        "Drift of the base model 3.14 % (EMA 2.5 %) at step 250, on 2 prompts; most on"
        " 'a photo of a cat' (4.12 %), in 2.5 s."
    )
    one = replace(DRIFTED, prompts={"a" * 90: 0.0314}, ema=None)
    assert (
        sentence(one)
        == f"Drift of the base model 3.14 % at step 250, on '{'a' * 57}...', in 2.5 s."
    )
    still = replace(DRIFTED, drift=0.0, prompts={"a": 0.0, "b": 0.0}, ema=None)
    assert sentence(still) == "Drift of the base model 0 % at step 250, on 2 prompts, in 2.5 s."


def test_files_pictures_and_scores_are_told_with_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "cat.safetensors"
    told = Exported(step=5, file=file, layout="kohya", tensors=2, bytes=900)
    assert f"Exported {file} (kohya layout," in sentence(told)
    assert f"Exported {file} (EMA weights, kohya layout," in sentence(replace(told, weights="ema"))
    files = tuple(tmp_path / name for name in ("00-cat.png", "00-cat.ema.png"))
    shown = Previewed(
        step=5, pictures=files, prompts=("cat", "cat"), seconds=1.0, weights=("raw", "ema")
    )
    assert "Made 2 previews (raw and EMA) at step 5" in sentence(shown)
    alone = replace(shown, pictures=files[1:], prompts=("cat",), weights=("ema",))
    assert "Made 1 preview (EMA) at step 5" in sentence(alone)
    assert "Made 2 previews at step 5" in sentence(replace(shown, weights=()))
    assert list(_pictures(shown)) == ["preview/00 cat", "preview/00 cat (EMA)"]
    assert "with the average (EMA)" in sentence(replace(WON, weights="ema"))
    assert "average" not in sentence(replace(WON, weights="raw"))


def test_a_journal_gives_back_what_was_told(tmp_path: Path) -> None:
    first = both(0, 0.412, 0.412, since(0.0, 0.0, 0.0))
    run(tmp_path, first, replace(LOWER, first=since(-0.1, -0.2, -0.05)), FELL, DRIFTED)
    assert measurements.read(tmp_path) == [first, FELL]
    assert measurements.read_drifts(tmp_path) == [DRIFTED]
    assert drifts(history(tmp_path)) == [DRIFTED]
    other = replace(DRIFTED, step=300, conditions="another size")
    run(tmp_path, DRIFTED, other)
    assert drifts(history(tmp_path)) == [other]


def test_the_report_has_both_curves_and_says_which_is_which(tmp_path: Path) -> None:
    first = both(0, 0.412, 0.412, since(0.0, 0.0, 0.0))
    text = page(run(tmp_path, first, LOWER))
    assert "EMA 0.3370, 2.9 % lower than raw" in text
    assert text.count('class="curve other"') == 1 and "their moving average (EMA)" in text
    plain = page(run(tmp_path / "plain", measured(0, 0.4), measured(500, 0.3)))
    assert 'class="curve other"' not in plain and "EMA" not in plain


def test_the_report_tells_the_drift_of_every_prompt_and_nothing_of_a_users_is_markup(
    tmp_path: Path,
) -> None:
    early = replace(DRIFTED, step=100, drift=0.01, prompts={"a photo of a cat": 0.01}, ema=0.005)
    text = page(run(tmp_path, early, DRIFTED))
    assert "<h2>Drift</h2>" in text and '<dt>Drift</dt><dd class="value">3.14 %</dd>' in text
    assert "a &lt;b&gt;dog&lt;/b&gt;" in text and "<b>dog" not in text
    assert "<tr><th>Prompt</th><th>Step 100</th><th>Step 250</th></tr>" in text
    assert "<td>a photo of a cat</td><td>1 %</td><td>4.12 %</td>" in text
    assert "<td>-</td><td>2 %</td>" in text
    assert "<h2>Drift</h2>" not in page(run(tmp_path / "none"))


def test_of_very_many_prompts_those_that_moved_most_are_shown() -> None:
    prompts = {f"prompt {number:02d}": number / 1000 for number in range(30)}
    text = drift.body([replace(DRIFTED, prompts=prompts)])
    assert text.count("<tr>") == 21 and "10 more prompts moved less" in text
    assert text.index("prompt 29") < text.index("prompt 10") and "prompt 09" not in text
    assert drift.body([]) == ""


def test_a_second_line_lies_within_the_chart() -> None:
    course = [(0, 1.0, 1.0, 1.0), (10, 0.5, 0.4, 0.6)]
    alone = charts.band_chart(course, name="loss")
    text = charts.band_chart(course, name="loss", beside=[(0, 1.0), (10, 3.0), (20, float("nan"))])
    assert "other" not in alone and 'class="curve other"' in text
    (path,) = [part.split('"')[3] for part in text.split("<path ") if "curve other" in part]
    ends = [pair.split() for pair in path.removeprefix("M").split("L")]
    assert len(ends) == 2 and all(0 <= float(down) <= 200 for _, down in ends)


def test_pictures_of_both_stand_in_rows_of_their_own_labelled(tmp_path: Path) -> None:
    for number in (0, 4):
        preview(tmp_path, number, ("a cat",))
        place = tmp_path / f"samples/step-{number:06d}"
        for ending, weights in (("", "raw"), (".ema", "ema")):
            picture = (place / "00-cat.png").read_bytes()
            (place / f"00-cat{ending}.png").write_bytes(picture)
            about = f'{{"prompt": "a cat", "weights": "{weights}"}}'
            (place / f"00-cat{ending}.json").write_text(about)
    rows = previews(tmp_path)
    assert list(rows) == [(0, "a cat", "raw"), (0, "a cat", "ema")]
    assert [sorted(row) for row in rows.values()] == [[0, 4], [0, 4]]
    text = page(run(tmp_path))
    assert text.index("<h3>a cat (raw)</h3>") < text.index("<h3>a cat (EMA)</h3>")
    assert before_after(tmp_path) is not None


def test_deliverables_say_whose_they_are_where_there_are_two_kinds(tmp_path: Path) -> None:
    told = Exported(step=5, file=tmp_path / "a.safetensors", layout="kohya", tensors=2, bytes=9)
    assert "<th>Weights</th>" not in page(run(tmp_path, told))
    kinds = [
        replace(told, weights="raw"),
        replace(told, file=tmp_path / "b.safetensors", weights="ema"),
    ]
    text = page(run(tmp_path, *kinds))
    assert "<th>Weights</th>" in text
    assert "<td>a.safetensors</td><td>5</td><td>kohya</td><td>2</td><td>raw</td>" in text
    assert "<td>b.safetensors</td><td>5</td><td>kohya</td><td>2</td><td>ema</td>" in text


def test_trackers_draw_both_curves() -> None:
    values = _of_held_out(LOWER)
    assert (values["held_out/loss"], values["held_out/loss (EMA)"]) == (0.347, 0.337)
    assert _of_held_out(DRIFTED) == {"drift/drift": 0.0314, "drift/drift (EMA)": 0.025}
    assert _of_held_out(replace(DRIFTED, ema=None)) == {"drift/drift": 0.0314}
    assert "held_out/loss (EMA)" not in _of_held_out(FELL)


def test_measurements_still_to_come_count_for_the_time_left(tmp_path: Path) -> None:
    plain, drifting = Eta(), Eta()
    plan = started(tmp_path, steps=500)
    plain(plan)
    drifting(replace(plan, drift_every=100))
    for number in range(1, 251):
        for eta in (plain, drifting):
            eta(step(number, seconds=1.0))
    for eta in (plain, drifting):
        eta(replace(DRIFTED, step=200, seconds=7.0))
    least, more = plain.seconds_left(), drifting.seconds_left()
    assert least is not None and more is not None
    assert more - least == pytest.approx(3 * 7.0)  # at 300, 400 and 500
