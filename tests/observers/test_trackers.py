"""TensorBoard and Weights & Biases: what they are told, and that they cannot hurt a run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble.errors import JobError
from scumble.events import Event, Failed, Finished, Previewed, Warned
from scumble.observers import journal as journals
from scumble.observers import trackers
from scumble.observers.outbox import Line, Outbox
from scumble.observers.services import Hello
from scumble.observers.trackers import Tracker, closed, without_secrets
from scumble.preflight.plan import prepared
from scumble.spec.load import resolved
from scumble.spec.tracking import TrackingSpec
from tests.conftest import told as told_by
from tests.observers.runs import started, step
from tests.toys import job, journal, trained

PATIENT = (sys.executable, "-c", "import sys, time; time.sleep(600)")
GREEDY = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")
SECRET = "5ec4e7"
SMALL = {
    "training__batch_size": 1,
    "training__units_per_step": 1,
    "saving__every": 0,
    "validation__prompts": ["a cat / dog", "a hat"],
    "validation__every": 2,
    "validation__steps": 1,
    "validation__width": 32,
    "validation__height": 48,
}


def isolated(patch: pytest.MonkeyPatch, user: Path) -> None:
    """A user without keys, settings or a network."""
    for name in list(os.environ):
        if name.startswith("WANDB"):
            patch.delenv(name)
    patch.setenv("HOME", str(user))
    patch.setenv("WANDB_CONFIG_DIR", str(user))
    patch.setenv("NETRC", str(user / "netrc"))
    patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolated(monkeypatch, tmp_path / "user")


@pytest.fixture(scope="module")
def followed_by_both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run has ended that both services followed, with secrets all around."""
    root = tmp_path_factory.mktemp("followed")
    with pytest.MonkeyPatch.context() as patch:
        isolated(patch, root / "user")
        patch.setenv("WANDB_API_KEY", (SECRET * 7)[:40])
        patch.setenv("HF_TOKEN", f"hf_{SECRET}")
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("SCUMBLE_TEST", str(root))
        changes = {"tracking__to": ["tensorboard", "wandb"], "tracking__run": "tabby", **SMALL}
        assert trained(root, training__steps=4, **changes).code == 0
    return root


def hello(folder: Path, patience: float) -> Hello:
    return Hello(
        folder=str(folder),
        name="my-cat",
        project="p",
        entity=None,
        id="0123456789abcdef",
        after=0,
        job={"name": "my-cat"},
        text="name: my-cat\n",
        patience=patience,
    )


def followed(tracker: Tracker, events: Iterable[Event]) -> list[str]:
    """What is said of a service in the course of a run, and at its end."""
    said = []
    for event in events:
        tracker(event)
        said += tracker.news()
    return said + closed([tracker])


def run(folder: Path, steps: Iterable[int], *, after: int = 0, loss: float = 0.5) -> list[Event]:
    taken = [step(number, loss + number) for number in steps]
    return [started(folder, after=after), *taken, Finished(step=9, seconds=1.0)]


def drawn(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, list[int]], str]:
    """Scalars and the steps of pictures by tag, and all texts, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    scalars = {t: [(e.step, e.value) for e in found.Scalars(t)] for t in tags["scalars"]}
    pictures = {t: [e.step for e in found.Images(t)] for t in tags["images"]}
    texts = [e.tensor_proto.string_val for t in tags["tensors"] for e in found.Tensors(t)]
    return scalars, pictures, str(texts)


def services_of(folder: Path) -> list[str]:
    """Processes that work in a folder or were launched with its name in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(folder).encode() in words and int(process.name) != os.getpid() and state != "Z":
            found.append(words.split(b"\0")[0].decode())
    return found


def gone(folder: Path) -> bool:
    """Whether no process of these is there any more, or is after a moment."""
    for _ in range(100):
        if not services_of(folder):
            return True
        time.sleep(0.1)
    return False


def test_both_services_get_what_the_journal_has_and_no_secret(followed_by_both: Path) -> None:
    from tensorboard.util import tensor_util  # noqa: F401 - before the warnings it would give

    root, folder = followed_by_both, followed_by_both / "out/toy"
    assert journal(root, "Warned") == [] and gone(root)
    scalars, pictures, texts = drawn(folder)
    records = journal(root, "StepDone")
    for tag, field in {
        "train/loss": "loss",
        "train/learning_rate": "learning_rate",
        "train/gradient_norm": "gradient_norm",
        "train/seconds_per_step": "seconds",
    }.items():
        expected = [(record["step"], np.float32(record[field])) for record in records]
        assert scalars[tag] == expected
    assert pictures == {"preview/00 a cat dog": [0, 2, 4], "preview/01 a hat": [0, 2, 4]}
    assert "rank: 4" in texts and "Finished step 4" in texts and "found: toy" in texts
    assert len(list((folder / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
    assert len(list((folder / "wandb").rglob("preview/*.png"))) == 6
    for file in root.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in str(journals.read(folder))


def test_a_run_that_goes_on_is_one_run(
    followed_by_both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.util import tensor_util  # noqa: F401 - before the warnings it would give

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = shutil.copytree(followed_by_both / "out/toy", tmp_path / "run")
    tracked = job(tmp_path, tracking__to=["tensorboard", "wandb"])
    again = trackers.opened(tracked, folder, resolved(tracked))
    for event in run(folder, range(3, 6), after=2, loss=100.0):
        for tracker in again:
            tracker(event)
    assert closed(again) == []
    first = [np.float32(one["loss"]) for one in journal(followed_by_both, "StepDone")]
    losses = drawn(folder)[0]["train/loss"]
    assert losses == [(1, first[0]), (2, first[1]), (3, 103.0), (4, 104.0), (5, 105.0)]
    names = [one.name for one in (folder / "wandb").glob("offline-run-*/run-*.wandb")]
    assert len(names) == 2 and len(set(names)) == 1  # two sessions, one id
    other = trackers.opened(tracked, tmp_path / "other", "")[1]
    assert other._hello.id not in names[0]


@pytest.mark.acceptance
@pytest.mark.parametrize("silent", [False, True], ids=["dead port", "never answers"])
def test_a_service_that_cannot_be_reached_costs_a_warning_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("SCUMBLE_TEST", str(tmp_path))
    monkeypatch.setattr(trackers, "PATIENCE", 30.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if silent:
            server.listen(64)
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        outcome = trained(tmp_path, tracking__to="wandb", **SMALL)
    assert outcome.code == 0
    told = [record["text"] for record in journal(tmp_path, "Warned")]
    assert len(told) == 1 and told[0].startswith("wandb cannot be reached (")
    assert "`wandb sync " in told[0] and "0123456789" not in told[0]
    kept = list((tmp_path / "out/toy/wandb").glob("offline-run-*/run-*.wandb"))
    assert len(kept) == 1 and kept[0].stat().st_size > 1000
    assert gone(tmp_path)


def test_a_service_that_hangs_is_waited_for_no_longer_than_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUMBLE_TEST", str(tmp_path))
    tracker = Tracker("wandb", hello(tmp_path, patience=0.3), PATIENT)
    said = followed(tracker, run(tmp_path, range(1, 6000)))
    assert len(said) == 2
    assert said[0].startswith("wandb was not done in time; `wandb sync ")
    assert said[1].startswith("wandb was too slow: ") and said[1].endswith("are not drawn there.")
    assert gone(tmp_path)


def test_several_that_hang_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    real = Outbox.wait

    def noted(self: Outbox, until: float) -> bool:
        asked.append(until)
        return real(self, until)

    monkeypatch.setattr(Outbox, "wait", noted)
    hanging = [Tracker("wandb", hello(tmp_path, patience=0.5), PATIENT) for _ in range(3)]
    for tracker in hanging:
        tracker(started(tmp_path))
        tracker(Finished(step=1, seconds=1.0))
    assert len(closed(hanging)) == 3
    assert max(asked) - min(asked) < 0.5


def test_ctrl_c_ends_the_wait_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout and timeout > 100:
            raise KeyboardInterrupt
        return real(self, timeout)

    monkeypatch.setenv("SCUMBLE_TEST", str(tmp_path))
    real = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    tracker = Tracker("wandb", hello(tmp_path, patience=500.0), PATIENT)
    said = followed(tracker, run(tmp_path, range(1, 3)))
    assert said == ["The services that follow the run were not waited for."]
    assert gone(tmp_path)
    monkeypatch.undo()
    tracker.close()


def test_a_run_that_failed_waits_but_a_moment(tmp_path: Path) -> None:
    tracker = Tracker("wandb", hello(tmp_path, patience=500.0), PATIENT)
    tracker(started(tmp_path))
    tracker(Failed(problems=("step 1: the loss is not a finite number",)))
    tracker.end()
    assert tracker._until - time.monotonic() <= trackers.HASTE
    tracker._until = 0.0
    assert "was not done in time" in tracker.close()[0]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "import sys; print('noise'); sys.exit('no such project')",
            "wandb failed and is told nothing more (no such project).",
        ),
        ("import os; os._exit(7)", "wandb failed and is told nothing more (exit code 7)."),
        ("print('scumble: the key is $KEY'); raise SystemExit(1)", "the key is ***."),
        ("import sys; print('scumble: by and by'); sys.stdin.read()", "by and by."),
    ],
)
def test_what_goes_wrong_is_told_once_and_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "sentinel" * 5)
    command = (sys.executable, "-c", code.replace("$KEY", "sentinel" * 5))
    tracker = Tracker("wandb", hello(tmp_path, patience=20.0), command)
    said = followed(tracker, run(tmp_path, range(1, 500)))
    assert said == [expected]


def test_a_run_without_a_beginning_leaves_nothing_behind(tmp_path: Path) -> None:
    tracked = job(tmp_path, tracking__to="tensorboard")
    (tracker,) = trackers.opened(tracked, tmp_path / "run", "")
    assert followed(tracker, [Warned(text="no"), Failed(problems=("no",))]) == []
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_every_nth_step_is_drawn_and_every_picture(tmp_path: Path) -> None:
    copy = tmp_path / "lines"
    code = f"import sys; open({str(copy)!r}, 'wb').write(sys.stdin.buffer.read())"
    tracker = Tracker("wandb", hello(tmp_path, 20.0), (sys.executable, "-c", code), every=3)
    file = tmp_path / "00-a.png"
    Image.new("RGB", (8, 8)).save(file)
    shown = Previewed(step=4, pictures=(file,), prompts=("",), seconds=1.0)
    events = [
        started(tmp_path),
        *(step(n) for n in range(1, 5)),
        shown,
        Finished(step=4, seconds=1.0),
    ]
    assert followed(tracker, events) == []
    lines = copy.read_text().splitlines()
    assert next(line for line in lines if '"train/loss"' in line).startswith('{"step": 3')
    assert sum('"train/loss"' in line for line in lines) == 1
    assert sum('"pictures": {"preview/00 no prompt"' in line for line in lines) == 1
    assert lines[-1] == '{"end": true}'


def test_when_it_is_full_the_oldest_values_go_first_and_pictures_stay() -> None:
    box = Outbox(PATIENT, dict(os.environ), room=4)
    big = b"x" * 200_000  # more than a pipe holds, so that the writer hangs in the first line
    box.put(Line(big, spare=False))
    while box._waiting:
        time.sleep(0.01)
    for content, spare in ((b"a", True), (b"b", False), (b"c", True), (b"d", True), (b"e", True)):
        box.put(Line(content, spare))
    assert [line.content for line in box._waiting] == [b"b", b"c", b"d", b"e"] and box.lost == 1
    assert not box.wait(0.0)
    box.close()
    assert not box._thread.is_alive()


def test_a_process_that_takes_everything_gets_everything() -> None:
    box = Outbox(GREEDY, dict(os.environ))
    for number in range(3000):
        box.put(Line(b"%d\n" % number, spare=True))
    assert box.wait(time.monotonic() + 60) and box.lost == 0 and box.died() is None
    box.close()


def test_a_service_that_cannot_even_be_launched_is_left_out(tmp_path: Path) -> None:
    tracker = Tracker("wandb", hello(tmp_path, 1.0), ("/no/such/program",))
    with pytest.raises(OSError, match="/no/such/program"):
        tracker(started(tmp_path))
    assert tracker.news() == [] and closed([tracker]) == []


def test_a_missing_package_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "MODULES", {"tensorboard": "no_such_thing", "wandb": "neither"})
    with pytest.raises(ExceptionGroup) as group:
        prepared(job(tmp_path, tracking__to=["tensorboard", "wandb"]), tmp_path)
    said = told_by(group.value)
    assert 'tracking.to: tensorboard is not installed; pip install "scumble[tensorboard]"' in said
    assert 'tracking.to: wandb is not installed; pip install "scumble[wandb]"' in said


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_a_missing_key_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = TrackingSpec(to="wandb")
    with pytest.raises(ExceptionGroup) as group:
        trackers.checked(wanted)
    (problem,) = group.value.exceptions
    assert isinstance(problem, JobError) and "set WANDB_MODE=offline" in str(problem)
    monkeypatch.setenv("WANDB_MODE", "offline")
    trackers.checked(wanted)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    trackers.checked(wanted)
    monkeypatch.delenv("WANDB_API_KEY")
    netrc = tmp_path / "user" / "netrc"
    netrc.parent.mkdir()
    netrc.write_text("machine elsewhere login user password 1234\n")
    assert not trackers._has_key()
    netrc.write_text("machine 127.0.0.1:9 login user password 1234\n")
    netrc.chmod(0o600)
    trackers.checked(wanted)


def test_secrets_are_made_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    assert without_secrets("GET with hf_abc failed") == "GET with *** failed"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"project": "cats"}, "`project` needs wandb"),
        ({"to": "tensorboard", "entity": "me"}, "`entity` needs wandb"),
        ({"to": ["wandb", "wandb"]}, "names a service twice"),
        ({"to": "wandb", "project": "a/b"}, "may not hold /"),
        ({"to": "wandb", "api_key": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_are_refused(section: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrackingSpec.model_validate(section)


def test_a_job_that_tracks_nothing_says_so_in_full_and_reads_back(tmp_path: Path) -> None:
    from scumble.spec.load import read_job

    for changes in ({}, {"tracking__to": "wandb", "tracking__project": "cats"}):
        one = job(tmp_path, **changes)
        assert read_job(resolved(one), name="job.yaml", format="yaml") == one
