"""Whole small runs: order, randomness, resume, and what is never done."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scumble.assembly import source
from scumble.caching import encoded
from scumble.disk import claimed
from scumble.errors import DiskError, NotFinite
from scumble.families import weights
from scumble.preflight.plan import prepared
from scumble.trainer import loop
from tests.toys import checkpoint, job, journal, trained


def drawn(root: Path, steps: int, **changes):
    """Everything the steps would see: ids, captions, noise, times and dropout seeds by slot."""
    plan = prepared(job(root, **changes), root)
    rows = []
    with encoded(plan, lambda event: None) as library:
        for fed in (fed for n in range(steps) for fed in source(plan, library).step(n + 1)):
            for slot in range(len(fed.batch.ids)):
                one = fed.draw.noise[slot], fed.draw.times[slot], fed.draw.seeds[slot]
                rows.append((fed.batch.ids[slot], fed.batch.captions[slot], *one))
    return rows


def same(left, right) -> bool:
    """Whether two rows agree in every part."""
    return left[:2] == right[:2] and all(map(torch.equal, left[2:], right[2:]))


def losses(root: Path, name: str = "toy") -> list[float]:
    return [record["loss"] for record in journal(root, "StepDone", name)]


def test_training_lowers_the_loss_and_tells_of_every_step(tmp_path: Path) -> None:
    changes = {"adapter__targets": "all", "training__steps": 30, "saving__every": 0}
    changes |= {"training__units_per_step": 1}
    outcome = trained(tmp_path, **changes)
    steps = journal(tmp_path, "StepDone")
    assert outcome.code == 0
    assert [record["step"] for record in steps] == list(range(1, 31))
    found = losses(tmp_path)
    assert sum(found[-8:]) < 0.8 * sum(found[:8])


def test_a_resumed_run_takes_the_steps_of_an_unbroken_one(tmp_path: Path) -> None:
    trained(tmp_path, name="whole", training__steps=6)
    trained(tmp_path, name="parts", training__steps=3)
    trained(tmp_path, name="parts", training__steps=6)
    whole, parts = (checkpoint(tmp_path, 6, name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and len(whole) > 10
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert losses(tmp_path, "whole") == losses(tmp_path, "parts")
    resumed = journal(tmp_path, "Resumed", "parts")
    assert resumed[0]["step"] == 3 and resumed[0]["changed"] == ["training.steps: 3 -> 6"]


def test_computing_blocks_again_changes_no_number(tmp_path: Path) -> None:
    trained(tmp_path, name="kept", training__steps=2)
    trained(tmp_path, name="again", training__steps=2, hardware__gradient_checkpointing=True)
    kept, again = (checkpoint(tmp_path, 2, name) for name in ("kept", "again"))
    assert all(torch.equal(kept[key], again[key]) for key in kept)


def test_another_seed_draws_another_noise_and_order(tmp_path: Path) -> None:
    first, again = (drawn(tmp_path, 2) for _ in range(2))
    other = drawn(tmp_path, 2, training__seed=8)
    assert all(map(same, first, again))
    assert [row[0] for row in first] != [row[0] for row in other]
    assert not torch.equal(first[0][2], other[0][2])


def test_batch_4_sees_and_loses_what_twice_batch_2_does(tmp_path: Path) -> None:
    square = [{"id": "square", "folder": "square", "resolution": 32, "caption_dropout": 0.3}]
    job(tmp_path)
    changes = {"data": square, "training__steps": 1, "adapter__dropout": 0.0}
    once = changes | {"training__batch_size": 4, "training__units_per_step": 1}
    twice = changes | {"training__batch_size": 2, "training__units_per_step": 2}
    assert all(map(same, drawn(tmp_path, 1, **once), drawn(tmp_path, 1, **twice)))
    dropping = {"adapter__dropout": 0.5}
    trained(tmp_path, name="once", **(once | dropping))
    trained(tmp_path, name="twice", **(twice | dropping))
    assert losses(tmp_path, "once") == pytest.approx(losses(tmp_path, "twice"), rel=1e-6)
    left, right = checkpoint(tmp_path, 1, "once"), checkpoint(tmp_path, 1, "twice")
    moments = [key for key in left if key.endswith("exp_avg")]
    assert moments
    for key in moments:
        torch.testing.assert_close(left[key], right[key], rtol=1e-4, atol=1e-7)


def test_a_step_of_uneven_units_is_the_mean_over_its_examples(tmp_path: Path) -> None:
    plan = prepared(job(tmp_path), tmp_path)
    with encoded(plan, lambda event: None) as library:
        units = [fed for n in range(3) for fed in source(plan, library).step(n + 1)]
    assert {len(fed.batch.ids) for fed in units} == {1, 2}
    for step in range(1, 4):
        told = {fed.examples_in_step for fed in units if fed.step == step}
        assert told == {sum(len(fed.batch.ids) for fed in units if fed.step == step)}


@pytest.mark.parametrize("answer", ["stop", "skip"])
def test_a_number_that_is_not_finite_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    real = loop.losses

    def poisoned(method, batch, draw):
        found = real(method, batch, draw)
        return found * float("nan") if "square/p03.png" in batch.ids else found

    monkeypatch.setattr(loop, "losses", poisoned)
    changes = {"training__when_not_finite": answer, "training__steps": 4, "saving__every": 1}
    if answer == "stop":
        with pytest.raises(NotFinite, match=r"step \d: the loss is not a finite.*square/p03.png"):
            trained(tmp_path, **changes)
        saved = sorted((tmp_path / "out/toy/checkpoints").glob("step-*"))
        assert not (tmp_path / "out/toy/toy.safetensors").exists()
    else:
        trained(tmp_path, **changes)
        saved = sorted((tmp_path / "out/toy/checkpoints").glob("step-*"))
        skipped = [r["step"] for r in journal(tmp_path, "StepDone") if not r["applied"]]
        assert skipped and len(saved) == 4
    for folder in saved:
        found = checkpoint(tmp_path, int(folder.name[5:]))
        assert all(bool(tensor.isfinite().all()) for tensor in found.values())


def test_the_first_signal_lets_the_step_end_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.losses

    def interrupted(method, batch, draw):
        if len(list((tmp_path / "out/toy/checkpoints").glob("step-*"))) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            monkeypatch.setattr(loop, "losses", real)
        return real(method, batch, draw)

    monkeypatch.setattr(loop, "losses", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    outcome = trained(tmp_path, training__steps=9)
    assert outcome.code == 130
    assert [r["signal"] for r in journal(tmp_path, "Stopped")] == ["SIGTERM"]
    assert (tmp_path / "out/toy/checkpoints/step-000003/state.json").exists()
    assert signal.getsignal(signal.SIGTERM) is before
    trained(tmp_path, name="whole", training__steps=5)
    trained(tmp_path, training__steps=5)
    left, right = checkpoint(tmp_path, 5), checkpoint(tmp_path, 5, "whole")
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_a_finished_run_has_nothing_to_do_and_says_so(tmp_path: Path) -> None:
    trained(tmp_path)
    before = checkpoint(tmp_path, 4)
    assert trained(tmp_path).code == 0
    assert all(torch.equal(before[key], tensor) for key, tensor in checkpoint(tmp_path, 4).items())
    assert "raise training.steps" in journal(tmp_path, "Warned")[-1]["text"]


def test_a_checkpoint_is_not_continued_with_another_adapter(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / "out/toy/job.yaml").unlink()
    for changes in ({"adapter__rank": 8}, {"adapter__alpha": 64.0}):
        with pytest.raises(ExceptionGroup) as group:
            trained(tmp_path, training__steps=8, **changes)
        assert "the checkpoint of step 4 cannot go on" in str(group.value.exceptions[0])


def test_other_weights_under_the_same_path_are_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(weights.located("builtin:tiny-flux", Path()), model)
    trained(tmp_path, model__path="model")
    file = model / "transformer/diffusion_pytorch_model.safetensors"
    save_file({name: 1.1 * tensor for name, tensor in load_file(file).items()}, file)
    with pytest.raises(ExceptionGroup) as group:
        trained(tmp_path, model__path="model", training__steps=8)
    assert "base_model: was" in str(group.value.exceptions[0])


def test_changed_pictures_and_settings_are_listed_on_resume(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / "square/p01.txt").write_text("yes")
    trained(tmp_path, training__steps=5, training__learning_rate=2e-2)
    changed = " ".join(journal(tmp_path, "Resumed")[0]["changed"])
    assert "training.learning_rate: 0.01 -> 0.02" in changed
    assert "data.0.pictures: 5 pictures" in changed and "data.1" not in changed


def test_a_second_start_beside_a_living_one_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    with (
        claimed(tmp_path / "out/toy"),
        pytest.raises(DiskError, match="is at work on this run"),
    ):
        trained(tmp_path, training__steps=5)
    (tmp_path / "out/toy/.running").write_text("")  # as a kill at the wrong moment leaves it
    assert trained(tmp_path, training__steps=5).code == 0
    assert not (tmp_path / "out/toy/.running").exists()


def test_hopeless_skipping_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 3)
    changes = {"training__when_not_finite": "skip", "training__learning_rate": 1e37}
    with pytest.raises(NotFinite, match="3 steps one after another"):
        trained(tmp_path, training__steps=20, saving__every=0, **changes)
    assert journal(tmp_path, "Failed")
    assert not (tmp_path / "out/toy/toy.safetensors").exists()


def test_an_observer_that_fails_does_not_hurt_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scumble.observers.report import Report

    def broken(self: Report, event: object) -> None:
        raise RuntimeError("no report today")

    monkeypatch.setattr(Report, "__call__", broken)
    assert trained(tmp_path).code == 0
    told = journal(tmp_path, "Warned")
    assert len(told) == 1 and "Report failed" in told[0]["text"]


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    previews = {"validation__every": 2, "validation__prompts": ["a cat", "a dog"]}
    small = {"validation__width": 32, "validation__height": 48, "validation__steps": 2}
    outcome = trained(tmp_path, saving__every=1, saving__keep=2, **previews, **small)
    folder = tmp_path / "out/toy"
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    samples = [
        f"samples/step-{step:06d}/{number:02d}-{prompt}.{ending}"
        for step in (0, 2, 4)
        for number, prompt in enumerate(("a-cat", "a-dog"))
        for ending in ("json", "png")
    ]
    state = [
        f"checkpoints/step-{step:06d}/{name}"
        for step in (3, 4)
        for name in ("adapter.safetensors", "optimizer.safetensors", "state.json")
    ]
    top = ["before-after.png", "job.yaml", "journal.jsonl", "manifest.json", "report.html"]
    assert names == sorted([*samples, *state, *top, "toy.safetensors"])
    assert {file.name for file in outcome.files} == {
        "report.html",
        "before-after.png",
        "toy.safetensors",
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["samples"]) == 8
    assert manifest["samples"][0]["captions"] == ["picture 0 of square"]
    assert all(str(tmp_path) not in part for part in json.dumps(manifest).split('"'))
