"""What of the denoiser is trained: an adapter's layers, or weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scumble.adapters import full, shapes
from scumble.checkpoint import network, sound
from scumble.errors import JobError
from scumble.families import weights
from scumble.families.tensor_files import Shape
from scumble.hardware.device import Place
from scumble.preflight import flavours, shaping
from scumble.spec.adapter import FullSpec, LoraSpec
from scumble.spec.job import JobSpec
from scumble.trainer import optimizers
from scumble.trainer.optimizer_table import find


@dataclass(frozen=True)
class Chosen:
    """The denoiser without weights, and what of it is trained."""

    denoiser: nn.Module
    trained: Mapping[str, Shape]
    layers: Mapping[str, nn.Linear]
    shape: shapes.Shape | None = None
    remarks: tuple[str, ...] = ()


def chosen(model: weights.Model, job: JobSpec, *, fresh: bool) -> Chosen:
    """JobError or FileError where that cannot be, or cannot be delivered as the job wants it.

    `fresh` is whether the run starts.
    """
    denoiser = weights.skeleton(model, "denoiser")
    weights.compared(model, "denoiser", denoiser)
    strange = flavours.remarks(model, denoiser)
    presets, keys, layouts = model.family.targets, model.family.keys, job.export.layouts
    match job.adapter:
        case LoraSpec():
            one = shaping.shaped(model.family, denoiser, job, fresh=fresh)
            sound.refuse_nameless("export.layout", one.layers.keys(), keys, layouts)
            sizes = one.shape.sizes(one.layers)
            return Chosen(denoiser, sizes, one.layers, one.shape, (*one.remarks, *strange))
        case FullSpec(targets=targets):
            shaping.checked(model.family, job)
            names = full.chosen(denoiser, targets, presets)
            sizes = {name: tuple(one.shape) for name, one in denoiser.state_dict().items()}
            for layout in layouts:
                network.composed(sizes, layout, keys["denoiser"])
            return Chosen(denoiser, {name: sizes[name] for name in names}, {}, remarks=strange)


def movable(job: JobSpec, place: Place, trained: Mapping[str, Shape]) -> None:
    """JobError where the optimizer can move an adapter, and not all of a network's weights."""
    if job.adapter.kind != "full":
        return
    moved_by = job.training.optimizer
    kept, where = optimizers.weights_dtype(moved_by), "training.optimizer.name"
    if find(moved_by.name).group and (flat := [n for n, one in trained.items() if len(one) != 2]):
        problem = f"{moved_by.name} moves matrices alone, and '{flat[0]}' is none"
        raise JobError(where, problem, "use adamw, or train an adapter (`adapter.kind: lora`)")
    if kept != torch.float32 and place.dtype != kept:
        problem = f"{moved_by.name} keeps the network's weights in bf16, which computes in fp32"
        remedy = "set `hardware.precision: bf16`, or use `training.optimizer.name: adamw`"
        raise JobError("hardware.precision", problem, remedy)
