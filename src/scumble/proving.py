"""The proof of adapter files in a process that knows nothing of the run but its folder.

Reads the file as any user of it would, asks the network at the points that the run has kept, and
paints the run's last preview again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError

from scumble import families
from scumble.checkpoint import (
    bases,
    lycoris,
    lycoris_proof,
    merging,
    network,
    network_proof,
    on_disk,
    verdicts,
)
from scumble.checkpoint.bases import DENOISER
from scumble.checkpoint.verdicts import Base
from scumble.errors import JobError
from scumble.events import Proven, State, Verdict, Weights
from scumble.families import weights
from scumble.hardware.device import Place, place_for
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.validation import formed, pipelines, probes
from scumble.validation.against import against_pipeline
from scumble.validation.probes import Kit
from scumble.validation.stage import Stage, compared, weighed

NO_PICTURE = "the job made no previews, so none could be made again; the velocities stand for it"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be proven, and against what."""

    files: tuple[Path, ...]
    hardware: HardwareSpec
    base: Path
    """Where a relative `model.path` starts."""

    model: ModelSpec | None = None
    run: Path | None = None
    pictures: Path | None = None
    """Where the pictures that are made are put."""

    family: str = "flux"
    flavour: str = "dev"
    pipeline: bool = False
    """Whether the published pipeline has to agree."""


def proofs(asked: Asked) -> Iterator[Proven]:
    """Each file's verdicts; ScumbleError for what is wrong with the model or the run."""
    if asked.pipeline:
        pipelines.refuse_without_peft()
    kits = _kits(asked)
    kit = next(iter(kits.values()), None)
    spec, base = _model(asked, kit)
    if spec is None:
        family = families.find(asked.family, asked.flavour)
        against = bases.published(family)
        for file in asked.files:
            start, whole = time.perf_counter(), network.is_network(file, family.keys)
            seen = network_proof.looked(family, file) if whole else None
            yield _proven(file, seen or lycoris_proof.seen(file, against), (), start)
        return
    stage = Stage(
        model=_opened(asked, spec, base, kit),
        spec=spec,
        place=_place(asked.hardware, kit),
        kit=kit,
        run=asked.run,
        out=asked.pictures,
    )
    told = f"{spec.family} {spec.flavour} of {spec.parts.get(DENOISER) or spec.path}"
    against = bases.of_model(stage.model, told, asked.files)
    painted: set[Weights] = set()
    for file in asked.files:
        which = _whose(file)
        if stage.kit is not kits.get(which):
            stage = replace(stage, kit=kits[which], lent=stage.denoiser)
        first = which not in painted if kits else not painted
        painted.add(which)
        if network.is_network(file, stage.family.keys):
            yield _whole(stage, file, first=first, pipeline=asked.pipeline)
        elif lycoris.is_one(file):
            yield _formed(stage, file, against, first=first, pipeline=asked.pipeline)
        else:
            yield _staged(stage, file, against, first=first, pipeline=asked.pipeline)


def _kits(asked: Asked) -> dict[Weights, Kit]:
    """What the run has kept of the weights that the files hold; nothing where no run is named."""
    if asked.run is None:
        return {}
    folder = asked.run / probes.FOLDER
    kits: dict[Weights, Kit] = {}
    for which in map(_whose, asked.files):
        if which not in kits:
            kits[which] = probes.read(folder / probes.kept_as(which))
    return kits


def _whose(file: Path) -> Weights:
    """Which weights of a run a file says it holds."""
    try:
        told = on_disk.metadata(file)
    except (SafetensorError, OSError):  # what is wrong with it, its verdicts say
        return "raw"
    return "ema" if told.get(probes.WEIGHTS) == "ema" else "raw"


def _whole(stage: Stage, file: Path, *, first: bool, pipeline: bool) -> Proven:
    """A file that holds a whole network, put in the place of the base model's."""
    start, pictures = time.perf_counter(), ()
    found = network_proof.looked(stage.family, file, stage.model)
    if pipeline:
        words = "the plain pipeline was not asked: it is asked about adapters"
        found.append(_verdict("pipeline", "unknown", words))
    if any(one.state == "failed" for one in found):
        words = "the network was not run: something is wrong with the file"
        return _proven(file, [*found, _verdict("velocity", "unknown", words)], (), start)
    paints = first and stage.request is not None
    base, plain = stage.plain_velocities, stage.painted() if paints else None
    stage.denoiser.to("cpu")  # two of them at once may be too many for a card
    worn = replace(stage, model=network_proof.placed(stage.model, file), lent=None)
    found += weighed(worn, worn.answers(), base)
    if plain is not None:
        again, pictures = compared(worn, worn.painted(), plain, file.stem)
        found += again
    elif first and stage.kit:
        found.append(_verdict("picture", "unknown", NO_PICTURE))
    stage.denoiser.to(stage.place.device)
    return _proven(file, found, pictures, start)


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
        found.append(_verdict("picture", "unknown", NO_PICTURE))
    if pipeline:
        found += against_pipeline(stage, file, look.changes)
    return _proven(file, found, pictures, start)


def _formed(stage: Stage, file: Path, base: Base, *, first: bool, pipeline: bool) -> Proven:
    """One file in LyCORIS' forms on a model that is there; the first one paints."""
    start, look = time.perf_counter(), lycoris_proof.looked(file, base)
    found, pictures = list(look.verdicts), ()
    if pipeline:
        words = "the plain pipeline was not asked: it does not read LyCORIS' own keys"
        found.append(_verdict("pipeline", "unknown", words))
    if not look.fits or look.forms is None:
        words = "the network was not run: the file does not fit it"
        return _proven(file, [*found, _verdict("velocity", "unknown", words)], (), start)
    found += formed.velocity(stage, look.forms)
    if first and stage.request:
        again, pictures = formed.picture(stage, look.forms, file.stem)
        found += again
    elif first and stage.kit:
        found.append(_verdict("picture", "unknown", NO_PICTURE))
    return _proven(file, found, pictures, start)


def _opened(asked: Asked, spec: ModelSpec, base: Path, kit: Kit | None) -> weights.Model:
    """The model, as far as it is needed: few proofs read a text."""
    family = families.find(spec.family, spec.flavour)
    spoken = [one for one in family.keys if bases.spoken_of(family, one, asked.files)]
    if kit and kit.probes.plain is not None:  # the run's text is read again
        spoken = [name for name, one in family.parts.items() if one.tokenizer]
    parts = list(dict.fromkeys([DENOISER, *spoken]))
    if kit and kit.about["request"] is not None:
        parts.append("autoencoder")
    model = weights.opened(family, spec, base, parts=None if asked.pipeline else parts)
    if kit and (kept := kit.about.get("quantised layers")):
        model = weights.kept_in(model, Path(str(kept)))
    return merging.with_merged(model, spec, base)


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
    wanted = told | {name: asked[name] for name in told if name in asked}
    if "device" not in asked and not _is_here(told["device"]):
        wanted["device"] = "auto"
    return place_for(HardwareSpec.model_validate(wanted))


def _is_here(device: str) -> bool:
    try:
        place_for(HardwareSpec(device=device))
    except JobError:
        return False
    return True


def _proven(
    file: Path, found: Sequence[Verdict], pictures: tuple[Path, ...], start: float
) -> Proven:
    return Proven(
        file=file,
        verdicts=tuple(found),
        fresh_process=False,  # to be said by who has started one
        seconds=time.perf_counter() - start,
        pictures=pictures,
    )


def _verdict(name: str, state: State, text: str) -> Verdict:
    return Verdict(name=name, state=state, text=text)
