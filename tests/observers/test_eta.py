from pathlib import Path

import pytest

from scumble.events import Finished, StepDone
from scumble.observers.eta import Eta, due
from tests.observers.runs import cost, paced, started, step


@pytest.mark.parametrize("pace", [[1.0], [0.9, 1.1, 1.0], [0.5, 2.0]])
@pytest.mark.parametrize(("steps", "every"), [(400, 20), (1000, 50), (2000, 90)])
def test_after_a_twentieth_of_the_run_the_rest_is_known_to_a_tenth(
    pace: list[float], steps: int, every: int
) -> None:
    events = list(paced(Path("run"), steps=steps, every=every, pace=pace))
    eta, seen = Eta(), steps // 20
    while seen > 0:
        event = events.pop(0)
        eta(event)
        seen -= isinstance(event, StepDone)
    truth = sum(cost(event) for event in events)
    assert eta.seconds_left() == pytest.approx(truth, rel=0.1)


def test_the_estimate_runs_down_to_nothing() -> None:
    eta = Eta()
    for event in paced(Path("run"), steps=50, every=20, pace=[1.0]):
        eta(event)
        if event == Finished(step=50, seconds=1.0):
            assert eta.seconds_left() == 0


def test_nothing_is_known_after_the_first_step() -> None:
    eta = Eta()
    eta(started(Path("run")))
    eta(step(1, seconds=60.0))
    assert eta.seconds_left() is None


def test_a_step_that_compiles_again_does_not_move_the_estimate() -> None:
    eta = Eta()
    eta(started(Path("run")))
    for number in range(1, 21):
        eta(step(number, seconds=45.0 if number == 15 else 1.0))
    assert eta.seconds_per_step() == 1.0


def test_a_resumed_run_forgets_the_pace_of_the_session_before() -> None:
    eta = Eta()
    eta(started(Path("run")))
    for number in range(1, 21):
        eta(step(number, seconds=10.0))
    eta(started(Path("run"), after=20))
    for number in range(21, 31):
        eta(step(number, seconds=1.0))
    assert eta.seconds_left() == pytest.approx(70.0)


@pytest.mark.parametrize(
    ("every", "after", "steps", "times"),
    [
        (10, 0, 30, 3),
        (10, 0, 35, 4),
        (10, 10, 30, 2),
        (10, 9, 30, 3),
        (0, 5, 30, 1),
        (10, 30, 30, 0),
    ],
)
def test_saves_come_at_every_multiple_and_at_the_end(
    every: int, after: int, steps: int, times: int
) -> None:
    assert due(every, after, steps) == times
