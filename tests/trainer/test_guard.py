"""Runs that are slower, larger or later than earlier ones, and what is said of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from time import time

import pytest
import torch

from scumble.events import Encoded, Event, Fetched, Previewed, Saved, Warned
from scumble.hardware import memory
from scumble.preflight import forecast, pace
from scumble.preflight.plan import prepared
from scumble.trainer import guard as guards
from scumble.trainer import records
from scumble.trainer.guard import Guard, process_age, steady, watched
from scumble.trainer.records import Bounds, Mark, Series
from scumble.trainer.surroundings import changed, surroundings
from tests.observers.runs import started, step
from tests.toys import job, journal, trained

CPU = torch.device("cpu")
BOUNDS = Bounds(share=0.25, least=0.01)
ZERO = (
    b'{"format": 1, "series": {"pace": {"good": [{"value": 0.0, "date": "", "around": {}}],'
    b' "doubtful": null}}}'
)


def mark(value: float, **around: str) -> Mark:
    return Mark(value=value, date="2026-11-03", around=around)


def paced(folder: Path, seconds: list[float], every: int = 0) -> Iterator[Event]:
    """A run of these steps, all of them after a slow beginning."""
    yield started(folder, steps=5 + len(seconds), every=every)
    for number, took in enumerate([9.0, 2.0, 1.0, 1.0, 1.0, *seconds], start=1):
        yield step(number, seconds=took)
    yield Saved(step=5 + len(seconds), folder=folder, seconds=0.1)


def told(file: Path, events: Iterator[Event], **changes: str) -> list[str]:
    """What the guard says of a run, and after which step of it; `changes` to what is around."""
    guard = Guard(file, {"model": "toy"}, CPU, own=False)
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guards, "load", dict)  # this machine's changes all the time
        guard._around = guard._around | {"load": "0.0"} | changes
        for event in events:
            guard(event)
            said.extend(guard.news())
    return said


def test_the_first_run_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    file = tmp_path / "pace" / "a.json"
    assert told(file, paced(tmp_path, [0.5] * 40)) == []
    series = records.read(file)
    assert series["pace"].usual == pytest.approx(0.5) and "memory" not in series
    assert json.loads(file.read_text())["about"] == {"model": "toy"}


def test_numbers_of_two_units_have_both(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    told(file, paced(tmp_path, [3.7] * 40))
    said = told(file, paced(tmp_path, [0.081] * 400))
    assert said == ["This run takes 81 ms a step; the last one took 3.70 s (-98 %)."]


def test_a_slower_run_is_told_once_with_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    told(file, paced(tmp_path, [0.55] * 40), torch="2.12.0", load="0.2")
    said = told(file, paced(tmp_path, [0.82] * 400), torch="2.13.0", load="0.3")
    assert said == [
        "This run takes 0.82 s a step; the last one took 0.55 (+49 %)."
        " Since then: torch 2.12.0 -> 2.13.0."
    ]


def test_it_is_told_after_twenty_steady_steps_and_not_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    told(file, paced(tmp_path, [0.5] * 40))
    guard = Guard(file, {}, CPU, own=False)
    heard: list[Event] = []
    tell = watched(lambda event: (heard.append(event), guard(event))[0], guard.news)
    for event in paced(tmp_path, [0.9] * 100):
        tell(event)
    places = [number for number, event in enumerate(heard) if isinstance(event, Warned)]
    assert places == [1 + 5 + 20]  # the start, the warm-up, twenty steps


def test_without_any_change_another_program_is_suspected(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    told(file, paced(tmp_path, [0.5] * 40), load="0.0")
    (said,) = told(file, paced(tmp_path, [0.8] * 40), load="0.0")
    assert said.endswith(
        "Nothing that is recorded changed; is something else running on this machine?"
    )
    (said,) = told(tmp_path / "a.json", paced(tmp_path, [0.8] * 40), load="64.0", cores="8")
    assert "cores" in said and "load of the machine 0.0 -> 64.0" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0.5] * 40, [0.6] * 40),  # a fifth more
        ([0.010] * 40, [0.015] * 40),  # half more, but milliseconds
        ([0.5] * 40, [0.5, 0.5, 0.5, 9.0] + [0.5] * 36),  # one hiccup
    ],
)
def test_what_a_busy_machine_does_is_no_news(
    tmp_path: Path, first: list[float], second: list[float]
) -> None:
    told(tmp_path / "a.json", paced(tmp_path, first))
    assert told(tmp_path / "a.json", paced(tmp_path, second)) == []


@pytest.mark.parametrize("seed", range(6))
def test_two_sizes_of_pictures_in_another_order_are_no_news(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    for _ in range(2):
        said = told(tmp_path / "a.json", paced(tmp_path, random.choices([0.5, 1.5], k=200)))
        assert said == []


def test_steps_that_were_left_out_and_short_runs_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    told(file, paced(tmp_path, [0.5] * 40))
    skipped = [replace(step(n, seconds=9.0), applied=False) for n in range(1, 60)]
    assert told(file, iter([started(tmp_path), *skipped])) == []
    assert told(file, paced(tmp_path, [9.0] * 10)) == []
    assert len(records.read(file)["pace"].good) == 1


def test_a_bad_run_becomes_the_measure_only_when_it_comes_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for seconds, heard in ((0.5, 0), (0.9, 1), (0.5, 0), (0.9, 1), (0.9, 1), (0.9, 0), (0.5, 1)):
        said = told(file, paced(tmp_path, [seconds] * 40))
        assert len(said) == heard, (seconds, said)
    assert said[0].startswith("This run takes 0.50 s a step; earlier ones took 0.90 (-44 %).")
    assert "something else" not in said[0]


def test_bounds_are_as_wide_as_earlier_runs_were_apart() -> None:
    series = Series((mark(0.5), mark(0.5), mark(0.8)))
    assert series.verdict(0.79, BOUNDS) == "usual"
    assert series.verdict(0.81, BOUNDS) == "worse"
    assert Series((mark(0.5),)).verdict(0.79, BOUNDS) == "worse"
    assert Series((mark(0.5),)).verdict(0.3, BOUNDS) == "better"
    assert Series().verdict(0.3, BOUNDS) == "unknown"


def test_only_so_many_runs_and_jobs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = Series()
    for number in range(30):
        series = series.with_run(mark(1.0 + number / 1000), BOUNDS)
    assert len(series.good) == records.KEPT_RUNS and series.good[-1].value == 1.029
    monkeypatch.setattr(records, "KEPT_JOBS", 5)
    for number in range(9):
        records.write(tmp_path / f"{number}.json", {"pace": series}, {})
        os.utime(tmp_path / f"{number}.json", (number, number))
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"{n}.json" for n in range(4, 9)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 0, "series": {}}',
     b'{"format": 1, "series": {"pace": {"good": [{"value": "x"}], "doubtful": null}}}',
     b'{"format": 1, "series": {"pace": 7}}', ZERO, ZERO.replace(b"0.0", b"NaN")],
)  # fmt: skip
def test_a_torn_or_foreign_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    assert told(file, paced(tmp_path, [0.5] * 40)) == []
    assert records.read(file)["pace"].usual == pytest.approx(0.5)


def test_where_nothing_can_be_written_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    assert told(tmp_path / "blocked" / "a.json", paced(tmp_path, [0.5] * 40)) == []


def test_writers_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from scumble.trainer.records import *\n"
        "mark = Mark(value=float(sys.argv[2]), date='2026-11-03', around={})\n"
        "for _ in range(60): write(Path(sys.argv[1]), {'pace': Series((mark,) * 8)}, {})"
    )
    file = tmp_path / "pace" / "a.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), str(number)]) for number in (1, 2)
    ]
    while any(writer.poll() is None for writer in writers):
        assert not file.exists() or records.read(file)["pace"].usual in (1.0, 2.0)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert [one.name for one in file.parent.iterdir()] == ["a.json"]


def test_peak_memory_is_that_of_the_steps_and_not_of_previews(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    guard = Guard(file, {}, CPU, own=True)
    guard(started(tmp_path, steps=2, every=1))
    if not guard._peak_counts:
        pytest.skip("this system does not let a peak be forgotten")
    guard(step(1))
    before = memory.peak_bytes(CPU)
    assert before is not None
    shown = torch.ones(80_000_000)  # 320 MB
    del shown
    guard(Previewed(step=1, pictures=(), prompts=(), seconds=1.0))
    guard(step(2))
    guard(Saved(step=2, folder=tmp_path, seconds=0.1))
    assert records.read(file)["memory"].usual < before + 2e8
    assert guard.news() == []


def test_more_memory_than_last_time_is_told_in_gigabytes(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records.write(file, {"memory": Series((mark(2e7, torch="2.12.0"),))}, {})
    guard = Guard(file, {}, CPU, own=True)
    held = torch.ones(80_000_000)
    guard(started(tmp_path, steps=1))
    guard(step(1))
    guard(Saved(step=1, folder=tmp_path, seconds=0.1))
    (said,) = guard.news()
    assert said.startswith("This run needs up to ") and "the last one needed 0.0 (+" in said
    assert f"torch 2.12.0 -> {surroundings(CPU)['torch']}" in said
    assert len(held) > 0 and guard.news() == []


@pytest.mark.parametrize("cold", ["encoded", "fetched", "not its own process"])
def test_only_a_warm_start_is_timed(tmp_path: Path, cold: str) -> None:
    age = process_age()
    if age is None:
        pytest.skip("this system does not tell when a process was launched")
    file = tmp_path / "a.json"
    records.write(file, {"start": Series((mark(1e-3),))}, {})
    guard = Guard(file, {}, CPU, own=cold != "not its own process")
    if cold == "encoded":
        guard(Encoded(kind="text", done=1, total=1, seconds=1.0, bytes=1))
    if cold == "fetched":
        guard(Fetched(repositories=("a/b",), bytes=1, total=1, seconds=1.0))
    guard(started(tmp_path))
    guard(step(1))
    assert guard.news() == []


def test_a_late_start_is_told_at_the_first_step_without_its_previews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    around = surroundings(CPU) | {"load": "0.0"}
    records.write(file, {"start": Series((mark(18.0, **around),))}, {})
    monkeypatch.setattr(guards, "process_age", lambda: 61.0)
    guard = Guard(file, {}, CPU, own=True)
    guard._around = around
    guard(started(tmp_path))
    guard(Previewed(step=0, pictures=(), prompts=(), seconds=20.0))
    guard(step(1))
    assert guard.news() == [
        "This run took 41 s from its launch to its first step; the last one took 18 (+128 %)."
        " Nothing that is recorded changed; after a reboot all files are read anew."
    ]


def test_a_process_knows_how_old_it_is() -> None:
    psutil = pytest.importorskip("psutil")
    age = process_age()
    assert age is None or age == pytest.approx(time() - psutil.Process().create_time(), abs=5)
    assert not guards.own_process(guards.LOADED + 60) and guards.own_process(guards.LOADED)


def test_what_changed_is_named_and_a_little_load_is_not() -> None:
    then = {"torch": "2.12.0", "threads": "8", "load": "0.1", "cores": "8"}
    assert changed(then, then | {"load": "3.0"}) == []
    now = {"torch": "2.13.0", "threads": "4", "load": "7.5", "cores": "8", "driver": "570.1"}
    assert changed(then, now) == [
        "torch 2.12.0 -> 2.13.0",
        "threads 8 -> 4",
        "driver none -> 570.1",
        "load of the machine 0.1 -> 7.5",
    ]
    assert {"scumble", "torch", "diffusers", "transformers"} <= surroundings(CPU).keys()


def test_the_pace_does_not_jump_between_sizes() -> None:
    even, error = steady([0.5, 1.5] * 50)
    odd, _ = steady([0.5, 1.5] * 50 + [0.5])
    assert even == pytest.approx(odd, abs=0.02) and 0.02 < error < 0.1


SAME = {
    "name": "other",
    "training__steps": 9,
    "training__seed": 3,
    "training__learning_rate": 1e-5,
    "validation__prompts": ["a cat"],
    "saving__every": 1,
    "adapter__alpha": 3.0,
    "tracking__to": "tensorboard",
}
OTHER = {
    "training__batch_size": 1,
    "training__units_per_step": 1,
    "adapter__rank": 8,
    "adapter__targets": "all",
    "adapter__dropout": 0.0,
    "hardware__gradient_checkpointing": True,
    "hardware__precision": "bf16",
    "model__text_tokens": 64,
    "cache__mode": "on_demand",
    "data": [{"id": "square", "folder": "square", "resolution": 64}],
}


def remembered_in(root: Path, **changes) -> Path:
    plan = prepared(job(root, **changes), root, weigh=False)
    return pace.file_of(pace.work(plan, forecast.tokens_per_unit(plan)))


def test_what_decides_the_pace_tells_jobs_apart_and_nothing_else(tmp_path: Path) -> None:
    usual = remembered_in(tmp_path)
    assert remembered_in(tmp_path, **SAME) == usual
    other = {path: remembered_in(tmp_path, **{path: value}) for path, value in OTHER.items()}
    assert usual not in other.values() and len(set(other.values())) == len(other)


def test_check_tells_the_time_from_earlier_runs(tmp_path: Path) -> None:
    plan = prepared(job(tmp_path), tmp_path, weigh=False)
    file = remembered_in(tmp_path)
    file.unlink(missing_ok=True)
    guessed = forecast.expected(plan)
    assert guessed.measured is None
    records.write(file, {"pace": Series((mark(100.0), mark(102.0), mark(104.0)))}, {})
    known = forecast.expected(plan)
    assert known.measured == "2026-11-03" and known.seconds == pytest.approx(4 * 102.0)
    assert forecast.seconds(plan) == known.seconds
    file.unlink()


def test_a_run_remembers_and_the_next_one_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(guards, "FIRST_LOOK", 4)
    small = {"training__batch_size": 1, "training__units_per_step": 1, "saving__every": 0}
    changes = {"training__steps": 6, "adapter__rank": 3, **small}
    file = remembered_in(tmp_path, **changes)
    assert trained(tmp_path, name="first", **changes).code == 0
    first = records.read(file)["pace"]
    assert len(first.good) == 1 and first.usual > 0
    records.write(file, {"pace": Series((mark(1e-6),))}, {})
    strict = replace(guards.KINDS["pace"], bounds=Bounds(share=1.0, least=0.0))
    monkeypatch.setattr(guards, "KINDS", {**guards.KINDS, "pace": strict})
    trained(tmp_path, name="second", **changes)
    told = [record["text"] for record in journal(tmp_path, "Warned", "second")]
    assert len(told) == 1 and told[0].startswith("This run takes ") and "0 ms" in told[0]
    assert str(tmp_path) not in file.read_text() and "second" not in file.read_text()
