"""Pictures of a model, from the same noise each time, and all that is needed to repeat them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from scumble import __version__
from scumble.disk import told, write_whole
from scumble.errors import JobError
from scumble.families import weights
from scumble.families.family import Entry, Family, stacked
from scumble.hardware.blocks import Net
from scumble.hardware.device import Place, visiting
from scumble.objective.process import Latents
from scumble.spec.validation import ValidationSpec
from scumble.validation.stitching import Beside, Box, stitched
from scumble.validation.walks import Manner, Start, arrived


@dataclass(frozen=True, kw_only=True)
class Cited:
    """A picture that is shown along: which one, and all that was done to it on the way."""

    file: str
    hash: str
    """Of the file's bytes, in hex."""

    width: int
    """As the network is shown it, in pixels."""

    height: int
    view: str
    """Cut, interpolation and the rest, as one text."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that decides a picture besides the weights; its JSON lies beside every preview."""

    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    negative: str = ""
    """What it is led away from, where `scale` is not 1."""

    scale: float = 1.0
    references: tuple[Cited, ...] = ()
    """Pictures that are shown along, in order."""

    @property
    def manner(self) -> Manner:
        """How it is made, whatever it shows."""
        return Manner(steps=self.steps, guidance=self.guidance, scale=self.scale)

    @property
    def led(self) -> bool:
        """Whether the network is asked twice at every step."""
        return self.scale != 1

    def noise(self, family: Family) -> Tensor:
        """The noise that `torch.manual_seed(seed)` gives a published pipeline."""
        side = family.pixels_per_latent
        shape = (family.latent_channels, self.height // side, self.width // side)
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sitting:
    """A request with what it takes to paint it, encoded, and what its picture is shown with."""

    request: Request
    text: Entry
    without: Entry | None = None
    """What it is led away from; needed where `request.led`."""

    references: tuple[Tensor, ...] = ()
    """Clean latents, [channels, height, width] each."""

    beside: Beside = field(default_factory=Beside)
    pair: str | None = None
    """The held-out example that it is, named like `SET/cat.png`."""


def manner(spec: ValidationSpec, family: Family) -> Manner:
    """How pictures are made where they say nothing themselves: as the job, or as published."""
    return Manner(
        steps=spec.steps or family.preview_steps,
        guidance=family.preview_guidance if spec.guidance is None else spec.guidance,
        scale=family.preview_scale if spec.scale is None else spec.scale,
    )


def requests(spec: ValidationSpec, family: Family) -> list[Request]:
    """What a job's validation section asks for, with the published values where it is silent.

    Which pictures are shown along is not said yet: nobody has looked at them.
    """
    usual = manner(spec, family)
    return [
        Request(
            prompt=one.prompt,
            width=one.width or spec.width,
            height=one.height or spec.height,
            steps=one.steps or usual.steps,
            guidance=usual.guidance if one.guidance is None else one.guidance,
            seed=spec.seed + number if one.seed is None else one.seed,
            negative=spec.negative if one.negative is None else one.negative,
            scale=usual.scale if one.scale is None else one.scale,
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
        problems += _sides(where, width, height, family)
        if guidance is not None and guidance > 0 and not family.guidance_embedded:
            problem = f"{family.name} {family.flavour} takes no guidance"
            problems.append(JobError(f"{where}.guidance", problem, "leave it out"))
    return [*problems, *_shown(spec, family), *_led(spec, family)]


def _sides(where: str, width: int, height: int, family: Family) -> Iterator[JobError]:
    step = family.pixels_per_step
    for side, pixels in (("width", width), ("height", height)):
        if pixels % step:
            near = max(step, round(pixels / step) * step)
            remedy = f"{family.name} needs a multiple of {step}, such as {near}"
            yield JobError(f"{where}.{side}", f"{pixels} does not fit", remedy)


def _shown(spec: ValidationSpec, family: Family) -> Iterator[JobError]:
    """Requests with more pictures than are taken, or fewer than are needed."""
    if spec.prompts and family.references_needed:
        yield JobError("validation.prompts", *_alone(family))
    for number, one in enumerate(spec.requests):
        if len(one.references) < family.references_needed:
            yield JobError(f"validation.requests.{number}.references", *_alone(family))
        if len(one.references) > family.references:
            told = f"{family.name} {family.flavour} takes {family.references or 'no'} references"
            remedy = (
                "leave some out" if family.references else "leave them out, or choose a flavour"
            )
            more = "" if family.references else " that is shown pictures, such as kontext"
            where = f"validation.requests.{number}.references"
            yield JobError(where, told, f"{remedy}{more}")


def _alone(family: Family) -> tuple[str, str]:
    """What is wrong with a preview that shows nothing along, and the way out."""
    return (
        f"{family.name} {family.flavour} paints nothing without a reference",
        "give each of `validation.requests` its `references`, or hold pairs out, which are shown",
    )


def _led(spec: ValidationSpec, family: Family) -> Iterator[JobError]:
    """A text to be led away from where nothing is."""
    usual = manner(spec, family).scale
    scales = [usual if one.scale is None else one.scale for one in spec.asked]
    if spec.negative and all(scale == 1 for scale in (usual, *scales)):
        problem = "it changes nothing: `validation.scale` is 1"
        yield JobError("validation.negative", problem, "set a scale, such as 2, or leave it out")
    for number, one in enumerate(spec.requests):
        if one.negative and (usual if one.scale is None else one.scale) == 1:
            where = f"validation.requests.{number}.negative"
            problem = "it changes nothing: its scale is 1"
            yield JobError(where, problem, "set its `scale`, such as 2, or leave it out")


def latents(family: Family, net: Net, place: Place, sitting: Sitting) -> Latents:
    """The clean latents that the model makes of one request, as a batch of one."""
    request = sitting.request
    size = (request.height, request.width)
    start = Start(
        noise=request.noise(family)[None],
        words=stacked([sitting.text]),
        without=None if sitting.without is None else stacked([sitting.without]),
        references=tuple(one[None] for one in sitting.references),
        frames=torch.tensor([[*size, *size, 0, 0, *size]]),
    )
    return arrived(family, net, place, start, request.manner)


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
    asked: Sequence[Sitting],
    folder: Path,
    about: Mapping[str, object],
    *,
    first: int = 0,
) -> Iterator[Path]:
    """One file per request, numbered in their order from `first`; pictures of an average, which
    `about` tells as `weights`, end in .ema.png."""
    ending = ".ema.png" if about.get("weights") == "ema" else ".png"
    for number, sitting in enumerate(asked, first):
        request = sitting.request
        output = painter.paint(latents(painter.model.family, net, painter.place, sitting))
        file = folder / f"{number:02d}-{short(request.prompt)}{ending}"
        picture, parts = stitched(output, sitting.beside)
        yield save(picture, file, {**asdict(request), **_stitching(sitting, parts), **about})


def _stitching(sitting: Sitting, parts: Mapping[str, Box]) -> Mapping[str, object]:
    """What a picture of several parts shows, from the left, and where each stands in it."""
    told: dict[str, object] = {} if sitting.pair is None else {"pair": sitting.pair}
    return {**told, "shows": parts} if parts else told


def output(file: Path) -> Image.Image:
    """What the model has made, cut out of what it is shown with as its JSON says.

    OSError where the picture cannot be read; one without JSON is all output.
    """
    beside = file.with_suffix(".json")
    about = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    with Image.open(file) as picture:
        whole = picture.convert("RGB")
    return whole.crop(tuple(about["shows"]["output"])) if "shows" in about else whole
