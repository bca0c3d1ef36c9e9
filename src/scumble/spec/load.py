"""Read a job from text, and say everything that is wrong with it at once."""

import json
from collections.abc import Sequence
from typing import Any, cast

from pydantic import ValidationError

from scumble.errors import JobError, gather
from scumble.spec.base import Spec
from scumble.spec.document import (
    Document,
    Format,
    as_entries,
    as_section,
    parse,
    read_json,
    read_toml,
)
from scumble.spec.job import JobSpec
from scumble.spec.overrides import override
from scumble.spec.schema import Place, job_shape
from scumble.spec.wording import complain
from scumble.spec.yaml_text import read_yaml, write_yaml

READERS = {"yaml": read_yaml, "toml": read_toml, "json": read_json}
TITLE = "this job cannot run"

SIMPLETUNER = {"model_family", "data_backend_config", "model_type", "instance_data_dir"}
SD_SCRIPTS = {
    "network_dim",
    "network_module",
    "pretrained_model_name_or_path",
    "dataset_config",
    "train_data_dir",
    "enable_bucket",
}


def read_job(text: str, *, name: str, format: Format, overrides: Sequence[str] = ()) -> JobSpec:
    """The job a text describes; an ExceptionGroup of JobErrors tells all that is wrong with it.

    `name` is what messages call the text; it need not be a file.
    """
    document = Document(name=name)
    parse(text, document, READERS[format])
    if document.tree is None and document.problems:
        gather(TITLE, document.problems)
    _refuse_what_is_no_job(document)
    for text_of_one in overrides:
        override(document, text_of_one)
    _fill_tags(document.tree, job_shape())
    job = None
    try:
        job = JobSpec.model_validate_json(json.dumps(document.tree, default=str), strict=True)
    except ValidationError as error:
        complain(error, document)
    gather(TITLE, document.problems)
    assert job is not None
    return job


def resolved(job: JobSpec, *, full: bool = True) -> str:
    """The job as YAML that reads back as the same job; not `full`: without what is default."""
    tree = job.model_dump() if full else _differing(job, job_shape())
    if job.training.epochs is not None:
        del tree["training"]["steps"]  # it stands for what is not counted yet
    return write_yaml(tree)


def _differing(section: Spec, place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {}
    values = dict(section)
    places = place.fields_of(values.get(place.tag))
    for name, field in type(section).model_fields.items():
        default: Any = None if field.is_required() else field.get_default(call_default_factory=True)
        if field.is_required() or values[name] != default or name == place.tag:
            found[name] = _plain(values[name], places[name])
    return found


def _plain(value: Any, place: Place) -> Any:
    if isinstance(value, tuple):
        entries = cast("tuple[Any, ...]", value)
        return [_plain(entry, place.items or place) for entry in entries]
    match value:
        case Spec():
            return _differing(value, place)
        case _:
            return value


def _fill_tags(tree: Any, place: Place) -> None:
    """A section that does not say its kind is of the default kind."""
    section = as_section(tree)
    if isinstance(tree, dict) and place.tag and place.default:
        section.setdefault(place.tag, place.default[place.tag])
    for name, inner in place.every_field.items():
        _fill_tags(section.get(name), inner)
    for entry in as_entries(tree):
        _fill_tags(entry, place.items or place)


def _refuse_what_is_no_job(document: Document) -> None:
    """What is not even an attempt at a job gets one answer, not twenty."""
    tree = document.tree
    remedy, tool = "begin with one of `scumble examples list`", _foreign(as_section(tree))
    match tree:
        case _ if tree is None or tree == {}:
            problem = "there is no job in it"
        case dict() if tool.startswith("sd-scripts"):
            problem = f"this is a file for {tool}"
            remedy = f"`scumble convert {document.name} -o job.yaml` makes a job of it"
        case dict() if tool:
            problem = f"this is a configuration for {tool}"
            remedy = f"run it as it is: scumble train --config {document.name}"
        case dict():
            return
        case list() if _backends(document.tree):
            problem = "this is a file for SimpleTuner (data backends), not a job"
            remedy = f"name it with its config.json: --config config.json --data {document.name}"
        case _:
            problem = (
                "a job is a list of settings such as `name: my-cat`, and this is something else"
            )
    document.problems.append(JobError(document.name, problem, remedy))
    gather(TITLE, document.problems)


def _foreign(tree: dict[str, Any]) -> str:
    ours = job_shape().fields.keys() & tree.keys()
    if any(key.startswith("--") for key in tree) or (SIMPLETUNER & tree.keys() and not ours):
        return "SimpleTuner"
    if any("subsets" in as_section(entry) for entry in as_entries(tree.get("datasets"))):
        return "sd-scripts (a dataset file)"
    return "sd-scripts" if SD_SCRIPTS & tree.keys() and "model" not in tree else ""


def _backends(entries: list[Any]) -> bool:
    keys = {"instance_data_dir", "dataset_type", "text_embeds", "caption_strategy"}
    return any(keys & as_section(entry).keys() for entry in entries)
