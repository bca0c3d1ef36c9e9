"""A network as it lies in files, whoever spelt it: where each of our layers' weights is stored.

Asked of a part alone: no config.json, no other part and no flavour is needed. Headers are read,
no weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from scumble.adapters.keys import Network
from scumble.errors import FileError
from scumble.families.family import Family, Part
from scumble.families.readings import Reading, canonical, readings
from scumble.families.recognising import by_names
from scumble.families.sources import refuse_pickles, shards, weights_files
from scumble.families.tensor_files import header

WEIGHT, BIAS = ".weight", ".bias"
SCALED_FP8 = 1
"""Bytes of a number that is too narrow to take a change."""


@dataclass(frozen=True)
class OnDisk:
    """One network of a family in its files."""

    part: str
    facts: Part
    network: Network
    files: tuple[Path, ...]
    prefix: str
    """What the names of its tensors begin with in these files."""

    readings: dict[str, Reading]
    """How each tensor is read, by our names."""

    def of_layer(self, layer: str) -> Reading | None:
        """The weight of a layer of an adapter; None where there is none."""
        return self.readings.get(canonical(self.facts, layer + WEIGHT))

    def bias_of(self, layer: str) -> Reading | None:
        """The bias of a layer of an adapter; None where there is none."""
        return self.readings.get(canonical(self.facts, layer + BIAS))

    def layers(self) -> Iterator[tuple[str, Reading]]:
        """Every linear layer that an adapter has a name for, by that name."""
        bare = [theirs for theirs, ours in self.facts.aliases if not ours]
        for name, reading in self.readings.items():
            layer = name.removesuffix(WEIGHT)
            spelt = [layer, *(start + layer for start in bare)]
            known = [one for one in spelt if self.network.by_ours(one)]
            if name.endswith(WEIGHT) and known and len(reading.shape) == 2:
                yield known[0], reading

    @property
    def narrow(self) -> bool:
        """Whether some of its weights are stored in fp8."""
        return any(one.spot.stored.dtype.itemsize == SCALED_FP8 for one in self.readings.values())


def within(family: Family, place: Path) -> list[OnDisk]:
    """The networks with layers that adapters can change, of a file or of a diffusers folder.

    FileError where there is none.
    """
    looked = _in_folder(family, place) if place.is_dir() else _in_files(family, shards(place))
    found = list(looked)
    if not found:
        raise _stranger(family, place)
    return found


def _in_folder(family: Family, place: Path) -> Iterator[OnDisk]:
    """Of a model's folder, or of one part's own."""
    for name in family.keys:
        part = family.parts[name]
        if (place / part.folder / "config.json").is_file():
            files = weights_files(place / part.folder, part)
        elif _of_one(place, part):
            files = weights_files(place, part)
        else:
            continue
        if one := _read(family, name, files):
            yield one


def _of_one(place: Path, part: Part) -> bool:
    """Whether a folder has weights under this part's name."""
    endings = (".safetensors", ".safetensors.index.json")
    return any((place / (part.weights + ending)).is_file() for ending in endings)


def _in_files(family: Family, files: Sequence[Path]) -> Iterator[OnDisk]:
    for name in family.keys:
        if one := _read(family, name, files):
            yield one


def _read(family: Family, name: str, files: Sequence[Path]) -> OnDisk | None:
    """The part, if these files hold it."""
    part, there = family.parts[name], {key for file in files for key in header(file)}
    for prefix in part.loose.within:
        if any(prefix + sign in there for sign in part.loose.signs):
            found = readings(part, files, prefix)
            return OnDisk(name, part, family.keys[name], tuple(files), prefix, found)
    return None


def _stranger(family: Family, place: Path) -> FileError:
    if place.is_dir():
        refuse_pickles(sorted(place.glob("*")))
        problem = "there is no network of this family in this folder"
        return FileError(place, problem, "name a diffusers folder or the file of the weights")
    names = list(header(place))
    problem = f"it seems to be {by_names(names)}, not the weights of {family.name}"
    return FileError(place, problem, "name the file that holds the network")


def metadata(file: Path) -> dict[str, str]:
    """What a file says of itself."""
    with safe_open(file, "pt") as tensors:
        return dict(tensors.metadata() or {})


def told(place: Path) -> Path:
    """The place itself; FileError unless there is something."""
    if not place.exists():
        raise FileError(place, "there is no such file or folder", "mend the path")
    return place
