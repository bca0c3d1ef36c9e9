"""What a job says of quantised parts: refused at once where it cannot be, and told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scumble.cli.cache_tools import listed
from scumble.errors import JobError
from scumble.hardware.quantisers.table import ADAPTERS
from scumble.preflight.plan import prepared
from scumble.preflight.quantising import put_on
from scumble.preflight.survey import survey
from scumble.sample import Sampling, sampled
from tests.conftest import told
from tests.toys import job, journal, trained

SMALL = {"training__steps": 2, "training__units_per_step": 1, "saving__every": 2}


def refused(root: Path, **changes: object) -> str:
    with pytest.raises(ExceptionGroup) as group:
        prepared(job(root, **changes), root)
    return told(group.value)


def test_all_that_cannot_be_quantised_is_told_at_once(tmp_path: Path) -> None:
    said = refused(
        tmp_path,
        model__quantised={
            "denoiser": "int8-quanto",
            "autoencoder": "nf4-bnb",
            "qwen": "int8-quanto",
        },
        adapter={"kind": "full"},
        export__layout="diffusers",
    )
    assert (
        "model.quantised.denoiser: int8-quanto for denoiser with `full` on 'cpu' is refused; a"
        " quantised layer's own weights cannot be trained" in said
    )
    assert "model.quantised.autoencoder: nearly all of an autoencoder are convolutions" in said
    assert "flux has no part 'qwen'; known: denoiser, clip, t5" in said


def test_every_algorithm_and_first_value_of_a_job_is_looked_up(tmp_path: Path) -> None:
    def names(adapter: dict[str, object], part: str = "denoiser") -> list[str]:
        return put_on(job(tmp_path, adapter=adapter).adapter, part)

    rules = [{"layers": "blocks.0.**", "algo": "full"}, {"layers": "blocks.1.**", "algo": "none"}]
    options = {"options": {"dora_wd": True}}
    lokr = {"kind": "lycoris", "algo": "lokr", "rules": rules, **options}
    assert names(lokr) == ["lokr", "lycoris-full", "dora"]
    assert names(lokr, "t5") == []
    ggpo = {"sigma": 0.1, "beta": 0.1}
    assert names({"first": "pissa"}) == ["lora", "pissa"]
    assert names({"ggpo": ggpo}) == ["lora", "ggpo"]
    assert names({"parts": ["t5"]}) == [] and names({"parts": ["t5"]}, "t5") == ["lora"]
    assert names({"kind": "full"}) == ["full"]
    assert set(names(lokr)) <= set(ADAPTERS)


def test_a_package_that_is_not_there_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    said = refused(tmp_path, model__quantised={"denoiser": "int8-torchao", "t5": "fp8-torchao"})
    assert said.count("needs torchao, which is not installed") == 1
    assert 'pip install "scumble[quantised]"' in said


def test_a_run_on_quantised_parts_is_forecast_proven_kept_and_painted_with(tmp_path: Path) -> None:
    quantised = {"denoiser": "int8-quanto", "t5": "int8-quanto"}
    changes = {"model__quantised": quantised, "hardware__precision": "bf16", **SMALL}
    changes |= {"export__proof": "fresh_process"}
    before = survey(job(tmp_path, **changes), tmp_path)
    assert before.memory is not None and "denoiser as int8-quanto" in before.memory
    (said,) = [one for one in before.warnings if one.startswith("denoiser: ")]
    assert said.startswith("denoiser: 50 linear layers are kept as int8-quanto, 1.7 MB instead of")
    assert "12 stay as they are (x_embedder, context_embedder, " in said
    outcome = trained(tmp_path, **changes)
    assert outcome.code == 0
    assert [one["step"] for one in journal(tmp_path, "StepDone")] == [1, 2]
    (proven,) = journal(tmp_path, "Proven")
    verdicts = {one["name"]: one for one in proven["verdicts"]}
    assert "failed" not in {one["state"] for one in verdicts.values()}
    assert verdicts["velocity"]["text"].startswith("off by 0.0e+00"), verdicts["velocity"]
    after = survey(job(tmp_path, **changes), tmp_path)
    packed = sum(one.stat().st_size for one in (tmp_path / "out/.cache/quantised").iterdir())
    assert after.cache_bytes == 0 and before.cache_bytes >= packed * 0.98
    manifest = json.loads((tmp_path / "out/toy/manifest.json").read_text())
    assert manifest["model"]["quantised"]["denoiser"].startswith("int8-quanto (optimum-quanto 0.")
    rows = {row[0]: row[1] for row in listed(tmp_path / "out/.cache", "30d")}
    assert (rows["quantised/denoiser"], rows["quantised/t5"]) == ("50", "14")
    paints_the_same(tmp_path, changes)
    renamed = {**changes, "model__quantised": {"denoiser": "fp8-quanto"}}
    assert any(
        "model.quantised" in one for one in prepared(job(tmp_path, **renamed), tmp_path).changed
    )


def paints_the_same(root: Path, changes: dict[str, object]) -> None:
    """`scumble sample` reads what the run has kept, and does not work adapters into it."""
    painted = {
        "validation": {"prompts": ["a"], "width": 32, "height": 32, "steps": 1},
    }
    wanted = job(root, **changes, **painted)
    asked = Sampling(
        model=wanted.model,
        hardware=wanted.hardware,
        validation=wanted.validation,
        adapter=None,
        strength=1.0,
        out=root / "painted",
        base=root,
        quantised=wanted.cache_folder / "quantised",
    )
    files = sorted((root / "out/.cache/quantised").iterdir())
    assert [one.is_file() for one in sampled(asked)] == [True]
    assert sorted((root / "out/.cache/quantised").iterdir()) == files
    merging = Sampling(**{**vars(asked), "merged": True})
    with pytest.raises(ExceptionGroup) as group:
        list(sampled(merging))
    assert "the adapters cannot be worked into quantised weights" in told(group.value)
    (problem,) = group.value.exceptions
    assert isinstance(problem, JobError)
