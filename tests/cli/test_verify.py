"""A delivered file is proven by a process that has only the file and the run's folder."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble import delivery, run
from scumble.adapters.joint import Joint
from scumble.assembly import assembled, source
from scumble.caching import complete
from scumble.checkpoint.export import contents
from scumble.cli.app import main
from scumble.delivery import Delivery
from scumble.errors import FileError
from scumble.events import Event, Proven
from scumble.families.flux.network import FluxTransformer
from scumble.preflight.plan import prepared
from scumble.run import Outcome
from scumble.trainer.feeder import Feeder
from scumble.trainer.signals import Signals
from scumble.validation import probes
from tests.conftest import told
from tests.toys import job, journal, trained

STATIC = ["file", "finite", "keys", "whole", "family", "shapes", "norm", "alpha", "layers"]
RUN = ["velocity", "change"]
PREVIEWS = {"prompts": ["a cat"], "every": 4, "width": 64, "height": 64, "steps": 3}


@dataclass(frozen=True)
class Done:
    """A run that a fresh process has proven."""

    root: Path
    outcome: Outcome

    @property
    def folder(self) -> Path:
        return self.root / "out/toy"

    def proven(self) -> dict[str, dict[str, Any]]:
        return {record["file"]: record for record in journal(self.root, "Proven")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("proven")
    export = {"proof": "fresh_process", "layout": ["diffusers", "kohya"], "dtype": "float32"}
    return Done(root, trained(root, export=export, validation=PREVIEWS))


@pytest.fixture
def copied(done: Done, tmp_path: Path) -> Path:
    """The run's folder, to be damaged."""
    return Path(shutil.copytree(done.folder, tmp_path / "toy"))


def names(record: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in record["verdicts"]}


def words(record: dict[str, Any], name: str) -> str:
    return next(one["text"] for one in record["verdicts"] if one["name"] == name)


def spoilt(file: Path, spoil: Callable[[dict[str, Tensor]], None]) -> None:
    _, metadata = contents(file)
    tensors = load_file(file)
    spoil(tensors)
    save_file(tensors, file, metadata)


def _without_previews(folder: Path) -> None:
    """As a run leaves its probes that paints nothing; then no autoencoder is needed."""
    file = folder / probes.FOLDER / probes.FILE
    kit = probes.read(file)
    probes.write(file, replace(kit, about={**kit.about, "request": None}))


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[Any]]:
    """Exit code and what `adapter verify --json` says, in this process."""
    code = main(["adapter", "verify", "--json", *map(str, arguments)])
    lines = capsys.readouterr().out.splitlines()
    return code, json.loads(lines[-1])["files"] if lines else []


def test_a_run_ends_with_every_file_proven_in_a_fresh_process(done: Done) -> None:
    assert done.outcome.code == 0
    found = done.proven()
    assert list(found) == ["toy.safetensors", "toy.kohya.safetensors"]
    first, second = found.values()
    assert names(first) == dict.fromkeys([*STATIC, *RUN, "picture", "effect"], "ok")
    assert names(second) == dict.fromkeys([*STATIC, *RUN], "ok")
    assert first["fresh_process"] and first["pictures"] == ["proof/again-toy.png", "proof/base.png"]
    assert "at most 1e-03" in words(first, "velocity"), "the bar of float32"
    assert "at least 40 dB" in words(first, "picture")
    assert [journal(done.root, event) == [] for event in ("Failed", "Finished")] == [True, False]
    with Image.open(done.folder / "proof/again-toy.png") as picture:
        assert picture.size == (64, 64)


def test_the_report_shows_the_verdicts_and_both_pictures(done: Done) -> None:
    page = (done.folder / "report.html").read_text()
    start = page.index("<h2>Proof</h2>")
    section = page[start : page.index("</section>", start)]
    assert section.count('class="verdict ok"') == len(STATIC) * 2 + len(RUN) * 2 + 2
    assert section.count("data:image/webp;base64,") == 2
    assert "made again from the file" in section and "the base model alone" in section
    assert "Finished." in page


def test_the_probes_hold_what_the_network_answered(done: Done) -> None:
    kit = probes.read(done.folder / "proof" / probes.FILE)
    assert kit.trained.shape == (3, 16, 8, 8) and kit.probes.text["text"].shape == (40, 64)
    assert 1e-3 < probes.off(kit.trained, kit.base) < 1
    assert kit.about["model"]["path"] == "builtin:tiny-flux"


def test_verify_proves_a_good_file_again(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, (row,) = asked(capsys, copied / "toy.safetensors", "--run", copied)
    assert code == 0 and set(names(row).values()) == {"ok"}


def test_a_picture_that_the_base_makes_as_well_proves_nothing(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = (copied / "samples").glob("step-000004/00-*.png")
    shutil.copy(copied / "proof" / "base.png", own)
    _, (row,) = asked(capsys, copied / "toy.safetensors", "--run", copied)
    assert names(row)["picture"] == "unknown"
    assert "too near to tell them apart" in words(row, "picture")
    with Image.open(own) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(own)
    code, (row,) = asked(capsys, copied / "toy.safetensors", "--run", copied)
    assert (code, names(row)["picture"]) == (2, "failed")


def test_looking_at_a_run_again_leaves_its_folder_alone(
    copied: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {file: file.stat().st_mtime_ns for file in copied.rglob("*")}
    out = tmp_path / "pictures"
    asked(capsys, copied / "toy.safetensors", "--run", copied, "--pictures", out)
    assert before == {file: file.stat().st_mtime_ns for file in copied.rglob("*")}
    assert sorted(file.name for file in out.glob("*.png")) == ["again-toy.png", "base.png"]


def test_an_adapter_of_a_text_encoder_is_not_said_to_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clip.safetensors"
    layer = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    tensors = {
        f"{layer}.lora_A.weight": torch.ones(2, 64),
        f"{layer}.lora_B.weight": torch.ones(64, 2),
    }
    save_file(tensors, file)
    code, (row,) = asked(capsys, file, "--model", "builtin:tiny-flux")
    assert code == 0 and names(row)["texts"] == "unknown" and "effect" not in names(row)


def test_files_of_several_models_are_each_held_against_their_own(
    done: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order they were named; a foreign file's model is the published one."""
    wide, ours = tmp_path / "wide.safetensors", done.folder / "toy.kohya.safetensors"
    stem, broken = "lora_unet_double_blocks_0_img_attn_proj", tmp_path / "broken.safetensors"
    down, up = torch.ones(1, 3072), torch.ones(3072, 1)
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}, wide)
    broken.write_bytes(b"torn")
    code, rows = asked(capsys, wide, ours, broken, wide)
    assert code == 2 and [row["file"] for row in rows] == [
        str(f) for f in (wide, ours, broken, wide)
    ]
    assert [row["proven"] for row in rows] == [True, True, False, True]
    assert "as published" in words(rows[0], "family") and "builtin" in words(rows[1], "family")
    assert rows[0].keys() == {
        "file",
        "proven",
        "verdicts",
        "fresh_process",
        "seconds",
        "pictures",
    }, "what scripts read"


def test_verify_tells_in_words(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapter", "verify", str(copied / "toy.kohya.safetensors")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "kohya layout" in said and "flux dev of builtin:tiny-flux" in said
    assert "Proven: toy.kohya.safetensors" in said


@pytest.mark.parametrize(
    ("factor", "flagged"), [(2.0, {"alpha", "velocity", "change"}), (1.0, set())]
)
def test_a_doubled_strength_moves_the_velocities_too(
    copied: Path, capsys: pytest.CaptureFixture[str], factor: float, flagged: set[str]
) -> None:
    def stronger(tensors: dict[str, Tensor]) -> None:
        for key in tensors:
            if "lora_B" in key:
                tensors[key] *= factor

    file = copied / "toy.safetensors"
    spoilt(file, stronger)
    code, (row,) = asked(capsys, file, "--run", copied)
    bad = {name for name, state in names(row).items() if state == "failed"}
    assert bad - {"picture"} == flagged and code == (2 if flagged else 0)


def test_a_file_without_marks_is_still_caught_by_what_the_network_makes_of_it(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "toy.safetensors"
    tensors = load_file(file)
    keys = sorted(key for key in tensors if "attn.to_q" in key and "transformer_blocks.0" in key)
    for key in keys:
        other = key.replace("to_q", "to_k")
        tensors[key], tensors[other] = tensors[other], tensors[key]
    save_file(tensors, file)
    code, (row,) = asked(capsys, file, "--run", copied)
    assert code == 2 and names(row)["layers"] == "unknown" and names(row)["velocity"] == "failed"


def test_a_file_damaged_before_its_proof_ends_the_run_with_what_is_wrong(copied: Path) -> None:
    good, bad = copied / "toy.safetensors", copied / "toy.kohya.safetensors"
    _without_previews(copied)
    spoilt(bad, lambda tensors: tensors.update({k: v * torch.nan for k, v in tensors.items()}))
    heard: list[Event] = []
    with pytest.raises(ExceptionGroup) as caught:
        delivery.proven(Delivery(folder=copied, files=(good, bad), fresh=True), heard.append)
    assert "toy.kohya.safetensors: not proven, finite:" in told(caught.value)
    assert f"{good}: not proven" not in told(caught.value)
    proofs = [event for event in heard if isinstance(event, Proven)]
    assert [one.failed == () for one in proofs] == [True, False]
    assert bad.exists(), "nothing is taken away"


def test_a_process_that_dies_is_no_proof_and_its_last_words_are_told(copied: Path) -> None:
    (copied / "proof" / probes.FILE).write_bytes(b"torn")
    file = copied / "toy.safetensors"
    with pytest.raises(FileError) as caught:
        delivery.proven(Delivery(folder=copied, files=(file,), fresh=True), lambda event: None)
    assert "the fresh process ended with 2" in str(caught.value)
    assert "these probes cannot be read" in str(caught.value)
    assert f"scumble adapter verify {file.resolve()} --run" in str(caught.value)


def test_without_previews_the_velocities_stand_for_the_file_and_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = job(tmp_path, export={"proof": "fresh_process"}, training__steps=1)
    plan, library = complete(wanted, tmp_path, prepared(wanted, tmp_path), lambda event: None)
    with library, Signals() as signals:
        feeder = Feeder(source(plan, library), first=1, last=1)
        parts = assembled(plan, [], feeder, signals)
        assert isinstance(parts.adapters, Joint)
        for layer in parts.adapters.parts[0].branches():
            layer[1].up.data.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
        made = delivery.delivered(plan, parts, [], tmp_path, 1, lambda event: None)
    code, (row,) = asked(capsys, made.files[0], "--run", made.folder)
    assert code == 0 and names(row)["velocity"] == "ok"
    assert names(row)["picture"] == "unknown" and "made no previews" in words(row, "picture")


def test_a_run_lets_go_of_its_network_before_the_fresh_process_comes(tmp_path: Path) -> None:
    wanted = job(tmp_path, training__steps=1, validation={**PREVIEWS, "every": 1})
    plan, library = complete(wanted, tmp_path, prepared(wanted, tmp_path), lambda event: None)
    before = _networks()
    with Signals() as signals:
        made = run._delivered(plan, library, tmp_path, lambda event: None, signals)
    assert made is not None and made.files[0].exists()
    assert _networks() == before


def _networks() -> int:
    """FLUX networks in memory that hold weights."""
    gc.collect()
    found = [one for one in gc.get_objects() if type(one) is FluxTransformer]
    return sum(one.proj_out.weight.device.type != "meta" for one in found)


def test_an_adapter_that_does_nothing_is_not_delivered_as_a_success(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        trained(tmp_path, training__steps=1, training__learning_rate=1e-50)
    assert "not proven, norm: every change of the denoiser is zero" in told(caught.value)
    assert journal(tmp_path, "Finished") == [] and len(journal(tmp_path, "Failed")) == 1
    (saved,) = journal(tmp_path, "Saved")
    assert saved["remark"] == "the adapter changes nothing yet"
    assert "Failed." in (tmp_path / "out/toy/report.html").read_text()


def test_a_preview_that_is_gone_cannot_be_compared_and_one_says_so(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "samples/step-000004").rename(copied / "samples/gone")
    code, (row,) = asked(capsys, copied / "toy.safetensors", "--run", copied)
    assert code == 0
    assert {name for name, state in names(row).items() if state == "unknown"} == {"picture"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["/nowhere.safetensors"], "there is no such file"),
        (["FILE", "--run", "/nowhere"], "this run has kept no probes"),
        (["FILE", "--precision", "fp8"], "precision"),
        (["FILE", "--model", "builtin:tiny-flux", "--flavour", "def"], "def"),
        (["FILE", "--model", "/nowhere"], "/nowhere"),
    ],
)
def test_what_was_typed_wrong_is_named(
    done: Done, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    file = str(done.folder / "toy.safetensors")
    code = main(["adapter", "verify", *(file if one == "FILE" else one for one in options)])
    assert code == 2 and said in capsys.readouterr().err


@pytest.mark.acceptance
def test_the_plain_pipeline_agrees_or_says_that_it_cannot_load_the_file(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "toy.safetensors"
    code, (row,) = asked(capsys, file, "--run", copied, "--against", "diffusers")
    assert code == 0 and names(row)["pipeline keys"] == names(row)["pipeline picture"] == "ok"
    tiny = copied / "toy.kohya.safetensors"
    code, (row,) = asked(capsys, tiny, "--run", copied, "--against", "diffusers")
    assert code == 2 and "does not load this file" in words(row, "pipeline keys")
