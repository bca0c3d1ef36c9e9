"""Changes in LyCORIS' forms of weights on disk, each made when its turn has come.

Such a change is as large as the layer's weight, and may depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from scumble.adapters.lycoris.forms import Form
from scumble.adapters.lycoris.formulas import bias, change, matrix
from scumble.adapters.names import DENOISER
from scumble.checkpoint.combine import Summand
from scumble.checkpoint.on_disk import OnDisk
from scumble.families.readings import Reading

Late = Callable[[], Tensor]


def late(one: OnDisk, summands: Sequence[Summand], device: str) -> Iterator[tuple[Reading, Late]]:
    """What forms make of a denoiser's weights and biases, each when its turn has come."""
    for summand in summands if one.part == DENOISER else ():
        for layer, whole in summand.forms.items():
            reading, form = one.of_layer(layer), whole.times(summand.strength)
            assert reading is not None
            yield reading, partial(_changed, reading, form, device)
            moved, beside = bias(form), one.bias_of(layer)
            if moved is not None and beside is not None:
                yield beside, partial(moved.to, device)


def _changed(reading: Reading, form: Form, device: str) -> Tensor:
    """A layer's change as a matrix; its weight is read where the change depends on it."""
    here = replace(form, tensors={end: one.to(device) for end, one in form.tensors.items()})
    if form.additive:
        return matrix(here) * here.strength
    with reading.spot.file.open("rb", buffering=0) as stream:
        weight = reading.read(stream, dtype=torch.float32, device=torch.device(device))
    return change(here, weight)
