"""A network's own weights from the first step to the file: trained, kept, delivered, used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from scumble import proving
from scumble.checkpoint import network_proof
from scumble.cli.app import app
from scumble.events import Proven, State
from scumble.families import find, weights
from scumble.preflight import forecast
from scumble.preflight.plan import prepared
from scumble.preflight.survey import survey
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from tests.conftest import told
from tests.toys import checkpoint, job, journal, opened, trained

PREVIEWS = {"prompts": ["a cat"], "every": 2, "width": 32, "height": 48, "steps": 1}
FLUX = find("flux", "dev")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run has ended whose two files a fresh process has proven."""
    root = tmp_path_factory.mktemp("full run")
    export = {"layout": ["diffusers", "comfy"], "proof": "fresh_process"}
    assert trained(root, **full(validation=PREVIEWS, export=export)).code == 0
    return root / "out" / "toy"


def full(**more: Any) -> dict[str, Any]:
    """The changes of a small job."""
    training = {"batch_size": 1, "units_per_step": 1, "learning_rate": 1e-3, "steps": 2}
    rows = {f"training__{name}": value for name, value in training.items()}
    return {"adapter": {"kind": "full"}, **rows, **more}


def base() -> dict[str, Tensor]:
    model = opened(FLUX, "builtin:tiny-flux")
    return weights.loaded(model, "denoiser", dtype=torch.float32, device=CPU).state_dict()


def as_part(file: Path) -> dict[str, Tensor]:
    """What a job that names the file as its denoiser loads."""
    spec = ModelSpec(
        family="flux", flavour="dev", path="builtin:tiny-flux", parts={"denoiser": str(file)}
    )
    model = weights.opened(FLUX, spec, Path())
    return weights.loaded(model, "denoiser", dtype=torch.float32, device=CPU).state_dict()


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def plainly(result: Result) -> str:
    """What was printed, without the breaks of a narrow terminal."""
    return " ".join(result.output.split())


def verified(file: Path, **changes: Any) -> Proven:
    asked = proving.Asked(files=(file,), hardware=HardwareSpec(), base=Path(), **changes)
    (one,) = proving.proofs(asked)
    return one


def states(one: Proven) -> dict[str, State]:
    return {verdict.name: verdict.state for verdict in one.verdicts}


def changed(ended: Path, file: Path, change: dict[str, Tensor]) -> Path:
    """The delivered file with some tensors exchanged, its metadata as it was."""
    with safe_open(ended / "toy.safetensors", "pt") as stored:
        metadata = stored.metadata()
    save_file({**load_file(ended / "toy.safetensors"), **change}, file, metadata)
    return file


def test_a_resumed_run_takes_the_steps_of_an_unbroken_one(tmp_path: Path) -> None:
    trained(tmp_path / "a", **full(training__steps=6))
    trained(tmp_path / "b", **full(training__steps=3))
    trained(tmp_path / "b", **full(training__steps=6, hardware__gradient_checkpointing=True))
    unbroken, resumed = checkpoint(tmp_path / "a", 6), checkpoint(tmp_path / "b", 6)
    assert unbroken.keys() == resumed.keys() >= base().keys()
    assert all(torch.equal(one, resumed[name]) for name, one in unbroken.items())


def test_the_file_holds_what_was_trained_and_the_rest_as_it_was(tmp_path: Path) -> None:
    adapter = {"kind": "full", "targets": ["to_q", "norm_q"]}
    assert trained(tmp_path, **full(adapter=adapter, export__dtype="float32")).code == 0
    found = load_file(tmp_path / "out" / "toy" / "toy.safetensors")
    learnt, before = checkpoint(tmp_path, 2), base()
    names = {name for name in before if any(f".{one}." in name for one in adapter["targets"])}
    assert found.keys() == before.keys() and names
    for name, tensor in found.items():
        assert torch.equal(tensor, learnt[name] if name in names else before[name])
        assert torch.equal(tensor, before[name]) == (name not in names)


def test_a_fresh_process_proves_each_file_and_says_what_it_is(ended: Path) -> None:
    first, second = journal(ended.parent.parent, "Proven")
    for one in (first, second):
        told_of = {row["name"]: row["state"] for row in one["verdicts"]}
        assert one["fresh_process"]
        assert not {"failed", "unknown"} & {told_of[name] for name in told_of if name != "picture"}
        assert told_of.keys() >= {"file", "finite", "shapes", "layers", "norm", "velocity"}
    assert {"picture", "effect"} <= {row["name"] for row in first["verdicts"]}


def test_diffusers_takes_every_key_of_the_file(ended: Path) -> None:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    with safe_open(ended / "toy.safetensors", "pt") as stored:
        config = json.loads(stored.metadata()["scumble.config"])
    transformer: Any = FluxTransformer2DModel.from_config(config)
    found = transformer.load_state_dict(load_file(ended / "toy.safetensors"))
    assert not found.missing_keys and not found.unexpected_keys


def test_the_authors_spelling_is_of_the_same_numbers(ended: Path) -> None:
    theirs = load_file(ended / "toy.comfy.safetensors")
    assert "double_blocks.0.img_attn.qkv.weight" in theirs
    one, other = as_part(ended / "toy.safetensors"), as_part(ended / "toy.comfy.safetensors")
    assert one.keys() == other.keys() == base().keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert {tensor.dtype for tensor in theirs.values()} == {torch.bfloat16}


def test_the_next_job_trains_on_from_the_file(ended: Path, tmp_path: Path) -> None:
    parts = {"denoiser": str(ended / "toy.comfy.safetensors")}
    assert trained(tmp_path, model__parts=parts, training__steps=1).code == 0


@pytest.mark.parametrize("name", ["toy.safetensors", "toy.comfy.safetensors"])
def test_verify_and_info_say_that_it_is_no_adapter(ended: Path, name: str) -> None:
    one = command("adapter", "verify", ended / name, "--model", "builtin:tiny-flux")
    assert one.exit_code == 0, one.output
    assert "no adapter, but a FLUX.1 transformer as a whole: 140 tensors" in plainly(one)
    two = command("adapter", "info", ended / name)
    assert two.exit_code == 0
    assert "a whole network: the weights of a model, not an adapter" in plainly(two)
    assert "2,358,080 numbers, stored as bfloat16" in plainly(two)


def test_where_an_adapter_is_wanted_the_file_is_named_as_what_it_is(
    ended: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    one = command("adapter", "convert", ended / "toy.safetensors", out, "--to", "kohya")
    assert one.exit_code != 0 and not out.exists()
    assert "it holds a whole network" in str(one.exception)


def test_it_is_sampled_as_the_model_itself(ended: Path, tmp_path: Path) -> None:
    words = ["sample", "--model", "builtin:tiny-flux", "--family", "flux", "--flavour", "dev"]
    words += ["--prompt", "a cat", "--width", "32", "--height", "32", "--steps", "1"]
    words += ["--precision", "fp32", "-o", str(tmp_path)]
    file = ended / "toy.safetensors"
    assert command(*words).exit_code == 0
    assert command(*words, "--adapter", file).exit_code == 0
    plain, learnt = sorted(tmp_path.glob("*.png"))
    assert plain.read_bytes() != learnt.read_bytes()
    told_of = json.loads(learnt.with_suffix(".json").read_text())
    assert told_of["parts"]["denoiser"] == str(file)
    half = command(*words, "--adapter", file, "--strength", "0.5")
    assert half.exit_code != 0 and "has no strength" in told(half.exception or OSError())


def test_a_zeroed_a_foreign_and_a_strengthened_tensor_are_named(
    ended: Path, tmp_path: Path
) -> None:
    there = load_file(ended / "toy.safetensors")
    zeroed, foreign, strong = (
        "proj_out.weight",
        "single_transformer_blocks.0.proj_out.weight",
        "x_embedder.weight",
    )
    other = torch.randn_like(there[foreign]) * there[foreign].std()
    change = {
        zeroed: torch.zeros_like(there[zeroed]),
        foreign: other,
        strong: there[strong] * 1.5,
    }
    one = verified(changed(ended, tmp_path / "spoilt.safetensors", change))
    (layers,) = [verdict for verdict in one.verdicts if verdict.name == "layers"]
    assert layers.state == "failed"
    assert f"'{zeroed}' is zero" in layers.text
    assert f"'{foreign}' holds other weights" in layers.text
    assert f"'{strong}' is 1.5 times" in layers.text


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_other_16_bits_and_more_hold_the_same(
    ended: Path, tmp_path: Path, kind: torch.dtype
) -> None:
    there = load_file(ended / "toy.safetensors")
    file = changed(ended, tmp_path / "f.safetensors", {n: one.to(kind) for n, one in there.items()})
    assert states(verified(file))["layers"] == "ok"


def test_the_base_models_own_weights_are_nothing_learnt(ended: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    with safe_open(ended / "toy.safetensors", "pt") as stored:
        config = stored.metadata()["scumble.config"]
    save_file(base(), file, {"scumble.config": config})
    spec = ModelSpec(family="flux", flavour="dev", path="builtin:tiny-flux")
    found = states(verified(file, model=spec))
    assert found["norm"] == "failed" and found["layers"] == "unknown"


def test_numbers_that_are_none_and_missing_tensors_are_told(ended: Path, tmp_path: Path) -> None:
    there = load_file(ended / "toy.safetensors")
    bad = torch.full_like(there["proj_out.bias"], torch.nan)
    one = verified(changed(ended, tmp_path / "nan.safetensors", {"proj_out.bias": bad}))
    assert states(one)["finite"] == "failed"
    with safe_open(ended / "toy.safetensors", "pt") as stored:
        metadata = stored.metadata()
    del there["proj_out.bias"]
    save_file(there, tmp_path / "less.safetensors", metadata)
    (verdict,) = verified(tmp_path / "less.safetensors").verdicts
    assert verdict.state == "failed" and "proj_out.bias" in verdict.text


@pytest.mark.parametrize(("size", "state"), [(0.125, "ok"), (1e-6, "remark"), (0.0, "failed")])
def test_a_change_that_rounding_swallows_is_told(size: float, state: State) -> None:
    before = {"w": torch.ones(64, 64)}
    after = {"w": before["w"] + size}
    assert network_proof.kept(after, before, "bfloat16").state == state


def test_in_bf16_a_run_ends_proven_without_a_warning(tmp_path: Path) -> None:
    assert trained(tmp_path, **full(hardware__precision="bf16")).code == 0
    assert checkpoint(tmp_path, 2)["proj_out.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"export__layout": "ai-toolkit"}, "export.layout: this is a layout of adapters"),
        ({"adapter__targets": "atention"}, "adapter.targets: there is no preset 'atention'"),
        (
            {"training__optimizer": {"name": "adamw-bf16"}},
            "hardware.precision: adamw-bf16 keeps the network's weights in bf16",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    wanted = job(tmp_path, **full(**changes))
    with pytest.raises(ExceptionGroup) as caught:
        prepared(wanted, tmp_path)
    assert words in told(caught.value)


def test_other_targets_do_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path, **full(training__steps=1))
    with pytest.raises(ExceptionGroup) as caught:
        prepared(job(tmp_path, **full(adapter__targets="attention")), tmp_path)
    assert "adapter.targets: was everything, is now attention" in told(caught.value)


def test_check_counts_weights_memory_and_disk(tmp_path: Path) -> None:
    plan = prepared(
        job(tmp_path, **full(training__steps=9, saving={"every": 1, "keep": 2})), tmp_path
    )
    count = sum(one.numel() for one in base().values())
    assert plan.trained_parameters == count
    kept, file = 3 * count * (4 + 8), count * 2
    assert forecast.run_bytes(plan) == kept + file
    seen = survey(job(tmp_path, **full()), tmp_path)
    assert seen.memory is not None
    assert seen.memory.startswith("about 0.038 GB (weights 0.0094, gradients 0.0094, optimizer")
    assert not any("adapter.kind" in one for one in seen.warnings)


def test_settings_of_an_adapter_are_refused_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    wanted = job(tmp_path).model_dump(mode="json")
    wanted["adapter"] = {"kind": "full", "rank": 8}
    file.write_text(json.dumps(wanted))
    one = command("check", file)
    assert "adapter.rank: is only for `kind` `lora`" in told(one.exception or OSError())
