"""Minimal inference: pictures from a model and an adapter file, nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from scumble import families
from scumble.adapters.trained import Trained
from scumble.checkpoint import bases, merging, network, network_proof
from scumble.checkpoint.outfits import Outfit, read_for, worn
from scumble.data import packing
from scumble.data.cache import Missing
from scumble.data.hashing import hashed
from scumble.data.looks import Look
from scumble.data.saying import Saying, saying
from scumble.disk import made
from scumble.errors import FileError, JobError, ScumbleError, gather
from scumble.families import encoding, weights
from scumble.families.eyes import Eyes
from scumble.families.family import Entry, Family
from scumble.families.reader import Reader
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place, place_for
from scumble.preflight import located, quantising, showing
from scumble.sittings import beside, cited
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.saving import CacheSpec
from scumble.spec.validation import ValidationSpec
from scumble.validation import previews
from scumble.validation.previews import Request, Sitting


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What `scumble sample` was asked for."""

    model: ModelSpec
    hardware: HardwareSpec
    validation: ValidationSpec
    adapter: Path | None
    strength: float
    out: Path
    """A folder."""

    base: Path
    """Where a relative `model.path` starts."""

    beside: tuple[tuple[Path, float], ...] = ()
    """Further adapters and how much of each."""

    merged: bool = False
    """Whether adapters are worked into the weights, rounded as these are; else they stay beside
    them."""

    quantised: Path | None = None
    """Where quantised layers are kept; None: nowhere."""

    areas: tuple[int | None, ...] = ()
    """Sides of the squares that pictures shown along are as large as, in order; None or none: the
    preview's own."""

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """All of them."""
        first = () if self.adapter is None else ((self.adapter, self.strength),)
        return (*first, *self.beside)


def sampled(asked: Sampling) -> Iterator[Path]:
    """Make the pictures one after another; each file's path as soon as it is written."""
    asked, model = _opened(asked)
    family, place = model.family, place_for(asked.hardware)
    outfits = _dressing(model, asked.adapters)
    made(asked.out)
    tokens, wanted = model.tokens(asked.model.text_tokens), _wanted(asked, family)

    def dress(part: str, module: nn.Module) -> None:
        worn(outfits, module, part, aliases(model, part), merged=asked.merged)

    shown = _seen(model, place, [looks for _, looks in wanted])
    texts = [one for each in wanted for one in _texts(family, *each)]
    tools = weights.tools(model)
    read = iter(list(encoding.read_texts(model, tools, place, texts, tokens, dress)))
    # the encoders are gone
    sittings = [
        Sitting(
            request=request,
            text=next(read),
            without=next(read) if request.led else None,
            references=latents,
            beside=beside(looks),
        )
        for (request, looks), latents in zip(wanted, shown, strict=True)
    ]
    denoiser = weights.loaded(model, "denoiser", dtype=place.dtype, device=place.device)
    dress("denoiser", denoiser)
    about = _about(asked, model, tokens)
    painter = previews.Painter(model, place)
    yield from previews.painted(
        painter, Net(denoiser, plain), sittings, asked.out, about, first=_next(asked.out)
    )


Wanted = tuple[Request, tuple[Look, ...]]
"""A picture that is asked for, and what is shown along."""


def _wanted(asked: Sampling, family: Family) -> list[Wanted]:
    """Everything to paint, with the pictures shown along named and hashed."""
    spec = asked.validation
    rows = showing.requested(spec, family, asked.areas)
    hashes = hashed(None, showing.images(rows), read=True)
    return [
        (replace(one, references=cited(looks, [hashes[look.image.id] for look in looks])), looks)
        for looks, one in zip(rows, previews.requests(spec, family), strict=True)
    ]


def _texts(family: Family, request: Request, looks: Sequence[Look]) -> list[Saying]:
    """What is read for a picture: its prompt, and what it is led away from."""
    texts = [request.prompt, *([request.negative] if request.led else [])]
    return [saying(text, looks, family.glance) for text in texts]


def _seen(
    model: weights.Model, place: Place, rows: Sequence[Sequence[Look]]
) -> list[tuple[Tensor, ...]]:
    """Clean latents of pictures, as a run would keep them; the autoencoder is gone afterwards."""
    wanted = {look.image.id + look.view.facts(): look for looks in rows for look in looks}
    if not wanted:
        return [() for _ in rows]
    eyes = Eyes(model, place, CacheSpec().picture_dtype)
    seen = eyes.see([Missing(b"", look.image.file, look.view) for look in wanted.values()])
    found = {name: one["latents"].float() for name, one in zip(wanted, seen, strict=True)}
    return [tuple(found[look.image.id + look.view.facts()] for look in looks) for looks in rows]


def _opened(asked: Sampling) -> tuple[Sampling, weights.Model]:
    """The model, and what is asked of it; everything that cannot be is told before.

    A file that holds a whole network takes the denoiser's place and is no adapter any more.
    """
    family = families.find(asked.model.family, asked.model.flavour)
    whole = [one for one in asked.adapters if network.is_network(one[0], family.keys)]
    problems = [
        JobError("--strength", f"{strength} is no number to scale by", "try 1")
        for _, strength in asked.adapters
        if not math.isfinite(strength)
    ]
    problems += [
        JobError(file, "holds a whole network, which has no strength", "leave the strength out")
        for file, strength in whole
        if strength != 1
    ]
    if len(whole) > 1:
        told, remedy = f"{len(whole)} files hold whole networks", "name one of them"
        problems.append(JobError("--adapter", told, remedy))
    if asked.merged and asked.model.quantised:
        problem = "the adapters cannot be worked into quantised weights"
        remedy = "leave --merge out, or name them in `model.merged`"
        problems.append(JobError("--merge", problem, remedy))
    validation = located.previews(asked.validation, asked.base)
    asked = replace(asked, validation=validation)
    gather("these pictures cannot be made", [*problems, *showing.refused(validation, family)])
    quantising.checked(asked.model, None, family, place_for(asked.hardware))
    if whole:
        rest = tuple(one for one in asked.adapters if one not in whole)
        parts = {**asked.model.parts, bases.DENOISER: str(whole[0][0].absolute())}
        spec = asked.model.model_copy(update={"parts": parts})
        asked = replace(asked, model=spec, adapter=None, beside=rest)
    model = weights.opened(family, asked.model, asked.base)
    if asked.quantised is not None:
        model = weights.kept_in(model, asked.quantised)
    model = merging.with_merged(model, asked.model, asked.base)
    return asked, network_proof.placed(model, whole[0][0]) if whole else model


def _about(asked: Sampling, model: weights.Model, tokens: int) -> dict[str, object]:
    """What lies beside every picture of how it was made."""
    place = place_for(asked.hardware)
    one = len(asked.adapters) == 1
    several = [{"adapter": file.name, "strength": much} for file, much in asked.adapters]
    return {
        "model": asked.model.path,
        "parts": {name: source.told for name, source in model.parts.items()},
        "flavour": model.family.flavour,
        "text_tokens": tokens,
        "text_mask": model.masked,
        "adapter": asked.adapters[0][0].name if one else None,
        "strength": asked.adapters[0][1] if one else 1.0,
        "adapters": several,
        "precision": place.precision,
    }


class Studio:
    """A model that is opened once and paints what it is asked for.

    If it `stays`, encoders and denoiser are kept loaded together; else the encoders are read for
    each picture and go before the denoiser comes.
    """

    def __init__(self, asked: Sampling, *, stays: bool) -> None:
        """`asked.validation` is only checked; `paint` is told what to paint."""
        self.asked, self.model = _opened(asked)
        self._place = place_for(asked.hardware)
        self._outfits = _read(self.model, [file for file, _ in self.asked.adapters])
        self._tokens = self.model.tokens(asked.model.text_tokens)
        self._painter = previews.Painter(self.model, self._place)
        self._modules: dict[str, nn.Module] = {}
        self._worn: list[Trained] = []
        self._reader = self._encoders() if stays else None
        made(asked.out)

    @property
    def family(self) -> Family:
        """Of its model."""
        return self.model.family

    def strengths(self, much: Sequence[float]) -> None:
        """Wear so much of each adapter from now on; JobError where that cannot be."""
        if self.asked.merged or len(much) != len(self._outfits):
            told = f"{len(much)} strengths for {len(self._outfits)} adapters"
            problem = "the adapters are part of the weights" if self.asked.merged else told
            raise JobError("--m", problem, "give one for each adapter that is not merged")
        files = [file for file, _ in self.asked.adapters]
        beside = tuple(zip(files, much, strict=True))
        self.asked = replace(self.asked, adapter=None, beside=beside)
        for adapters in reversed(self._worn):
            adapters.detach()
        self._worn.clear()
        for part, module in self._modules.items():
            self._wear(part, module)

    def paint(self, request: Request, file: Path) -> Path:
        """One picture, of words alone."""
        text, *without = self._read_texts(_texts(self.family, request, ()))
        net = Net(self._denoiser(), plain)
        sitting = Sitting(request=request, text=text, without=without[0] if without else None)
        clean = previews.latents(self.family, net, self._place, sitting)
        about = {**asdict(request), **_about(self.asked, self.model, self._tokens)}
        return previews.save(self._painter.paint(clean), file, about)

    def _encoders(self) -> Reader:
        kept = packing.precision("auto", self._place.dtype)
        reader = Reader(self.model, self._place, self._tokens, kept)
        reader.dress(self._take)
        return reader

    def _read_texts(self, texts: Sequence[Saying]) -> list[Entry]:
        model, place = self.model, self._place
        if self._reader is None:
            tools, dress = weights.tools(model), self._wear
            return list(encoding.read_texts(model, tools, place, texts, self._tokens, dress))
        entries = self._reader.read(texts)
        return [{name: one.to(place.device) for name, one in each.items()} for each in entries]

    def _denoiser(self) -> nn.Module:
        if bases.DENOISER not in self._modules:
            dtype, device = self._place.dtype, self._place.device
            module = weights.loaded(self.model, bases.DENOISER, dtype=dtype, device=device)
            self._take(bases.DENOISER, module)
        return self._modules[bases.DENOISER]

    def _take(self, part: str, module: nn.Module) -> None:
        """Dress a module and keep it."""
        self._modules[part] = module
        self._wear(part, module)

    def _wear(self, part: str, module: nn.Module) -> None:
        """Put all adapters on a module."""
        much = [strength for _, strength in self.asked.adapters]
        mine = list(zip(self._outfits, much, strict=True))
        merged = self.asked.merged
        adapters = worn(mine, module, part, aliases(self.model, part), merged=merged)
        if part in self._modules:
            self._worn += adapters


def _dressing(
    model: weights.Model, adapters: Sequence[tuple[Path, float]]
) -> list[tuple[Outfit, float]]:
    """What adapter files hold, and how much of each."""
    read = _read(model, [file for file, _ in adapters])
    return list(zip(read, [strength for _, strength in adapters], strict=True))


def _read(model: weights.Model, files: Sequence[Path]) -> list[Outfit]:
    """What each file holds; an ExceptionGroup of all that does not fit."""
    read: list[Outfit] = []
    problems: list[ScumbleError] = []
    for file in files:
        try:
            read.append(read_for(model, file))
        except FileError as error:
            problems.append(error)
    gather("these adapters cannot be worn", problems)
    return read


def _next(folder: Path) -> int:
    """The first number that no picture there has: nothing is painted over."""
    numbers = [file.name.split("-")[0] for file in folder.glob("*-*.png")]
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def aliases(model: weights.Model, part: str) -> tuple[tuple[str, str], ...]:
    """How names of a part in files begin in its module."""
    return model.family.parts[part].aliases
