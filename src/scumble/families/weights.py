"""A model's parts, found wherever a job says they are, and loaded one tensor at a time.

Host memory never holds more than the tensors of the part and one of the file's: no map, no copy of
the whole, pieces of fused layers read by themselves. Safetensors only; see `tensor_files`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scumble.adapters.worn import Merged
from scumble.errors import FileError
from scumble.families import finding
from scumble.families.family import Config, Family
from scumble.families.finding import Search, located
from scumble.families.fingerprints import fingerprints
from scumble.families.quantised import Pack, Press, Quantising, split
from scumble.families.readings import Reading, canonical, readings
from scumble.families.recognising import by_names
from scumble.families.sources import Source
from scumble.families.tensor_files import Shape, header
from scumble.spec.model import ModelSpec

__all__ = ["Model", "Source", "compared", "loaded", "located", "opened", "skeleton", "tools"]


@dataclass(frozen=True)
class Model:
    """A family's model and where its parts lie."""

    family: Family
    parts: Mapping[str, Source]
    merged: tuple[Merged, ...] = ()
    """What is added to the weights whenever they are loaded, in this order."""

    trained: tuple[str, ...] = ()
    """The text encoders that a job trains: they read at every step, and nothing of what they make
    is kept."""

    masked: bool = False
    """Whether padding is hidden from text encoders and network, as the job's `text_mask` says."""

    quantising: Quantising = field(default_factory=lambda: Quantising({}))
    """Which parts are kept in fewer bits."""

    @cached_property
    def configs(self) -> Mapping[str, Config]:
        """What each part's config.json says, or its shapes tell."""
        return {name: source.config for name, source in self.parts.items()}

    def files(self, part: str) -> tuple[Path, ...]:
        """The weights files of a part; none while they are still on the hub."""
        return self.parts[part].files

    def tokens(self, wanted: int | None) -> int:
        """Length of a text: as wanted, else as published, or shorter where the tokenizer of the
        part that reads it says that it knows no longer ones."""
        parts = self.family.parts
        measured = (self.parts[name] for name in self.parts if parts[name].text_is_measured)
        longest = [_longest(source.tokenizer) for source in measured if source.tokenizer]
        return wanted or min([self.family.text_tokens, *longest])

    def marks(self, part: str, *, read: bool) -> list[str] | None:
        """What stands for that which is added to a part; None while it would have to be read."""
        mine = [one for one in self.merged if one.changes.get(part)]
        found = fingerprints([one.file for one in mine], read=read)
        return None if found is None else [f"{found[str(o.file)]} x {o.strength}" for o in mine]

    @property
    def absent(self) -> int:
        """Bytes that are still on the hub."""
        return sum(source.absent for source in self.parts.values())


def opened(
    family: Family,
    wanted: ModelSpec,
    base: Path,
    *,
    fetch: bool = True,
    parts: Collection[str] | None = None,
) -> Model:
    """The model of a job: configs read, files found and their headers whole; no weight is read.

    Without `fetch`, weights that are on the hub alone are told, not fetched. With `parts`, only
    these are looked for, the denoiser among them. An ExceptionGroup tells everything that is
    missing, and parts that do not go together.
    """
    names = tuple(name for name in family.parts if parts is None or name in parts)
    parts_found = finding.found(Search(family, wanted, base, fetch, names))
    narrow = Quantising(wanted.quantised, wanted.quantise_on)
    return Model(family, parts_found, masked=wanted.text_mask, quantising=narrow)


def kept_in(model: Model, folder: Path) -> Model:
    """The model with its quantised layers kept in a folder, from which later starts read them."""
    return replace(model, quantising=replace(model.quantising, folder=folder))


def _longest(tokenizer: Path) -> int:
    """Tokens of the longest text that a tokenizer's folder speaks of."""
    try:
        said = json.loads((tokenizer / "tokenizer_config.json").read_bytes())["model_max_length"]
    except (OSError, ValueError, KeyError):
        return sys.maxsize
    return int(said)


def skeleton(model: Model, part: str) -> nn.Module:
    """One part without weights; FileError when its config does not describe one."""
    try:
        return model.family.skeleton(part, model.configs[part])
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        problem = f"no {part} can be made of its config.json ({error})"
        raise FileError(model.parts[part].told, problem, "fetch it again") from None


def compared(model: Model, part: str, module: nn.Module) -> None:
    """FileError when the files of a part hold other tensors than its skeleton wants.

    Nothing is said of files that are still on the hub.
    """
    if not model.parts[part].absent:
        _matched(model, part, module)


def loaded(model: Model, part: str, *, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """One part with its weights, frozen, in evaluation mode; read one tensor after another.

    Of parts that the job quantises, the linear layers are quantised on the way.
    """
    assert not model.parts[part].absent, "fetched before it is loaded"
    module = skeleton(model, part)
    if part in model.quantising.parts:
        _pressed(model, part, module, dtype, device)
        return module.to(device).requires_grad_(False).eval()
    wanted, found = _wanted(model, part, module), {}
    for name, tensor in _tensors(_matched(model, part, module), dtype, device):
        for spelt, shape in wanted[name].items():
            found[spelt] = tensor.reshape(shape)
    module.load_state_dict(found, assign=True)
    module.to(device).requires_grad_(False).eval()
    for one in model.merged:
        one.into(module, part, model.family.parts[part].aliases)
    return module


def _pressed(
    model: Model, part: str, module: nn.Module, dtype: torch.dtype, device: torch.device
) -> None:
    """Fill a skeleton, with quantised layers from what is kept of them or else from the weights."""
    readings, wanted = dict(_matched(model, part, module)), _wanted(model, part, module)
    press = _press(model, part, module, dtype, device)
    pack = _pack(model, press)
    there = pack.layers(press) if pack else ()
    for layer in there:
        del readings[canonical(press.part, f"{layer}.weight")]
    found: dict[str, Tensor] = {}
    on = torch.device("cpu") if model.quantising.on == "cpu" else device
    for name, tensor in _tensors(readings, dtype, on):
        for spelt, shape in wanted[name].items():
            if spelt in press.weights:
                press.take(spelt, tensor.reshape(shape))
            else:
                found[spelt] = tensor.reshape(shape).to(device)
    module.load_state_dict(found, assign=True, strict=False)  # all are there: `_matched` has seen
    press.finish()
    if pack and not there:
        pack.keep(press)


def _press(
    model: Model, part: str, module: nn.Module, dtype: torch.dtype, device: torch.device
) -> Press:
    return Press(
        module=module,
        name=part,
        part=model.family.parts[part],
        quantiser=model.quantising.parts[part],
        merged=model.merged,
        dtype=dtype,
        device=device,
    )


def _pack(model: Model, press: Press, *, read: bool = True) -> Pack | None:
    """Where its quantised layers are kept, if they are; None while a file would have to be read
    for that and `read` is false."""
    folder, files = model.quantising.folder, model.files(press.name)
    if folder is None:
        return None
    hashes, marks = fingerprints(files, read=read), model.marks(press.name, read=read)
    if hashes is None or marks is None:
        return None
    return Pack.of(folder, press, [*sorted(hashes.values()), *marks])


def packed(model: Model, part: str, dtype: torch.dtype, *, read: bool) -> Path | None:
    """The file that holds a part's quantised layers; None where there is none yet, and while
    weights would have to be read to know and `read` is false."""
    pack = _pack(
        model, _press(model, part, skeleton(model, part), dtype, torch.device("cpu")), read=read
    )
    return pack.file if pack is not None and pack.file.is_file() else None


def held_bytes(model: Model, part: str, width: int) -> int:
    """What a part's weights take where they compute; `width` is the bytes of a wide number."""
    module = skeleton(model, part)
    total = sum(one.numel() for one in module.parameters()) * width
    quantiser = model.quantising.parts.get(part)
    if quantiser is None:
        return total
    found = split(model.family.parts[part], module, quantiser)
    return total - found.numbers * width + found.bytes(quantiser, width)


def _tensors(
    wanted: Mapping[str, Reading], dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """One after the other, in the order in which they lie on the disk."""
    by_file: dict[Path, list[str]] = defaultdict(list)
    for name in sorted(wanted, key=lambda name: (wanted[name].start, name)):
        by_file[wanted[name].spot.file].append(name)
    for file, names in by_file.items():
        with file.open("rb", buffering=0) as stream:
            for name in names:
                yield name, wanted[name].read(stream, dtype=dtype, device=device)


def _wanted(model: Model, part: str, module: nn.Module) -> dict[str, dict[str, Shape]]:
    """The module's tensors by their one name, each with all its spellings and their shapes."""
    names: dict[str, dict[str, Shape]] = defaultdict(dict)
    for name, tensor in module.state_dict().items():
        names[canonical(model.family.parts[part], name)][name] = tuple(tensor.shape)
    return names


def _matched(model: Model, part: str, module: nn.Module) -> Mapping[str, Reading]:
    """How each tensor of the module is read; FileError when files and module do not agree."""
    source = model.parts[part]
    there = readings(model.family.parts[part], source.files, source.prefix)
    wanted = _wanted(model, part, module)
    if len(wanted.keys() & there.keys()) * 2 < len(wanted):
        raise _foreign(model, part)
    for name, reading in there.items():
        _fits(name, reading, wanted)
    _complete(source, wanted.keys(), there.keys())
    return there


def _foreign(model: Model, part: str) -> FileError:
    source, loose = model.parts[part], model.family.parts[part].loose
    names = [name for file in source.files for name in header(file)]
    problem = f"it seems to be {by_names(names)}, and holds little of {loose.called} of this size"
    return FileError(source.files[0], problem, "is this the model that the job names?")


def _fits(name: str, reading: Reading, wanted: Mapping[str, Mapping[str, Shape]]) -> None:
    """FileError for a tensor that the module has not, or has in another shape.

    A convolution over one pixel is a linear layer.
    """
    file, key = reading.spot.file, reading.key
    if name not in wanted:
        problem = f"the model of its config has no tensor '{key}'"
        raise FileError(file, problem, "is this the model that the job names?")
    shape = next(iter(wanted[name].values()))
    if reading.shape not in {shape, (*shape, 1, 1)}:
        problem = f"{key} has the shape {reading.shape}, expected {shape}"
        raise FileError(file, problem, "its config.json belongs to another model")


def _complete(source: Source, wanted: Collection[str], found: Collection[str]) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        problem = f"{len(missing)} of {len(wanted)} tensors are missing, first {missing[0]}"
        raise FileError(source.told, problem, "is this the model that the job names?")


def tools(model: Model) -> dict[str, Any]:
    """The tokenizers of the parts that were opened, by part; FileError for one of another
    vocabulary."""
    made = {}
    for name, source in model.parts.items():
        folder, part = source.tokenizer, model.family.parts[name]
        if folder is None or part.tokenized is None:
            continue
        made[name] = part.tokenized(folder)
        words, rows = len(made[name]), int(model.configs[name]["vocab_size"])
        if not rows / 2 < words <= rows:
            problem = f"it knows {words} pieces of text, the encoder {rows}"
            raise FileError(folder, problem, "fetch the tokenizer of this model again")
    return made
