"""The end of a run: what is delivered, who is told what of it, and what is left in memory."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from scumble import delivery, proving, questions, run
from scumble.assembly import assembled, source
from scumble.caching import complete
from scumble.delivery import Delivery
from scumble.errors import FileError
from scumble.events import Event, Proven, Proving, Warned
from scumble.families import weights
from scumble.hardware.device import place_for
from scumble.observers.sentences import sentence
from scumble.preflight.plan import prepared
from scumble.spec.hardware import HardwareSpec
from scumble.trainer.feeder import Feeder
from scumble.trainer.signals import Signals
from scumble.validation import previews, probes, stage
from tests.conftest import told
from tests.toys import job, journal, trained

PREVIEWS = {"prompts": ["a cat", "a dog"], "every": 2, "width": 32, "height": 48, "steps": 1}
SMALL = {"training__steps": 2, "training__batch_size": 1, "training__units_per_step": 1}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run has ended that had its own model folder and painted two prompts."""
    root = tmp_path_factory.mktemp("ended run")
    shutil.copytree(weights.located("builtin:tiny-flux", Path()), root / "tiny model")
    changes = {"model__path": str(root / "tiny model"), "export__layout": ("kohya", "diffusers")}
    assert trained(root, validation=PREVIEWS, **SMALL, **changes).code == 0
    return root


@pytest.fixture
def again(ended: Path, tmp_path: Path) -> Callable[..., run.Outcome]:
    """Starts a copy of it once more."""
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)

    def start(**changes: object) -> run.Outcome:
        path = {"model__path": str(ended / "tiny model")}
        return trained(tmp_path, **{"validation": PREVIEWS, **SMALL, **path, **changes})

    return start


def python(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What is started as a fresh Python is this shell script."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(file))


def row(state: str, text: str) -> dict[str, object]:
    return {"verdicts": [{"name": "velocity", "state": state, "text": text}], "pictures": []}


def test_a_file_names_its_model_and_says_nothing_of_where_it_was_made(ended: Path) -> None:
    files = sorted((ended / "out/toy").glob("*.safetensors"))
    assert [file.name for file in files] == ["toy.diffusers.safetensors", "toy.safetensors"]
    for file in files:
        content = file.read_bytes()
        assert str(ended).encode() not in content and ended.name.encode() not in content
        with safe_open(file, "pt") as tensors:
            assert tensors.metadata()["scumble.base_model"] == "tiny model"


def test_a_process_that_is_killed_is_named_with_a_command_that_can_be_copied(
    ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python(tmp_path, monkeypatch, "echo loading >&2; kill -9 $$")
    file, heard = ended / "out/toy/toy.safetensors", list[Event]()
    with pytest.raises(FileError) as caught:
        delivery.proven(Delivery(folder=file.parent, files=(file,), fresh=True), heard.append)
    said = str(caught.value)
    assert "was killed by SIGKILL, perhaps for want of memory; its last lines: loading" in said
    assert f"`scumble adapter verify '{file}' --run '{file.parent}'` tries again" in said
    assert heard == [Proving(files=(file,))]
    assert sentence(heard[0]) == "Proving 1 file in a fresh process."


def test_a_process_that_cannot_be_started_is_no_full_disk(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    file = ended / "out/toy/toy.safetensors"
    with pytest.raises(FileError, match="no process could be started for it") as caught:
        delivery.proven(Delivery(folder=file.parent, files=(file,), fresh=True), lambda _: None)
    assert "tries again" in str(caught.value)


def test_a_fresh_process_ends_with_the_one_that_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "lives"
    ready, write = os.pipe()
    program = (
        "import os, sys, threading; from scumble.cli import alone;"
        f"threading.Thread(target=alone._leave_with_them).start(); os.write({write}, b'.');"
        f"threading.Event().wait(60); open({str(file)!r}, 'w')"
    )
    theirs, ours = os.pipe()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=theirs, pass_fds=[write]) as process:
        os.read(ready, 1)
        assert process.poll() is None
        os.close(ours)
        assert process.wait() == 1
    for handle in (ready, write, theirs):
        os.close(handle)
    assert not file.exists()


def test_every_file_is_told_before_the_bad_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("failed", "off by 1"), row("remark", "hardly seen"), row("failed", "off by 2")]
    answer = json.dumps({"files": rows})
    python(tmp_path, monkeypatch, f"echo noise; echo '{answer}'; exit 2")
    files, heard = tuple(tmp_path / f"{n}.safetensors" for n in range(3)), list[Event]()
    with pytest.raises(ExceptionGroup) as caught:
        delivery.proven(Delivery(folder=tmp_path, files=files, fresh=True), heard.append)
    assert [one.file for one in heard if isinstance(one, Proven)] == list(files)
    assert Warned(text="1.safetensors: hardly seen.") in heard
    said = told(caught.value).splitlines()
    assert [line.split(";")[0] for line in said] == [
        f"{files[0]}: not proven, velocity: off by 1",
        f"{files[2]}: not proven, velocity: off by 2",
    ]


def test_a_changed_preview_is_painted_anew_and_never_held_against_the_old_one(
    ended: Path, again: Callable[..., run.Outcome], tmp_path: Path
) -> None:
    other = {**PREVIEWS, "seed": 7}
    for validation, painted in ((PREVIEWS, 2), (other, 3), (other, 3), ({**other, "steps": 2}, 4)):
        plan = prepared(job(tmp_path, validation=validation, **SMALL), tmp_path, weigh=False)
        first = previews.requests(plan.job.validation, plan.family)[0]
        old = questions.pictured(plan, first, 2)
        assert again(validation=validation).code == 0
        assert len(journal(tmp_path, "Previewed")) == painted
        new = questions.pictured(plan, first, 2)
        assert new is not None and (old is None or old == new)
        assert json.loads(new.with_suffix(".json").read_text())["seed"] == first.seed
        (tmp_path / "out/toy/.running").unlink(missing_ok=True)


def test_a_longer_run_that_is_shortened_again_has_pictures_of_what_it_delivers(
    again: Callable[..., run.Outcome], tmp_path: Path
) -> None:
    assert again(training__steps=3).code == 0
    shutil.rmtree(tmp_path / "out/toy/samples/step-000003")
    assert again().code == 0
    assert journal(tmp_path, "Finished")[-1]["step"] == 3
    assert len(list((tmp_path / "out/toy/samples/step-000003").glob("*.png"))) == 2
    assert "delivered and proven again" in journal(tmp_path, "Warned")[-1]["text"]


def test_a_sheet_that_cannot_be_written_is_a_warning_and_the_run_is_finished(
    again: Callable[..., run.Outcome], tmp_path: Path
) -> None:
    sheet = tmp_path / "out/toy/before-after.png"
    sheet.unlink()
    sheet.mkdir()
    outcome = again()
    assert outcome.code == 0 and sheet not in outcome.files
    assert "before and after was not written" in journal(tmp_path, "Warned")[-1]["text"]
    assert len(journal(tmp_path, "Finished")) == 2


@pytest.mark.parametrize("number", ["INT", "TERM"])
def test_a_proof_that_is_cut_short_is_neither_finished_nor_failed(
    again: Callable[..., run.Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
) -> None:
    (tmp_path / "bin").mkdir()
    python(tmp_path / "bin", monkeypatch, f"kill -{number} $PPID; exec sleep 60")
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert again(export__proof="fresh_process", export__layout="kohya").code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert journal(tmp_path, "Warned")[-1]["text"] == "The proof was cut short of toy.safetensors."
    assert len(journal(tmp_path, "Interrupted")) == 1
    assert len(journal(tmp_path, "Finished")) == 1, "that of the first start"
    page = (tmp_path / "out/toy/report.html").read_text()
    assert '<p class="state interrupted">' in page and "toy.safetensors, read again" not in page
    assert not (tmp_path / "out/toy/.running").exists()


def test_a_fault_of_the_program_stands_in_journal_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory <all of it>")

    monkeypatch.setattr(run, "assembled", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        trained(tmp_path, **SMALL)
    (record,) = journal(tmp_path, "Failed")
    assert record["problems"] == ["OutOfMemoryError: CUDA out of memory <all of it>"]
    page = (tmp_path / "out/toy/report.html").read_text()
    assert "<h2>What went wrong</h2>" in page and "CUDA out of memory &lt;all of it&gt;" in page


def test_encoders_that_stay_loaded_are_gone_before_the_fresh_process_comes(tmp_path: Path) -> None:
    wanted = job(tmp_path, cache__mode="on_demand", validation=PREVIEWS, **SMALL)
    before = modules()
    with Signals() as signals:
        plan = prepared(wanted, tmp_path)
        made = run._delivered(
            *complete(wanted, tmp_path, plan, lambda _: None), tmp_path, lambda _: None, signals
        )
    assert made is not None and made.files[0].exists()
    assert modules() <= before


def test_what_only_the_collector_would_free_is_free_before_the_fresh_process_comes() -> None:
    network = nn.Linear(2, 2)
    object.__setattr__(network, "itself", network)
    left = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert left() is not None
        delivery._give_memory_back()
        assert left() is None
    finally:
        gc.enable()


def test_the_fresh_process_asks_nobody(
    ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python(tmp_path, monkeypatch, f"env > '{tmp_path}/env'; exit 3")
    file = ended / "out/toy/toy.safetensors"
    with pytest.raises(FileError, match="ended with 3"):
        delivery.proven(Delivery(folder=file.parent, files=(file,), fresh=True), lambda _: None)
    assert "HF_HUB_OFFLINE=1" in (tmp_path / "env").read_text().splitlines()


def test_a_checkpoint_of_what_is_no_number_is_not_kept(tmp_path: Path) -> None:
    wanted = job(tmp_path, **SMALL)
    plan, library = complete(wanted, tmp_path, prepared(wanted, tmp_path), lambda _: None)
    with Signals() as signals, library:
        feeder = Feeder(source(plan, library), first=1, last=1)
        parts = assembled(plan, [], feeder, signals)
        name, spoilt = next(iter(parts.adapters.parameters().items()))
        spoilt.data[0, 0] = torch.nan
        with pytest.raises(FileError, match=f"1 of .* tensors are not finite, first '{name}'"):
            parts.save(1)
    assert list((tmp_path / "out/toy").rglob("step-*")) == []


def modules() -> set[str]:
    """Every layer in memory that holds weights."""
    gc.collect()
    found = [one for one in gc.get_objects() if issubclass(type(one), nn.Module)]
    held = [m for m in found if any(p.device.type != "meta" for p in m.parameters(recurse=False))]
    return {f"{type(one).__name__} at {id(one)}" for one in held}


def test_a_run_of_a_card_that_is_not_here_is_proven_on_what_there_is() -> None:
    latents = torch.ones(1, 1, 2, 2)
    points = probes.Probes(noisy=latents, times=torch.ones(1), text={}, guidance=1.0)
    about = {"device": "cuda:99", "precision": "bf16"}
    kit = probes.Kit(probes=points, trained=latents, base=latents, about=about)
    here = place_for(HardwareSpec())
    assert proving._place(HardwareSpec(), kit).device == here.device
    assert proving._place(HardwareSpec(), kit).precision == "bf16"
    there = replace(kit, about={"device": "cpu", "precision": "bf16"})
    assert proving._place(HardwareSpec(precision="fp32"), there).precision == "fp32"


@pytest.mark.parametrize(
    ("moved", "state", "said"),
    [
        (12.0, "ok", "1,200 %"),
        (1.3, "ok", "130 %"),
        (0.0123, "ok", "1.2 %"),
        (1e-4, "remark", "0.01 %: hardly"),
    ],
)
def test_how_far_the_answers_move_is_told_in_plain_numbers(
    moved: float, state: str, said: str
) -> None:
    found = stage._moved(moved)
    assert found.state == state and said in found.text
    trained_change = torch.ones(4)
    made = stage._made_up(trained_change, trained_change, moved)
    assert made.state == state
    assert "100.0 % of the trained change" in made.text
    assert stage._made_up(2 * trained_change, trained_change, moved).state == "failed"
