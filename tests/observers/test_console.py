import io
import math
from pathlib import Path

import pytest

from scumble.events import (
    Encoded,
    Event,
    Exported,
    Finished,
    Interrupted,
    Previewed,
    Proven,
    Proving,
    Resumed,
    Saved,
    Scanned,
    State,
    Stopped,
    Verdict,
    Warned,
)
from scumble.observers.console import Console
from scumble.observers.sentences import clock, duration, pace, sentence, size
from tests.observers.runs import started, step

RUN = Path("runs/my-cat")


def proven(state: State) -> Proven:
    return Proven(
        file=RUN / "cat.safetensors",
        verdicts=(
            Verdict(name="finite", state="ok", text="every value is a finite number"),
            Verdict(name="velocity", state=state, text="off by 0.5"),
        ),
        fresh_process=True,
        seconds=7.0,
    )


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def told(*events: Event, interactive: bool = False) -> str:
    stream = io.StringIO()
    console = Console(stream, interactive, Watch())
    for event in events:
        console(event)
    console.close()
    return stream.getvalue()


def test_a_log_gets_a_line_for_each_twentieth_of_the_run() -> None:
    lines = told(started(RUN, steps=200), *(step(n) for n in range(1, 201))).splitlines()
    assert len(lines) == 21
    assert lines[1].startswith("Step 10 of 200 (5 %): loss 0.5000, rate 1.0e-04, 1.00 s/it")
    assert "\x1b" not in "".join(lines)


def test_a_log_gets_a_line_after_ten_seconds() -> None:
    stream, watch = io.StringIO(), Watch()
    console = Console(stream, clock=watch)
    console(started(RUN, steps=10_000))
    for number in range(1, 101):
        watch.seconds += 1.0
        console(step(number))
    assert len(stream.getvalue().splitlines()) == 11
    assert "elapsed 1:40, left 2:45:00." in stream.getvalue().splitlines()[-1]


def test_a_stream_that_is_no_terminal_gets_plain_lines_unasked() -> None:
    stream = io.StringIO()
    Console(stream)(Warned(text="one \x1b[31mred\nline"))
    assert stream.getvalue() == "Warning: one  [31mred line\n"


def test_a_terminal_gets_one_live_line_and_sentences_above_it() -> None:
    shown = told(
        Encoded(kind="latents", done=1, total=4, seconds=1.0, bytes=10),
        started(RUN),
        *(step(n, seconds=0.5) for n in range(1, 5)),
        Saved(step=4, folder=RUN / "checkpoints/step-000004", seconds=0.5),
        Finished(step=4, seconds=2.0),
        interactive=True,
    )
    assert "Saved step 4 in 0.5 s: step-000004." in shown
    assert "step 4/100" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor comes back"


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    assert "[bold]my cat[/bold]" in told(Warned(text="[bold]my cat[/bold]"), interactive=True)


def test_closing_gives_the_cursor_back_when_a_run_raises() -> None:
    stream = io.StringIO()
    console = Console(stream, interactive=True)
    console(started(RUN))
    console.close()
    console.close()
    assert stream.getvalue().count("\x1b[?25h") == 1


def test_a_step_that_was_not_applied_is_told() -> None:
    shown = told(started(RUN), step(1, math.nan, applied=False))
    assert "Step 1 was not applied: its loss (nan) or gradient norm (0.1) is not finite." in shown


def test_one_loss_that_is_not_finite_does_not_spoil_the_mean() -> None:
    steps = [step(n, math.nan if n == 3 else 0.25, applied=n != 3) for n in range(1, 6)]
    assert "loss 0.2500" in told(started(RUN, steps=5), *steps).splitlines()[-1]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Scanned(dataset="cat", funnel={"found": 12, "readable": 9}), "12 found, 9 readable"),
        (Encoded(kind="latents", done=5, total=20, seconds=10.0, bytes=1), "about 30 s left"),
        (Encoded(kind="latents", done=20, total=20, seconds=10.0, bytes=1500), "1.5 kB"),
        (Resumed(step=5, restored=("adapter", "ema"), changed=()), "restored adapter, ema;"),
        (Resumed(step=5, restored=(), changed=("training.steps: 5 -> 9",)), "5 -> 9"),
        (Saved(step=5, folder=RUN, seconds=1.0, removed=("step-000001",)), "removed step-000001"),
        (Previewed(step=5, pictures=(RUN / "a.png",), prompts=("a",), seconds=3.0), "1 preview at"),
        (Exported(step=5, file=RUN / "a", layout="kohya", tensors=4, bytes=2_500_000), "2.5 MB"),
        (
            Saved(step=5, folder=RUN, seconds=1.0, remark="the adapter changes nothing yet"),
            "; the adapter changes nothing yet.",
        ),
        (Proving(files=(RUN / "a", RUN / "b")), "Proving 2 files in a fresh process."),
        (proven("ok"), "Proven: cat.safetensors by a fresh process, 2 checks, in 7.0 s."),
        (proven("unknown"), "1 check, not known: velocity, in 7.0 s."),
        (proven("failed"), "NOT proven: cat.safetensors: velocity: off by 0.5."),
        (Stopped(step=5, signal="SIGINT"), "by SIGINT after step 5"),
        (Interrupted(), "Stopped at once. What is saved and cached is whole; the same command"),
        (Finished(step=5, seconds=843.0), "14 min 3 s"),
        (started(RUN, after=5), "after step 5, up to 100 steps"),
    ],
)
def test_every_event_has_a_sentence(event: Event, words: str) -> None:
    assert words in sentence(event)
    assert words in told(event)


def test_numbers_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (0.84, 59.0, 61.0, 7500.0, 90_000.0)] == [
        "0.8 s",
        "59 s",
        "1 min 1 s",
        "2 h 5 min",
        "1 d 1 h",
    ]
    assert [clock(s) for s in (5.0, 72.0, 7390.0)] == ["0:05", "1:12", "2:03:10"]
    assert [pace(s) for s in (None, 0.5, 2.0)] == ["- it/s", "2.00 it/s", "2.00 s/it"]
    assert [size(n) for n in (12, 1234, 37_800_000, 5 * 10**12)] == [
        "12 bytes",
        "1.2 kB",
        "37.8 MB",
        "5000.0 GB",
    ]
