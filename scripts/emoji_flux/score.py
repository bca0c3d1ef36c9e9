"""Measure `builtin:emoji-flux`, or a folder like it, on the pictures it is made from.

`python scripts/emoji_flux/score.py DATA [--model FOLDER] [--denoiser FILE] [--sheet FILE.png]`
prints, for 100 captions of pictures that were trained on and 100 that were held out, how often the
picture that is made of a caption is nearest to the right one of those 100 (mean square distance of
autoencoder latents; chance is 1 %), and how well held-out pictures come back from the autoencoder.
The sheet shows the first hundred. Everything that is drawn is drawn from `--seed`.
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from autoencoder import as_pixels, pictures
from PIL import Image
from texts import captions
from torch import Tensor

from scumble.data.saying import Saying
from scumble.families import encoding, weights
from scumble.families.family import Knobs, Scene, Told, stacked
from scumble.families.flux.model import FLUX_DEV
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import place_for
from scumble.objective.solvers import walked
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec

MANY, SIDE, TOKENS = 100, 64, 16


@dataclass(frozen=True)
class Drawn:
    """Pictures and their captions, uint8 [count, 3, height, width]."""

    texts: list[str]
    originals: Tensor


def drawn(data: Path, kept: str, seed: int) -> Drawn:
    """A hundred of both styles, no two of one name."""
    texts: list[str] = []
    found: list[Tensor] = []
    for style in ("fluent", "noto"):
        texts += captions(data / kept / style)
        found.append(pictures(data / kept / style))
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    rows = order[:MANY]
    return Drawn([texts[row] for row in rows], torch.cat(found)[rows])


@dataclass(frozen=True)
class Model:
    """What is measured, loaded."""

    opened: weights.Model
    net: Net
    autoencoder: torch.nn.Module
    tokens: int
    steps: int

    @torch.no_grad()
    def made(self, texts: list[str], seed: int) -> Tensor:
        """Latents of a picture for each text, [count, 16, 8, 8]; its noise is seed + its place."""
        family, place = self.opened.family, place_for(HardwareSpec(device="cpu", precision="fp32"))
        tools, sayings = weights.tools(self.opened), [Saying(text) for text in texts]
        entries = list(
            encoding.read_texts(self.opened, tools, place, sayings, self.tokens, undressed)
        )
        shape = (family.latent_channels, SIDE // 8, SIDE // 8)
        noise = torch.stack(
            [
                torch.randn(shape, generator=torch.Generator().manual_seed(seed + place))
                for place in range(len(texts))
            ]
        )
        frames = torch.tensor([[SIDE, SIDE, SIDE, SIDE, 0, 0, SIDE, SIDE]]).expand(len(texts), 8)
        told = family.tell(Told(values=stacked(entries)), Scene(frames=frames), Knobs(guidance=1.0))
        path = family.process.path(self.steps, TOKENS)
        return walked(
            family.process,
            lambda noisy, times: family.predict(self.net, noisy, times, told),
            noise,
            path,
        )

    @torch.no_grad()
    def seen(self, found: Tensor) -> Tensor:
        """Latents of pictures."""
        entries = self.opened.family.see({"autoencoder": self.autoencoder}, as_pixels(found))
        return torch.stack([one["latents"] for one in entries])

    @torch.no_grad()
    def shown(self, latents: Tensor) -> Tensor:
        """Pictures of latents, as float in 0..255, rounded."""
        pixels = self.opened.family.show({"autoencoder": self.autoencoder}, latents)
        return ((pixels + 1) * 127.5).round().clamp(0, 255)


def undressed(part: str, module: torch.nn.Module) -> None:
    """No adapter."""


def opened(path: str, denoiser: str | None, tokens: int, steps: int) -> Model:
    """A folder or builtin model; `denoiser` is a file that takes the place of its own."""
    spec = ModelSpec(
        family="flux", flavour="dev", path=path, parts={"denoiser": denoiser} if denoiser else {}
    )
    model = weights.opened(FLUX_DEV, spec, Path())
    cpu = torch.device("cpu")
    loaded = [
        weights.loaded(model, part, dtype=torch.float32, device=cpu)
        for part in ("denoiser", "autoencoder")
    ]
    return Model(model, Net(loaded[0], plain), loaded[1], tokens, steps)


def found_again(made: Tensor, originals: Tensor) -> float:
    """Share of the latents whose nearest original is the one at the same place."""
    distances = torch.cdist(made.flatten(1), originals.flatten(1))
    return float((distances.argmin(1) == torch.arange(len(made))).float().mean())


def sheet(rows: Tensor, across: int, file: Path) -> None:
    """Pictures side by side."""
    down = -(-len(rows) // across)
    paper = Image.new("RGB", (across * SIDE, down * SIDE), "white")
    for place, one in enumerate(rows):
        tile = Image.fromarray(one.byte().permute(1, 2, 0).numpy())
        paper.paste(tile, (place % across * SIDE, place // across * SIDE))
    paper.save(file, optimize=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="builtin:emoji-flux")
    parser.add_argument("--denoiser", help="a denoiser file in the place of the model's own")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="where to write what was made, 10 x 10")
    given = parser.parse_args()
    model = opened(given.model, given.denoiser, given.tokens, given.steps)
    for kept in ("seen", "held-out"):
        told = drawn(given.data, kept, given.seed)
        made = model.made(told.texts, given.seed)
        share = found_again(made, model.seen(told.originals))
        print(f"{kept}: the right one of {MANY} is nearest for {share:.0%} of the captions")
        if given.sheet:
            file = given.sheet.with_stem(f"{given.sheet.stem}-{kept}")
            sheet(model.shown(made), 10, file)
            sheet(told.originals.float(), 10, file.with_stem(f"{file.stem}-originals"))
    held = pictures(given.data / "held-out")
    back = torch.cat([model.shown(model.seen(part)) for part in held.split(64)])
    error = (back - held.float()).square().mean((1, 2, 3)).clamp(min=1e-6)
    decibels = float(10 * (255.0**2 / error).log10().mean())
    print(f"autoencoder: {decibels:.2f} dB on {len(held)} held-out pictures")


if __name__ == "__main__":
    main()
