"""Find a model's parts on disk and load them, one tensor at a time, from safetensors only."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from scumble.errors import FileError, JobError
from scumble.families.builtin import BUILTIN, materialised
from scumble.families.family import Config, Family, Part
from scumble.spec.model import ModelSpec

IDLE = "position_ids"  # old CLIP files hold these; they are counted, not learnt
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Model:
    """A model's folder and what its parts' config.json files say."""

    family: Family
    folder: Path
    configs: Mapping[str, Config]

    def files(self, part: str) -> list[Path]:
        """The weights files of a part, in the order of their names."""
        return weights_files(self.folder / self.family.parts[part].folder, self.family.parts[part])


def located(path: str, base: Path) -> Path:
    """The folder that `model.path` means; builtin models are made on the spot when missing."""
    if path.startswith("builtin:"):
        name = path.removeprefix("builtin:")
        if name not in BUILTIN:
            near = get_close_matches(name, BUILTIN, n=1)
            remedy = (
                f"did you mean 'builtin:{near[0]}'?" if near else f"known: {', '.join(BUILTIN)}"
            )
            raise JobError("model.path", f"there is no builtin model '{name}'", remedy)
        return materialised(name)
    folder = (base / Path(path).expanduser()).resolve()
    if folder.is_file() and folder.suffix in {pattern[1:] for pattern in PICKLES}:
        raise _pickled(folder)
    if not folder.is_dir():
        remedy = "give the path of a diffusers folder (with model_index.json), or builtin:tiny-flux"
        raise FileError("model.path", f"there is no folder {folder}", remedy)
    return folder


def opened(family: Family, wanted: ModelSpec, base: Path) -> Model:
    """The model of a job: configs read, files found and their headers whole; no weight is read."""
    assert wanted.path is not None
    folder = located(wanted.path, base)
    problems, configs = [], {}
    for name, part in family.parts.items():
        try:
            configs[name] = _config(folder / part.folder)
            for file in weights_files(folder / part.folder, part):
                _header(file)
            _has_tokenizer(folder, part)
        except FileError as problem:
            problems.append(problem)
    if problems:
        raise ExceptionGroup("the model is not complete", problems)
    return Model(family, folder, configs)


def _json(file: Path) -> dict[str, Any]:
    """A JSON object, or a FileError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if type(found) is dict:
            return found
        problem = "it holds no settings"
    except FileNotFoundError:
        remedy = "model.path must be a whole diffusers folder; fetch what is missing"
        raise FileError(file, "this file is missing", remedy) from None
    except (OSError, ValueError) as error:
        problem = str(error)
    raise FileError(file, f"this is not what it should be ({problem})", "fetch it again")


def _config(folder: Path) -> dict[str, Any]:
    return _json(folder / "config.json")


def _has_tokenizer(folder: Path, part: Part) -> None:
    """A tokenizer's folder without its words would load as one that knows no word."""
    if part.tokenizer is not None:
        place = folder / part.tokenizer
        if not any((place / name).is_file() for name in VOCABULARIES):
            remedy = "model.path must be a whole diffusers folder; fetch what is missing"
            raise FileError(place, f"there is none of {', '.join(VOCABULARIES)}", remedy)


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file, whose length is what its header says."""
    try:
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        problem = f"this is not a whole safetensors file ({error})"
        raise FileError(file, problem, "fetch it again") from None


def skeleton(model: Model, part: str) -> nn.Module:
    """One part without weights; FileError when its config.json does not describe one."""
    try:
        return model.family.skeleton(part, model.configs[part])
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        file = model.folder / model.family.parts[part].folder / "config.json"
        raise FileError(file, f"no {part} can be made of it ({error})", "fetch it again") from None


def compared(model: Model, part: str, module: nn.Module) -> None:
    """FileError when the files of a part hold other tensors than its skeleton wants."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found: set[str] = set()
    for file in model.files(part):
        for spelt, shape in _header(file).items():
            name = _ours(spelt, model.family.parts[part].aliases, wanted.keys())
            if name is not None:
                _fits(file, name, shape, wanted)
                found.add(name)
    _complete(model, part, wanted.keys(), found)


def weights_files(folder: Path, part: Part) -> list[Path]:
    """The safetensors files of a part: one, or the shards that its index names."""
    single = folder / f"{part.weights}.safetensors"
    index = folder / f"{part.weights}.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            problem = f"{len(missing)} of {len(names)} files are missing, first {missing[0]}"
            raise FileError(folder, problem, "fetch them again")
        return [folder / name for name in names]
    pickles = [file for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if pickles:
        raise _pickled(pickles[0])
    raise FileError(single, "this file is missing", "model.path must be a whole diffusers folder")


def _pickled(file: Path) -> FileError:
    remedy = "use the .safetensors files of the same model"
    return FileError(file, "pickled weights can run any code and are refused", remedy)


def loaded(model: Model, part: str, *, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """One part with its weights, frozen, in evaluation mode; read one tensor after another."""
    module = skeleton(model, part)
    aliases = model.family.parts[part].aliases
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found: dict[str, Tensor] = {}
    for file in model.files(part):
        for spelt, tensor in _tensors(file):
            name = _ours(spelt, aliases, wanted.keys())
            if name is not None:
                _fits(file, name, tuple(tensor.shape), wanted)
                found[name] = tensor.to(device=device, dtype=dtype)
    _tie(module, found)
    _complete(model, part, wanted.keys(), found.keys())
    module.load_state_dict(found, assign=True)
    return module.to(device).requires_grad_(False).eval()


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                yield name, tensors.get_tensor(name)
    except (SafetensorError, OSError) as error:
        problem = f"this is not a whole safetensors file ({error})"
        raise FileError(file, problem, "fetch it again") from None


def _ours(spelt: str, aliases: tuple[tuple[str, str], ...], wanted: Collection[str]) -> str | None:
    """A file's key as the module spells it; None for what is counted, not learnt."""
    if spelt.endswith(IDLE):
        return None
    for theirs, ours in aliases:
        if spelt.startswith(theirs) and spelt not in wanted:
            return ours + spelt.removeprefix(theirs)
    return spelt


def _fits(
    file: Path, name: str, shape: tuple[int, ...], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    if name not in wanted:
        problem = f"the model of its config.json has no tensor '{name}'"
        raise FileError(file, problem, "is this the model that the job names?")
    if shape != wanted[name]:
        problem = f"{name} has the shape {shape}, expected {wanted[name]}"
        raise FileError(file, problem, "its config.json belongs to another model")


def _complete(model: Model, part: str, wanted: Collection[str], found: Collection[str]) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        folder = model.folder / model.family.parts[part].folder
        problem = f"{len(missing)} of {len(wanted)} tensors are missing, first {missing[0]}"
        raise FileError(folder, problem, "is this the model that the job names?")


def _tie(module: nn.Module, found: dict[str, Tensor]) -> None:
    """T5 files hold the shared embedding once, under either of its names."""
    names = ("shared.weight", "encoder.embed_tokens.weight")
    ties = [name for name in names if name in module.state_dict()]
    there = [name for name in ties if name in found]
    for name in ties if there else ():
        found[name] = found[there[0]]


def tools(model: Model) -> dict[str, Any]:
    """The tokenizers, by the part they belong to."""
    from transformers import CLIPTokenizer, T5Tokenizer

    kinds = {"clip": CLIPTokenizer, "t5": T5Tokenizer}
    made = {}
    for name, part in model.family.parts.items():
        if part.tokenizer is not None:
            folder = model.folder / part.tokenizer
            made[name] = kinds[name].from_pretrained(folder)
            words, rows = len(made[name]), int(model.configs[name]["vocab_size"])
            if not rows / 2 < words <= rows:
                problem = f"it knows {words} pieces of text, the encoder {rows}"
                raise FileError(folder, problem, "fetch the tokenizer of this model again")
    return made
