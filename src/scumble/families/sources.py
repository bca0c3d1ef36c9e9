"""Where one part of a model lies: in a folder, in a file of its own, in one of the whole model.

Folders and files on this machine come first; a hub is asked for what is not here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scumble.errors import FileError, ScumbleError, gather
from scumble.families.family import Config, Family, Part
from scumble.families.readings import readings
from scumble.families.recognising import PICKLES, SAFE, by_names
from scumble.families.tensor_files import header
from scumble.families.written import config_of as carried

T = TypeVar("T")
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
WHOLE = "give a whole diffusers folder; fetch what is missing"


@dataclass(frozen=True)
class Source:
    """Where one part lies, and what its config says or its shapes tell."""

    config: Config
    files: tuple[Path, ...]
    tokenizer: Path | None
    prefix: str
    """What the names of its tensors begin with in these files."""

    told: str
    """The same for people."""

    absent: int = 0
    """Bytes of weights that are still on the hub; then there are no files."""


@dataclass(frozen=True)
class Sought:
    """A part that is looked for."""

    family: Family
    name: str

    @property
    def part(self) -> Part:
        """Its facts."""
        return self.family.parts[self.name]

    @property
    def where(self) -> str:
        """The setting that names it."""
        return f"model.parts.{self.name}"


def in_model_folder(sought: Sought, folder: Path) -> Source:
    """A part of a diffusers folder; an ExceptionGroup of FileErrors says what it lacks."""
    part, problems = sought.part, list[ScumbleError]()
    own = folder / part.folder
    config = _tried(lambda: config_of(own, part), problems)
    files = _tried(lambda: weights_files(own, part), problems)
    words = _tried(lambda: _tokenizer(part, folder), problems)
    gather(f"{own} is not complete", problems)
    assert config is not None and files
    return Source(config, files, words, _known_prefix(sought, files), str(own))


def _tried(find: Callable[[], T], problems: list[ScumbleError]) -> T | None:
    try:
        return find()
    except FileError as problem:
        problems.append(problem)
        return None


def in_own_folder(sought: Sought, folder: Path) -> Source:
    """A part from a folder of its own, or from a diffusers folder of another model."""
    part = sought.part
    if not (folder / "config.json").is_file():
        if (folder / part.folder / "config.json").is_file():
            return in_model_folder(sought, folder)
        return in_file(sought, _only_weights(folder, sought))
    files, config = weights_files(folder, part), config_of(folder, part)
    words = _vocabulary_near(sought, folder)
    return Source(config, files, words, _known_prefix(sought, files), str(folder))


def _known_prefix(sought: Sought, files: Sequence[Path]) -> str:
    """What names begin with in a folder's files; FileError where they hold something else."""
    prefix = _prefix(sought.part, _names(files))
    if prefix is None:
        raise stranger(sought, files[0])
    return prefix


def in_file(sought: Sought, file: Path, told: str | None = None) -> Source:
    """A part from a file without a config.json; FileError names what the file seems to be."""
    part, files = sought.part, shards(file)
    names = _names(files)
    prefix = _prefix(part, names)
    if prefix is None:
        raise stranger(sought, file)
    try:
        tensors = readings(part, files, prefix)
        sizes = carried(file) or part.loose.sizes(
            {name: one.shape for name, one in tensors.items()}
        )
    except KeyError as error:
        problem = f"it holds no {error.args[0]}, which {part.loose.called} has"
        raise FileError(file, problem, "fetch it again") from None
    except (ValueError, IndexError, ArithmeticError) as error:
        problem = f"{part.loose.called} cannot be made of it: {error}"
        raise FileError(file, problem, f"name another with `{sought.where}`") from None
    place = f"{told or file}" + (f" ({prefix}*)" if prefix else "")
    return Source(
        {**part.loose.published, **sizes}, files, shipped(part, sought.name), prefix, place
    )


def holds(part: Part, file: Path) -> bool:
    """Whether a file, of whatever else, holds this part as well."""
    return _prefix(part, _names(shards(file))) is not None


def stranger(sought: Sought, file: Path) -> FileError:
    """What to say of a file that does not hold the part."""
    names = _names(shards(file))
    for other, part in sought.family.parts.items():
        if other != sought.name and _prefix(part, names) == "":
            problem = f"it is {part.loose.called}, not {sought.part.loose.called}"
            return FileError(file, problem, f"name it with `model.parts.{other}`")
    wanted = sought.part.loose
    problem = f"it seems to be {by_names(names)}, not {wanted.called}"
    return FileError(file, problem, f"name one with `{sought.where}`, such as {wanted.example}")


def _prefix(part: Part, names: Sequence[str]) -> str | None:
    """What the part's names begin with there, or None if it is not there."""
    there = set(names)
    for prefix in part.loose.within:
        if any(prefix + sign in there for sign in part.loose.signs):
            return prefix
    return None


def _names(files: Sequence[Path]) -> list[str]:
    return [name for file in files for name in header(file)]


def shards(file: Path) -> tuple[Path, ...]:
    """The file, or all of its set if its name says that it is one of several."""
    refuse_pickles([file])
    if not (told := SHARD.fullmatch(file.name)):
        return (file,)
    stem, _, count = told.groups()
    names = [f"{stem}-{at:05d}-of-{count}.safetensors" for at in range(1, int(count) + 1)]
    return _all_there(file.parent, names)


def _all_there(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        problem = f"{len(missing)} of {len(names)} files are missing, first {missing[0]}"
        raise FileError(folder, problem, "fetch them again")
    return tuple(folder / name for name in names)


def refuse_pickles(files: Sequence[Path]) -> None:
    """FileError for the first file whose name says that it is pickled."""
    for file in files:
        if file.suffix.lower() in PICKLES:
            raise FileError(file, "pickled weights can run any code and are refused", SAFE)


def weights_files(folder: Path, part: Part) -> tuple[Path, ...]:
    """The safetensors files of a part's folder: one, or the shards that its index names."""
    single = folder / f"{part.weights}.safetensors"
    index = folder / f"{part.weights}.safetensors.index.json"
    if single.is_file():
        header(single)
        return (single,)
    if index.is_file():
        files = _all_there(folder, _indexed(index))
        for file in files:
            header(file)
        return files
    refuse_pickles(sorted(folder.glob("*")))
    raise _missing(single)


def _missing(file: Path) -> FileError:
    """What to say of weights that lie in a folder under another name, or not at all."""
    others = sorted(one.name for one in file.parent.glob("*.safetensors"))
    if not others:
        return FileError(file, "this file is missing", WHOLE)
    problem = f"there is no {file.name} in it, but {', '.join(others[:4])}"
    remedy = "name the file that is meant in `model.parts`, if it is of this model"
    return FileError(file.parent, problem, remedy)


def _indexed(index: Path) -> list[str]:
    """The files that an index names, of its own folder alone."""
    named = read_json(index).get("weight_map")
    if type(named) is not dict or not named:
        raise FileError(index, "it names no files", "fetch it again")
    return sorted({Path(str(name)).name for name in named.values()})


def _only_weights(folder: Path, sought: Sought) -> Path:
    """The file of a folder that holds one model and no config.json."""
    found = sorted(folder.glob("*.safetensors"))
    sets = {told[1] if (told := SHARD.fullmatch(file.name)) else file.name for file in found}
    if len(sets) == 1:
        return found[0]
    refuse_pickles(sorted(folder.glob("*")))
    there = f"several models: {', '.join(sorted(sets)[:4])}" if sets else "no safetensors file"
    problem = f"there is no config.json in it, and {there}"
    raise FileError(folder, problem, f"name the file itself with `{sought.where}`")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object, or a FileError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if type(found) is dict:
            return found
        problem = "it holds no settings"
    except FileNotFoundError:
        raise FileError(file, "this file is missing", WHOLE) from None
    except (OSError, ValueError) as error:
        problem = str(error)
    raise FileError(file, f"this is not what it should be ({problem})", "fetch it again")


def config_of(folder: Path, part: Part) -> Config:
    """What a folder's config.json says of the part."""
    found = read_json(folder / "config.json")
    inner = found.get(part.nested) if part.nested else None
    if type(inner) is not dict:
        return found
    return inner | {name: found[name] for name in part.beside if name in found}


def _tokenizer(part: Part, folder: Path) -> Path | None:
    """A tokenizer's folder without its words would load as one that knows no word."""
    if part.tokenizer is None:
        return None
    place = folder / part.tokenizer
    if not has_words(place):
        problem = f"there is none of {', '.join(VOCABULARIES)}"
        raise FileError(place, problem, WHOLE)
    return place


def has_words(folder: Path) -> bool:
    """Whether a tokenizer lies there."""
    return any((folder / name).is_file() for name in VOCABULARIES)


def _vocabulary_near(sought: Sought, folder: Path) -> Path | None:
    """In the part's own folder, or where a diffusers folder has it beside; else the shipped one."""
    part = sought.part
    if part.tokenizer is None:
        return None
    near = [folder]
    if folder.name == part.folder:
        near.append(folder.parent / part.tokenizer)
    return next((one for one in near if has_words(one)), None) or shipped(part, sought.name)


def shipped(part: Part, name: str) -> Path | None:
    """The tokenizer that comes with the package, for parts that read texts."""
    if part.tokenizer is None:
        return None
    from scumble.families import tokenizers

    return tokenizers.shipped(name)
