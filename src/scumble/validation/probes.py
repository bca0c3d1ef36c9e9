"""What a network answers at a few fixed points, kept so that another process can ask it again.

A velocity does not amplify rounding as the many steps of a picture do, and asking for one takes
less than a training step did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scumble import dice
from scumble.disk import write_whole
from scumble.errors import FileError
from scumble.events import Weights
from scumble.families.family import Entry, Family, Knobs, Scene, Told, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place
from scumble.objective.process import Latents, Times

FOLDER, FILE = "proof", "probes.safetensors"
"""Where a run keeps them."""

WEIGHTS = "scumble.weights"
"""Where a file says whether it holds `raw` weights or their average, `ema`."""

AVERAGED = "probes.ema.safetensors"
"""And where those of a moving average, in the same folder."""

TIMES = (0.25, 0.6, 0.95)
SIDE = 512
"""Pixels; larger pictures are asked about at this size."""

SIZE = (256, 256)
"""Height and width of a picture that is asked about where no run paints any."""

TEXT_SIZE = 0.25
"""Spread of a made-up text's numbers, about that of T5's."""

TEXT, PLAIN, NEGATIVE = "text.", "plain.", "negative."
REFERENCE, SHOWN = "reference.", "shown."
"""What names of tensors in the file begin with; numbers follow the last two."""


def kept_as(which: Weights) -> str:
    """The name of the file that a run keeps of these weights' answers."""
    return AVERAGED if which == "ema" else FILE


@dataclass(frozen=True, kw_only=True)
class Probes:
    """A few points on the way from noise to a picture, and what is told there."""

    noisy: Latents
    times: Times
    text: Entry
    guidance: float
    plain: Entry | None = None
    """The same text as the base model's encoders read it, where these are trained too."""

    references: tuple[Tensor, ...] = ()
    """Clean latents of pictures that are shown along, in order: [channels, height, width] each."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a run's preview is made from besides its text, so that nothing is encoded again."""

    references: tuple[Tensor, ...] = ()
    """Clean latents in their full size: [channels, height, width] each."""

    negative: Entry = field(default_factory=dict)
    """The text that it is led away from; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Kit:
    """Questions, the answers that a run got with its adapter and without, and whom it asked."""

    probes: Probes
    trained: Latents
    base: Latents
    about: Mapping[str, Any]
    """JSON values."""

    preview: Preview = field(default_factory=Preview)


def made_up(shapes: Mapping[str, tuple[int, ...]], place: Place) -> Entry:
    """A text of these shapes that nobody has written."""
    text = {
        name: TEXT_SIZE * torch.randn(shape, generator=dice.generator("proof", "text", name))
        for name, shape in shapes.items()
    }
    return {name: tensor.to(place.dtype) for name, tensor in text.items()}


def beside(family: Family, size: tuple[int, int], count: int) -> tuple[Tensor, ...]:
    """Made-up references, as large as the picture of that height and width that is asked about."""
    shape = (family.latent_channels, *_latents(family, size))
    return tuple(
        torch.randn(shape, generator=dice.generator("proof", "reference", number))
        for number in range(count)
    )


def about_text(
    family: Family,
    text: Entry,
    size: tuple[int, int],
    guidance: float,
    references: Sequence[Tensor] = (),
) -> Probes:
    """Probes for a picture of that height and width; of it and of each reference at most 512
    pixels a side."""
    shape = (len(TIMES), family.latent_channels, *_latents(family, size))
    most = SIDE // family.pixels_per_latent
    return Probes(
        noisy=torch.randn(shape, generator=dice.generator("proof", "noisy")),
        times=torch.tensor(TIMES),
        text=text,
        guidance=guidance,
        references=tuple(one[:, :most, :most].float().cpu() for one in references),
    )


def _latents(family: Family, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width in latents of what is asked about."""
    step = family.pixels_per_step
    height, width = (max(step, min(SIDE, one) // step * step) for one in size)
    return height // family.pixels_per_latent, width // family.pixels_per_latent


@torch.no_grad()
def velocities(family: Family, net: Net, place: Place, probes: Probes) -> Latents:
    """The network's answers, one probe after another, in float32 on the CPU."""
    height, width = (side * family.pixels_per_latent for side in probes.noisy.shape[-2:])
    scene = Scene(frames=torch.tensor([[height, width, height, width, 0, 0, height, width]]))
    values = {name: tensor.to(place.device) for name, tensor in stacked([probes.text]).items()}
    shown = tuple(one[None].to(place.device) for one in probes.references)
    told = Told(values=values, references=shown)
    told = family.tell(told, scene, Knobs(guidance=probes.guidance))
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
        **_named(TEXT, probes.text),
        **_named(PLAIN, probes.plain or {}),
        **_named(NEGATIVE, kit.preview.negative),
        **_numbered(REFERENCE, probes.references),
        **_numbered(SHOWN, kit.preview.references),
    }
    about = json.dumps({"guidance": probes.guidance, **kit.about})
    write_whole(file, save(tensors, {"about": about}))


def _named(start: str, entry: Entry) -> dict[str, Tensor]:
    """By their names in the file; copies, for none may be a part of another."""
    solid = torch.contiguous_format
    return {start + name: tensor.cpu().clone(memory_format=solid) for name, tensor in entry.items()}


def _numbered(start: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return _named(start, {str(number): one for number, one in enumerate(tensors)})


def read(file: Path) -> Kit:
    """A kit that a run has kept; FileError where there is none."""
    if not file.is_file():
        remedy = "name the folder of a run that ended with `export.proof: fresh_process`"
        raise FileError(file, "this run has kept no probes", remedy)
    try:
        with safe_open(file, "pt") as stored:
            found = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            about = json.loads((stored.metadata() or {})["about"])
        return _kit(found, about)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        problem = f"these probes cannot be read ({error})"
        raise FileError(file, problem, "run the training command again, it writes them") from None


def _kit(found: Mapping[str, Tensor], about: dict[str, Any]) -> Kit:
    """A kit from its tensors; KeyError where one is missing."""
    probes = Probes(
        noisy=found["noisy"],
        times=found["times"],
        text=_entry(found, TEXT),
        guidance=float(about.pop("guidance")),
        references=_in_order(found, REFERENCE),
        plain=_entry(found, PLAIN) or None,
    )
    preview = Preview(references=_in_order(found, SHOWN), negative=_entry(found, NEGATIVE))
    return Kit(
        probes=probes, trained=found["trained"], base=found["base"], about=about, preview=preview
    )


def _entry(found: Mapping[str, Tensor], start: str) -> Entry:
    return {n.removeprefix(start): one for n, one in found.items() if n.startswith(start)}


def _in_order(found: Mapping[str, Tensor], start: str) -> tuple[Tensor, ...]:
    numbered = _entry(found, start)
    return tuple(numbered[str(number)] for number in range(len(numbered)))
