"""What a run keeps of itself for its proof, with the pictures that were shown along."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scumble import families
from scumble.errors import FileError
from scumble.families import weights
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place, place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.validation import probes
from scumble.validation.previews import Cited, Request, Sitting
from scumble.validation.stage import Stage, request_of
from tests.toys import opened

KONTEXT = families.find("flux", "kontext")
SPEC = ModelSpec(family="flux", flavour="kontext", path="builtin:tiny-flux-kontext")
PLACE: Place = place_for(HardwareSpec(device="cpu", precision="fp32"))
TEXT = {"text": torch.linspace(-1, 1, 8 * 64).reshape(8, 64), "summary": torch.ones(64)}


def kit_of(points: probes.Probes, about: dict[str, Any] | None = None) -> probes.Kit:
    return probes.Kit(
        probes=points, trained=points.noisy + 1, base=points.noisy - 1, about=about or {"step": 3}
    )


def points(*shapes: tuple[int, int]) -> probes.Probes:
    draw = torch.Generator().manual_seed(5)
    references = [torch.randn(16, *shape, generator=draw) for shape in shapes]
    return probes.about_text(KONTEXT, TEXT, (64, 96), 2.5, references)


@pytest.fixture(scope="module")
def net() -> Net:
    model = opened(KONTEXT, "builtin:tiny-flux-kontext")
    denoiser = weights.loaded(model, "denoiser", dtype=torch.float32, device=torch.device("cpu"))
    return Net(denoiser, plain)


def test_a_kit_comes_back_whole(tmp_path: Path) -> None:
    """With more references than ten, whose numbers must not come in the order of letters."""
    shown = points(*((2 * n, 2) for n in range(1, 13)))
    preview = probes.Preview(references=shown.references, negative={"text": torch.ones(3, 64)})
    kit = replace(kit_of(shown), preview=preview)
    probes.write(tmp_path / "kit.safetensors", kit)
    found = probes.read(tmp_path / "kit.safetensors")
    assert found.about == {"step": 3} and found.probes.guidance == 2.5
    both = (found.probes.references, found.preview.references)
    for one in both:
        assert [tuple(each.shape) for each in one] == [(16, 2 * n, 2) for n in range(1, 13)]
        assert all(map(torch.equal, one, shown.references))
    assert found.probes.text.keys() == TEXT.keys()
    assert torch.equal(found.preview.negative["text"], torch.ones(3, 64))


def test_a_kit_from_before_there_were_references_is_read(tmp_path: Path) -> None:
    file = tmp_path / "kit.safetensors"
    probes.write(file, kit_of(points()))
    assert not [name for name in load_file(file) if name.startswith(("reference", "shown"))]
    found = probes.read(file)
    assert found.probes.references == () and found.preview == probes.Preview()


def test_a_kit_that_lacks_one_of_its_references_is_told(tmp_path: Path) -> None:
    file = tmp_path / "kit.safetensors"
    probes.write(file, kit_of(points((4, 4), (4, 4))))
    tensors = load_file(file)
    del tensors["reference.0"]
    save_file(tensors, file, {"about": '{"guidance": 1.0}'})
    with pytest.raises(FileError, match="these probes cannot be read"):
        probes.read(file)


def test_a_request_survives_fields_that_older_and_newer_ones_do_not_have() -> None:
    old = {"prompt": "a", "width": 64, "height": 32, "steps": 3, "guidance": 2.5, "seed": 1}
    assert request_of(old) == Request(**old)
    shown = Cited(file="a.png", hash="00", width=16, height=32, view="whole")
    new = Request(**old, scale=4.0, negative="b", references=(shown,))
    told = {**asdict(new), "references": [asdict(shown)], "invented later": [1]}
    assert request_of(told) == new


def test_references_are_asked_about_at_512_pixels_at_most() -> None:
    found = points((10, 200), (70, 64))
    assert [tuple(one.shape) for one in found.references] == [(16, 10, 64), (16, 64, 64)]


def test_made_up_references_are_the_same_at_every_turn_and_another_for_each_place() -> None:
    first, second = probes.beside(KONTEXT, (64, 1024), 2)
    assert first.shape == (16, 8, 64) and not torch.equal(first, second)
    assert torch.equal(first, probes.beside(KONTEXT, (64, 1024), 1)[0])
    assert probes.beside(KONTEXT, (64, 64), 0) == ()


def test_which_references_there_are_and_in_which_order_moves_the_answers(net: Net) -> None:
    def asked(found: probes.Probes) -> torch.Tensor:
        return probes.velocities(KONTEXT, net, PLACE, found)

    both = points((4, 6), (6, 4))
    answers = asked(both)
    first, second = both.references
    assert answers.shape == (3, 16, 8, 12)
    for other in ((), (first,), (second, first)):
        assert probes.off(asked(replace(both, references=other)), answers) > 1e-3
    assert torch.equal(asked(both), answers)


def test_without_a_run_an_edit_model_is_asked_with_one_reference() -> None:
    def stage(flavour: str, path: str) -> Stage:
        spec = ModelSpec(family="flux", flavour=flavour, path=path, text_tokens=16)
        model = opened(families.find("flux", flavour), path)
        return Stage(model=model, spec=spec, place=PLACE, kit=None, run=None, out=None)

    assert len(stage("kontext", "builtin:tiny-flux-kontext").probes.references) == 1
    assert stage("dev", "builtin:tiny-flux").probes.references == ()


def test_a_preview_is_made_again_with_its_references_and_what_it_was_led_away_from(
    net: Net,
) -> None:
    model = opened(KONTEXT, "builtin:tiny-flux-kontext")
    reference = torch.randn(16, 4, 6, generator=torch.Generator().manual_seed(1))
    request = Request(
        prompt="a", width=32, height=48, steps=2, guidance=2.5, seed=4, negative="b", scale=3.0
    )
    without = {name: -one for name, one in TEXT.items()}

    def painted(preview: probes.Preview) -> Any:
        points = probes.about_text(KONTEXT, TEXT, (48, 32), 2.5, preview.references)
        told = {"request": asdict(request), "picture": None}
        kit = replace(kit_of(points, told), preview=preview)
        stage = Stage(model=model, spec=SPEC, place=PLACE, kit=kit, run=Path(), out=None)
        return stage, stage.painted()

    whole = probes.Preview(references=(reference,), negative=without)
    stage, picture = painted(whole)
    wanted = stage.paint(
        Sitting(request=request, text=TEXT, without=without, references=(reference,))
    )
    assert picture.size == (32, 48) and picture.tobytes() == wanted.tobytes()
    for less in (replace(whole, references=()), replace(whole, negative={})):
        assert painted(less)[1].tobytes() != picture.tobytes()
