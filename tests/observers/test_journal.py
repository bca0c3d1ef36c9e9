import json
import math
from pathlib import Path

import pytest

from scumble.events import Event, Exported, Resumed, Warned
from scumble.observers import journal
from scumble.observers.journal import Journal, losses, read
from tests.observers.runs import started, step


def written(folder: Path, *events: Event) -> list[dict]:
    note = Journal(folder)
    for event in events:
        note(event)
    return read(folder)


def test_an_event_is_one_line_with_its_name_time_and_fields(tmp_path: Path) -> None:
    (record,) = written(tmp_path, Warned(text="two\nlines"))
    assert (record["event"], record["text"]) == ("Warned", "two\nlines")
    assert len(record["time"]) == len("2026-01-01T00:00:00.000Z")
    assert (tmp_path / journal.FILE).read_text().count("\n") == 1


@pytest.mark.parametrize(("place", "told"), [("run/a.bin", "a.bin"), ("b.bin", None)])
def test_paths_inside_the_run_are_told_from_its_folder(
    tmp_path: Path, place: str, told: str | None
) -> None:
    file = tmp_path / place
    event = Exported(step=1, file=file, layout="kohya", tensors=2, bytes=3)
    (record,) = written(tmp_path / "run", event)
    assert record["file"] == (told or file.as_posix())


def test_numbers_that_are_not_finite_leave_the_journal_strict(tmp_path: Path) -> None:
    records = written(tmp_path, step(1, math.nan), step(2, math.inf), step(3, -math.inf))
    assert [record["loss"] for record in records] == ["nan", "inf", "-inf"]

    def refused(name: str) -> float:
        raise AssertionError(name)

    for line in (tmp_path / journal.FILE).read_text().splitlines():
        json.loads(line, parse_constant=refused)
    assert math.isnan(losses(records)[1])


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    written(tmp_path, step(1), step(2))
    file = tmp_path / journal.FILE
    file.write_bytes(file.read_bytes()[:-20])
    assert list(losses(read(tmp_path))) == [1]
    assert list(losses(written(tmp_path, step(3)))) == [1, 3]


def test_a_line_torn_inside_a_character_can_be_read_over(tmp_path: Path) -> None:
    (tmp_path / journal.FILE).write_bytes(b'{"event": "Warned", "text": "\xc3')
    assert list(losses(written(tmp_path, step(1)))) == [1]


def test_a_step_taken_twice_counts_once_the_later_time(tmp_path: Path) -> None:
    first = [started(tmp_path), step(1, 0.9), step(2, 0.8), step(3, 0.7), step(4, 0.6)]
    again = Resumed(step=2, restored=("adapter",), changed=())
    records = written(tmp_path, *first, started(tmp_path, after=2), again, step(3, 0.5))
    assert losses(records) == {1: 0.9, 2: 0.8, 3: 0.5}


def test_a_folder_without_a_journal_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path) == []
