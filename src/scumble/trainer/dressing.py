"""Networks in their adapters, and the optimizer that is to move them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from scumble.adapters.attach import Adapters, attach, linear
from scumble.adapters.first import TAKEN
from scumble.adapters.ggpo import noisy
from scumble.adapters.joint import Joint
from scumble.adapters.layouts import Changes
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
    networks: Mapping[str, nn.Module],
    shapes: Mapping[str, Shape],
    adapter: LoraSpec,
    training: TrainingSpec,
    told: Changes,
) -> Dressed:
    """Adapters on the layers of each network, by part, in groups by their rate. They begin with
    what of `told` fits, and where nothing does with a change of zero."""
    made = [_attached(networks[part], one, adapter, training) for part, one in shapes.items()]
    for one in made:
        begun(one, told.get(one.names.part, {}))
    adapters = Joint(tuple(made))
    groups = grouped(adapters.matrices(), adapter, training)
    noise, most = adapter.ggpo, adapter.max_norm
    return Dressed(
        adapters=adapters,
        optimizer=optimizers.made_of(training.optimizer, groups),
        factors=factors(groups, training),
        care=Care(
            noises=tuple(noisy(one, noise, training.seed) for one in made) if noise else (),
            bounds=tuple(Bound(one, most) for one in made) if most else (),
            firsts=tuple(made) if adapter.first in TAKEN else (),
        ),
    )


def _attached(
    model: nn.Module, shape: Shape, adapter: LoraSpec, training: TrainingSpec
) -> Adapters:
    layers = {name: linear(model, name) for name in shape.slots}
    dtype = optimizers.weights_dtype(training.optimizer)
    return attach(model, layers, adapter, seed=training.seed, dtype=dtype, shape=shape)
