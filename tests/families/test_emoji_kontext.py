"""The edit model that comes with the package, on pictures of names that no part of it was shown."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from scumble import families
from scumble.data.batch import Batch
from scumble.data.saying import Saying
from scumble.families import builtin, encoding, weights
from scumble.families.builtin import COMPOSED, TRAINED, materialised
from scumble.families.family import stacked
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.validation.copying import Contest, distances
from scumble.validation.walks import Manner, Start, arrived

OWN = COMPOSED["emoji-kontext"][0]
UNSEEN = Path("examples/emoji-edit/data/held-out/reference")
PARTS = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
SIDE, STEPS, MEGABYTES = 64, 8, 15
HUES = {"red": 0, "green": 120, "blue": 220}
PLACE = place_for(HardwareSpec(device="cpu", precision="fp32"))


@cache
def model() -> weights.Model:
    wanted = ModelSpec(family="flux", flavour="kontext", path="builtin:emoji-kontext")
    return weights.opened(families.find("flux", "kontext"), wanted, Path())


@cache
def part(name: str) -> torch.nn.Module:
    return weights.loaded(model(), name, dtype=torch.float32, device=torch.device("cpu"))


@cache
def pictures() -> tuple[Image.Image, ...]:
    return tuple(Image.open(file).convert("RGB") for file in sorted(UNSEEN.glob("*.png"))[:12])


def latents(found: list[Image.Image]) -> Tensor:
    pixels = torch.from_numpy(np.stack([np.asarray(one, dtype=np.float32) for one in found]))
    seen = model().family.see(
        {"autoencoder": part("autoencoder")}, pixels.permute(0, 3, 1, 2) / 127.5 - 1
    )
    return torch.stack([one["latents"] for one in seen])


def in_hue(picture: Image.Image, degrees: int) -> Image.Image:
    _, strength, brightness = picture.convert("HSV").split()
    hue = Image.new("L", picture.size, round(degrees * 255 / 360))
    return Image.merge("HSV", (hue, strength, brightness)).convert("RGB")


def contest(before: list[Image.Image], after: list[Image.Image], asked: list[str]) -> Contest:
    entries = encoding.read_texts(
        model(),
        weights.tools(model()),
        PLACE,
        [Saying(text) for text in asked],
        model().tokens(None),
        lambda name, module: None,
    )
    references = latents(before)
    batch = Batch(
        latents=latents(after),
        words=stacked(list(entries)),
        frames=torch.tensor([[SIDE] * 4 + [0, 0] + [SIDE] * 2]).expand(len(before), 8),
        weights=torch.ones(len(before)),
        slots=tuple(range(len(before))),
        ids=tuple(f"pairs/{number:02d}.png" for number in range(len(before))),
        captions=tuple(asked),
        references=(references,),
    )
    return Contest(batch=batch, copies=references)


def ratios(one: Contest) -> list[float]:
    net = Net(part("denoiser"), plain)

    def paint(start: Start) -> Tensor:
        return arrived(model().family, net, PLACE, start, Manner(steps=STEPS, guidance=1.0))

    return [output / copy for output, copy in distances([one], paint, 0).values()]


def recoloured(asked: dict[str, int], hues: dict[str, int]) -> Contest:
    """Each picture in turn in one of the colours; `asked` names them in the instructions."""
    shown, names = list(pictures()), sorted(asked)
    turns = [names[number % len(names)] for number in range(len(shown))]
    after = [in_hue(one, hues[name]) for one, name in zip(shown, turns, strict=True)]
    return contest(shown, after, [f"make it {name}" for name in turns])


def mean(found: list[float]) -> float:
    return sum(found) / len(found)


def test_it_brings_its_transformer_along_and_no_other_weights() -> None:
    files = [file for file in OWN.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < MEGABYTES * 1e6
    assert [file.parent.name for file in files if file.suffix == ".safetensors"] == ["transformer"]
    assert "Fluent Emoji" in (OWN / "NOTICE").read_text()


def test_its_other_parts_are_those_of_emoji_flux() -> None:
    folder = materialised("emoji-kontext")
    for name in PARTS:
        files = sorted((TRAINED["emoji-flux"] / name).iterdir())
        assert files
        assert all((folder / name / file.name).samefile(file) for file in files)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "FluxKontextPipeline"


def test_its_parts_hold_what_their_classes_want_and_nothing_else() -> None:
    for name in ("denoiser", "autoencoder", "clip", "t5"):
        weights.compared(model(), name, weights.skeleton(model(), name))


def test_of_two_folders_the_first_has_the_word(tmp_path: Path) -> None:
    first, second, made = (tmp_path / name for name in ("first", "second", "made"))
    for folder, names in ((first, ("a/x", "b")), (second, ("a/y", "b", "c/z"))):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{folder.name} {name}")
    made.mkdir()
    builtin.compose(made, (first, second))
    found = {
        file.relative_to(made).as_posix(): file.read_text()
        for file in made.glob("**/*")
        if file.is_file()
    }
    found |= {
        f"{name}/{file.name}": file.read_text()
        for name in ("a", "c")
        for file in (made / name).iterdir()
    }
    assert found == {"a/x": "first a/x", "b": "first b", "c/z": "second c/z"}


def test_where_links_are_not_allowed_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    made = tmp_path / "made"
    made.mkdir()
    builtin.compose(made, COMPOSED["emoji-kontext"])
    for name in ("model_index.json", "transformer/config.json", "vae/config.json"):
        assert not (made / name).is_symlink()
        assert (made / name).read_bytes() == (materialised("emoji-kontext") / name).read_bytes()


def test_a_package_that_is_moved_or_newer_is_put_together_anew(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "config.json").write_text("{}")
    shutil.copytree(here, there)
    before = builtin.stamp([here])
    assert before == builtin.stamp([here]) != builtin.stamp([there])
    (here / "config.json").write_text("{ }")
    assert builtin.stamp([here]) != before


def test_what_it_recolours_comes_nearer_to_the_target_than_the_reference_is() -> None:
    assert mean(ratios(recoloured(HUES, HUES))) < 0.6


def test_it_does_what_it_is_told_and_not_what_is_most_likely() -> None:
    """Asked for one colour and compared with another, it is further away than when both agree."""
    turned = {"red": HUES["green"], "green": HUES["blue"], "blue": HUES["red"]}
    right, wrong = ratios(recoloured(HUES, HUES)), ratios(recoloured(HUES, turned))
    assert mean(wrong) > mean(right) + 0.5


def test_what_it_repairs_comes_nearer_to_the_target_than_the_reference_is() -> None:
    whole = list(pictures())
    spoilt = [one.filter(ImageFilter.GaussianBlur(2.5)) for one in whole]
    found = ratios(contest(spoilt, whole, ["repair the picture"] * len(whole)))
    assert mean(found) < 0.82
