"""The adapter as one file that other tools load, and such files read back."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scumble import __version__
from scumble.adapters import foreign, layouts
from scumble.adapters.fused import times
from scumble.adapters.keys import Keys, Network
from scumble.adapters.layouts import ALPHA, ENDINGS, LAYOUTS, Changes
from scumble.adapters.lycoris.spelling import are_lycoris
from scumble.checkpoint import modelspec, peft_alphas, sshs
from scumble.disk import write_whole
from scumble.errors import FileError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SUFFIX = ".safetensors"
PACKED = torch.float4_e2m1fn_x2
"""Two numbers in a byte, which torch can hold but not convert."""

SIZES = ("ss_network_dim", "ss_network_alpha")
"""Entries of kohya's metadata that say what all layers have in common."""

WHOLE_MODELS = ("", "model.diffusion_model.", "diffusion_model.", "transformer.")
"""What names of a network begin with in a file of its own, or of a whole model."""

A_NETWORK = "it holds a whole network, the weights of a model, not an adapter"

EASY = (2.0**-10, 2.0**14)
"""Where the largest number of a matrix may lie to be stored in float16 as it is."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What an adapter file says, and what of it could not be read."""

    layout: str
    """Who spells keys like these; empty when no key is known."""

    changes: Changes
    metadata: Mapping[str, str]
    strangers: tuple[str, ...]
    """Keys that no table knows, and all keys of layers that are no plain LoRA."""

    faults: tuple[str, ...]
    """What else is wrong, in sentences."""

    stored: tuple[str, ...]
    """What its matrices are stored in, the most common first."""

    tensors: int
    """How many it holds."""

    def unread(self) -> str:
        """All that could not be read, in words; empty when all was."""
        said = list(self.faults[:3])
        if len(self.faults) > 3:
            said.append(f"and {len(self.faults) - 3} more like these")
        if self.strangers:
            first = f"first '{self.strangers[0]}'"
            said.append(f"{len(self.strangers)} of {self.tensors} keys are not known, {first}")
        if seems := foreign.seems(self.strangers):
            said.append(f"it seems to be {seems}")
        if not self.changes and not said:
            said.append("it holds no adapter")
        return "; ".join(said)


def write(
    file: Path, changes: Changes, keys: Keys, *, layout: str, dtype: str, about: Mapping[str, str]
) -> int:
    """Write the file whole or not at all; return how many tensors it holds.

    FileError when a value is not a finite number: such a file is never written.
    """
    more = stamps(changes, keys) if layout == "kohya" else {}
    values = stored(changes, keys, layout=layout, dtype=dtype)
    told = {"scumble.version": __version__, **modelspec.told(about, layout), **more, **about}
    return put(
        file,
        values,
        told | (sshs.hashes(values, told) if layout == "kohya" else {}),
        remedy="use `export.dtype: float32`, or a smaller learning rate",
    )


def put(
    file: Path, values: Mapping[str, Tensor], metadata: Mapping[str, str], *, remedy: str
) -> int:
    """Write tensors as they are; FileError when one is not finite, and nothing is written."""
    bad = [name for name, value in values.items() if not finite(value)]
    if bad:
        kind = str(values[bad[0]].dtype).removeprefix("torch.")
        problem = f"{len(bad)} tensors are not finite as {kind}, first {bad[0]}"
        raise FileError(file, problem, remedy)
    write_whole(file, _ordered(save(dict(values), {"format": "pt", **metadata})))
    return len(values)


def _ordered(content: bytes) -> bytes:
    """The same file with its metadata in order, so that equal adapters are equal files."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    return b"".join((len(told).to_bytes(8, "little"), told, memoryview(content)[8 + length :]))


def stored(changes: Changes, keys: Keys, *, layout: str, dtype: str) -> dict[str, Tensor]:
    """The tensors of a file, none of them a part of another.

    Alphas are stored like the rest where that keeps them as they are, else in float32.
    """
    made: dict[str, Tensor] = {}
    taken: set[int] = set()
    spelt = layouts.spelt(changes, layout, keys)
    for key, value in (evened(spelt, layout) if dtype == "float16" else spelt).items():
        ready = value.detach().to(DTYPES[dtype]).cpu()
        if key.endswith(ALPHA) and ready.float() != value:
            ready = value
        memory = ready.untyped_storage()
        whole = ready.is_contiguous() and ready.nbytes == memory.nbytes()
        own = whole and memory.data_ptr() not in taken
        made[key] = ready if own else ready.clone(memory_format=torch.contiguous_format)
        taken.add(made[key].untyped_storage().data_ptr())
    return made


def evened(spelt: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """The same changes with no matrix of very small or very large numbers beside another.

    float16 ends at 6e-8 and at 65504: an `up` of a few steps would be lost in it, and the change
    with it. Factors are powers of two, half of them on each side.
    """
    style, made = LAYOUTS[layout], dict(spelt)
    for key in [one for one in spelt if one.endswith(style.down)]:
        other = key.removesuffix(style.down) + style.up
        down, up = (float(spelt[one].detach().abs().max()) for one in (key, other))
        easy = all(EASY[0] <= one <= EASY[1] for one in (down, up))
        if easy or not 0 < down * up < math.inf:
            continue
        power = 2.0 ** round(math.log2(down / up) / 2)
        made |= {key: times(spelt[key], 1 / power), other: times(spelt[other], power)}
    return made


def stamps(changes: Changes, keys: Keys) -> dict[str, str]:
    """What readers of kohya files look for: the network; its rank and alpha where all agree."""
    layers = [one for part in changes.values() for one in part.values()]
    shapes = {(len(one.down), one.alpha) for one in layers}
    named = {name: value for network in keys.values() for name, value in network.kohya.items()}
    if len(shapes) != 1:
        return named
    ((rank, alpha),) = shapes
    return {**named, **dict(zip(SIZES, (str(rank), str(alpha)), strict=True))}


def read(file: Path, keys: Keys) -> Read:
    """What the file says, be it ever so odd; FileError only for no whole safetensors file."""
    found, metadata = contents(file)
    settings = peft_alphas.told(found, metadata, file)
    told = layouts.parsed({**found, **settings.alphas}, keys)
    whole = (A_NETWORK,) if are_of_network(found, keys) else ()
    kinds = Counter(str(one.dtype) for key, one in found.items() if not key.endswith(ALPHA))
    return Read(
        layout=told.layout,
        changes=told.changes,
        metadata=metadata,
        strangers=tuple(key for key in told.strangers if key in found),
        faults=(*whole, *settings.faults, *told.faults),
        stored=tuple(kind.removeprefix("torch.") for kind, _ in kinds.most_common()),
        tensors=len(found),
    )


def are_of_network(names: Iterable[str], keys: Keys) -> bool:
    """Whether tensors of these names are a denoiser's own, whoever spelt them."""
    listed = list(names)
    if any(name.endswith(ending) for name in listed for ending in ENDINGS):
        return False
    weights = [name.removesuffix(".weight") for name in listed if name.endswith(".weight")]
    network = keys["denoiser"]
    return any(
        2 * sum(_known(network, one, prefix) for one in weights) > len(weights)
        for prefix in WHOLE_MODELS
    )


def _known(network: Network, layer: str, prefix: str) -> bool:
    name = layer.removeprefix(prefix)
    return layer.startswith(prefix) and bool(network.by_ours(name) or network.by_theirs(name))


def layers(file: Path, keys: Keys) -> Changes:
    """The change of every layer; FileError when there is anything that could not be read."""
    told = read(file, keys)
    if A_NETWORK in told.faults:
        raise FileError(file, A_NETWORK, "name it as a model's denoiser: `model.parts.denoiser`")
    if are_lycoris(told.strangers):
        remedy = "`scumble sample` and `scumble adapter verify | info | merge --into` take it"
        raise FileError(file, "it holds LyCORIS' forms, and only plain LoRA will do here", remedy)
    if problem := told.unread():
        rest = "`scumble adapter convert ... --drop-unknown` writes the rest without it"
        raise FileError(file, problem, rest if told.changes else "give a LoRA of this model")
    each = [pair for layers in told.changes.values() for pair in layers.items()]
    if bad := [name for name, one in each if not (finite(one.down) and finite(one.up))]:
        problem = f"{len(bad)} layers hold values that are no finite numbers, first '{bad[0]}'"
        raise FileError(file, problem, "it was spoilt in training; take an earlier one")
    return told.changes


def finite(tensor: Tensor) -> bool:
    """Whether every value is a finite number; exact, and quick where it is so."""
    if not tensor.is_floating_point():
        return True
    whole = tensor.float() if tensor.element_size() < 2 else tensor
    # a sum may overflow where no value does: only then each is looked at
    return bool(whole.sum(dtype=torch.float32).isfinite()) or bool(whole.isfinite().all())


def holds(file: Path, changes: Changes, keys: Keys, *, layout: str, dtype: str) -> bool:
    """Whether a file holds just these changes, value for value."""
    found, _ = contents(file)
    wanted = stored(changes, keys, layout=layout, dtype=dtype)
    return found.keys() == wanted.keys() and all(
        found[key].dtype == wanted[key].dtype and found[key].equal(wanted[key]) for key in wanted
    )


def contents(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata; FileError for what is no whole safetensors file."""
    if not file.is_file():
        raise FileError(file, "there is no such file", "give the path of a .safetensors file")
    if file.suffix != SUFFIX:
        remedy = "only .safetensors files are read, for pickles can run any code"
        raise FileError(file, f"a {file.suffix or 'nameless'} file is not read", remedy)
    try:
        with safe_open(file, "pt") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
            metadata = dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        problem = f"this is not a whole safetensors file ({error})"
        raise FileError(file, problem, "fetch or export it again") from None
    if packed := [key for key, one in found.items() if one.dtype == PACKED]:
        problem = f"{len(packed)} tensors hold packed 4-bit numbers, first '{packed[0]}'"
        raise FileError(file, problem, "only unpacked numbers are read; export it as bfloat16")
    return found, metadata
