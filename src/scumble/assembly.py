"""The parts of a run: weights loaded, adapters attached, the optimizer made and put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from time import perf_counter

import torch

from scumble import __version__
from scumble.adapters.attach import Adapters, attach, chosen
from scumble.caching import served
from scumble.checkpoint import sound, state, store
from scumble.data.library import Library
from scumble.disk import made
from scumble.events import Event, Previewed, Resumed, Saved, Warned
from scumble.families import weights
from scumble.families.family import Entry, Knobs
from scumble.hardware.blocks import Net, run_for
from scumble.observers import pictures
from scumble.preflight.plan import CHECKPOINTS, Plan
from scumble.trainer import optimizers
from scumble.trainer.draws import Drawer
from scumble.trainer.feeder import Feeder, Source
from scumble.trainer.loop import Parts
from scumble.trainer.optimizer_state import restore, state_of
from scumble.trainer.signals import Signals
from scumble.trainer.step import Method
from scumble.validation import previews

Tell = Callable[[Event], None]
Asked = Sequence[tuple[previews.Request, Entry]]


def source(plan: Plan, library: Library) -> Source:
    """Where the run's units come from."""
    return Source(
        order=plan.order,
        drawer=Drawer(plan.job.training.seed, plan.job.objective.times),
        read=served(plan, library),
        device=plan.place.device,
    )


def assembled(plan: Plan, asked: Asked, feeder: Feeder, signals: Signals) -> Parts:
    """Weights loaded, adapters attached, the optimizer made: in the order that never changes."""
    job, place = plan.job, plan.place
    denoiser = weights.loaded(plan.model, "denoiser", dtype=place.dtype, device=place.device)
    layers = chosen(denoiser, job.adapter.targets, plan.family.targets)
    moved_by, seed = job.training.optimizer, job.training.seed
    dtype = optimizers.weights_dtype(moved_by)
    adapters = attach(denoiser, layers, job.adapter, seed=seed, dtype=dtype)
    net = Net(denoiser, run_for(gradient_checkpointing=job.hardware.gradient_checkpointing))
    trained = adapters.parameters()
    optimizer = optimizers.made(moved_by, trained.values(), job.training.learning_rate)
    method = Method(
        family=plan.family,
        net=net,
        place=place,
        knobs=Knobs(guidance=job.model.guidance),
        objective=job.objective,
    )
    return Parts(
        method=method,
        adapters=adapters,
        optimizer=optimizer,
        feed=feeder.step,
        preview=_previewing(plan, asked, net, partial(optimizers.shown, optimizer, trained)),
        save=_saving(plan, adapters, optimizer),
        stop=lambda: signals.asked,
    )


def asked_for(plan: Plan, library: Library) -> Asked:
    """What previews are to show, and the texts as the network reads them."""
    if not plan.job.validation.every:
        return []
    wanted = previews.requests(plan.job.validation, plan.family)
    return [(one, library.texts.read(library.text_key(one.prompt))) for one in wanted]


def _previewing(
    plan: Plan, asked: Asked, net: Net, shown: Callable[[], AbstractContextManager[None]]
) -> Callable[[int], Previewed]:
    """Pictures of the weights that would be delivered now."""
    job = plan.job
    painter = previews.Painter(plan.model, plan.place)

    def preview(step: int) -> Previewed:
        start = perf_counter()
        about = {
            "model": job.model.path,
            "parts": {name: one.told for name, one in plan.model.parts.items()},
            "flavour": job.model.flavour,
            "text_tokens": plan.tokens,
            "adapter": f"{job.name} at step {step}",
            "step": step,
            "precision": plan.place.precision,
        }
        folder = pictures.samples(plan.folder, step)
        made(folder)
        with shown():
            painted = tuple(previews.painted(painter, net, asked, folder, about))
        return Previewed(
            step=step,
            pictures=painted,
            prompts=tuple(one.prompt for one, _ in asked),
            seconds=perf_counter() - start,
        )

    return preview


def _saving(
    plan: Plan, adapters: Adapters, optimizer: torch.optim.Optimizer
) -> Callable[[int], Saved]:
    folder, parameters = plan.folder / CHECKPOINTS, adapters.parameters()

    def save(step: int) -> Saved:
        start = perf_counter()
        tensors, others = state_of(optimizer, parameters)
        about = {"step": step, "scumble": __version__, "optimizer": others, "facts": plan.facts}
        sound.refuse(f"step {step}", parameters, plan.family.keys, plan.job.export.layouts)
        saved = store.save(folder, step, state.files(parameters, tensors), about)
        remark = sound.read_back(saved, parameters)
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
    restored = ("adapter", "optimizer", "step", "order of examples", "random draws")
    tell(Resumed(step=newest.step, restored=restored, changed=changed))
    for skipped in newest.skipped:
        tell(Warned(text=f"{skipped.name} is not whole and was passed over."))
