"""Whole runs with adapters in LyCORIS' forms: trained, gone on with, delivered, proven, used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from scumble import families, proving, sample
from scumble.adapters.lycoris import making
from scumble.adapters.lycoris.worn import attached
from scumble.checkpoint import lycoris as files
from scumble.checkpoint.outfits import read_for
from scumble.cli.app import app
from scumble.cli.merge import place
from scumble.errors import FileError, JobError, ScumbleError
from scumble.families import weights
from scumble.hardware.device import Place, place_for
from scumble.preflight.plan import prepared
from scumble.sample import Sampling
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.validation import ValidationSpec
from scumble.validation.stage import Stage
from tests.conftest import told
from tests.toys import checkpoint, job, journal, trained

BLOCK, ALONE = "transformer_blocks.*", "single_transformer_blocks.*"
MIXED: dict[str, Any] = {
    "kind": "lycoris",
    "algo": "lokr",
    "rank": 4,
    "targets": "blocks",
    "options": {"factor": 4, "dropout": 0.1, "rank_dropout": 0.1, "module_dropout": 0.1},
    "rules": [
        {"layers": f"{BLOCK}.attn.to_q", "algo": "loha"},
        {"layers": f"{BLOCK}.attn.to_k", "algo": "locon"},
        {"layers": f"{BLOCK}.attn.to_v", "algo": "dora"},
        {"layers": f"{BLOCK}.attn.add_q_proj", "algo": "full"},
        {"layers": f"{BLOCK}.attn.add_k_proj", "algo": "ia3"},
        {"layers": f"{BLOCK}.attn.add_v_proj", "algo": "dylora", "options": {"block_size": 2}},
        {"layers": f"{ALONE}.attn.to_q", "algo": "glora"},
        {"layers": f"{ALONE}.attn.to_k", "algo": "boft"},
        {"layers": f"{ALONE}.attn.to_v", "algo": "diag-oft", "options": {"rescaled": True}},
    ],
}
FLUX = ModelSpec(family="flux", flavour="dev", path="builtin:tiny-flux", text_tokens=40)
HERE = HardwareSpec(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps, each form on some of its layers."""
    root = tmp_path_factory.mktemp("ended")
    run(root, 6)
    return root


def run(root: Path, steps: int, **changes: Any) -> None:
    told = {"adapter": MIXED, "training__steps": steps, "saving__every": 3, **changes}
    trained(root, export__dtype="float32", **told)


def delivered(root: Path) -> Path:
    return root / "out/toy/toy.safetensors"


def stage() -> Stage:
    family = families.find("flux", "dev")
    model = weights.opened(family, FLUX, Path())
    return Stage(model=model, spec=FLUX, place=here(), kit=None, run=None, out=None)


def here() -> Place:
    return place_for(HERE)


def answers_of(file: Path, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """The base model's, and with the file on it."""
    one = stage()
    base = one.answers()
    forms = read_for(one.model, file).forms
    attached(one.denoiser, {name: form.times(strength) for name, form in forms.items()})
    return base, one.answers()


def verdicts(file: Path, **asked: Any) -> dict[str, str]:
    (one,) = proving.proofs(proving.Asked(files=(file,), hardware=HERE, base=Path(), **asked))
    return {row.name: row.state for row in one.verdicts}


def test_a_run_goes_on_bit_for_bit_with_every_form(ended: Path, tmp_path: Path) -> None:
    run(tmp_path, 3)
    run(tmp_path, 6)
    whole, again = checkpoint(ended, 6), checkpoint(tmp_path, 6)
    assert whole.keys() == again.keys()
    assert all(torch.equal(one, again[name]) for name, one in whole.items())
    moved = {name for name, one in checkpoint(ended, 3).items() if not one.equal(whole[name])}
    ends = ("lokr_w1", "hada_w1_a", "lora_up.weight", "dora_scale", "diff", "diff_b")
    ends += ("a2.weight", "oft_blocks", "rescale", "attn.add_k_proj.weight")
    for end in ends:
        assert any(name.endswith(end) for name in moved), end


def test_blocks_that_are_computed_again_draw_the_same(ended: Path, tmp_path: Path) -> None:
    run(tmp_path, 3, hardware__gradient_checkpointing=True)
    whole, again = checkpoint(ended, 3), checkpoint(tmp_path, 3)
    assert all(torch.allclose(one, again[name], atol=1e-6) for name, one in whole.items())


def test_the_files_are_what_simpletuner_looks_for(ended: Path) -> None:
    file = delivered(ended)
    read = files.read(file, families.find("flux", "dev").keys)
    assert not read.unread()
    assert {one.algo for one in read.forms.values()} == {
        "lokr", "loha", "locon", "full", "ia3", "glora", "boft", "diag-oft",
    }  # fmt: skip
    beside = json.loads((file.parent / "lycoris_config.json").read_text())
    assert json.loads(read.metadata["lycoris_config"]) == beside
    assert {"algo", "multiplier", "linear_dim", "linear_alpha"} < beside.keys()
    assert beside["algo"] == "lokr"
    maps = beside["apply_preset"]["name_algo_map"]
    assert maps["single_transformer_blocks.0.attn.to_q"]["algo"] == "glora"
    assert len(beside["apply_preset"]["target_name"]) == len(read.forms)
    assert journal(ended, "Exported")[0]["layout"] == "LyCORIS"


def test_a_file_is_proven_with_and_without_a_model(ended: Path) -> None:
    file = delivered(ended)
    found = verdicts(file, model=FLUX)
    assert set(found.values()) == {"ok"}
    assert {"file", "keys", "finite", "whole", "shapes", "norm", "alpha", "layers"} < found.keys()
    held = verdicts(file, family="flux", flavour="dev")
    assert held["shapes"] == held["family"] == "failed"  # the published one is larger
    assert held["layers"] == "ok"


def test_merged_into_the_base_it_answers_as_beside_it(ended: Path, tmp_path: Path) -> None:
    file, out = delivered(ended), tmp_path / "merged"
    source = place("builtin:tiny-flux")
    said = CliRunner().invoke(
        app, ["adapter", "merge", f"{file}=0.5", "--into", str(source), "--out", str(out)]
    )
    assert said.exit_code == 0, said.output
    base, beside = answers_of(file, 0.5)
    spec = FLUX.model_copy(update={"path": str(out)})
    model = weights.opened(families.find("flux", "dev"), spec, Path())
    one = Stage(model=model, spec=spec, place=here(), kit=None, run=None, out=None)
    assert (beside - base).norm() > 1e-3 * base.norm()
    assert (one.answers() - beside).norm() <= 2e-3 * (beside - base).norm()


def test_pictures_are_made_with_it(ended: Path, tmp_path: Path) -> None:
    validation = ValidationSpec.model_validate(
        {"prompts": ["a cat"], "steps": 2, "width": 32, "height": 32, "every": 0}
    )

    def painted(strength: float, *, merged: bool = False, twice: bool = False) -> bytes:
        asked = Sampling(
            model=FLUX,
            hardware=HERE,
            validation=validation,
            adapter=delivered(ended),
            strength=strength,
            beside=((delivered(ended), strength),) if twice else (),
            out=tmp_path / f"{strength} {merged} {twice}",
            base=Path(),
            merged=merged,
        )
        (file,) = sample.sampled(asked)
        return file.read_bytes()

    assert painted(0.0) != painted(1.0)
    assert painted(1.0) != painted(1.0, twice=True)
    assert painted(1.0, merged=True) != painted(0.0)


def test_what_else_there_is_to_know_is_told(ended: Path, tmp_path: Path) -> None:
    file = delivered(ended)
    said = CliRunner().invoke(app, ["adapter", "info", str(file)])
    assert said.exit_code == 0, said.output
    assert "LyCORIS" in said.output and "of lokr" in said.output
    out = tmp_path / "b.safetensors"
    refused = CliRunner().invoke(app, ["adapter", "merge", str(file), str(file), "-o", str(out)])
    assert isinstance(refused.exception, BaseException)
    assert not out.exists()
    with pytest.raises(FileError, match="it holds LyCORIS' forms, and only plain LoRA will do"):
        from scumble.checkpoint import export

        export.layers(file, families.find("flux", "dev").keys)


def test_a_run_begins_with_a_file_as_it_is(ended: Path, tmp_path: Path) -> None:
    file = delivered(ended)
    begun = {"kind": "lycoris", "start": str(file), "options": {"dropout": 0.1}}
    trained(
        tmp_path, adapter=begun, training__steps=1, training__learning_rate=1e-9,
        export__dtype="float32",
    )  # fmt: skip
    keys = families.find("flux", "dev").keys
    before, after = files.read(file, keys).forms, files.read(delivered(tmp_path), keys).forms
    assert before.keys() == after.keys()
    for name, form in before.items():
        assert form.algo == after[name].algo and form.tensors.keys() == after[name].tensors.keys()
        assert all(
            torch.allclose(one, after[name][n], atol=1e-6) for n, one in form.tensors.items()
        )


def test_plain_lora_may_be_in_other_layouts(tmp_path: Path) -> None:
    plain = {"kind": "lycoris", "algo": "locon", "rank": 4}
    trained(tmp_path, adapter=plain, training__steps=2, export__layout=["diffusers", "kohya"])
    for name in ("toy.safetensors", "toy.kohya.safetensors"):
        found = verdicts(tmp_path / "out/toy" / name, model=FLUX)
        assert set(found.values()) == {"ok"}, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"export__layout": "kohya"}, "is a layout of plain LoRA"),
        ({"training__rates": {"denoiser": 1e-3}}, "there is one rate"),
        ({"adapter": {**MIXED, "targets": ["/nowhere/"]}}, "no layer's name is found by"),
        ({"adapter": {"kind": "lycoris", "start_norm": 1e-3, "rank": 2}}, "full_matrix: true"),
        ({"adapter": {"kind": "lycoris", "start": "no.safetensors"}}, "there is no such file"),
        (
            {"adapter": {"kind": "lycoris", "rules": [{"layers": "**", "algo": "none"}]}},
            "no layer is left",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    tmp_path: Path, changes: Mapping[str, Any], words: str
) -> None:
    with pytest.raises((ScumbleError, ExceptionGroup)) as caught:
        prepared(job(tmp_path, **{"adapter": MIXED, **changes}), tmp_path)
    assert words in told(caught.value)


def test_without_the_library_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "PACKAGE", "a_package_that_is_not_there")
    with pytest.raises((JobError, ExceptionGroup)) as caught:
        prepared(job(tmp_path, adapter=MIXED), tmp_path)
    assert 'pip install "scumble[lycoris]"' in told(caught.value)


ALGORITHMS = (
    "lokr", "loha", "locon", "dora", "full", "ia3", "dylora", "glora", "boft", "diag-oft",
)  # fmt: skip


@pytest.mark.acceptance
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_fresh_process_proves_every_form(algo: str, tmp_path: Path) -> None:
    trained(
        tmp_path,
        adapter={"kind": "lycoris", "algo": algo, "rank": 4, "targets": "blocks"},
        training__steps=20,
        export__proof="fresh_process",
        export__dtype="float32",
        validation={"prompts": ["a cat"], "steps": 4, "width": 32, "height": 32},
    )
    losses = [row["loss"] for row in journal(tmp_path, "StepDone")]
    assert sum(losses[-5:]) < sum(losses[:5])
    (proven,) = journal(tmp_path, "Proven")
    states = {row["name"]: row["state"] for row in proven["verdicts"]}
    assert states["velocity"] == states["change"] == "ok"
    assert "failed" not in states.values()


@pytest.mark.acceptance
def test_qwen_image_wears_them_too(tmp_path: Path) -> None:
    model = {"family": "qwen-image", "flavour": "base", "path": "builtin:tiny-qwen-image"}
    trained(
        tmp_path,
        model=model,
        adapter={"kind": "lycoris", "rank": 4, "targets": "all"},
        training__steps=4,
        export__proof="fresh_process",
    )
    assert delivered(tmp_path).exists()
