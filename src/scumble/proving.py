"""The proof of adapter files in a process that knows nothing of the run but its folder.

Reads the file as any user of it would, asks the network at the points that the run has kept, and
paints the run's last preview again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor, nn

from scumble import families
from scumble.adapters.attach import attach_tensors
from scumble.checkpoint import bases, verdicts
from scumble.checkpoint.bases import DENOISER
from scumble.checkpoint.proof import Changes
from scumble.checkpoint.verdicts import Base
from scumble.errors import JobError
from scumble.events import Proven, State, Verdict
from scumble.families import encoding, weights
from scumble.families.family import Entry, Family
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place, place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.validation import likeness, pipelines, previews, probes
from scumble.validation.previews import Request
from scumble.validation.probes import Kit

T = TypeVar("T")
VELOCITY_BAR = {False: 1e-3, True: 1e-2}
"""Distance of velocities, as a share: in float32, and with 16 bits anywhere."""

PICTURE_BAR = {False: 40.0, True: 35.0}
"""PSNR in dB of a preview and of the same made again: in float32, and with 16 bits anywhere."""

STRENGTH_BAND = (0.9, 1.1)
"""How much of the trained change a file must make."""

INVISIBLE_SHARE = 1e-3
INVISIBLE_LEVELS = 0.5
"""Pictures that are nearer than this on average look alike: half a level of 255."""

PROMPT, SIDE, SEED = "a photograph of a cat", 512, 42
"""What is painted for a comparison with the published pipeline, where there is no run."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be proven, and against what."""

    files: tuple[Path, ...]
    hardware: HardwareSpec
    base: Path
    """Where a relative `model.path` starts."""

    model: ModelSpec | None = None
    run: Path | None = None
    family: str = "flux"
    flavour: str = "dev"
    pipeline: bool = False
    """Whether the published pipeline has to agree."""


def proofs(asked: Asked) -> Iterator[Proven]:
    """Each file's verdicts; ScumbleError for what is wrong with the model or the run."""
    if asked.pipeline:
        pipelines.refuse_without_peft()
    kit = probes.read(asked.run / probes.FOLDER / probes.FILE) if asked.run else None
    spec, base = _model(asked, kit)
    if spec is None:
        against = bases.published(families.find(asked.family, asked.flavour))
        for file in asked.files:
            yield _proven(file, verdicts.looked(file, against).verdicts, (), time.perf_counter())
        return
    stage = Stage(
        model=weights.opened(families.find(spec.family, spec.flavour), spec, base),
        spec=spec,
        place=_place(asked.hardware, kit),
        kit=kit,
        run=asked.run,
    )
    told = f"{spec.family} {spec.flavour} of {spec.path or spec.parts[DENOISER]}"
    against = bases.of_model(stage.model, told, asked.files)
    for number, file in enumerate(asked.files):
        yield _staged(stage, file, against, first=number == 0, pipeline=asked.pipeline)


def _staged(stage: Stage, file: Path, base: Base, *, first: bool, pipeline: bool) -> Proven:
    """One file on a model that is there; the first one paints."""
    start, look = time.perf_counter(), verdicts.looked(file, base)
    found, pictures = list(look.verdicts), ()
    if not look.fits or look.changes is None:
        words = "the network was not run: the file does not fit it"
        return _proven(file, [*found, _verdict("velocity", "unknown", words)], (), start)
    found += stage.velocity(look.changes)
    if first and stage.request:
        again, pictures = stage.picture(look.changes, file.stem)
        found += again
    elif first and stage.kit:
        text = "the job made no previews, so none could be made again; the velocities stand for it"
        found.append(_verdict("picture", "unknown", text))
    if pipeline:
        found += against_pipeline(stage, file, look.changes)
    return _proven(file, found, pictures, start)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A model with its denoiser loaded once for all files, and what a run has kept of itself."""

    model: weights.Model
    spec: ModelSpec
    place: Place
    kit: Kit | None
    run: Path | None

    @property
    def family(self) -> Family:
        """The model's."""
        return self.model.family

    @property
    def request(self) -> Request | None:
        """The preview that is made again."""
        told = self.kit.about.get("request") if self.kit else None
        return None if told is None else request_of(told)

    @cached_property
    def denoiser(self) -> nn.Module:
        """Loaded when first needed."""
        dtype, device = self.place.dtype, self.place.device
        return weights.loaded(self.model, DENOISER, dtype=dtype, device=device)

    @cached_property
    def painter(self) -> previews.Painter:
        """Loads the autoencoder when first needed."""
        return previews.Painter(self.model, self.place)

    @cached_property
    def probes(self) -> probes.Probes:
        """The run's, else made-up ones."""
        if self.kit:
            return self.kit.probes
        configs, tokens = self.model.configs, self.spec.text_tokens or self.family.text_tokens
        shapes = {name: one(configs, tokens) for name, one in self.family.text_fields.items()}
        return probes.made(self.family, shapes, self.place, (256, 256))

    @cached_property
    def plain_velocities(self) -> Tensor:
        """What the base model answers here."""
        return self._asked()

    def velocity(self, changes: Changes) -> Iterator[Verdict]:
        """What the file makes of the network's answers, against what the run made of them."""
        base = self.plain_velocities
        found = self.worn(changes, self._asked)
        moved = probes.off(found, base)
        if not self.kit:
            yield _moved(moved)
            return
        bar, off = VELOCITY_BAR[_coarse(self)], probes.off(found, self.kit.trained)
        state: State = "ok" if off <= bar else "failed"
        text = f"off by {off:.1e} from what was trained, at most {bar:.0e}"
        yield _verdict("velocity", state, text)
        yield _made_up(found - base, self.kit.trained - self.kit.base, moved)

    def picture(self, changes: Changes, name: str) -> tuple[list[Verdict], tuple[Path, ...]]:
        """The run's last preview made again, and the base model's; kept under the file's name."""
        assert self.kit and self.run and self.request
        again = self.worn(changes, self._painted)
        base = self._painted()
        about = {**asdict(self.request), "model": self.spec.path, "adapter": None}
        folder = self.run / probes.FOLDER
        files = (
            previews.save(again, folder / f"again-{name}.png", {**about, "adapter": name}),
            previews.save(base, folder / "base.png", about),
        )
        there = self.run / (self.kit.about["picture"] or "samples")
        return [_again(again, there, PICTURE_BAR[_coarse(self)]), _seen(again, base)], files

    def _asked(self) -> Tensor:
        net = Net(self.denoiser, plain)
        return probes.velocities(self.family, net, self.place, self.probes)

    def _painted(self) -> Image.Image:
        assert self.kit and self.request
        return self.paint(self.request, self.kit.probes.text)

    def paint(self, request: Request, text: Entry) -> Image.Image:
        """One picture of the denoiser as it stands."""
        net = Net(self.denoiser, plain)
        return self.painter.paint(previews.latents(self.family, net, self.place, text, request))

    def worn(self, changes: Changes, act: Callable[[], T]) -> T:
        """What `act` makes while the changes are in the denoiser."""
        adapters = attach_tensors(self.denoiser, changes.get(DENOISER, {}))
        try:
            return act()
        finally:
            adapters.detach()


def _coarse(stage: Stage) -> bool:
    """Whether 16 bits, or another machine's rounding, stand between the run and this."""
    about, place = stage.kit.about if stage.kit else {}, stage.place
    here = (place.device.type, place.precision)
    there = (str(about.get("device", here[0])).split(":")[0], about.get("precision", here[1]))
    return "bf16" in (here[1], there[1]) or about.get("dtype") != "float32" or here != there


def against_pipeline(stage: Stage, file: Path, changes: Changes) -> Iterator[Verdict]:
    """Whether the published pipeline loads each layer of the file, and paints what we paint."""
    folder = _folder(stage)
    request = stage.request or Request(
        prompt=PROMPT,
        width=SIDE,
        height=SIDE,
        steps=stage.family.preview_steps,
        guidance=stage.family.preview_guidance,
        seed=SEED,
    )
    tokens = stage.spec.text_tokens or stage.family.text_tokens
    entry = _text(stage, request.prompt, tokens)
    ours = stage.worn(changes, lambda: stage.paint(request, entry))
    stage.denoiser.to("cpu")  # two of them at once may be too many for a card
    try:
        theirs = pipelines.seen(folder, file, request, tokens, stage.place)
    except pipelines.Refused as error:
        words = f"the plain pipeline does not load this file: {error}"
        yield _verdict("pipeline keys", "failed", words)
        return
    finally:
        stage.denoiser.to(stage.place.device)
    layers = changes.get(DENOISER, {}).keys()
    lost, more = sorted(layers - theirs.layers), sorted(theirs.layers - layers)
    if lost or more:
        text = f"the pipeline has {len(theirs.layers)} of {len(layers)} layers; {(lost + more)[0]}"
        yield _verdict("pipeline keys", "failed", f"{text} is on one side only")
    else:
        yield _verdict("pipeline keys", "ok", f"the plain pipeline loads all {len(layers)} layers")
    like = likeness.psnr(ours, theirs.picture)
    bar = PICTURE_BAR[stage.place.precision == "bf16"]
    state: State = "ok" if like >= bar else "failed"
    words = f"its picture and ours: {likeness.decibels(like)}, at least {bar:.0f} dB"
    yield _verdict("pipeline picture", state, words)


def request_of(told: Any) -> Request:
    """The request that a kit holds as JSON."""
    return Request(
        prompt=str(told["prompt"]),
        width=int(told["width"]),
        height=int(told["height"]),
        steps=int(told["steps"]),
        guidance=float(told["guidance"]),
        seed=int(told["seed"]),
    )


def _text(stage: Stage, prompt: str, tokens: int) -> Entry:
    """A prompt as the network reads it; the text encoders come and go."""
    tools = weights.tools(stage.model)
    (entry,) = encoding.read_texts(stage.model, tools, stage.place, [prompt], tokens)
    return entry


def _folder(stage: Stage) -> Path:
    """The model's diffusers folder; JobError where it lies in single files."""
    folders = {file.parent.parent for file in stage.model.files(DENOISER)}
    if len(folders) == 1 and (folder := folders.pop()) and (folder / "model_index.json").is_file():
        return folder
    remedy = "give --model FOLDER with a model_index.json, or builtin:NAME"
    raise JobError("--against diffusers", "the plain pipeline needs a diffusers folder", remedy)


def _model(asked: Asked, kit: Kit | None) -> tuple[ModelSpec | None, Path]:
    """Which model the files are put into: the one that is told, else the run's."""
    if asked.model is not None or kit is None:
        return asked.model, asked.base
    return ModelSpec.model_validate(kit.about["model"]), Path(str(kit.about["base"]))


def _place(hardware: HardwareSpec, kit: Kit | None) -> Place:
    """Where the run computed, unless somebody says otherwise or it is not here."""
    if kit is None:
        return place_for(hardware)
    told = {"device": str(kit.about["device"]), "precision": str(kit.about["precision"])}
    asked = {name: one for name, one in hardware.model_dump().items() if one != "auto"}
    return place_for(HardwareSpec.model_validate(told | {k: asked[k] for k in told if k in asked}))


def _moved(share: float) -> Verdict:
    text = f"it moves the network's answers by {100 * share:.2g} %"
    if share < INVISIBLE_SHARE:
        return _verdict("effect", "remark", f"{text}: hardly anything will be seen")
    return _verdict("effect", "ok", text)


def _made_up(found: Tensor, trained: Tensor, moved: float) -> Verdict:
    """Whether the change is as strong as the trained one, however small beside the velocity."""
    if not bool(trained.any()):
        return _verdict("change", "failed", "training did not move the network's answers at all")
    made = probes.share(found, trained)
    low, high = STRENGTH_BAND
    text = (
        f"it moves the network's answers by {100 * moved:.2g} %, {100 * made:.1f} % of the trained"
    )
    return _verdict("change", "ok" if low <= made <= high else "failed", text + " change")


def _again(again: Image.Image, there: Path, bar: float) -> Verdict:
    """The preview made again, beside the one that the run made."""
    try:
        with Image.open(there) as picture:
            like = likeness.psnr(again, picture)
    except (OSError, ValueError):
        text = f"the run's own picture ({there.name}) is not there, so none was compared with it"
        return _verdict("picture", "unknown", text)
    text = f"the last preview made again: {likeness.decibels(like)}, at least {bar:.0f} dB"
    return _verdict("picture", "ok" if like >= bar else "failed", text)


def _seen(again: Image.Image, base: Image.Image) -> Verdict:
    like, apart = likeness.psnr(again, base), likeness.apart(again, base)
    text = f"its picture and the base model's: {likeness.decibels(like)}, {apart:.1f} of 255 apart"
    if apart < INVISIBLE_LEVELS:
        return _verdict("effect", "remark", f"{text}: the adapter changes nothing that can be seen")
    return _verdict("effect", "ok", text)


def _proven(
    file: Path, found: Sequence[Verdict], pictures: tuple[Path, ...], start: float
) -> Proven:
    return Proven(
        file=file,
        verdicts=tuple(found),
        fresh_process=True,
        seconds=time.perf_counter() - start,
        pictures=pictures,
    )


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)
