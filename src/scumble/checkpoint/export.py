"""The adapter as one file that other tools load, and such files read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from scumble import __version__
from scumble.adapters import names
from scumble.adapters.lora import LoraTensors
from scumble.disk import write_whole
from scumble.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def spelt(tensors: Mapping[str, LoraTensors], dtype: torch.dtype) -> dict[str, Tensor]:
    """Diffusers layout. The scale goes into `lora_B`, for that layout takes alpha = rank."""
    spelt = {}
    for layer, told in tensors.items():
        up = told.up.float() * (told.alpha / len(told.down))
        spelt[names.diffusers(layer, names.DOWN)] = told.down.to(dtype).cpu().contiguous()
        spelt[names.diffusers(layer, names.UP)] = up.to(dtype).cpu().contiguous()
    return spelt


def write(
    file: Path, tensors: Mapping[str, LoraTensors], *, dtype: str, about: Mapping[str, str]
) -> int:
    """Write the file whole or not at all; return how many tensors it holds.

    FileError when a value is not a finite number: such a file is never written.
    """
    values = spelt(tensors, DTYPES[dtype])
    bad = [name for name, value in values.items() if not bool(value.isfinite().all())]
    if bad:
        problem = f"{len(bad)} tensors are not finite as {dtype}, first {bad[0]}"
        raise FileError(file, problem, "use `export.dtype: float32`, or a smaller learning rate")
    metadata = {"format": "pt", "scumble.version": __version__, **about}
    write_whole(file, save(values, metadata))
    return len(values)


def read(file: Path) -> dict[str, LoraTensors]:
    """The change of every layer; FileError for a file that is broken or of another layout."""
    found, _ = _contents(file)
    foreign = [key for key in found if names.parsed(key) is None]
    if foreign or not found:
        problem = f"{len(foreign)} of {len(found)} keys are not in diffusers layout"
        remedy = "only adapters in diffusers layout are read"
        if foreign:
            if all(key.endswith((".down", ".up")) for key in foreign):
                remedy = "this is the state of a checkpoint; the adapter is NAME.safetensors"
            problem += f", first '{foreign[0]}': spelt as {names.layout(foreign)} does"
        raise FileError(file, problem, remedy)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in found.items():
        layer, ending = names.parsed(key) or ("", "")
        layers.setdefault(layer, {})[ending] = tensor
    return {layer: _tensors(file, layer, parts) for layer, parts in layers.items()}


def holds(file: Path, tensors: Mapping[str, LoraTensors], *, dtype: str) -> bool:
    """Whether a file holds just these tensors, value for value."""
    found, _ = _contents(file)
    wanted = spelt(tensors, DTYPES[dtype])
    return found.keys() == wanted.keys() and all(found[k].equal(wanted[k]) for k in wanted)


def _tensors(file: Path, layer: str, parts: Mapping[str, Tensor]) -> LoraTensors:
    for ending in (names.DOWN, names.UP):
        if ending not in parts:
            raise FileError(file, f"'{layer}' has no {ending[1:]}", "the file is not whole")
    down, up = parts[names.DOWN], parts[names.UP]
    if down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1]:
        problem = f"the shapes of '{layer}', {tuple(down.shape)} and {tuple(up.shape)}, do not fit"
        raise FileError(file, problem, "the file is not a LoRA of linear layers")
    alpha = float(parts[names.ALPHA]) if names.ALPHA in parts else float(len(down))
    return LoraTensors(down, up, alpha)


def _contents(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not file.is_file():
        raise FileError(file, "there is no such file", "give the path of a .safetensors file")
    if file.suffix != ".safetensors":
        remedy = "only .safetensors files are read, for pickles can run any code"
        raise FileError(file, f"a {file.suffix or 'nameless'} file is not read", remedy)
    try:
        with safe_open(file, "pt") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
            return found, dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        problem = f"this is not a whole safetensors file ({error})"
        raise FileError(file, problem, "fetch or export it again") from None


def info(file: Path) -> dict[str, str]:
    """What there is to know of an adapter file without its model, for people."""
    found, metadata = _contents(file)
    layers = read(file)
    ranks = sorted({len(told.down) for told in layers.values()})
    norms = [
        float(
            (told.alpha / len(told.down)) * torch.linalg.norm(told.up.float() @ told.down.float())
        )
        for told in layers.values()
    ]
    finite = all(bool(tensor.isfinite().all()) for tensor in found.values())
    rows = {
        "file": f"{file} ({file.stat().st_size / 1e6:.2f} MB)",
        "layout": "diffusers",
        "layers": str(len(layers)),
        "rank": ", ".join(map(str, ranks)),
        "parameters": f"{sum(t.numel() for t in found.values()):,}",
        "stored as": ", ".join(
            sorted({str(t.dtype).removeprefix("torch.") for t in found.values()})
        ),
        "finite": "yes" if finite else "NO: it holds values that are not finite numbers",
        "size of the change": f"{math.hypot(*norms):.4g} (largest layer {max(norms):.4g})",
    }
    if max(norms) == 0:
        rows["size of the change"] = "0: this adapter changes nothing"
    return rows | {key: _short(value) for key, value in sorted(metadata.items())}


def _short(value: str) -> str:
    text = value if len(value) <= 300 else value[:297] + "..."
    return json.dumps(text)[1:-1]
