"""The state of a run as files, and put back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scumble.checkpoint import streaming
from scumble.errors import FileError

ADAPTER, OPTIMIZER = "adapter.safetensors", "optimizer.safetensors"
AVERAGE = "ema.safetensors"


def files(
    parameters: Mapping[str, nn.Parameter],
    moments: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None = None,
) -> dict[str, Iterator[bytes]]:
    """The files of a checkpoint, piece by piece; every tensor under the name of its parameter."""
    kept = {ADAPTER: parameters, OPTIMIZER: moments}
    if average is not None:
        kept[AVERAGE] = average
    return {
        file: streaming.content(streaming.as_they_are(tensors), {})
        for file, tensors in kept.items()
    }


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The trained weights and the optimizer's tensors of a checkpoint."""
    try:
        return load_file(folder / ADAPTER), load_file(folder / OPTIMIZER)
    except (SafetensorError, OSError) as error:
        remedy = "delete this folder; the run goes on from the one before"
        raise FileError(folder, f"this checkpoint cannot be read ({error})", remedy) from None


def average(folder: Path) -> dict[str, Tensor] | None:
    """The moving average of a checkpoint's weights; None where it has none."""
    file = folder / AVERAGE
    if not file.is_file():
        return None
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        remedy = "delete this folder; the run goes on from the one before"
        raise FileError(folder, f"this checkpoint cannot be read ({error})", remedy) from None


@torch.no_grad()
def put_back(parameters: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor]) -> None:
    """Give parameters their values back; FileError when they are others than those kept."""
    if kept.keys() != parameters.keys():
        differing = sorted(kept.keys() ^ parameters.keys())
        remedy = "choose another `name`, or put `adapter` back as it was"
        raise FileError(ADAPTER, f"'{differing[0]}' is on one side only", remedy)
    for name, parameter in parameters.items():
        if kept[name].shape != parameter.shape:
            shapes = f"{tuple(kept[name].shape)} there and {tuple(parameter.shape)} here"
            remedy = "choose another `name`, or put `adapter` back as it was"
            raise FileError(ADAPTER, f"'{name}' is {shapes}", remedy)
        parameter.copy_(kept[name])
