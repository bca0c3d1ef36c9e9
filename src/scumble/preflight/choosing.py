"""What is trained: an adapter's layers, or weights of the denoiser's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scumble.adapters import full, shapes
from scumble.adapters.names import DENOISER
from scumble.checkpoint import network, sound
from scumble.errors import JobError
from scumble.families import weights
from scumble.families.tensor_files import Shape
from scumble.hardware.device import Place
from scumble.preflight import flavours, lycoris, shaping
from scumble.spec.adapter import FullSpec, LoraSpec
from scumble.spec.job import JobSpec
from scumble.spec.lycoris import LycorisSpec
from scumble.trainer import optimizers
from scumble.trainer.optimizer_table import find


@dataclass(frozen=True)
class Chosen:
    """The denoiser without weights, and what of it is trained."""

    denoiser: nn.Module
    trained: Mapping[str, Shape]
    layers: Mapping[str, Mapping[str, nn.Linear]]
    """An adapter's, by part."""

    shapes: Mapping[str, shapes.Shape]
    """What each of these layers gets, by part."""

    remarks: tuple[str, ...] = ()


def chosen(model: weights.Model, job: JobSpec, *, fresh: bool) -> Chosen:
    """JobError or FileError where that cannot be, or cannot be delivered as the job wants it.

    `fresh` is whether the run starts.
    """
    shaping.checked(model.family, job)
    if isinstance(job.adapter, LycorisSpec):
        lycoris.checked(job, job.adapter)
    denoiser = weights.skeleton(model, DENOISER)
    weights.compared(model, DENOISER, denoiser)
    strange = flavours.remarks(model, denoiser)
    presets, keys, layouts = model.family.targets, model.family.keys, job.export.layouts
    match job.adapter:
        case LoraSpec(parts=parts):
            there = {part: weights.skeleton(model, part) for part in parts if part != DENOISER}
            networks = {part: there.get(part, denoiser) for part in parts}
            one = shaping.shaped(model.family, networks, job, fresh=fresh)
            sizes = {
                name: size
                for part, shape in one.shapes.items()
                for name, size in shape.sizes(one.layers[part]).items()
            }
            sound.refuse_nameless("export.layout", sizes, keys, layouts)
            return Chosen(denoiser, sizes, one.layers, one.shapes, (*one.remarks, *strange))
        case LycorisSpec() as spec:
            own = lycoris.planned(model.family, denoiser, spec)
            layers, told = {DENOISER: own.layers}, (*own.remarks, *strange)
            return Chosen(denoiser, own.sizes(model.family), layers, {}, told)
        case FullSpec(targets=targets):
            names = full.chosen(denoiser, targets, presets)
            sizes = {name: tuple(one.shape) for name, one in denoiser.state_dict().items()}
            for layout in layouts:
                network.composed(sizes, layout, keys[DENOISER])
            return Chosen(denoiser, {name: sizes[name] for name in names}, {}, {}, strange)


def movable(job: JobSpec, place: Place, trained: Mapping[str, Shape]) -> None:
    """JobError where the optimizer can move an adapter's matrices, and not all that is trained."""
    if job.adapter.kind == "lora":
        return
    moved_by = job.training.optimizer
    kept, where = optimizers.weights_dtype(moved_by), "training.optimizer.name"
    if find(moved_by.name).matrices and (
        flat := [n for n, one in trained.items() if len(one) != 2]
    ):
        problem = f"{moved_by.name} moves matrices alone, and '{flat[0]}' is none"
        raise JobError(where, problem, "use adamw, or train a LoRA (`adapter.kind: lora`)")
    if job.adapter.kind == "full" and kept != torch.float32 and place.dtype != kept:
        problem = f"{moved_by.name} keeps the network's weights in bf16, which computes in fp32"
        remedy = "set `hardware.precision: bf16`, or use `training.optimizer.name: adamw`"
        raise JobError("hardware.precision", problem, remedy)
