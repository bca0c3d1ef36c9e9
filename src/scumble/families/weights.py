"""Find a model's parts on disk and load them, one tensor at a time, from safetensors only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from scumble.disk import write_whole
from scumble.errors import FileError, JobError
from scumble.families.builtin import BUILTIN, home, materialised
from scumble.families.family import Config, Family, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE = "position_ids"  # old CLIP files hold these; they are counted, not learnt
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


def opened(family: Family, path: str, base: Path) -> Model:
    """The model at a path, its configs read and its files found; no weight is touched."""
    folder = located(path, base)
    problems, configs = [], {}
    for name, part in family.parts.items():
        try:
            configs[name] = _config(folder / part.folder)
            weights_files(folder / part.folder, part)
        except FileError as problem:
            problems.append(problem)
    if problems:
        raise ExceptionGroup("the model is not complete", problems)
    return Model(family, folder, configs)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remedy = "model.path must be a whole diffusers folder; fetch what is missing"
        raise FileError(file, "this file is missing", remedy) from None
    except (OSError, ValueError) as error:
        raise FileError(file, f"this is not a config ({error})", "fetch it again") from None


def weights_files(folder: Path, part: Part) -> list[Path]:
    """The safetensors files of a part: one, or the shards that its index names."""
    single = folder / f"{part.weights}.safetensors"
    index = folder / f"{part.weights}.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
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
    """One part with its weights, frozen, in evaluation mode."""
    module = model.family.skeleton(part, model.configs[part])
    aliases = model.family.parts[part].aliases
    wanted = dict(module.named_parameters()) | dict(module.named_buffers())
    wanted = {name: wanted[name] for name in module.state_dict()}
    found: dict[str, Tensor] = {}
    for file in model.files(part):
        for name, tensor in _tensors(file, aliases, wanted.keys()):
            _fits(file, name, tensor, wanted)
            found[name] = tensor.to(device=device, dtype=dtype)
    _tie(module, found)
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        problem = f"{len(missing)} of {len(wanted)} tensors are missing, first {missing[0]}"
        raise FileError(
            model.files(part)[0].parent, problem, "is this the model that the job names?"
        )
    module.load_state_dict(found, assign=True)
    return module.to(device).requires_grad_(False).eval()


def _tensors(
    file: Path, aliases: tuple[tuple[str, str], ...], wanted: Any
) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, "pt") as tensors:
            for spelt in tensors.keys():  # noqa: SIM118 - not a mapping
                name = spelt
                for theirs, ours in aliases:
                    if spelt.startswith(theirs) and spelt not in wanted:
                        name = ours + spelt.removeprefix(theirs)
                if not name.endswith(IDLE):
                    yield name, tensors.get_tensor(spelt)
    except (SafetensorError, OSError) as error:
        problem = f"this is not a whole safetensors file ({error})"
        raise FileError(file, problem, "fetch it again") from None


def _fits(file: Path, name: str, tensor: Tensor, wanted: Mapping[str, Tensor]) -> None:
    if name not in wanted:
        problem = f"the model of its config.json has no tensor '{name}'"
        raise FileError(file, problem, "is this the model that the job names?")
    shape = tuple(wanted[name].shape)
    if tensor.shape != shape:
        problem = f"{name} has the shape {tuple(tensor.shape)}, expected {shape}"
        raise FileError(file, problem, "its config.json belongs to another model")


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
            if not folder.is_dir():
                remedy = "model.path must be a whole diffusers folder; fetch what is missing"
                raise FileError(folder, "the tokenizer is missing", remedy)
            made[name] = kinds[name].from_pretrained(folder)
    return made


def fingerprints(files: Sequence[Path], *, read: bool = True) -> dict[str, str] | None:
    """The hash of every file's bytes, by its path.

    A file is read once for each path, size and time of change; the machine remembers the rest.
    None when a file would have to be read and `read` is false.
    """
    memory = home() / "hashes.json"
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
    marks = {str(file): _mark(file) for file in files}
    new = [file for file in files if marks[str(file)] not in known]
    if new and not read:
        return None
    if new:
        with ThreadPoolExecutor() as threads:
            hashes = list(threads.map(_hash, new))
        known |= {marks[str(file)]: digest for file, digest in zip(new, hashes, strict=True)}
        write_whole(memory, json.dumps(known, indent=1).encode())
    return {path: known[mark] for path, mark in marks.items()}


def _mark(file: Path) -> str:
    facts = file.stat()
    return f"{file.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, partial(blake2b, digest_size=16)).hexdigest()
