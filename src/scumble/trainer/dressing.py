"""A network in its adapter, and the optimizer that is to move it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scumble.adapters.attach import attach
from scumble.adapters.ggpo import noisy
from scumble.adapters.lora import LoraTensors
from scumble.adapters.shapes import Shape
from scumble.adapters.start import begun
from scumble.adapters.trained import Trained
from scumble.spec.adapter import LoraSpec
from scumble.spec.training import TrainingSpec
from scumble.trainer import optimizers
from scumble.trainer.care import NONE, Bound, Care
from scumble.trainer.groups import factors, grouped


@dataclass(frozen=True)
class Dressed:
    """What is trained, and what moves it."""

    adapters: Trained
    optimizer: torch.optim.Optimizer
    factors: tuple[float, ...] = (1.0,)
    """What the job's rate is multiplied by, for each of the optimizer's groups."""

    care: Care = NONE


def dressed(
    model: nn.Module,
    shape: Shape,
    adapter: LoraSpec,
    training: TrainingSpec,
    told: Mapping[str, LoraTensors],
) -> Dressed:
    """Adapters on a network's layers, in groups by their rate. They begin with what of `told` fits,
    and where nothing does with a change of zero."""
    layers: dict[str, nn.Linear] = {}
    for name in shape.slots:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        layers[name] = layer
    dtype = optimizers.weights_dtype(training.optimizer)
    adapters = attach(model, layers, adapter, seed=training.seed, dtype=dtype, shape=shape)
    begun(adapters, told)
    groups = grouped(adapters.matrices(), adapter, training)
    return Dressed(
        adapters=adapters,
        optimizer=optimizers.made_of(training.optimizer, groups),
        factors=factors(groups, training),
        care=Care(
            noise=noisy(adapters, adapter.ggpo, training.seed) if adapter.ggpo else None,
            bound=Bound(adapters, adapter.max_norm) if adapter.max_norm else None,
        ),
    )
