"""A checkpoint's weights, looked at before they are written and read again afterwards.

Cheap enough for every save: one pass over the numbers, no product of matrices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scumble.adapters.keys import Keys, Network
from scumble.adapters.layouts import LAYOUTS
from scumble.adapters.names import DENOISER
from scumble.checkpoint.export import finite
from scumble.checkpoint.state import ADAPTER
from scumble.errors import FileError

UP = ".up"
KEPT = "it was not kept; the checkpoint before it is whole"


def refuse(
    where: object, weights: Mapping[str, Tensor], keys: Keys, layouts: Sequence[str]
) -> None:
    """FileError for weights that nobody could use: not finite, or an adapter's with no name in a
    layout.

    An adapter's are a LAYER.up for each layer, and its LAYER.down or one that it shares with
    others; those of text encoders have the part before the layer.
    """
    bad = [name for name, tensor in weights.items() if not finite(tensor.detach())]
    if bad:
        problem = f"{len(bad)} of {len(weights)} tensors are not finite, first '{bad[0]}'"
        raise FileError(where, problem, f"{KEPT}, and a smaller learning rate may help")
    refuse_nameless(where, weights, keys, layouts)


def refuse_nameless(
    where: object, weights: Collection[str], keys: Keys, layouts: Sequence[str]
) -> None:
    """FileError for an adapter's layers that a layout has no name for."""
    layers = {name.removesuffix(UP) for name in weights if name.endswith(UP)}
    for layout in layouts:
        lost = sorted(one for one in layers if not _named(*_placed(one, keys), layout))
        if lost:
            problem = f"{len(lost)} of {len(layers)} layers have no name in {layout} layout"
            remedy = f"leave '{lost[0]}' out of `adapter.targets`, or the layout out of `export`"
            raise FileError(where, problem, remedy)


def read_back(folder: Path, weights: Mapping[str, Tensor], file: str = ADAPTER) -> str:
    """What there is to say of a checkpoint; FileError when it is not what was to be saved."""
    other, ups, still, missing = 0, 0, 0, set(weights)
    for name, kept in _kept(folder, file):
        written = weights.get(name)
        missing.discard(name)
        other += written is None or not torch.equal(kept, written.detach().cpu())
        ups += name.endswith(UP)
        still += name.endswith(UP) and not bool(kept.any())
    if other or missing:
        lost = f"{other + len(missing)} of {len(weights)}"
        problem = f"read back, {lost} tensors are not what was written"
        raise FileError(folder, problem, _remedy())
    return "the adapter changes nothing yet" if ups and still == ups else ""


def _kept(folder: Path, file: str) -> Iterator[tuple[str, Tensor]]:
    """One tensor after another, so that no second copy of a network is made for it."""
    try:
        with safe_open(folder / file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                yield name, stored.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise FileError(folder, f"it cannot be read back ({error})", _remedy()) from None


def _placed(layer: str, keys: Keys) -> tuple[Network, str]:
    """The network that a layer is in, and its name there."""
    part, _, name = layer.partition(".")
    return (keys[part], name) if part in keys else (keys[DENOISER], layer)


def _named(network: Network, layer: str, layout: str) -> bool:
    style = LAYOUTS[layout]
    known = style.prefix in network.prefixes
    return known and (not style.authors or network.by_ours(layer) is not None)


def _remedy() -> str:
    return "look at the disk; the same command goes on from the checkpoint before it"
