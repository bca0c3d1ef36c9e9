"""The trained model that comes with the package, on pictures that come with the examples."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scumble import families
from scumble.data.saying import Saying
from scumble.families import encoding, weights
from scumble.families.builtin import TRAINED
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.validation import previews
from scumble.validation.previews import Request

UNSEEN = Path("examples/emoji-subject/data")
"""A character that no part of the model was shown."""

SEEN = Path("examples/emoji-mixed/data/noto")
STRANGERS = ("cat-face", "panda-face", "grinning-face")
"""Names that were held out."""

MEGABYTES = 25
SIDE = 64
PLACE = place_for(HardwareSpec(device="cpu", precision="fp32"))


@cache
def model() -> weights.Model:
    wanted = ModelSpec(family="flux", flavour="dev", path="builtin:emoji-flux")
    return weights.opened(families.find("flux", "dev"), wanted, Path())


@cache
def part(name: str) -> torch.nn.Module:
    return weights.loaded(model(), name, dtype=torch.float32, device=torch.device("cpu"))


def pixels(file: Path) -> Tensor:
    picture = Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def latents(found: Tensor) -> Tensor:
    seen = model().family.see({"autoencoder": part("autoencoder")}, found)
    return torch.stack([one["latents"] for one in seen])


def test_it_is_small_and_says_whose_pictures_it_was_made_from() -> None:
    files = [file for file in TRAINED["emoji-flux"].rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < MEGABYTES * 1e6
    assert "Fluent Emoji" in (TRAINED["emoji-flux"] / "NOTICE").read_text()


def test_its_parts_hold_what_their_classes_want_and_nothing_else() -> None:
    for name in ("denoiser", "autoencoder", "clip", "t5"):
        weights.compared(model(), name, weights.skeleton(model(), name))


def test_texts_are_as_long_as_its_tokenizer_says() -> None:
    assert model().tokens(None) == 24
    assert model().tokens(32) == 32


@torch.no_grad()
def test_pictures_come_back_from_the_autoencoder() -> None:
    files = [file for name in ("seen", "held-out") for file in (UNSEEN / name).glob("*.png")]
    found = torch.stack([pixels(file) for file in sorted(files)])
    assert len(found) == 9
    back = model().family.show({"autoencoder": part("autoencoder")}, latents(found)).clamp(-1, 1)
    error = ((back - found) / 2).square().mean((1, 2, 3))
    assert float(-10 * error.log10().mean()) > 26


@torch.no_grad()
def test_it_paints_what_it_is_asked_for() -> None:
    files = [file for file in sorted(SEEN.glob("*.png")) if file.stem not in STRANGERS]
    prompts = [file.with_suffix(".txt").read_text().strip() for file in files]
    entries = encoding.read_texts(
        model(),
        weights.tools(model()),
        PLACE,
        [Saying(one) for one in prompts],
        24,
        lambda name, module: None,
    )
    net = Net(part("denoiser"), plain)
    made = [
        previews.latents(
            model().family, net, PLACE, previews.Sitting(request=request(prompt), text=entry)
        )[0]
        for prompt, entry in zip(prompts, entries, strict=True)
    ]
    originals = latents(torch.stack([pixels(file) for file in files]))
    distances = torch.cdist(torch.stack(made).flatten(1), originals.flatten(1))
    right = distances.argmin(1) == torch.arange(len(files))
    assert len(files) == 13
    assert float(right.float().mean()) > 0.75


def request(prompt: str) -> Request:
    return Request(prompt=prompt, width=SIDE, height=SIDE, steps=10, guidance=1.0, seed=1)
