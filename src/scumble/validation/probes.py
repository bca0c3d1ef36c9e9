"""What a network answers at a few fixed points, kept so that another process can ask it again.

A velocity does not amplify rounding as the many steps of a picture do, and asking for one takes
less than a training step did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scumble import dice
from scumble.disk import write_whole
from scumble.errors import FileError
from scumble.families.family import Entry, Family, Knobs, Scene, Told, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective.process import Latents, Times

FOLDER, FILE = "proof", "probes.safetensors"
"""Where a run keeps them."""

TIMES = (0.25, 0.6, 0.95)
SIDE = 512
"""Pixels; larger pictures are asked about at this size."""

TEXT_SIZE = 0.25
"""Spread of a made-up text's numbers, about that of T5's."""

TEXT, PLAIN = "text.", "plain."


@dataclass(frozen=True, kw_only=True)
class Probes:
    """A few points on the way from noise to a picture, and the text that is told there."""

    noisy: Latents
    times: Times
    text: Entry
    guidance: float
    plain: Entry | None = None
    """The same text as the base model's encoders read it, where these are trained too."""


@dataclass(frozen=True, kw_only=True)
class Kit:
    """Questions, the answers that a run got with its adapter and without, and whom it asked."""

    probes: Probes
    trained: Latents
    base: Latents
    about: Mapping[str, Any]
    """JSON values."""


def made(
    family: Family, shapes: Mapping[str, tuple[int, ...]], place: Place, size: tuple[int, int]
) -> Probes:
    """Probes for a picture of that height and width, with a made-up text of these shapes."""
    return about_text(family, made_up(shapes, place), size, family.preview_guidance)


def made_up(shapes: Mapping[str, tuple[int, ...]], place: Place) -> Entry:
    """A text that nobody has read, of these shapes."""
    text = {
        name: TEXT_SIZE * torch.randn(shape, generator=dice.generator("proof", "text", name))
        for name, shape in shapes.items()
    }
    return {name: tensor.to(place.dtype) for name, tensor in text.items()}


def about_text(family: Family, text: Entry, size: tuple[int, int], guidance: float) -> Probes:
    """Probes for a picture of that height and width, at most 512 pixels a side."""
    step, side = family.pixels_per_step, family.pixels_per_latent
    height, width = (max(step, min(SIDE, one) // step * step) // side for one in size)
    shape = (len(TIMES), family.latent_channels, height, width)
    noisy = torch.randn(shape, generator=dice.generator("proof", "noisy"))
    return Probes(noisy=noisy, times=torch.tensor(TIMES), text=text, guidance=guidance)


@torch.no_grad()
def velocities(family: Family, net: Net, place: Place, probes: Probes) -> Latents:
    """The network's answers, one probe after another, in float32 on the CPU."""
    height, width = (side * family.pixels_per_latent for side in probes.noisy.shape[-2:])
    scene = Scene(frames=torch.tensor([[height, width, height, width, 0, 0, height, width]]))
    values = {name: tensor.to(place.device) for name, tensor in stacked([probes.text]).items()}
    told = family.tell(Told(values=values), scene, Knobs(guidance=probes.guidance))
    answers = []
    for noisy, time in zip(probes.noisy.split(1), probes.times.split(1), strict=True):
        with place.autocast():
            answer = family.predict(net, noisy.to(place.device), time.to(place.device), told)
        answers.append(answer.float().cpu())
    return torch.cat(answers)


def off(found: Tensor, wanted: Tensor) -> float:
    """Distance as a share of what was wanted."""
    return float(torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted))


def share(found: Tensor, wanted: Tensor) -> float:
    """How much of a wanted change is in the one found; 1: all of it, 2: twice as much.

    Rounding points anywhere, the change somewhere: so this sees a change that rounding covers.
    """
    return float((found * wanted).sum() / wanted.square().sum())


def write(file: Path, kit: Kit) -> None:
    """Keep a kit, whole or not at all."""
    probes = kit.probes
    tensors: dict[str, Tensor] = {
        "noisy": probes.noisy,
        "times": probes.times,
        "trained": kit.trained,
        "base": kit.base,
        **{TEXT + name: tensor.cpu().contiguous() for name, tensor in probes.text.items()},
        **{PLAIN + name: one.cpu().contiguous() for name, one in (probes.plain or {}).items()},
    }
    about = json.dumps({"guidance": probes.guidance, **kit.about})
    write_whole(file, save(tensors, {"about": about}))


def read(file: Path) -> Kit:
    """A kit that a run has kept; FileError where there is none."""
    if not file.is_file():
        remedy = "name the folder of a run that ended with `export.proof: fresh_process`"
        raise FileError(file, "this run has kept no probes", remedy)
    try:
        with safe_open(file, "pt") as stored:
            found = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            about = json.loads((stored.metadata() or {})["about"])
        text = {n.removeprefix(TEXT): one for n, one in found.items() if n.startswith(TEXT)}
        guidance = float(about.pop("guidance"))
        noisy, times = found["noisy"], found["times"]
        plain = {n.removeprefix(PLAIN): one for n, one in found.items() if n.startswith(PLAIN)}
        probes = Probes(noisy=noisy, times=times, text=text, guidance=guidance, plain=plain or None)
        return Kit(probes=probes, trained=found["trained"], base=found["base"], about=about)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        problem = f"these probes cannot be read ({error})"
        raise FileError(file, problem, "run the training command again, it writes them") from None
