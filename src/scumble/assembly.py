"""The parts of a run: weights loaded, adapters attached, the optimizer made and put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from scumble import __version__
from scumble.adapters import full
from scumble.adapters.names import DENOISER
from scumble.caching import served
from scumble.checkpoint import sound, state, store
from scumble.data.library import Library
from scumble.disk import made
from scumble.events import Event, Previewed, Resumed, Saved, Warned, Weights
from scumble.families import weights
from scumble.families.family import Knobs
from scumble.families.tensor_files import header
from scumble.hardware.blocks import Net, recomputed_inside, run_for
from scumble.hardware.parallel import ALONE, Crew
from scumble.observers import pictures
from scumble.preflight import lycoris
from scumble.preflight.plan import CHECKPOINTS, Plan
from scumble.preflight.shaping import started
from scumble.spec.adapter import FullSpec, LoraSpec
from scumble.spec.averaging import previewed
from scumble.spec.lycoris import LycorisSpec
from scumble.trainer import averages, optimizers
from scumble.trainer.draws import Drawer
from scumble.trainer.dressing import Dressed, dressed
from scumble.trainer.feeder import Feeder, Source
from scumble.trainer.loop import Parts
from scumble.trainer.optimizer_state import restore, state_of
from scumble.trainer.signals import Signals
from scumble.trainer.step import Method, told_now
from scumble.validation import previews

Tell = Callable[[Event], None]
Asked = Sequence[previews.Sitting]


def source(plan: Plan, library: Library, crew: Crew = ALONE) -> Source:
    """Where the run's units come from, those of this process."""
    _, spread = plan.job.model.guidance_told
    return Source(
        order=plan.order,
        drawer=Drawer(plan.job.training.seed, plan.job.objective, spares=spread > 0),
        read=served(plan, library),
        device=plan.place.device,
        rank=crew.rank,
        world=crew.world,
    )


def assembled(
    plan: Plan, asked: Asked, feeder: Feeder, signals: Signals, crew: Crew = ALONE
) -> Parts:
    """Weights loaded, adapters attached, the optimizer made: in the order that never changes."""
    job, place = plan.job, plan.place
    denoiser, encoders = _denoiser(plan, place.device), _encoders(plan)
    worn = _averaged(plan, _worn(plan, denoiser, encoders), crew)
    adapters, optimizer = worn.adapters, worn.optimizer
    net = Net(denoiser, run_for(gradient_checkpointing=job.hardware.gradient_checkpointing))
    trained = adapters.parameters()
    method = Method(
        family=plan.family,
        net=net,
        place=place,
        knobs=Knobs(*job.model.guidance_told),
        objective=job.objective,
        encoders=encoders,
        adapters=adapters,
    )
    return Parts(
        method=method,
        adapters=adapters,
        optimizer=optimizer,
        feed=feeder.step,
        preview=_previewing(
            plan, asked, method, partial(averages.shown, optimizer, trained, worn.care.average)
        ),
        save=_saving(plan, worn),
        stop=lambda: signals.asked,
        factors=worn.factors,
        care=worn.care,
        crew=crew,
    )


def _denoiser(plan: Plan, device: torch.device) -> nn.Module:
    """The base model's network, frozen."""
    return weights.loaded(plan.model, "denoiser", dtype=_loaded_in(plan), device=device)


def _loaded_in(plan: Plan) -> torch.dtype:
    """What the network computes in, unless its own weights are trained and would lose by it."""
    lower = plan.place.dtype
    if plan.job.adapter.kind == "full":
        files = plan.model.files("denoiser")
        kinds = {one.dtype for file in files for one in header(file).values()}
        same = kinds == {lower} and not plan.model.merged
        return lower if same else torch.float32
    return lower


def _encoders(plan: Plan) -> dict[str, nn.Module]:
    """The text encoders that are trained."""
    dtype, device = plan.place.dtype, plan.place.device
    loaded = {
        part: weights.loaded(plan.model, part, dtype=dtype, device=device)
        for part in plan.model.trained
    }
    if plan.job.hardware.gradient_checkpointing:
        return {part: recomputed_inside(one) for part, one in loaded.items()}
    return loaded


def _worn(plan: Plan, denoiser: nn.Module, encoders: Mapping[str, nn.Module]) -> Dressed:
    """What learns and what moves it: adapters in the network, or weights of its own."""
    training = plan.job.training
    match plan.job.adapter:
        case LoraSpec() as spec:
            # of a run that goes on, a checkpoint holds the values
            told = {} if plan.newest else started(plan.family, spec)
            networks = {DENOISER: denoiser, **encoders}
            return dressed(networks, plan.shapes, spec, training, told)
        case LycorisSpec() as spec:
            dtype, seed = optimizers.weights_dtype(training.optimizer), training.seed
            own = lycoris.worn(plan.family, denoiser, spec, seed=seed, dtype=dtype)
            moved = own.parameters().values()
            optimizer = optimizers.made(training.optimizer, moved, training.learning_rate)
            return Dressed(own, optimizer)
        case FullSpec() as spec:
            names = full.chosen(denoiser, spec.targets, plan.family.targets)
            dtype = optimizers.weights_dtype(training.optimizer)
            own = full.opened(denoiser, names, partial(_base, plan), dtype=dtype)
            moved = own.parameters().values()
            optimizer = optimizers.made(training.optimizer, moved, training.learning_rate)
            return Dressed(own, optimizer)


def _averaged(plan: Plan, worn: Dressed, crew: Crew) -> Dressed:
    """With the average that the job keeps; of several processes, the one that leads keeps it."""
    wanted = plan.job.training.ema
    if wanted is None or not crew.leads:
        return worn
    swapped = plan.job.adapter.kind == "full"
    average = averages.begun(wanted, worn.adapters.parameters(), swapped=swapped)
    return replace(worn, care=replace(worn.care, average=average))


def _base(plan: Plan) -> Mapping[str, torch.Tensor]:
    """The base model's weights once more, on the CPU."""
    return _denoiser(plan, torch.device("cpu")).state_dict()


def _read(method: Method, one: previews.Sitting) -> previews.Sitting:
    """With its texts as trained encoders read them now."""
    without = None if one.without is None else told_now(method, one.without)
    return replace(one, text=told_now(method, one.text), without=without)


def _previewing(
    plan: Plan,
    asked: Asked,
    method: Method,
    shown: Callable[[Weights], AbstractContextManager[None]],
) -> Callable[[int], Previewed]:
    """Pictures of the weights as they stand, of their average, or of both."""
    job = plan.job
    painter = previews.Painter(plan.model, plan.place)
    kinds = previewed(job.training.ema)

    def paint(step: int, which: Weights) -> tuple[Path, ...]:
        about = {
            "model": job.model.path,
            "parts": {name: one.told for name, one in plan.model.parts.items()},
            "flavour": job.model.flavour,
            "text_tokens": plan.tokens,
            "text_mask": plan.model.masked,
            "adapter": f"{job.name} at step {step}{' (EMA)' if which == 'ema' else ''}",
            "step": step,
            "precision": plan.place.precision,
        }
        if job.training.ema is not None:
            about["weights"] = which
        folder = pictures.samples(plan.folder, step)
        made(folder)
        with shown(which):
            now = [_read(method, one) for one in asked]
            return tuple(previews.painted(painter, method.net, now, folder, about))

    def preview(step: int) -> Previewed:
        start = perf_counter()
        painted = tuple(file for which in kinds for file in paint(step, which))
        return Previewed(
            step=step,
            pictures=painted,
            prompts=tuple(one.request.prompt for _ in kinds for one in asked),
            seconds=perf_counter() - start,
            weights=tuple(w for w in kinds for _ in asked) if job.training.ema else (),
        )

    return preview


def _saving(plan: Plan, worn: Dressed) -> Callable[[int], Saved]:
    folder, parameters = plan.folder / CHECKPOINTS, worn.adapters.parameters()

    def save(step: int) -> Saved:
        start = perf_counter()
        tensors, others = state_of(worn.optimizer, parameters)
        about = {"step": step, "scumble": __version__, "optimizer": others, "facts": plan.facts}
        sound.refuse(f"step {step}", parameters, plan.family.keys, plan.job.export.layouts)
        average = None if worn.care.average is None else worn.care.average.kept()
        files = state.files(parameters, tensors | worn.care.kept(), average)
        saved = store.save(folder, step, files, about)
        remark = sound.read_back(saved, parameters)
        if average is not None:
            sound.read_back(saved, average, state.AVERAGE)
        removed = store.retain(folder, plan.job.saving.keep)
        spent = perf_counter() - start
        return Saved(step=step, folder=saved, seconds=spent, removed=removed, remark=remark)

    return save


def resume(parts: Parts, newest: store.Checkpoint, changed: tuple[str, ...], tell: Tell) -> None:
    """Put back what a checkpoint holds, and say so."""
    weights_kept, moments = state.read(newest.folder)
    parameters = parts.adapters.parameters()
    state.put_back(parameters, weights_kept)
    restore(parts.optimizer, parameters, moments, newest.state["optimizer"])
    parts.care.put_back(moments)
    restored = ["trained weights", "optimizer", "step", "order of examples", "random draws"]
    average, kept = parts.care.average, state.average(newest.folder)
    if average is not None and kept is not None:
        average.put_back(kept)
        restored.insert(2, "moving average")
    tell(Resumed(step=newest.step, restored=tuple(restored), changed=changed))
    if average is not None and kept is None:
        average.restart()
        words = f"No moving average was kept up to step {newest.step:,}"
        tell(Warned(text=f"{words}: it begins there, with the weights as they are."))
    for skipped in newest.skipped:
        tell(Warned(text=f"{skipped.name} is not whole and was passed over."))
