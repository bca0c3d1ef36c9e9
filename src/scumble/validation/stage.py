"""A model on which adapter files are tried: asked at a few points, and painted with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor, nn

from scumble.adapters.attach import attach_tensors
from scumble.adapters.layouts import Changes
from scumble.disk import made
from scumble.events import State, Verdict
from scumble.families import weights
from scumble.families.family import Entry, Family
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.spec.model import ModelSpec
from scumble.validation import likeness, previews, probes, texts
from scumble.validation.previews import Request, Sitting
from scumble.validation.probes import Kit, Probes

DENOISER = "denoiser"
T = TypeVar("T")
VELOCITY_BAR = {False: 1e-3, True: 1e-2}
"""Distance of velocities, as a share: in float32, and with 16 bits anywhere."""

PICTURE_BAR = {False: 40.0, True: 35.0}
"""PSNR in dB of a preview and of the same made again: in float32, and with 16 bits anywhere."""

CLEARLY = 6.0
"""Half the distance, in dB."""

STRENGTH_BAND = (0.9, 1.1)
"""How much of the trained change a file must make."""

INVISIBLE_SHARE = 1e-3
INVISIBLE_LEVELS = 0.5
"""Pictures that are nearer than this on average look alike: half a level of 255."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A model with its denoiser loaded once for all files, and what a run has kept of itself."""

    model: weights.Model
    spec: ModelSpec
    place: Place
    kit: Kit | None
    run: Path | None
    out: Path | None
    """Where pictures are put."""

    lent: nn.Module | None = None
    """A denoiser that is there already."""

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
        """Loaded when first needed, unless there is one."""
        if self.lent is not None:
            return self.lent
        dtype, device = self.place.dtype, self.place.device
        return weights.loaded(self.model, DENOISER, dtype=dtype, device=device)

    @cached_property
    def painter(self) -> previews.Painter:
        """Loads the autoencoder when first needed."""
        return previews.Painter(self.model, self.place)

    @cached_property
    def probes(self) -> probes.Probes:
        """The run's, else made-up ones; those show a picture along where the family takes any."""
        if self.kit:
            return self.kit.probes
        family, tokens = self.family, self.model.tokens(self.spec.text_tokens)
        shapes = {name: one(self.model.configs, tokens) for name, one in family.text_fields.items()}
        text = probes.made_up(shapes, self.place)
        shown = probes.beside(family, probes.SIZE, min(1, family.references))
        return probes.about_text(family, text, probes.SIZE, family.preview_guidance, shown)

    @cached_property
    def plain_velocities(self) -> Tensor:
        """What the base model answers here."""
        told = self.probes
        return self.answers(told if told.plain is None else replace(told, text=told.plain))

    def velocity(self, changes: Changes) -> Iterator[Verdict]:
        """What the file makes of the network's answers, against what the run made of them."""
        base = self.plain_velocities
        found = self.worn(changes, self.answers)
        yield from texts.read_again(self, changes, VELOCITY_BAR[_coarse(self)])
        if self.kit or changes.get(DENOISER):
            yield from weighed(self, found, base)

    def picture(self, changes: Changes, name: str) -> tuple[list[Verdict], tuple[Path, ...]]:
        """The run's last preview made again, and the base model's; kept under the file's name."""
        return compared(self, self.worn(changes, self.painted), _by_base(self), name)

    def answers(self, asked: Probes | None = None) -> Tensor:
        """What the denoiser answers as it stands."""
        net = Net(self.denoiser, plain)
        return probes.velocities(self.family, net, self.place, asked or self.probes)

    def painted(self) -> Image.Image:
        """The run's preview, of the denoiser as it stands; none of what is shown beside it."""
        assert self.kit
        return self.paint(_sitting(self, self.kit.probes.text))

    def paint(self, sitting: Sitting) -> Image.Image:
        """One picture of the denoiser as it stands."""
        net = Net(self.denoiser, plain)
        return self.painter.paint(previews.latents(self.family, net, self.place, sitting))

    def worn(self, changes: Changes, act: Callable[[], T]) -> T:
        """What `act` makes while the changes are in the denoiser."""
        adapters = attach_tensors(self.denoiser, changes.get(DENOISER, {}))
        try:
            return act()
        finally:
            adapters.detach()


def _sitting(stage: Stage, text: Entry) -> Sitting:
    """The run's preview, with its text as somebody has read it."""
    assert stage.kit and stage.request
    preview = stage.kit.preview
    return Sitting(
        request=stage.request,
        text=text,
        without=preview.negative or None,
        references=preview.references,
    )


def _by_base(stage: Stage) -> Image.Image:
    """The run's preview of the base model, which may read the text in its own way."""
    assert stage.kit and stage.request
    told = stage.kit.probes
    return stage.paint(_sitting(stage, told.plain or told.text))


def weighed(stage: Stage, found: Tensor, base: Tensor) -> Iterator[Verdict]:
    """Answers with what a file holds, and the base model's, against what the run got."""
    moved = probes.off(found, base)
    if not stage.kit:
        yield _moved(moved)
        return
    bar, off = VELOCITY_BAR[_coarse(stage)], probes.off(found, stage.kit.trained)
    state: State = "ok" if off <= bar else "failed"
    text = f"off by {off:.1e} from what was trained, at most {bar:.0e}"
    yield _verdict("velocity", state, text)
    yield _made_up(found - base, stage.kit.trained - stage.kit.base, moved)


def compared(
    stage: Stage, again: Image.Image, base: Image.Image, name: str
) -> tuple[list[Verdict], tuple[Path, ...]]:
    """The same with both painted."""
    assert stage.kit and stage.run
    there = stage.kit.about["picture"]
    file = stage.run / there if there else None
    found = [_again(again, base, file, PICTURE_BAR[_coarse(stage)]), _seen(again, base)]
    return found, _kept(stage, again, base, name)


def _coarse(stage: Stage) -> bool:
    """Whether 16 bits, or another machine's rounding, stand between the run and this."""
    about, place = stage.kit.about if stage.kit else {}, stage.place
    here = (place.device.type, place.precision)
    there = (str(about.get("device", here[0])).split(":")[0], about.get("precision", here[1]))
    return "bf16" in (here[1], there[1]) or about.get("dtype") != "float32" or here != there


def _kept(stage: Stage, again: Image.Image, base: Image.Image, name: str) -> tuple[Path, ...]:
    """The pictures as files, where there is a folder for them."""
    if stage.out is None:
        return ()
    assert stage.request
    parts = {part: source.told for part, source in stage.model.parts.items()}
    about = {**asdict(stage.request), "model": stage.spec.path, "parts": parts}
    made(stage.out)
    return (
        previews.save(again, stage.out / f"again-{name}.png", {**about, "adapter": name}),
        previews.save(base, stage.out / "base.png", {**about, "adapter": None}),
    )


def request_of(told: Any) -> Request:
    """The request that a kit holds as JSON; what an older one did not know is as by default."""
    return TypeAdapter(Request).validate_python(told)


def _moved(share: float) -> Verdict:
    text = f"it moves the network's answers by {_percent(share)}"
    if share < INVISIBLE_SHARE:
        return _verdict("effect", "remark", f"{text}: hardly anything will be seen")
    return _verdict("effect", "ok", text)


def _made_up(found: Tensor, trained: Tensor, moved: float) -> Verdict:
    """Whether the change is as strong as the trained one, however small beside the velocity."""
    if not bool(trained.any()):
        return _verdict("change", "failed", "training did not move the network's answers at all")
    made = probes.share(found, trained)
    low, high = STRENGTH_BAND
    text = f"it moves the network's answers by {_percent(moved)}, {100 * made:.1f} % of the trained"
    if not low <= made <= high:
        return _verdict("change", "failed", f"{text} change")
    if moved < INVISIBLE_SHARE:
        return _verdict("change", "remark", f"{text} change: hardly anything will be seen")
    return _verdict("change", "ok", f"{text} change")


def _percent(share: float) -> str:
    """Two digits, and no exponent for a large one."""
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:,.0f} %"


def _again(again: Image.Image, base: Image.Image, there: Path | None, bar: float) -> Verdict:
    """The preview made again, beside the one that the run made.

    Only where the base model's picture is clearly further from that one does it say anything.
    """
    try:
        picture = previews.output(there or Path())
        like, plainly = likeness.psnr(again, picture), likeness.psnr(base, picture)
    except (OSError, ValueError):
        text = "the run's own picture is not there or of another size: none was compared with it"
        return _verdict("picture", "unknown", text)
    text = f"the last preview made again: {likeness.decibels(like)}, at least {bar:.0f} dB"
    if like < bar:
        return _verdict("picture", "failed", text)
    text += f"; the base model's: {likeness.decibels(plainly)}"
    if not like > plainly + CLEARLY:
        return _verdict("picture", "unknown", f"{text}, too near to tell them apart")
    return _verdict("picture", "ok", text)


def _seen(again: Image.Image, base: Image.Image) -> Verdict:
    like, apart = likeness.psnr(again, base), likeness.apart(again, base)
    text = f"its picture and the base model's: {likeness.decibels(like)}, {apart:.1f} of 255 apart"
    if apart < INVISIBLE_LEVELS:
        return _verdict("effect", "remark", f"{text}: it changes nothing that can be seen")
    return _verdict("effect", "ok", text)


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)
