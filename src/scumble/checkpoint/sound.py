"""A checkpoint's adapter, looked at before it is written and read again afterwards.

Cheap enough for every save: one pass over the numbers, no product of matrices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scumble.adapters.keys import Keys, Network
from scumble.adapters.layouts import LAYOUTS
from scumble.checkpoint.export import finite
from scumble.checkpoint.state import ADAPTER
from scumble.errors import FileError

DOWN, UP = ".down", ".up"
KEPT = "it was not kept; the checkpoint before it is whole"


def refuse(
    where: object, weights: Mapping[str, Tensor], keys: Keys, layouts: Sequence[str]
) -> None:
    """FileError for an adapter that nobody could use: not finite, or with no name in a layout.

    `weights` are the denoiser's, LAYER.down and LAYER.up.
    """
    bad = [name for name, tensor in weights.items() if not finite(tensor.detach())]
    if bad:
        problem = f"{len(bad)} of {len(weights)} tensors are not finite, first '{bad[0]}'"
        raise FileError(where, problem, f"{KEPT}, and a smaller learning rate may help")
    refuse_nameless(
        where, {n.removesuffix(DOWN) for n in weights if n.endswith(DOWN)}, keys, layouts
    )


def refuse_nameless(
    where: object, layers: Collection[str], keys: Keys, layouts: Sequence[str]
) -> None:
    """FileError for layers of the denoiser that a layout has no name for."""
    network = keys["denoiser"]
    for layout in layouts:
        lost = sorted(one for one in layers if not _named(network, one, layout))
        if lost:
            problem = f"{len(lost)} of {len(layers)} layers have no name in {layout} layout"
            remedy = f"leave '{lost[0]}' out of `adapter.targets`, or the layout out of `export`"
            raise FileError(where, problem, remedy)


def read_back(folder: Path, weights: Mapping[str, Tensor]) -> str:
    """What there is to say of a checkpoint; FileError when it is not what was to be saved."""
    try:
        kept = load_file(folder / ADAPTER)
    except (SafetensorError, OSError) as error:
        raise FileError(folder, f"it cannot be read back ({error})", _remedy()) from None
    other = [name for name, one in weights.items() if not _same(kept.get(name), one.detach())]
    if other or kept.keys() != weights.keys():
        problem = f"read back, {len(other)} of {len(weights)} tensors are not what was written"
        raise FileError(folder, problem, _remedy())
    still = [name for name, one in kept.items() if name.endswith(UP) and not bool(one.any())]
    ups = sum(name.endswith(UP) for name in kept)
    return "the adapter changes nothing yet" if ups and len(still) == ups else ""


def _same(kept: Tensor | None, written: Tensor) -> bool:
    return kept is not None and torch.equal(kept, written.cpu())


def _named(network: Network, layer: str, layout: str) -> bool:
    style = LAYOUTS[layout]
    known = style.prefix in network.prefixes
    return known and (not style.authors or network.by_ours(layer) is not None)


def _remedy() -> str:
    return "look at the disk; the same command goes on from the checkpoint before it"
