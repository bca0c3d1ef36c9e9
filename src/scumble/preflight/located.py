"""A job whose paths mean the same everywhere: what it reads, absolute."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from scumble.errors import FileError
from scumble.families.places import here
from scumble.spec.adapter import AdapterSpec, LoraSpec, StartSpec
from scumble.spec.base import Spec
from scumble.spec.dataset import DatasetSpec
from scumble.spec.job import JobSpec
from scumble.spec.lycoris import LycorisSpec
from scumble.spec.sources import HubSource, SourceSpec, TableSource
from scumble.spec.validation import RequestSpec, ValidationSpec

S = TypeVar("S", bound=Spec)


def located(job: JobSpec, base: Path) -> JobSpec:
    """The job with everything that it reads as absolute paths; hub ids stay as they are."""
    path, parts = job.model.path, job.model.parts
    placed = {part: _weights(where, base) for part, where in parts.items()}
    merged = tuple(_placed(one, base, "file") for one in job.model.merged)
    told = {"path": path and _weights(path, base), "parts": placed, "merged": merged}
    model = job.model.model_copy(update=told)
    data = tuple(_set(one, base) for one in job.data)
    adapter = _adapter(job.adapter, base)
    validation = previews(job.validation, base)
    changes = {"model": model, "adapter": adapter, "data": data, "validation": validation}
    return job.model_copy(update=changes)


def previews(spec: ValidationSpec, base: Path) -> ValidationSpec:
    """A validation section with the pictures that its requests name as absolute paths."""
    return spec.model_copy(update={"requests": tuple(_request(one, base) for one in spec.requests)})


def _request(one: RequestSpec, base: Path) -> RequestSpec:
    references = tuple(_absolute(file, base) for file in one.references)
    return one.model_copy(update={"references": references})


def _adapter(adapter: AdapterSpec, base: Path) -> AdapterSpec:
    match adapter:
        case LoraSpec(start=StartSpec() as start):
            return adapter.model_copy(update={"start": _placed(start, base, "file")})
        case LycorisSpec(start=str()):
            return _placed(adapter, base, "start")
        case _:
            return adapter


def _set(one: DatasetSpec, base: Path) -> DatasetSpec:
    references = tuple(_placed(each, base, "folder", "write_to") for each in one.references)
    references = tuple(
        each.model_copy(update={"source": _source(each.source, base)}) for each in references
    )
    mask = one.mask
    if mask is not None:
        mask = _placed(mask, base, "folder")
        mask = mask.model_copy(update={"source": _source(mask.source, base)})
    placed = _placed(one, base, "folder")
    changes = {"source": _source(one.source, base), "references": references, "mask": mask}
    return placed.model_copy(update=changes)


def _source(source: SourceSpec | None, base: Path) -> SourceSpec | None:
    match source:
        case TableSource():
            return _placed(source, base, "file", "folder")
        case HubSource() if (base / Path(source.dataset).expanduser()).exists():
            return _placed(source, base, "dataset")
        case _:
            return source


def _placed(section: S, base: Path, *names: str) -> S:
    """The section with these settings as absolute paths, where they are set."""
    values = section.model_dump(include=set(names))
    told = {name: _absolute(value, base) for name, value in values.items() if value is not None}
    return section.model_copy(update=told)


def _weights(path: str, base: Path) -> str:
    """Weights of the user's own as an absolute path; builtin models, hub ids and what can be no
    path stay."""
    if path.startswith("builtin:"):
        return path
    try:
        place = here("model", path, base)
    except FileError:  # told in full by whoever opens the model
        return path
    return path if place is None else str(place)


def _absolute(path: str, base: Path) -> str:
    return str((base / Path(path).expanduser()).resolve())
