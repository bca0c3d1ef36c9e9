"""Pictures of a model, from the same noise each time, and all that is needed to repeat them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from scumble import __version__
from scumble.disk import told, write_whole
from scumble.errors import JobError
from scumble.families import weights
from scumble.families.family import Entry, Family, Knobs, Scene, Told, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place, visiting
from scumble.objective.process import Latents, Times
from scumble.objective.solvers import walked
from scumble.spec.validation import ValidationSpec


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that decides a picture besides the weights; its JSON lies beside every preview."""

    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int

    def noise(self, family: Family) -> Tensor:
        """The noise that `torch.manual_seed(seed)` gives a published pipeline."""
        side = family.pixels_per_latent
        shape = (family.latent_channels, self.height // side, self.width // side)
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))


def requests(spec: ValidationSpec, family: Family) -> list[Request]:
    """What a job's validation section asks for, with the published values where it is silent."""
    guidance = family.preview_guidance if spec.guidance is None else spec.guidance
    return [
        Request(
            prompt=one.prompt,
            width=one.width or spec.width,
            height=one.height or spec.height,
            steps=one.steps or spec.steps or family.preview_steps,
            guidance=guidance if one.guidance is None else one.guidance,
            seed=spec.seed + number if one.seed is None else one.seed,
        )
        for number, one in enumerate(spec.asked)
    ]


def check(spec: ValidationSpec, family: Family) -> list[JobError]:
    """What of a validation section this family cannot do."""
    rows = [("validation", spec.width, spec.height, spec.guidance)]
    rows += [
        (f"validation.requests.{number}", one.width or 0, one.height or 0, one.guidance)
        for number, one in enumerate(spec.requests)
    ]
    problems = []
    for where, width, height, guidance in rows:
        for side, pixels in (("width", width), ("height", height)):
            step = family.pixels_per_step
            if pixels % step:
                near = max(step, round(pixels / step) * step)
                remedy = f"{family.name} needs a multiple of {step}, such as {near}"
                problems.append(JobError(f"{where}.{side}", f"{pixels} does not fit", remedy))
        if guidance is not None and guidance > 0 and not family.guidance_embedded:
            problem = f"{family.name} {family.flavour} takes no guidance"
            problems.append(JobError(f"{where}.guidance", problem, "leave it out"))
    return problems


@torch.no_grad()
def latents(family: Family, net: Net, place: Place, entry: Entry, request: Request) -> Latents:
    """The clean latents that the model makes of one request."""
    noise = request.noise(family)[None].to(place.device)
    size = (request.height, request.width)
    frame = [*size, *size, 0, 0, *size]
    values = {name: tensor.to(place.device) for name, tensor in stacked([entry]).items()}
    scene = Scene(frames=torch.tensor([frame]))
    words = family.tell(Told(values=values), scene, Knobs(guidance=request.guidance))

    def answer(noisy: Latents, times: Times) -> Latents:
        with place.autocast():
            return family.predict(net, noisy, times, words)

    tokens = (request.height // family.pixels_per_step) * (request.width // family.pixels_per_step)
    return walked(family.process, answer, noise, family.process.path(request.steps, tokens))


class Painter:
    """Turns latents into picture files; loads the autoencoder when first needed."""

    def __init__(self, model: weights.Model, place: Place) -> None:
        self.model = model
        self.place = place
        self._autoencoder: nn.Module | None = None

    def paint(self, clean: Latents) -> Image.Image:
        """One picture."""
        if self._autoencoder is None:
            self._autoencoder = weights.loaded(
                self.model, "autoencoder", dtype=self.place.dtype, device=torch.device("cpu")
            )
        with torch.inference_mode(), visiting(self.place.device, self._autoencoder) as module:
            pixels = self.model.family.show({"autoencoder": module}, clean)[0]
        bytes_ = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu()
        return Image.fromarray(bytes_.numpy())


def short(prompt: str) -> str:
    """A prompt as part of a file name."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")
    return words[:40].strip("-") or "picture"


def save(picture: Image.Image, file: Path, about: Mapping[str, object]) -> Path:
    """Write the picture and its JSON, the picture last, so that one with a picture is whole."""
    record = {"scumble": __version__, **about}
    write_whole(file.with_suffix(".json"), json.dumps(record, indent=2).encode() + b"\n")
    partial = file.with_name(f".{file.name}")
    with told(file):
        picture.save(partial, "PNG")
        partial.replace(file)
    return file


def painted(
    painter: Painter,
    net: Net,
    asked: Sequence[tuple[Request, Entry]],
    folder: Path,
    about: Mapping[str, object],
    *,
    first: int = 0,
) -> Iterator[Path]:
    """One file per request, numbered in their order from `first`."""
    for number, (request, entry) in enumerate(asked, first):
        clean = latents(painter.model.family, net, painter.place, entry, request)
        file = folder / f"{number:02d}-{short(request.prompt)}.png"
        yield save(painter.paint(clean), file, {**asdict(request), **about})
