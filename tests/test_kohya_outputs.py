"""What a command of sd-scripts leaves in its output folder: names, dates, contents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scumble import outputs, run
from scumble.checkpoint import kohya_states
from scumble.checkpoint.state import ADAPTER
from scumble.dialects.kohya.job import converted
from scumble.disk import signature
from scumble.errors import FileError, leaves
from scumble.events import Event, Exported, Saved, StepDone
from scumble.preflight import kohya_run
from scumble.preflight.plan import Plan
from scumble.spec.job import JobSpec
from tests import toys

COMMAND = [
    "--pretrained_model_name_or_path=builtin:tiny-flux",
    "--train_data_dir=pictures",
    "--resolution=64",
    "--caption_extension=.txt",
    "--output_dir=out",
    "--output_name=cat",
    "--network_module=networks.lora_flux",
    "--network_dim=2",
    "--network_alpha=1.5",
    "--network_train_unet_only",
    "--t5xxl_max_token_length=40",
    "--learning_rate=0.01",
    "--max_train_epochs=3",
    "--seed=5",
]
"""Four steps in an epoch."""

SAVING = [
    *("--save_every_n_epochs=1", "--save_every_n_steps=5", "--save_last_n_epochs_state=1"),
    *("--save_state", "--sample_prompts=p.txt", "--sample_every_n_epochs=2"),
]


def laid_out(desk: Path) -> Path:
    """Two pictures that are shown twice each, and prompts."""
    toys.pictures(desk / "pictures" / "2_cat", [(64, 64), (64, 64)])
    (desk / "pictures" / "2_cat" / "p00.txt").write_text("Cat, red hat, cat\n")
    (desk / "p.txt").write_text("a cat --w 64 --h 64 --s 1 --d 9\na dog --w 64 --h 64 --s 1\n")
    return desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desk to start commands on."""
    monkeypatch.chdir(tmp_path)
    return laid_out(tmp_path)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A desk on which one command has run to its end."""
    folder = laid_out(tmp_path_factory.mktemp("desk"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = run.train(job(folder, *SAVING), folder)
        assert Path("out/cat.safetensors") in outcome.files
        yield folder


def job(desk: Path, *more: str) -> JobSpec:
    """The command's job, proven in this process, for speed."""
    made = converted([*COMMAND, *more], desk).job
    quick = made.export.model_copy(update={"proof": "in_process"})
    small = made.hardware.model_copy(update={"device": "cpu", "precision": "fp32"})
    return made.model_copy(update={"export": quick, "hardware": small})


def planned(desk: Path, *more: str) -> Plan:
    return run.prepared(job(desk, *more), desk)


def told(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as stored:
        return stored.metadata()


def test_files_of_epochs_and_steps_lie_where_they_are_looked_for(used: Path) -> None:
    out = used / "out"
    seen = {
        name.name: (told(name)["ss_steps"], told(name)["ss_epoch"])
        for name in sorted(out.glob("*.safetensors"))
    }
    assert seen == {
        "cat-000001.safetensors": ("4", "1"),
        "cat-000002.safetensors": ("8", "2"),
        "cat-step00000005.safetensors": ("5", "1"),
        "cat-step00000010.safetensors": ("10", "2"),
        "cat.safetensors": ("12", "3"),
    }
    final = out / "cat.safetensors"
    assert final.read_bytes() == (out / "cat" / "cat.safetensors").read_bytes()


def test_numbers_are_stored_as_sd_scripts_does_by_default(used: Path) -> None:
    last = load_file(used / "out" / "cat.safetensors")
    assert {one.dtype for one in last.values()} == {torch.float32}
    alphas = [one for name, one in last.items() if name.endswith(".alpha")]
    assert alphas and all(one == 1.5 and one.shape == () for one in alphas)


def test_a_file_on_the_way_holds_the_weights_of_its_own_step(used: Path) -> None:
    def total(file: Path, ending: str) -> float:
        found = load_file(file)
        return sum(float(v.double().abs().sum()) for k, v in found.items() if k.endswith(ending))

    out, sums = used / "out", set[float]()
    for name in ("cat-step00000005", "cat-000002", "cat-step00000010"):
        kept = total(kohya_states.found(out / f"{name}-state").folder / ADAPTER, ".up")
        assert total(out / f"{name}.safetensors", "lora_up.weight") == pytest.approx(kept)
        sums.add(round(kept, 6))
    assert len(sums) == 3


def test_states_of_epochs_and_steps_and_of_the_end(used: Path) -> None:
    out = used / "out"
    steps = {one.name: kohya_states.found(one).step for one in out.glob("*-state")}
    of_steps = {"cat-step00000005-state": 5, "cat-step00000010-state": 10}
    assert steps == {"cat-000002-state": 8, "cat-state": 12, **of_steps}
    text = (out / "cat-step00000005-state" / "train_state.json").read_text()
    assert json.loads(text) == {"current_epoch": 2, "current_step": 5}


def test_a_run_goes_on_from_a_state_with_the_true_step(used: Path) -> None:
    state = used / "out" / "cat-000002-state"
    more = [f"--resume={state}", "--output_name=again", "--save_every_n_steps=5"]
    run.train(job(used, *more), used)
    files = sorted(one.name for one in (used / "out").glob("again*.safetensors"))
    assert files == ["again-step00000010.safetensors", "again.safetensors"]
    for name in ("-step00000010", ""):
        first = load_file(used / "out" / f"again{name}.safetensors")
        second = load_file(used / "out" / f"cat{name}.safetensors")
        assert first.keys() == second.keys()
        assert all(first[one].equal(second[one]) for one in second)
    assert kohya_states.adopted(state, used / "out" / "again" / "checkpoints") is None


def test_previews_are_copied_under_the_names_of_samples(used: Path) -> None:
    found = sorted((used / "out" / "sample").glob("cat_e000002_*.png"))
    parts = [one.stem.split("_") for one in found]
    assert [(part[2], part[4:]) for part in parts] == [("00", ["9"]), ("01", [])]
    assert all(len(part[3]) == 14 and part[3].isdecimal() for part in parts)
    ours = sorted((used / "out" / "cat" / "samples" / "step-000008").glob("*.png"))
    assert [one.read_bytes() for one in found] == [one.read_bytes() for one in ours]


def test_metadata_of_a_real_run(used: Path) -> None:
    about = told(used / "out" / "cat.safetensors")
    assert about["ss_num_train_images"] == "4" and about["ss_num_batches_per_epoch"] == "4"
    assert (about["ss_num_epochs"], about["ss_max_train_steps"]) == ("3", "12")
    assert (about["ss_network_dim"], about["ss_network_alpha"]) == ("2", "1.5")
    assert json.loads(about["ss_tag_frequency"])["2_cat"] == {
        **{"cat": 2, "red hat": 1},
        **{"picture 1 of 2_cat": 1},
    }
    assert json.loads(about["ss_dataset_dirs"]) == {"2_cat": {"n_repeats": 2, "img_count": 2}}
    info = json.loads(about["ss_bucket_info"])
    assert info["buckets"] == {"0": {"resolution": [64, 64], "count": 4}}
    assert about["ss_resolution"] == "(64, 64)" and about["ss_seed"] == "5"
    assert about["ss_sd_model_name"] == "builtin:tiny-flux"
    assert about["modelspec.architecture"] == "flux-1-dev/lora"
    assert about["modelspec.title"] == "cat" and about["scumble.steps"] == "12"
    assert len(about["sshs_model_hash"]) == 64 and len(about["sshs_legacy_hash"]) == 8
    assert str(used) not in json.dumps(about)


def test_the_same_command_again_may_write_its_own_files_again(used: Path) -> None:
    outputs.refused(planned(used, *SAVING))


def test_a_dataset_file_is_told_by_its_datasets(desk: Path) -> None:
    (desk / "data.toml").write_text(
        '[general]\ncaption_extension = ".txt"\n[[datasets]]\nresolution = 64\nenable_bucket = true'
        '\nmin_bucket_reso = 64\n[[datasets.subsets]]\nimage_dir = "pictures/2_cat"\n'
        "num_repeats = 3\nkeep_tokens = 1\n"
    )
    about = kohya_run.metadata(planned(desk, "--dataset_config=data.toml"), 3, 0)
    (one,) = json.loads(about["ss_datasets"])
    assert one["enable_bucket"] and one["num_train_images"] == 6 and one["resolution"] == [64, 64]
    assert one["subsets"][0]["image_dir"] == "2_cat" and one["subsets"][0]["keep_tokens"] == 1
    assert "ss_resolution" not in about and about["ss_epoch"] == "0"


def test_only_what_the_run_wrote_is_ever_taken_away(desk: Path) -> None:
    plan = planned(
        desk, "--save_every_n_epochs=1", "--save_last_n_epochs=1", "--max_train_epochs=4"
    )
    (desk / "out" / "cat").mkdir(parents=True)
    notes = desk / "out" / "cat-000001.safetensors"
    for event in outputs.beside(plan, _steps(16), _scribble, _unwanted):
        match event:
            case Exported(step=4):
                notes.write_bytes(b"somebody keeps his notes here")
            case _:
                pass
    left = sorted(one.name for one in (desk / "out").glob("*.safetensors"))
    assert left == ["cat-000001.safetensors", "cat-000003.safetensors"]
    assert notes.read_bytes().startswith(b"somebody")
    with pytest.raises(ExceptionGroup) as caught:
        outputs.refused(plan)
    assert [str(notes.relative_to(desk)) in str(one) for one in leaves(caught.value)] == [True]


def _steps(count: int) -> Iterator[Event]:
    for step in range(1, count + 1):
        yield StepDone(step=step, loss=1.0, learning_rate=1.0, gradient_norm=1.0, seconds=0.0)


def _scribble(file: Path, step: int, epoch: int) -> int:
    file.write_text(f"{step} {epoch}")
    return 1


def _unwanted(step: int) -> Saved:
    raise AssertionError(step)


def test_a_file_of_somebody_else_stops_the_run_before_it_starts(desk: Path) -> None:
    (desk / "out").mkdir()
    for name in ("cat.safetensors", "cat-000002.safetensors", "cat-000003.safetensors"):
        (desk / "out" / name).write_bytes(b"of last week")
    with pytest.raises(ExceptionGroup) as caught:
        run.train(job(desk, "--save_every_n_epochs=1"), desk)
    found = [str(one) for one in leaves(caught.value)]
    assert len(found) == 2  # of the last epoch there is the finished file alone
    assert "is there already, and this run has not written it" in found[0]
    assert not (desk / "out" / "cat").exists()


def test_a_disk_that_is_too_small_is_told_before_training(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda place: Full())
    with pytest.raises(ExceptionGroup) as caught:
        outputs.refused(planned(desk, "--save_every_n_epochs=1"))
    assert "GB are free" in str(next(iter(leaves(caught.value))))


def test_a_state_of_accelerate_is_named_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "optimizer.bin").write_bytes(b"pickle")
    with pytest.raises(FileError, match="a state of sd-scripts itself, which cannot be read"):
        kohya_states.found(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no whole state"):
        kohya_states.found(tmp_path / "empty")
    with pytest.raises(FileError, match="there is no such folder"):
        kohya_states.found(tmp_path / "none")


def test_a_broken_state_is_not_gone_on_from(used: Path, tmp_path: Path) -> None:
    whole = kohya_states.found(used / "out" / "cat-state")
    kohya_states.kept(whole.folder, tmp_path / "mine-state", epoch=3, step=12)
    inner = tmp_path / "mine-state" / "step-000012"
    assert kohya_states.found(inner).step == kohya_states.found(tmp_path / "mine-state").step == 12
    content = (inner / "adapter.safetensors").read_bytes()
    (inner / "adapter.safetensors").unlink()  # the run's own is the same file under another name
    (inner / "adapter.safetensors").write_bytes(content[:-1])
    with pytest.raises(FileError, match="no whole state"):
        kohya_states.found(tmp_path / "mine-state")
    with pytest.raises(FileError, match="is not whole"):
        kohya_states.found(inner)
    assert kohya_states.found(used / "out" / "cat").step == 12


def test_a_kill_in_the_middle_of_writing_leaves_nothing_under_a_name(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from scumble.disk import beside\n"
        "with beside(Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half')\n    os._exit(9)\n"
    )
    place = tmp_path / "cat.safetensors"
    done = subprocess.run([sys.executable, "-c", script, str(place)], check=False)
    assert done.returncode == 9 and not place.exists()
    (leftover,) = tmp_path.iterdir()
    living = tmp_path / f".cat.safetensors.{signature()}"
    living.write_bytes(b"being written")
    kohya_states.tidied(tmp_path, {"dog.safetensors"}.__contains__)
    assert leftover.exists()
    kohya_states.tidied(tmp_path, {"cat.safetensors"}.__contains__)
    assert list(tmp_path.iterdir()) == [living]


def test_a_job_of_our_own_has_none_of_this(tmp_path: Path) -> None:
    plan = run.prepared(toys.job(tmp_path), tmp_path)
    outputs.refused(plan)
    events = list(outputs.beside(plan, _steps(2), _scribble, _unwanted))
    assert len(events) == 2 and outputs.samples(plan) == ()
    assert outputs.copied(plan, [tmp_path / "toy.safetensors"]) == ()
    assert kohya_run.metadata(plan, 1) == {} and not (tmp_path / "out" / "toy").exists()
