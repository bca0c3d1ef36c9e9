"""Two kinds of weights at the end of a run: both are delivered, labelled and proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from scumble import delivery, proving
from scumble.checkpoint import export
from scumble.delivery import Delivery
from scumble.events import Exported, Proven
from scumble.preflight.plan import Plan
from scumble.spec.hardware import HardwareSpec
from tests.trainer.test_averages import FULL, running


@dataclass(frozen=True, kw_only=True)
class Done:
    """What two steps have led to."""

    root: Path
    plan: Plan
    told: Delivery
    exported: list[Exported]
    values: Mapping[str, Mapping[str, Tensor]]

    def proven(self, *files: Path) -> list[Proven]:
        """What a process that knows nothing of the run says."""
        hardware = HardwareSpec(device="cpu", precision="fp32")
        wanted = proving.Asked(files=files, hardware=hardware, base=self.root, run=self.plan.folder)
        return list(proving.proofs(wanted))


def delivered(root: Path, **changes: Any) -> Done:
    heard: list[Any] = []
    proof = {"export__proof": "fresh_process", "export__dtype": "float32"}
    with running(root, **proof, **changes) as run:
        plan, parts = run.plan, run.parts
        parts.preview(2)
        told = delivery.delivered(plan, parts, run.asked, root, 2, heard.append)
        raw = {n: one.detach().clone() for n, one in parts.adapters.parameters().items()}
        ema = {n: one.clone() for n, one in run.average.kept().items()}
    exported = [one for one in heard if isinstance(one, Exported)]
    values = {"raw": raw, "ema": ema}
    return Done(root=root, plan=plan, told=told, exported=exported, values=values)


def said(file: Path) -> str:
    with safe_open(file, "pt") as stored:
        return stored.metadata()["scumble.weights"]


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """An adapter of which the average is delivered, in two layouts."""
    ema, layouts = {"deliver": "ema", "decay": 0.9}, ["diffusers", "kohya"]
    root = tmp_path_factory.mktemp("averaged")
    return delivered(root, training__ema=ema, export__layout=layouts)


def test_what_the_job_delivers_has_the_plain_name_and_every_file_says_whose_it_is(
    averaged: Done,
) -> None:
    names = ["toy", "toy.kohya", "toy.raw", "toy.raw.kohya"]
    assert [file.name for file in averaged.told.files] == [f"{one}.safetensors" for one in names]
    assert [one.weights for one in averaged.exported] == ["ema", "ema", "raw", "raw"]
    assert [said(file) for file in averaged.told.files] == ["ema", "ema", "raw", "raw"]


def test_each_file_holds_the_weights_that_it_says(averaged: Done) -> None:
    for file in averaged.told.files:
        values = averaged.values[said(file)]
        for part in export.read(file, averaged.plan.family.keys).changes.values():
            for layer, tensors in part.items():
                assert torch.allclose(tensors.up, values[f"{layer}.up"], atol=1e-6)
    first, second = (averaged.values[which] for which in ("raw", "ema"))
    assert not any(torch.allclose(first[n], second[n], atol=1e-6) for n in first if "up" in n)


def test_each_is_held_against_its_own_answers_and_picture(averaged: Done) -> None:
    found = averaged.proven(*averaged.told.files)
    assert [one.file for one in found] == list(averaged.told.files)
    for number, one in enumerate(found):
        states = {verdict.name: verdict.state for verdict in one.verdicts}
        assert states["velocity"] == "ok" and not one.failed
        assert ("picture" in states) == (number in (0, 2))  # of each kind of weights the first
        again = [v.text for v in one.verdicts if v.name == "picture"]
        assert all("equal in every pixel" in text or "PSNR" in text for text in again)


def test_raw_weights_that_pass_themselves_off_as_the_average_are_caught(averaged: Done) -> None:
    raw = averaged.told.files[2].read_bytes()
    bad = averaged.root / "bad.safetensors"
    bad.write_bytes(raw.replace(b'"scumble.weights":"raw"', b'"scumble.weights":"ema"'))
    assert said(bad) == "ema"
    (one,) = averaged.proven(bad)
    assert "velocity" in {verdict.name for verdict in one.failed}


def test_whole_networks_are_delivered_and_proven_likewise(tmp_path: Path) -> None:
    done = delivered(tmp_path, **FULL)
    assert [file.name for file in done.told.files] == ["toy.safetensors", "toy.ema.safetensors"]
    assert [said(file) for file in done.told.files] == ["raw", "ema"]
    for one in done.proven(*done.told.files):
        states = {verdict.name: verdict.state for verdict in one.verdicts}
        assert states["velocity"] == "ok" and states["picture"] in ("ok", "unknown")
        assert not one.failed
