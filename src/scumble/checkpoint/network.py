"""A whole network as one file: what training a network's own weights delivers.

Its keys are diffusers' names without any prefix, or those of the network's authors, as ComfyUI and
sd-scripts load them. A config.json in the metadata tells what shapes cannot.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from scumble import __version__
from scumble.adapters.keys import Keys, Network
from scumble.adapters.layouts import LAYOUTS
from scumble.checkpoint import modelspec, streaming
from scumble.checkpoint.export import DTYPES, are_of_network, finite
from scumble.checkpoint.streaming import Laid
from scumble.errors import FileError, JobError
from scumble.families.family import Config
from scumble.families.spelling import cutter, fused
from scumble.families.tensor_files import header
from scumble.families.written import CONFIG

KIND, NETWORK = "scumble.kind", "network"
"""An entry of the metadata that says that the file is no adapter."""

DENOISER = "denoiser"
OF_ADAPTERS = "ai-toolkit"
LONGEST = 300  # letters of a metadata value that are shown

CHECKED = "read back, {} of {} tensors are not what was written, first {}"


def composed(
    shapes: Mapping[str, tuple[int, ...]], layout: str, network: Network
) -> dict[str, tuple[str, ...]]:
    """Every name in a file of that layout, with our tensors that it is put together of.

    JobError for a layout that whole networks do not come in.
    """
    if layout == OF_ADAPTERS:
        problem = "this is a layout of adapters, and a whole network is delivered"
        remedy = "use `diffusers`, or `comfy` for the names of the network's authors"
        raise JobError("export.layout", problem, remedy)
    if not LAYOUTS[layout].authors:
        return {name: (name,) for name in shapes}
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    try:
        theirs = {name: tuple(one.shape) for name, one in fused(empty, network).items()}
    except ValueError as error:
        remedy = "leave this layout out"
        raise JobError("export.layout", f"{layout}: {error}", remedy) from None
    cuts = cutter(network)(theirs)
    return {name: tuple(cut.name for cut in cuts[name]) for name in theirs}


def laid(
    values: Mapping[str, Tensor], network: Network, *, layout: str, dtype: str
) -> dict[str, Laid]:
    """The tensors of a file, each of them made when its turn comes."""
    kind = DTYPES[dtype]
    shapes = {name: tuple(one.shape) for name, one in values.items()}
    names = composed(shapes, layout, network)
    authors = LAYOUTS[layout].authors

    def make(name: str) -> Tensor:
        parts = {one: values[one].detach().to(kind) for one in names[name]}
        return (fused(parts, network) if authors else parts)[name]

    def shape(name: str) -> tuple[int, ...]:
        first, *others = (shapes[one] for one in names[name])
        rows = sum(one[0] for one in (first, *others)) if first else 0
        return (rows, *first[1:]) if first else ()

    return {name: Laid(kind, shape(name), partial(make, name)) for name in names}


def write(
    file: Path, tensors: Mapping[str, Laid], config: Config, about: Mapping[str, str], layout: str
) -> int:
    """Write the file whole or not at all; return how many tensors it holds.

    FileError when a value is not a finite number: such a file is never written.
    """
    metadata = {
        "scumble.version": __version__,
        KIND: NETWORK,
        CONFIG: json.dumps(dict(config), sort_keys=True),
        **_modelspec(about, layout),
        **about,
    }
    checked = {
        name: Laid(one.dtype, one.shape, partial(_finite, file, name, one))
        for name, one in tensors.items()
    }
    streaming.write(file, checked, metadata)
    return len(tensors)


def _modelspec(about: Mapping[str, str], layout: str) -> dict[str, str]:
    """What web UIs look for, without the word that says adapter."""
    told = modelspec.told(about, layout)
    return {name: one.removesuffix("/lora") for name, one in told.items()}


def _finite(file: Path, name: str, one: Laid) -> Tensor:
    value = one.make()
    if not finite(value):
        kind = str(one.dtype).removeprefix("torch.")
        remedy = "use `export.dtype: float32`, or a smaller learning rate"
        raise FileError(file, f"{name} holds values that are not finite as {kind}", remedy)
    return value


def refuse_other(file: Path, tensors: Mapping[str, Laid]) -> None:
    """FileError unless the file holds just these tensors, value for value."""
    with safe_open(file, "pt") as stored:
        there = set(stored.keys())
        other = [
            name
            for name, one in tensors.items()
            if name not in there or not _same(stored.get_tensor(name), one.make())
        ]
    if other or there != tensors.keys():
        first = (other or sorted(there ^ tensors.keys()))[0]
        problem = CHECKED.format(len(other), len(tensors), first)
        raise FileError(file, problem, "look at the disk, then run the same command again")


def _same(kept: Tensor, made: Tensor) -> bool:
    return kept.dtype == made.dtype and torch.equal(kept, made.cpu())


def is_network(file: Path, keys: Keys) -> bool:
    """Whether a file holds a denoiser, whoever wrote it."""
    try:
        return are_of_network(header(file), keys)
    except FileError:
        return False  # whoever reads it says what it is


def info(file: Path) -> dict[str, str]:
    """Rows of facts about a file that holds a network, for people."""
    told = header(file)
    with safe_open(file, "pt") as stored:
        metadata = dict(stored.metadata() or {})
    kinds = Counter(one.dtype for one in told.values())
    numbers = sum(math.prod(one.shape) for one in told.values())
    stored_as = ", ".join(str(kind).removeprefix("torch.") for kind, _ in kinds.most_common())
    return {
        "file": f"{file} ({file.stat().st_size / 1e6:.2f} MB)",
        "what": "a whole network: the weights of a model, not an adapter",
        "use": f"in `model.parts`, as `{DENOISER}`; or with `scumble sample --adapter`",
        "tensors": f"{len(told)} with {numbers:,} numbers, stored as {stored_as}",
        **{name: one for name, one in sorted(metadata.items()) if len(one) <= LONGEST},
    }
