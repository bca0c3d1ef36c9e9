"""Measure `builtin:emoji-kontext`, or a model like it, on held-out pairs.

`python scripts/emoji_kontext/score.py DATA/held-out/* [--denoiser FILE] [--sheet FILE.png]` paints
every pair (28 steps, guidance 1) and prints, for each folder and for all, the mean over its pairs
of how far the output is from the target against how far the reference is, in autoencoder latents,
as a run scores its own held-out pairs; and the share of pairs whose output is the nearer one. A
folder has `target`, with instructions, and `reference`; `--many` of its pairs are taken, in an
order that their names decide. The sheet shows reference, output and target, eight pairs across.
"""

import argparse
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scumble import families
from scumble.data.batch import Batch
from scumble.data.saying import Saying
from scumble.families import encoding, weights
from scumble.families.family import stacked
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place, place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.validation.copying import Contest, distances
from scumble.validation.walks import Manner, Start, arrived

ACROSS, GAP = 8, 8


def files_of(folder: Path, many: int) -> list[Path]:
    """Some of a folder's targets; which, follows from their names."""
    return sorted(
        (folder / "target").glob("*.png"),
        key=lambda file: hashlib.blake2b(file.name.encode()).digest(),
    )[:many]


def pixels(files: list[Path]) -> Tensor:
    """Pictures in [-1, 1], [count, 3, height, width]."""
    found = [np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) for file in files]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 127.5 - 1


@dataclass
class Model:
    """What is measured, loaded, and what it has painted last."""

    opened: weights.Model
    net: Net
    autoencoder: torch.nn.Module
    place: Place
    manner: Manner
    outputs: list[Tensor] = field(default_factory=list)

    def contest(self, folder: Path, files: list[Path]) -> Contest:
        """The pairs of a folder, encoded."""
        texts = [file.with_suffix(".txt").read_text().strip() for file in files]
        sayings, tokens = [Saying(text) for text in texts], self.opened.tokens(None)
        entries = encoding.read_texts(
            self.opened, weights.tools(self.opened), self.place, sayings, tokens, undressed
        )
        references = self.seen([folder / "reference" / file.name for file in files])
        side = references.shape[-1] * self.opened.family.pixels_per_latent
        batch = Batch(
            latents=self.seen(files),
            words=stacked(list(entries)),
            frames=torch.tensor([[side] * 4 + [0, 0] + [side] * 2]).expand(len(files), 8),
            weights=torch.ones(len(files)),
            slots=tuple(range(len(files))),
            ids=tuple(f"{folder.name}/{file.name}" for file in files),
            captions=tuple(texts),
            references=(references,),
        )
        return Contest(batch=batch, copies=references)

    def paint(self, start: Start) -> Tensor:
        """Latents of outputs, which are kept as well."""
        self.outputs.append(arrived(self.opened.family, self.net, self.place, start, self.manner))
        return self.outputs[-1]

    @torch.no_grad()
    def seen(self, files: list[Path]) -> Tensor:
        """Latents of pictures."""
        entries = self.opened.family.see({"autoencoder": self.autoencoder}, pixels(files))
        return torch.stack([one["latents"] for one in entries])

    @torch.no_grad()
    def shown(self, latents: Tensor) -> Tensor:
        """Pictures of latents."""
        return self.opened.family.show({"autoencoder": self.autoencoder}, latents).clamp(-1, 1)


def undressed(part: str, module: torch.nn.Module) -> None:
    """No adapter."""


def opened(path: str, denoiser: str | None, steps: int) -> Model:
    """A folder or builtin model; `denoiser` is a file that takes the place of its own."""
    family = families.find("flux", "kontext")
    parts = {"denoiser": denoiser} if denoiser else {}
    spec = ModelSpec(family="flux", flavour="kontext", path=path, parts=parts)
    model = weights.opened(family, spec, Path())
    place = place_for(HardwareSpec(device="cpu", precision="fp32"))
    network, autoencoder = (
        weights.loaded(model, part, dtype=torch.float32, device=place.device)
        for part in ("denoiser", "autoencoder")
    )
    manner = Manner(steps=steps, guidance=1.0)
    return Model(model, Net(network, plain), autoencoder, place, manner)


def told(called: str, ratios: list[float]) -> str:
    """A line of the result."""
    mean = sum(ratios) / len(ratios)
    nearer = sum(one < 1 for one in ratios) / len(ratios)
    return f"{called:>10} {len(ratios):4d} pairs  ratio {mean:.3f}  nearer {nearer:.0%}"


def sheet(rows: list[Tensor], file: Path) -> None:
    """Three pictures of each pair side by side, [pairs, 3, 3, height, width]."""
    every = ((torch.cat(rows) + 1) * 127.5).round().byte()
    side = every.shape[-1]
    wide = 3 * side + GAP
    paper = Image.new("RGB", (ACROSS * wide - GAP, -(-len(every) // ACROSS) * side), "white")
    for at, three in enumerate(every):
        tile = Image.fromarray(torch.cat(list(three), dim=2).permute(1, 2, 0).numpy())
        paper.paste(tile, (at % ACROSS * wide, at // ACROSS * side))
    paper.save(file, optimize=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="builtin:emoji-kontext")
    parser.add_argument("--denoiser", help="a denoiser file in the place of the model's own")
    parser.add_argument("--many", type=int, default=25)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="where to write what was made")
    given = parser.parse_args()
    model = opened(given.model, given.denoiser, given.steps)
    ratios: list[float] = []
    rows: list[Tensor] = []
    for folder in given.folders:
        files = files_of(folder, given.many)
        contest = model.contest(folder, files)
        found = distances([contest], model.paint, given.seed)
        ratios += (here := [output / copy for output, copy in found.values()])
        three = (contest.copies, model.outputs[-1], contest.batch.latents)
        rows.append(torch.stack([model.shown(one) for one in three], dim=1))
        print(told(folder.name, here), flush=True)
    print(told("all", ratios))
    if given.sheet:
        sheet(rows, given.sheet)


if __name__ == "__main__":
    main()
